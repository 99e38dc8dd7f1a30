"""`python docs/notebook.py`: executes docs/notebook.ipynb in an empty folder and keeps what it printed."""

from __future__ import annotations

import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).with_suffix(".ipynb")
LIMIT_S = 1800  # a cell, on a machine however busy


def executed(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """The same with fresh outputs and nothing of this machine or hour. Raises CellExecutionError."""
    with tempfile.TemporaryDirectory() as folder:
        place = {"metadata": {"path": folder}}
        NotebookClient(
            notebook, timeout=LIMIT_S, kernel_name="python3", resources=place, coalesce_streams=True
        ).execute()
    notebook.metadata.language_info = {"name": "python"}
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        cell.get("outputs", [])[:] = [_plain(output) for output in cell.get("outputs", [])]
    return notebook


def _plain(output: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """A figure without its text form, which has an address in memory."""
    if "image/png" in output.get("data", {}):
        output.data.pop("text/plain", None)
    return output


if __name__ == "__main__":
    nbformat.write(executed(nbformat.read(NOTEBOOK, as_version=4)), NOTEBOOK)
