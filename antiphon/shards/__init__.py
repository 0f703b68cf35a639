"""Prediction at scale: many files in, a file for each out, computed by the workers of a Ray cluster."""
