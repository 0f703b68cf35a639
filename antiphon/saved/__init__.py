"""A model on disk: its folder, card, calibration and known answers."""
