"""What of a run others get: the net, its card and its record; no checkpoints, no predictions, no absolute paths."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from snugnet import runs
from snugnet.errors import ArtifactError, UsageError
from snugnet.report import card, licences
from snugnet.report.own_paths import named_in, shortened

ALWAYS = ("model.safetensors", "recipe.toml", "config.json", "summary.json")
WHERE_THERE = ("report.html", "model.onnx")
BINARY = (".safetensors", ".onnx")
REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]{0,95}", re.ASCII)


@dataclass(frozen=True)
class File:
    """A file as it leaves; `shortened` are the absolute paths in it of which the last part alone is left."""

    name: str
    data: bytes
    shortened: tuple[str, ...] = ()


def check_repository(name: str) -> str:
    """Raises UsageError for what cannot be a repository's name on the Hub."""
    last = name[-1:]
    if not REPOSITORY.fullmatch(name) or "--" in name or ".." in name or name.endswith(".git") or last in "-.":
        raise UsageError(
            f"push: the repository must be OWNER/NAME, of letters, digits and single - _ . between; got {name!r}"
        )
    return name


def gather(path: Path, repository: str, licence: str | None = None) -> list[File]:
    """All that leaves of a finished run, in the order of its listing. Raises ArtifactError, UsageError.

    The card is the one that lies in the run, which its owner may have edited; else it is written here.
    """
    runs.read_finished(path)
    own = path / card.NAME
    text = _edited(path, licence) if own.is_file() else card.card_text(path, licence or licences.OWN, repository)
    names = [*ALWAYS, *(name for name in WHERE_THERE if (path / name).is_file())]
    files = [_read(path / name) for name in names]
    return [files[0], _cleaned(own, text), *files[1:]]


def _edited(path: Path, licence: str | None) -> str:
    """The card in a run, once it is known to be of the run's file and of the licence that is asked for."""
    own = path / card.NAME
    text = _text(own, own.read_bytes())
    if card.file_sha256(path / "model.safetensors") not in text:
        raise ArtifactError(
            f"{own}: names another SHA-256 than model.safetensors has; `snug card {path}` writes it anew"
        )
    said = re.search(r"^license: *(\S+) *$", text, re.MULTILINE)
    if licence is not None and (said is None or said[1] != licences.check_licence(licence)):
        raise UsageError(
            f"--license {licence}: {own} says {said[1] if said else 'nothing of a licence'}; "
            f"`snug card {path} --license {licence}` writes it anew"
        )
    return text


def _read(path: Path) -> File:
    if not path.is_file():
        raise ArtifactError(f"{path}: is not there; a finished run has it: restore it from a copy, or train again")
    data = path.read_bytes()
    if path.suffix not in BINARY:
        return _cleaned(path, _text(path, data))
    if (folder := named_in(data)) is not None:
        raise ArtifactError(
            f"{path}: holds the path {folder}, which would tell others of this machine, and cannot be shortened in it; "
            "write the file in another place, or move it out of the run"
        )
    return File(path.name, data)


def _cleaned(path: Path, text: str) -> File:
    clean, found = shortened(text)
    return File(path.name, clean.encode(), found)


def _text(path: Path, data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise ArtifactError(
            f"{path}: is no text in UTF-8 ({error}); restore it from a copy, or write it again"
        ) from error
