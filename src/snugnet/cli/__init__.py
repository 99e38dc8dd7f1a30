"""The command line: each command parses, calls one function, prints."""

import time

STARTED = time.monotonic()  # for the wall time of a command, imports included
