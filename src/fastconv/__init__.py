"""Fast convolutional networks on NumPy arrays."""

__version__ = "0.1.0"
