"""Data sets: where they lie, how they are split, and batches of them on the device."""
