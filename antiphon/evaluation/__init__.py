"""How good a model is on rows whose reference is known."""
