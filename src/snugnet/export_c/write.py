"""A net as C files in a folder: its numbers as one header, the program that runs them, and a small main."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from snugnet import files
from snugnet.artifact import Card, Shipped
from snugnet.compress.quantize import Quantized
from snugnet.errors import UsageError
from snugnet.export_c.native import RUNTIME
from snugnet.export_c.program import ARRAYS, NUMBERS, Array, Operation, Program, program

COPIED = ("snug.h", "snug.c", "main.c")
C_TYPES = {"i1": "int8_t", "u1": "uint8_t", "i4": "int32_t", "f8": "double"}
WIDTH = 118  # columns of a line of numbers


@dataclass(frozen=True)
class Written:
    """`arena_bytes` of RAM, without the image; `data_bytes` of flash, without the program that runs them."""

    files: tuple[Path, ...]
    arena_bytes: int
    image_bytes: int
    data_bytes: int


def write_c(shipped: Shipped, directory: Path) -> Written:
    """Writes net.h, snug.h, snug.c and main.c. Raises UsageError for a net that does not compute in integers,
    StorageError."""
    net = integers(shipped)
    made = program(net, shipped.card.normalization)
    texts = {"net.h": header(made, shipped.card)}
    texts |= {name: (RUNTIME / name).read_text(encoding="utf-8") for name in COPIED}
    paths = tuple(directory / name for name in texts)
    for path, text in zip(paths, texts.values(), strict=True):
        files.write_text(path, text)
    return Written(paths, made.plan.size_bytes, made.image_bytes, made.data_bytes)


def integers(shipped: Shipped) -> Quantized:
    """Raises UsageError for a net that computes in floats."""
    net, kept = shipped.quantized, shipped.card.quantization
    if net is not None and net.ranges:
        return net
    seen = "float32" if kept is None else f"weights = {kept.weights!r} with float activations"
    raise UsageError(
        f"{shipped.path}: as C a net must compute in integers, as [quantize] makes it (docs/quantize.md); got {seen}"
    )


def header(made: Program, card: Card) -> str:
    """net.h."""
    return "\n".join([*_opening(made, card), *_data(made), *_closing()]) + "\n"


def _opening(made: Program, card: Card) -> Iterator[str]:
    yield "/* A net in int8, for snug.c. Include it in one file only: its arena and weights are static."
    yield " *"
    yield f" * RAM: {made.plan.size_bytes:,} B of arena, and the image, {made.image_bytes:,} B."
    yield f" * Flash: {made.data_bytes:,} B of weights and constants, and the list of {len(made.operations)} steps."
    yield " *"
    yield " * An image is height x width x channels bytes, red, green and blue of a place beside each other."
    yield " */"
    yield from ("#ifndef SNUG_NET_H", "#define SNUG_NET_H", "", '#include "snug.h"', "")
    yield f"#define SNUG_ARENA_BYTES {made.plan.size_bytes}"
    yield f"#define SNUG_IMAGE_BYTES {made.image_bytes}"
    yield f"#define SNUG_CLASSES {made.classes}"
    yield ""
    names = ",\n    ".join(_quoted(name) for name in card.classes)
    yield f"static const char *const snug_class_names[SNUG_CLASSES] = {{\n    {names},\n}};"
    yield ""


def _quoted(name: str) -> str:
    """A C string: what is not plain ASCII as octal numbers, which end after three digits."""
    return (
        '"' + "".join(chr(b) if 32 <= b < 127 and chr(b) not in '"\\?' else f"\\{b:03o}" for b in name.encode()) + '"'
    )


def _data(made: Program) -> Iterator[str]:
    names: dict[tuple[str, bytes], str] = {}  # equal arrays are one
    for number, operation in enumerate(made.operations):
        for part, array in operation.arrays.items():
            if names.setdefault(_key(array), f"snug_{part}_{number}") == f"snug_{part}_{number}":
                yield from _array(f"snug_{part}_{number}", array)
    yield from _array("snug_pixels", made.pixels)
    yield from _array("snug_steps", made.steps)
    yield "static const snug_op snug_ops[] = {"
    for operation in made.operations:
        yield _operation(operation, {part: names[_key(array)] for part, array in operation.arrays.items()})
    yield "};"
    yield ""
    sizes = f"{len(made.operations)}, {made.side}, {made.side}, {made.channels}, SNUG_CLASSES, {made.input}"
    yield f"static const snug_net snug_this = {{snug_ops, {sizes}, snug_pixels, snug_steps}};"
    yield ""


def _array(name: str, array: Array) -> Iterator[str]:
    kind = C_TYPES[array.dtype.str[1:]]
    yield f"static const {kind} {name}[{array.size}] = {{"
    yield from _lines([_number(value) for value in array.ravel().tolist()])
    yield "};"


def _number(value: float) -> str:
    """A whole number, or a float that is read back as it was."""
    if isinstance(value, int):
        return str(value) if value > -(2**31) else "-2147483647 - 1"
    return repr(value)


def _lines(numbers: Sequence[str]) -> Iterator[str]:
    line = ""
    for number in numbers:
        if line and len(line) + len(number) > WIDTH:
            yield line
            line = ""
        line += f"{number},"
    yield line


def _key(array: Array) -> tuple[str, bytes]:
    return array.dtype.str, array.tobytes()


def _operation(operation: Operation, arrays: dict[str, str]) -> str:
    given = {name: operation.numbers[name] for name in NUMBERS if operation.numbers.get(name)}
    parts = [f".kind = SNUG_{operation.kind.upper()}", *(f".{name} = {value}" for name, value in given.items())]
    parts += [f".{part} = {arrays[part]}" for part in ARRAYS if part in arrays]
    return f"    {{{', '.join(parts)}}}, /* {operation.name} */"


def _closing() -> tuple[str, ...]:
    return (
        "static int8_t snug_arena[SNUG_ARENA_BYTES];",
        "",
        "static inline void snug_net_sums(const uint8_t *image, int64_t *sums) {",
        "    snug_run(&snug_this, snug_arena, image, sums);",
        "}",
        "",
        "static inline void snug_net_run(const uint8_t *image, float *logits) {",
        "    int64_t sums[SNUG_CLASSES];",
        "    snug_net_sums(image, sums);",
        "    snug_logits(&snug_this, sums, logits);",
        "}",
        "",
        "#endif",
    )
