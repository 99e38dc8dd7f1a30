"""What `snug export` wrote, at work without torch: predict, serve and bench on ONNX Runtime, numpy and Pillow."""

__version__ = "0.1.0"
