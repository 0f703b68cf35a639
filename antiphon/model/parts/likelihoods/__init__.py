"""The distributions of the numbers of a series, and the losses where there is none."""
