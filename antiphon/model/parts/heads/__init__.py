"""Heads: readout features to log-probabilities or to a loss; one file for each kind, and the table of all."""
