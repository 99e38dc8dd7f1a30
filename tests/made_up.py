"""A made-up ledger."""

from snugnet.report.ledger import Entry
from snugnet.report.markers import render_blocks

LINE = {
    "recipe": "snugnet/tiny", "recipe_sha256": "ab", "commit": "c0ffee", "seed": 0, "epochs": 10, "params": 137_000,
    "macs": 20_500_000, "bytes": 548_000, "weights": "last", "val": 0.9, "test": 0.91, "tta_test": None,
    "seconds": 100.0, "hardware": "2 cores", "date": "2026-11-20", "command": "snug train snugnet/tiny",
}  # fmt: skip


def entry(**changes):
    """A recorded run."""
    return Entry.parse({**LINE, **changes})


def body(name, *entries, kind="ledger"):
    """The lines of a block, filled."""
    lines = render_blocks(f"<!-- {kind}: {name} -->\nold\n<!-- /{kind} -->\n", entries).splitlines()
    return lines[1:-1]
