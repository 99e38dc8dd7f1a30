"""docs/notebook.ipynb: valid, small, executed to its end, of no machine in particular; and its cells run."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from test_documents import ROOT

FILE = ROOT / "docs/notebook.ipynb"
OF_A_MACHINE = re.compile(r"/(home|root|work|tmp|Users|usr|opt|var|mnt)/|[A-Z]:\\\\|site-packages|0x[0-9a-f]{6}")
LARGEST = 200_000


def cells() -> list[dict[str, Any]]:
    return [cell for cell in json.loads(FILE.read_text())["cells"] if cell["cell_type"] == "code"]


def test_it_is_executed_in_order_and_without_error():
    assert [cell["execution_count"] for cell in cells()] == list(range(1, len(cells()) + 1))
    kinds = {output["output_type"] for cell in cells() for output in cell["outputs"]}
    assert kinds <= {"stream", "display_data", "execute_result"}
    assert all(output.get("name", "stdout") == "stdout" for cell in cells() for output in cell["outputs"])
    assert FILE.stat().st_size < LARGEST


def test_it_shows_what_it_promises():
    said = "".join("".join(output.get("text", "")) for cell in cells() for output in cell["outputs"])
    for words in (
        "11,173,962 parameters",
        "6,173,962 over the budget of 5,000,000",
        "stopped, to be resumed",
        "finished",
    ):
        assert words in said
    assert re.search(r"test accuracy (9\d|100)\.\d\d %", said)
    assert re.search(r"a linear classifier: 9\d\.\d\d %", said)


def test_nothing_in_it_is_of_one_machine():
    outputs = [
        {**output, "data": {**output.get("data", {}), "image/png": ""}}
        for cell in cells()
        for output in cell["outputs"]
    ]
    assert not OF_A_MACHINE.search(json.dumps(outputs))
    assert OF_A_MACHINE.search(json.dumps("/home/someone/runs"))
    assert OF_A_MACHINE.search(json.dumps(r"C:\runs"))


def test_it_is_a_notebook():
    nbformat = pytest.importorskip("nbformat")
    nbformat.validate(nbformat.read(FILE, as_version=4))


@pytest.mark.slow
def test_its_cells_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """As a script: what nbclient adds is the kernel."""
    pyplot = pytest.importorskip("matplotlib.pyplot")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(pyplot, "show", lambda: pyplot.close("all"))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    names: dict[str, Any] = {}
    for cell in cells():
        exec("".join(cell["source"]), names)
    assert names["run"].summary["test"] > 0.95
    assert (tmp_path / "snugnet-runs" / "narrow" / "summary.json").is_file()
