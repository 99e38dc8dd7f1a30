"""Networks as data: a frozen specification that can be priced, built, written and read."""
