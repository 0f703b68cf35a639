"""How good a model is on rows whose truth is known."""
