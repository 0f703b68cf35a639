"""What a user may say of a model and its training: the keys, their checks, and how a configuration is read."""
