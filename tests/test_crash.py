"""Whatever a power cut, a kill or a disk that refuses leaves of a run, it goes on to bitwise the same end.

Every call that a short run makes of the disk is recorded (crashes.py). What may be left at any moment is worked out,
put into a folder, and gone on from; and each call is made to fail once.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from crashes import Disk, Left, at_the_end, files_of, power_cuts, put_back
from small_runs import SGD_EMA_BEST, leftovers, outcome, tiny
from snugnet import pipeline
from snugnet.compress.prune import PruneConfig
from snugnet.data import splits
from snugnet.errors import StorageError
from snugnet.pipeline import Controls
from snugnet.ship import shrink
from snugnet.ship.shrink import Pruning, Wish

RUN = Path("run")
SHORT = tiny(*SGD_EMA_BEST, "train.epochs=1", "train.batch_size=2048")
RECIPE = tiny(*SGD_EMA_BEST)
SYNCED = ("write", "sync", "rename")
ERRORS: dict[str, Callable[[], BaseException]] = {
    "ENOSPC": lambda: OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)),
    "EIO": lambda: OSError(errno.EIO, os.strerror(errno.EIO)),
    "Ctrl-C": KeyboardInterrupt,
}


def train() -> None:
    """As a user would: resume what was created, else give the command again."""
    if (RUN / "config.json").exists():
        pipeline.resume(RUN, Controls())
    else:
        pipeline.start(RECIPE, RUN, Controls())


def train_shortly() -> None:
    if (RUN / "config.json").exists():
        pipeline.resume(RUN, Controls())
    else:
        pipeline.start(SHORT, RUN, Controls())


def compress() -> None:
    """Of the run in `parent`, to three fifths."""
    if (RUN / "config.json").exists():
        pipeline.resume(RUN, Controls())
    else:
        wish = Wish(Pruning("params=60%", PruneConfig()), epochs=1)
        child = shrink.child(Path("parent"), wish, RUN, torch.device("cpu"))
        pipeline.start(child.recipe, child.path, Controls(), force=True)


WORK: dict[str, Callable[[], None]] = {"train": train, "compress": compress, "train shortly": train_shortly}


@pytest.fixture(scope="module", autouse=True)
def quick() -> Iterator[None]:
    """Data is read, and a design priced, once for all."""
    with pytest.MonkeyPatch.context() as patch:
        for module, name in ((splits, "open_splits"), (splits, "open_test"), (pipeline, "prepared")):
            patch.setattr(module, name, _remembered(getattr(module, name)))
        yield


def _remembered(call: Callable[..., Any]) -> Callable[..., Any]:
    known: dict[str, Any] = {}

    def remembered(given: Any, *_: Any, **__: Any) -> Any:
        key = repr(given)
        if key not in known:
            known[key] = call(given)
        return known[key]

    return remembered


@pytest.fixture(scope="module")
def parent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("parent") / "parent"
    pipeline.start(tiny("train.optimizer.lr=0.3"), path, Controls())
    return path


@pytest.fixture(scope="module", params=WORK)
def watched(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, parent: Path) -> Any:
    """The work's name, the disk that it was done on, its outcome and the files that it left."""
    root = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        shutil.copytree(parent, root / "parent")
        patch.chdir(root)
        (root / "disk").mkdir()
        patch.chdir(root / "disk")
        (root / "disk" / "parent").symlink_to(root / "parent")
        with pytest.MonkeyPatch.context() as inner:
            disk = Disk(inner, root / "disk")
            WORK[request.param]()
        (root / "disk" / "parent").unlink()
        return request.param, disk, outcome(RUN), files_of(root / "disk")


def begun(root: Path, left: Left, parent: Path, patch: pytest.MonkeyPatch) -> None:
    """A folder with what is left in it, and the parent beside."""
    root.mkdir()
    (root / "parent").symlink_to(parent)
    put_back(left, root)
    patch.chdir(root)


def test_nothing_is_written_but_through_the_watch(watched: Any):
    _, disk, _, files = watched
    assert at_the_end(disk) == files
    assert {kind for kind, _ in disk.asked} == {"create", "write", "sync", "mkdir", "rename", "sync folder"}


def test_what_is_done_is_there_for_good(watched: Any):
    """After the last call no power cut takes anything away."""
    _, disk, _, files = watched
    assert power_cuts(disk)[-1] == files
    assert [call.kind for call in disk.calls][-1] == "sync folder"


@pytest.mark.parametrize("every", [pytest.param(3, id="a third"), pytest.param(1, id="all", marks=pytest.mark.slow)])
def test_a_power_cut_at_any_moment(watched: Any, parent: Path, tmp_path: Path, every: int):
    """What was not synced is lost, in part or whole, in every way that there is."""
    name, disk, whole, _ = watched
    lefts = power_cuts(disk)
    assert len(lefts) > 15, "old and new of each file, and what lies between"
    for number, left in list(enumerate(lefts))[::every]:
        with pytest.MonkeyPatch.context() as patch:
            begun(tmp_path / str(number), left, parent, patch)
            WORK[name]()
            assert outcome(RUN) == whole, f"{number} of {len(lefts)}: {sorted(left)}"


@pytest.mark.slow
def test_a_power_cut_while_going_on_after_one(watched: Any, parent: Path, tmp_path: Path):
    name, disk, whole, _ = watched
    for first, left in list(enumerate(power_cuts(disk)))[::4]:
        with pytest.MonkeyPatch.context() as patch:
            begun(tmp_path / str(first), left, parent, patch)
            with pytest.MonkeyPatch.context() as inner:
                again = Disk(inner, tmp_path / str(first))
                WORK[name]()
        for second, less in list(enumerate(power_cuts(again)))[::4]:
            with pytest.MonkeyPatch.context() as patch:
                begun(tmp_path / f"{first}-{second}", less, parent, patch)
                WORK[name]()
                assert outcome(RUN) == whole, (first, second)


@pytest.mark.parametrize(
    ("error", "kinds"),
    [
        ("ENOSPC", SYNCED),
        *(pytest.param(error, None, marks=pytest.mark.slow) for error in ERRORS),
    ],
)
def test_every_call_fails_once(watched: Any, parent: Path, tmp_path: Path, error: str, kinds: tuple[str, ...] | None):
    """One clear error, nothing half, and the run goes on."""
    name, disk, whole, _ = watched
    if kinds is not None and name != "train shortly":
        pytest.skip("by `make test-slow`")
    for number, (kind, path) in enumerate(disk.asked, 1):
        if kinds is not None and kind not in kinds:
            continue
        with pytest.MonkeyPatch.context() as patch:
            root = tmp_path / str(number)
            begun(root, {}, parent, patch)
            with pytest.MonkeyPatch.context() as inner:
                Disk(inner, root, lambda count, *_: ERRORS[error]() if count == number else None)  # noqa: B023
                expected = KeyboardInterrupt if error == "Ctrl-C" else StorageError
                with pytest.raises(expected, match="" if error == "Ctrl-C" else "cannot be written"):
                    WORK[name]()
            assert not leftovers(root), (kind, path)
            WORK[name]()
            assert outcome(RUN) == whole, (kind, path)
