import json

import pytest

from made_up import LINE, body, entry
from snugnet.errors import DataError
from snugnet.report.ledger import read_ledger
from snugnet.runs import record_in_ledger


def test_a_row_is_the_mean_and_spread_of_its_seeds():
    seeds = [
        entry(seed=0, test=0.90),
        entry(seed=1, test=0.91, seconds=200.0, date="2026-11-21"),
        entry(seed=2, test=0.92),
    ]
    assert body("all", *seeds) == [
        "| recipe | epochs | n | test accuracy, % | parameters | bytes | MACs | time | hardware | date |",
        "|---|--:|--:|--:|--:|--:|--:|--:|---|---|",
        "| `snugnet/tiny` | 10 | 3 | 91.00 ± 1.00 | 137k | 548 kB | 20.5M | 2 min 13 s | 2 cores | 2026-11-21 |",
    ]


@pytest.mark.parametrize("change", [{"recipe_sha256": "cd"}, {"epochs": 11}, {"hardware": "4 cores"}, {"recipe": "b"}])
def test_what_makes_another_row(change):
    assert len(body("all", entry(), entry(seed=1, **change))) == 4


def test_a_seed_recorded_twice_counts_by_its_later_line():
    row = body("all", entry(test=0.5), entry(test=0.91))[2]
    assert "| 1 | 91.00 |" in row


def test_an_untested_run_leaves_a_dash():
    assert "| 2 | – |" in body("all", entry(), entry(seed=1, test=None))[2]


def test_a_bar_in_a_name_does_not_break_the_table():
    assert r"2 \| 4 cores" in body("all", entry(hardware="2 | 4 cores"))[2]


def test_read_back(tmp_path):
    path = tmp_path / "ledger.jsonl"
    path.write_text(f"{json.dumps(LINE)}\n{json.dumps({**LINE, 'seed': 1})}\n")
    assert read_ledger(path) == [entry(), entry(seed=1)]
    assert (entry().size_mb, entry().p50_ms, entry().latency) == (None, None, "")  # lines from before there were any


def test_a_line_is_read_back_as_it_was_written(tmp_path):
    path = tmp_path / "ledger.jsonl"
    measured = {"size_mb": 0.521751, "p50_ms": 0.312, "latency": "batch 1"}
    record_in_ledger(path, {**LINE, **measured, "precision": "fp32", "trained_on": "all"})
    assert read_ledger(path) == [entry(**measured, precision="fp32", trained_on="all")]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("{", "2: line: Invalid JSON: EOF while parsing an object at line 1 column 1: "),
        (json.dumps({**LINE, "sed": 1}), "2: sed: Extra inputs are not permitted: "),
        (json.dumps({**LINE, "seed": "1"}), "2: seed: Input should be a valid integer: "),
        ("", "2: line: Invalid JSON: EOF while parsing a value at line 1 column 0: "),
    ],
)
def test_a_damaged_line_is_named(tmp_path, line, words):
    path = tmp_path / "ledger.jsonl"
    path.write_text(f"{json.dumps(LINE)}\n{line}\n")
    with pytest.raises(DataError) as caught:
        read_ledger(path)
    assert str(caught.value) == f"{path}:{words}restore the line from version control"


def test_a_missing_ledger_is_said(tmp_path):
    with pytest.raises(DataError, match=r"ledger.jsonl: cannot be read \(.*No such file.*\): restore it from version"):
        read_ledger(tmp_path / "ledger.jsonl")
