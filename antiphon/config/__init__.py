"""The configuration of a model and its training: its keys, their checks, and how it is read."""
