"""`python -m snugnet` is `snug`."""

from snugnet.cli.main import main

main()
