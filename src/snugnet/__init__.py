"""snugnet: the most accurate image classifier that fits a budget, and the proof of it."""

__version__ = "0.1.0"
