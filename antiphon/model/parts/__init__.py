"""The parts every model is assembled from. They take plain typed parameters and know no configuration.

Shapes in all docstrings: B rows, S source steps, T target steps, R decoder rows (B times the beam
width when a beam is searched), and widths by the name of what they measure.
"""
