"""Measures of a classifier, computed from its logits."""
