"""What a result was measured with."""

from __future__ import annotations

import pytest
import torch

from snugnet import environment
from snugnet.device import Compute

HERE = Compute(torch.device("cpu"), "fp32")


def test_the_same_machine_has_not_changed():
    assert environment.changed(environment.describe(HERE), HERE) == ""


def test_a_change_that_changes_numbers_is_named():
    before = environment.describe(HERE) | {"precision": "bf16", "threads": 99}
    threads = torch.get_num_threads()
    words = f"it began with precision bf16, threads 99 and goes on with precision fp32, threads {threads}"
    assert environment.changed(before, HERE) == words


def test_a_record_of_an_older_version_is_read_as_it_was_meant():
    before = environment.describe(HERE)
    del before["foreign_code"], before["processes"]  # there was no such code, and one process
    assert environment.changed(before, HERE) == ""


@pytest.mark.parametrize(
    ("argv", "line"),
    [
        (["/somewhere/bin/snug", "train", "a b.toml"], "snug train 'a b.toml'"),
        (["/somewhere/snugnet/__main__.py", "train", "x"], "python -m snugnet train x"),
    ],
)
def test_a_command_line_can_be_typed_again(monkeypatch, argv, line):
    monkeypatch.setattr("sys.argv", argv)
    assert environment.command_line() == line
