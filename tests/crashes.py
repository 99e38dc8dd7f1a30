"""A folder whose disk is watched: each call that changes it is recorded and may be made to fail, and what a power cut
at any moment may leave of it is worked out.

The model is POSIX at its least: the bytes of a file are there once it was synced, and a name (of a new, a renamed or a
removed one, of a folder) once its folder was. Until then each may be there or not, whatever else is, bytes in part too.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

import pytest

FOLDER = -1  # what a name stands for that is no file
Left = dict[str, bytes]  # what is left of a folder: its files by relative name


@dataclass(frozen=True)
class Call:
    """What was asked of the disk. `path` is relative; `file` numbers what was opened; `data` is written there."""

    kind: str  # create, write, cut, sync, mkdir, rename, remove, sync folder
    path: str
    file: int = FOLDER
    data: bytes = b""
    size: int = 0
    old: str = ""  # of a rename


CALLS = ("open", "write", "ftruncate", "fsync", "close", "replace", "unlink", "mkdir")
Fail = Callable[[int, str, str], BaseException | None]  # by number from 1, kind and path


class Disk:
    """Watches `root` until the patch is undone. A write that fails has written half."""

    def __init__(self, patch: pytest.MonkeyPatch, root: Path, fail: Fail = lambda *_: None) -> None:
        self.root, self.calls, self._fail = root, list[Call](), fail
        self.asked: list[tuple[str, str]] = []  # kind and path of each call that may fail
        self.before = files_of(root)
        self._names = {path: number for number, path in enumerate(self.before, 1)}
        self._handles: dict[int, tuple[str, int]] = {}
        self._files = len(self._names)
        self._real = {name: getattr(os, name) for name in CALLS}
        for name in CALLS:
            patch.setattr(os, name, getattr(self, name))

    def _relative(self, path: Any) -> str | None:
        if not isinstance(path, (str, Path)) or Path(path).name == ".lock":
            return None
        whole = Path(path).absolute()
        return whole.relative_to(self.root).as_posix() if whole.is_relative_to(self.root) else None

    def _asked(self, kind: str, path: str) -> None:
        self.asked.append((kind, path))
        if error := self._fail(len(self.asked), kind, path):
            raise error

    def open(self, path: Any, flags: int, *rest: Any, **named: Any) -> int:
        place = self._relative(path)
        writes = bool(flags & (os.O_WRONLY | os.O_RDWR))
        if place is None or not (writes or Path(path).is_dir()):
            return int(self._real["open"](path, flags, *rest, **named))
        if writes and place not in self._names:
            self._asked("create", place)
        handle = int(self._real["open"](path, flags, *rest, **named))
        if not writes:
            self._handles[handle] = (place, FOLDER)
            return handle
        if place not in self._names:
            self._files += 1
            self._names[place] = self._files
            self.calls.append(Call("create", place, self._files))
        elif flags & os.O_TRUNC:
            self.calls.append(Call("cut", place, self._names[place]))
        self._handles[handle] = (place, self._names[place])
        return handle

    def write(self, handle: int, data: Any) -> int:
        if handle not in self._handles:
            return int(self._real["write"](handle, data))
        path, file = self._handles[handle]
        try:
            self._asked("write", path)
        except BaseException:
            data = bytes(data)[: len(data) // 2]
            self.calls.append(Call("write", path, file, data))
            self._real["write"](handle, data)
            raise
        written = int(self._real["write"](handle, data))
        self.calls.append(Call("write", path, file, bytes(data[:written])))
        return written

    def ftruncate(self, handle: int, size: int) -> None:
        self._real["ftruncate"](handle, size)
        if handle in self._handles:
            self.calls.append(Call("cut", *self._handles[handle], size=size))

    def fsync(self, handle: int) -> None:
        if handle in self._handles:
            path, file = self._handles[handle]
            kind = "sync folder" if file == FOLDER else "sync"
            self._asked(kind, path)
            self.calls.append(Call(kind, path, file))
        # Not the real one: what it means here is in the model.

    def close(self, handle: int) -> None:
        self._handles.pop(handle, None)
        self._real["close"](handle)

    def replace(self, old: Any, new: Any, **named: Any) -> None:
        before, after = self._relative(old), self._relative(new)
        if before is not None and after is not None:
            self._asked("rename", after)
        self._real["replace"](old, new, **named)
        if before is not None and after is not None:
            self._names[after] = self._names.pop(before)
            self.calls.append(Call("rename", after, self._names[after], old=before))

    def unlink(self, path: Any, **named: Any) -> None:
        self._real["unlink"](path, **named)
        if (place := self._relative(path)) is not None:
            self._names.pop(place)
            self.calls.append(Call("remove", place))

    def mkdir(self, path: Any, *rest: Any, **named: Any) -> None:
        if (place := self._relative(path)) is not None and not Path(path).exists():
            self._asked("mkdir", place)
        self._real["mkdir"](path, *rest, **named)
        if place is not None:
            self.calls.append(Call("mkdir", place))


@dataclass
class _Power:
    """What of a folder is safe, and what only may be."""

    names: dict[str, int] = field(default_factory=dict)
    waiting: list[Call] = field(default_factory=list)  # changes of names whose folder is not synced
    seen: dict[int, bytes] = field(default_factory=dict)
    safe: dict[int, bytes] = field(default_factory=dict)

    @classmethod
    def over(cls, before: Left) -> _Power:
        """A folder that holds these files, all of them safe."""
        names = {path: number for number, path in enumerate(before, 1)}
        contents = dict(enumerate(before.values(), 1))
        folders = {str(parent): FOLDER for path in before for parent in Path(path).parents}
        return cls(names=folders | names, seen=dict(contents), safe=dict(contents))

    def after(self, call: Call) -> None:
        if call.kind == "write":
            self.seen[call.file] += call.data
        elif call.kind == "cut":
            self.seen[call.file] = self.seen[call.file][: call.size]
        elif call.kind == "sync":
            self.safe[call.file] = self.seen[call.file]
        elif call.kind == "sync folder":
            own = [each for each in self.waiting if _folder(each.path) == call.path]
            self.waiting = [each for each in self.waiting if each not in own]
            for each in own:
                _rename(self.names, each)
        else:
            if call.kind == "create":
                self.seen[call.file] = self.safe[call.file] = b""
            self.waiting.append(call)

    def cuts(self) -> Iterator[Left]:
        """All that may be left."""
        for kept in product((True, False), repeat=len(self.waiting)):
            names = dict(self.names)
            for call, is_kept in zip(self.waiting, kept, strict=True):
                if is_kept:
                    _rename(names, call)
            found = {path: file for path, file in names.items() if file != FOLDER and _reached(path, names)}
            found = {path: file for path, file in found.items() if not path.endswith(".part")}  # removed by the lock
            for contents in product(*(self._contents(file) for file in found.values())):
                yield dict(zip(found, contents, strict=True))

    def _contents(self, file: int) -> list[bytes]:
        safe, seen = self.safe[file], self.seen[file]
        if safe == seen:
            return [seen]
        tail = seen[len(safe) :]
        return [safe, seen, safe + tail[: len(tail) // 2], safe + bytes(len(tail))]


def power_cuts(disk: Disk) -> list[Left]:
    """Every different thing that a power cut, or a kill, may leave at any moment."""
    power, found = _Power.over(disk.before), dict[tuple[tuple[str, bytes], ...], Left]()
    for call in [None, *disk.calls]:
        if call is not None:
            power.after(call)
        for left in power.cuts():
            found.setdefault(tuple(sorted(left.items())), left)
    return list(found.values())


def at_the_end(disk: Disk) -> Left:
    """What the calls amount to, to be held against the folder: nothing may have been written past the watch."""
    power = _Power.over(disk.before)
    for call in disk.calls:
        power.after(call)
    for call in power.waiting:
        _rename(power.names, call)
    return {path: power.seen[file] for path, file in power.names.items() if file != FOLDER}


def files_of(root: Path) -> Left:
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file() and path.name != ".lock"
    }


def put_back(left: Mapping[str, bytes], root: Path) -> None:
    for name, data in left.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def _folder(path: str) -> str:
    return path.rpartition("/")[0] or "."


def _reached(path: str, names: dict[str, int]) -> bool:
    return all(str(parent) in names for parent in Path(path).parents if str(parent) != ".")


def _rename(names: dict[str, int], call: Call) -> None:
    if call.kind == "remove":
        names.pop(call.path, None)
    elif call.kind == "rename":
        names.pop(call.old, None)
        names[call.path] = call.file
    else:
        names[call.path] = call.file
