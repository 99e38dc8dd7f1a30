"""What a stop says, by the command that it stopped."""

from __future__ import annotations

import pytest

from snugnet.cli.main import INTERRUPTED, SEARCHED, interrupted


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("train snugnet/digits", INTERRUPTED),
        ("--debug resume runs/a", INTERRUPTED),
        ("search digits --workers 2", SEARCHED),
        ("evaluate runs/a", "Interrupted: evaluate: stopped; runs are unchanged."),
        (
            "compare runs/a --html=p.html",
            "Interrupted: compare: stopped; runs are unchanged; of the files to be written some may be "
            "those of before.",
        ),
    ],
)
def test_a_stop_tells_what_it_leaves(line: str, words: str):
    assert interrupted(line.split()) == words
