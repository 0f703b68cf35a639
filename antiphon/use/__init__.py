"""A trained model in use: inputs to answers."""
