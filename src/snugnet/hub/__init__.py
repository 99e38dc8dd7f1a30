"""A finished run on the Hugging Face Hub: what of it leaves, and its upload; see docs/hand-over.md."""
