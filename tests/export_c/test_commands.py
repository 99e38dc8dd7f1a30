"""`snug export-c` and a budget of RAM: what they print, write and refuse; C as a backend of `snug bench`."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from compiled import build, needs_cc, pixels, run, shipped, wanted
from nets import rounded

from command import fails, snug
from snugnet import artifact, budget
from snugnet.artifact import Shipped
from snugnet.errors import MissingExtra, UsageError
from snugnet.ship.bench import READ_BACK, ROUNDED, UNTRAINED, Protocol
from snugnet.ship.c_timing import c_net
from specs import spec

SMALL = spec(["basic", 1, 4], image_size=8)
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Shipped:
    return shipped(rounded(SMALL), SMALL, tmp_path_factory.mktemp("small") / "small.safetensors")


@needs_cc
def test_a_file_becomes_a_program(small: Shipped, tmp_path: Path):
    answer = snug("export-c", small.path, "-o", tmp_path / "c")
    assert answer.code == 0, answer.err
    folder = tmp_path / "c"
    assert f"{folder}: RAM 804 B and the image's 192 B; flash " in answer.out
    assert "its logits are the net's, bit for bit, on 100 images of noise\n" in answer.out
    assert answer.err == f"Next: cd {folder} && cc -std=c99 -O2 -o net main.c snug.c\n"
    images = pixels(SMALL)
    assert run([build(folder)], images, SMALL.classes) == wanted(small.quantized, small.card, images)


@needs_cc
def test_its_document(small: Shipped, tmp_path: Path):
    found = snug("export-c", small.path, "-o", tmp_path / "c", "--json").json
    assert found["files"] == [str(tmp_path / "c" / name) for name in ("net.h", "snug.h", "snug.c", "main.c")]
    assert (found["arena_bytes"], found["image_bytes"], found["checked_images"]) == (804, 192, 100)
    assert found["arena_bytes"] == budget.measure(small.card, "ram_bytes")


def test_without_a_compiler_it_is_written_and_not_checked(
    small: Shipped, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("CC", "no-such-cc")
    answer = snug("export-c", small.path, "-o", tmp_path / "c")
    assert answer.code == 0
    assert "not checked: a C compiler is needed to run C, and there is no no-such-cc; " in answer.err
    assert "bit for bit" not in answer.out
    assert (tmp_path / "c" / "net.h").exists()
    with pytest.raises(MissingExtra, match=r"^a C compiler is needed to run C, "):
        c_net(small.path, Protocol(), CPU)


def test_a_run_in_floats_is_no_program(finished: Path, elsewhere: Path):
    shutil.copytree(finished, elsewhere / "run")
    words = "run/model.safetensors: as C a net must compute in integers, as [quantize] makes it (docs/quantize.md); "
    fails(snug("export-c run"), 2, words + "got float32")
    assert not (elsewhere / "run" / "c").exists()
    fails(snug("export-c nowhere"), 4, "nowhere: no such file")


@needs_cc
def test_what_is_timed(small: Shipped, finished: Path):
    own = c_net(small.path, Protocol(), CPU)
    assert (own.what, own.size_bytes, own.version.count(".")) == (READ_BACK, small.size_bytes, 2)
    own.ways[0].infer()
    floats = c_net(finished, Protocol(), CPU)
    assert (floats.what, floats.test) == (f"{READ_BACK}, {ROUNDED}", None)
    assert floats.size_bytes == budget.price(artifact.read(finished / "model.safetensors").card).bytes_int8
    assert c_net(Path("snugnet/digits"), Protocol(), CPU).what == f"{UNTRAINED}, {ROUNDED}"


def test_what_cannot_be_timed(small: Shipped):
    with pytest.raises(UsageError, match=r"^bench: --backend c computes on one thread; got --threads 2$"):
        c_net(small.path, Protocol(threads=2), CPU)
    with pytest.raises(UsageError, match=r"^--device cuda: C runs on the CPU; give --device cpu, or another backend$"):
        c_net(small.path, Protocol(), torch.device("cuda"))


def test_ram_is_planned_and_held_to_a_budget():
    found = snug("plan tu24/v6 --budget ram=64kB --json").json
    assert (found["ram_bytes"], found["fits"], found["budget"]) == (23_642, True, {"ram_bytes": 64_000})
    answer = snug("plan tu24/v6 --budget ram=23641B")
    fails(answer, 3, "tu24/v6 is 23,642 B, 1 B over the budget of 23,641 B; the largest width multiplier that fits is ")
    assert "RAM as C, int8 (predicted)" in answer.out
