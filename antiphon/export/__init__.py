"""A trained model as ONNX graphs, which run without PyTorch and without this package."""
