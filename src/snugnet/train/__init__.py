"""The training algorithm: no files, no printing, no test split."""
