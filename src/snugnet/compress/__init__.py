"""A trained net made smaller: pure functions on specifications and tensors."""
