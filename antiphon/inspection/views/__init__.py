"""The views of a trace: what each shows, how it is read, and how Matplotlib draws it."""
