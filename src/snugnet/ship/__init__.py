"""What happens to a finished run: how fast its net is."""
