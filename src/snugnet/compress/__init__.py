"""Nets made smaller: pure functions on specifications and tensors; no file is read or written here."""
