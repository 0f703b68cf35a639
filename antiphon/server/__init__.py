"""Models behind HTTP. A request's way: guard -> app -> schema -> batching -> the model, and back."""
