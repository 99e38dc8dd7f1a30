"""The written program: compiled by the strictest flags, it gives the net's integers from its arena."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import torch
from compiled import STRICT, build, needs_cc, pixels, run, shipped, wanted
from nets import RICH, rounded

from snugnet import artifact, budget
from snugnet.artifact import Shipped
from snugnet.compress.config import QuantizeConfig
from snugnet.compress.graph import folded, structure
from snugnet.compress.quantize import quantized
from snugnet.data.loader import Normalize
from snugnet.errors import GateFailed, UsageError
from snugnet.export_c import checking
from snugnet.export_c.checking import check_c
from snugnet.export_c.program import program
from snugnet.export_c.write import header, write_c
from snugnet.models.resnet import build as float_net
from specs import card, spec

SMALL = spec(["basic", 1, 8], ["depthwise", 1, 12], image_size=12)
AARCH64, QEMU_64 = "aarch64-linux-gnu-gcc", "qemu-aarch64"
CORTEX, QEMU_BOARD = "arm-none-eabi-gcc", "qemu-system-arm"
VECTORS = '.section .vectors, "a"\n.word 0x20400000\n.word _start\n'  # where the stack ends, and what runs first


def needs(*programs: str) -> pytest.MarkDecorator:
    missing = [name for name in programs if shutil.which(name) is None]
    return pytest.mark.skipif(bool(missing), reason=f"not here: {', '.join(missing)}")


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Shipped:
    return shipped(rounded(SMALL), SMALL, tmp_path_factory.mktemp("small") / "model.safetensors")


@pytest.fixture(scope="module")
def folder(small: Shipped, tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("c")
    write_c(small, made)
    return made


@needs_cc
def test_a_thousand_images(finished: Path, tmp_path: Path):
    """A trained net, through its file."""
    trained = artifact.read(finished / "model.safetensors")
    own = trained.card
    graph = structure(own.model)
    images = pixels(own.model, 1000)
    shown = Normalize(own.normalization, torch.device("cpu"))(images)
    net = quantized(graph, folded(graph, trained.model.state_dict()), [shown[:100]], QuantizeConfig())
    own = own.model_copy(update={"quantization": QuantizeConfig().shipped})
    artifact.write(tmp_path / "model.safetensors", own, net)
    write_c(artifact.read(tmp_path / "model.safetensors"), tmp_path / "c")
    assert run([build(tmp_path / "c")], images, own.model.classes) == wanted(net, own, images)


@needs_cc
@pytest.mark.parametrize("flags", [("-O0",), ("-O3", "-march=native"), ("-O1", "-fsanitize=address,undefined")])
def test_any_optimisation(tmp_path: Path, flags: tuple[str, ...]):
    net = shipped(rounded(RICH), RICH, tmp_path / "model.safetensors")
    write_c(net, tmp_path)
    images = pixels(RICH)
    assert run([build(tmp_path, flags)], images, RICH.classes) == wanted(net.quantized, net.card, images)


@needs(AARCH64, QEMU_64)
def test_aarch64(small: Shipped, folder: Path):
    images = pixels(SMALL, 20)
    command = [QEMU_64, build(folder, ("-O2", "-static"), AARCH64)]
    assert run(command, images, SMALL.classes) == wanted(small.quantized, small.card, images)


@needs(CORTEX, QEMU_BOARD)
def test_a_cortex_m(small: Shipped, folder: Path):
    """A whole board is emulated, which reads files of the host; the qemu-arm of Debian 12 runs no Cortex-M."""
    images = pixels(SMALL, 5)
    (folder / "vectors.s").write_text(VECTORS)
    flags = ("-O2", "-mcpu=cortex-m4", "-mthumb", "--specs=rdimon.specs", "-Wl,--section-start=.vectors=0")
    board = ("-M", "mps2-an386", "-nographic", "-monitor", "none", "-serial", "none", "-semihosting", "-kernel")
    command = [QEMU_BOARD, *board, build(folder, flags, CORTEX, "vectors.s")]
    assert run(command, images, SMALL.classes) == wanted(small.quantized, small.card, images)


@needs(CORTEX, "arm-none-eabi-size")
def test_flash_and_ram_are_those_predicted(small: Shipped, folder: Path):
    """An object of the net alone has its arena in .bss, and its numbers and operations in .rodata."""
    made = program(small.quantized, small.card.normalization)
    function = "void f(const uint8_t *image, float *logits)"
    source = f'#include "net.h"\n{function};\n{function} {{ snug_net_run(image, logits); }}\n'
    (folder / "alone.c").write_text(source)
    flags = ["-Os", "-mcpu=cortex-m4", "-mthumb", "-c", "alone.c"]
    subprocess.run([CORTEX, *STRICT, *flags], cwd=folder, check=True)
    said = subprocess.run(
        ["arm-none-eabi-size", "-A", "alone.o"], cwd=folder, capture_output=True, text=True, check=True
    )
    sizes = {name: int(size) for name, size in re.findall(r"^(\.\S+)\s+(\d+)", said.stdout, re.MULTILINE)}
    assert sizes[".bss"] == made.plan.size_bytes == budget.price(small.card).ram_bytes
    described = 26 * 4 * len(made.operations)
    assert made.data_bytes < sizes[".rodata"] < made.data_bytes + 2 * described


def test_what_is_written(small: Shipped, tmp_path: Path):
    written = write_c(small, tmp_path)
    assert [path.name for path in written.files] == ["net.h", "snug.h", "snug.c", "main.c"]
    text = written.files[0].read_text()
    ram = budget.measure(small.card, "ram_bytes")
    assert written.arena_bytes == ram
    assert f"#define SNUG_ARENA_BYTES {ram}\n#define SNUG_IMAGE_BYTES {3 * 12 * 12}\n#define SNUG_CLASSES 10\n" in text
    assert f" * RAM: {ram:,} B of arena, and the image, 432 B.\n" in text
    assert max(map(len, text.splitlines())) < 600


def test_names_of_classes_are_any_text(small: Shipped):
    own = card(SMALL, classes=['"', "a\\b", "ü1", "??=", "%d", *"abcde"])
    text = header(program(small.quantized, own.normalization), own)
    assert '    "\\042",\n    "a\\134b",\n    "\\303\\2741",\n    "\\077\\077=",\n    "%d",\n    "a",' in text


def test_a_net_that_computes_in_floats(tmp_path: Path):
    own = card(SMALL)
    artifact.write(tmp_path / "model.safetensors", own, float_net(SMALL))
    with pytest.raises(
        UsageError, match=r"model.safetensors: as C a net must compute in integers, as .*; got float32$"
    ):
        write_c(artifact.read(tmp_path / "model.safetensors"), tmp_path / "c")
    assert not (tmp_path / "c").exists()


@needs_cc
def test_a_program_that_disagrees(small: Shipped, monkeypatch: pytest.MonkeyPatch):
    assert check_c(small) == 100

    def another(*given: object) -> object:
        made = program(*given)
        made.operations[-1].arrays["biases"][0] += 1
        return made

    monkeypatch.setattr(checking, "program", another)
    with pytest.raises(
        GateFailed, match=r"model.safetensors: its C gives other logits on 100 of 100 images, by up to "
    ):
        check_c(small)
