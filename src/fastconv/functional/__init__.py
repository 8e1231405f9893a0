"""Functions on NumPy arrays: every op of a convolutional network, forward and backward."""
