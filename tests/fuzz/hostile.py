"""Everything of snugnet that reads files of others: each reader with sound inputs, planted attacks and words to bend
them by. `outcome` feeds a reader and holds it to the law: a result, or one clear error of ours."""

from __future__ import annotations

import contextlib
import io
import json
import os
import pickle
import pickletools
import struct
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save

from compress.nets import lively, rounded
from small_runs import TINY
from snugnet import artifact, checkpoint, device, recipe, runs, units
from snugnet.compare import records
from snugnet.data import cifar, decode, given, unlabelled
from snugnet.data.folder import list_folder
from snugnet.data.listing import ImageFiles
from snugnet.data.table import list_table
from snugnet.errors import SnugError, UsageError
from snugnet.models.resnet import build
from snugnet.report import ledger
from snugnet.train import loop
from specs import card, spec

MOST_S = 10.0  # of one input, on a busy machine; sound ones take milliseconds
MOST_WORDS = 4000  # characters of a message
RAN = "the-attack-ran"  # a file that planted code would leave, in the working directory


class Evil:
    """A pickle that runs a shell."""

    def __reduce__(self) -> Any:
        return os.system, (f"touch {RAN}",)


PICKLE = pickle.dumps({b"data": Evil(), b"labels": [Evil()]}, 2)
YAML = f'!!python/object/apply:os.system ["touch {RAN}"]\n'.encode()
CODE = f'__import__("os").system("touch {RAN}")'.encode()
PATHS = (b"../../../../../../etc/passwd", b"/etc/passwd", b"/dev/zero", b"\\\\host\\share", b"~root", b"a\0b")
ATTACKS = (b"", PICKLE, YAML, CODE, *PATHS, b"[" * 50_000, b"{" * 50_000, b'{"a":' * 20_000, b"\xff\xfe\0\0" * 100)


@dataclass(frozen=True)
class Reader:
    """`read` is given a file of that name in a folder of its own. `wrapped` makes the file of what is mutated: where
    checks of an outer format would refuse almost everything, it is only the inner text that is bent."""

    name: str
    file: str
    read: Callable[[Path], Any]
    sound: Sequence[bytes]
    words: Sequence[bytes] = ()
    wrapped: Callable[[bytes], bytes] = field(default=lambda data: data)
    errors: tuple[type[Exception], ...] = (SnugError,)
    examples: int = 300  # of the fast test


class LawBrokenError(Exception):
    """An outcome that is neither a result nor one clear error."""


def outcome(reader: Reader, data: bytes, folder: Path) -> str:
    """The name of the error that the input is answered with, or "result". Raises LawBrokenError."""
    path = folder / reader.file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(reader.wrapped(data))
    began = time.perf_counter()
    try:
        with watched(folder):
            reader.read(path)
        found = "result"
    except reader.errors as error:
        found = type(error).__name__
        _check_words(reader, str(error))
    except MemoryError as error:
        raise LawBrokenError(f"{reader.name}: asked for more memory than there is ({error})") from error
    took = time.perf_counter() - began
    if took > MOST_S:
        raise LawBrokenError(f"{reader.name}: took {took:.1f} s")
    if Path(RAN).exists():
        raise LawBrokenError(f"{reader.name}: ran code of its input")
    return found


def _check_words(reader: Reader, said: str) -> None:
    if not said.strip():
        raise LawBrokenError(f"{reader.name}: an error without words")
    if len(said) > MOST_WORDS:
        raise LawBrokenError(f"{reader.name}: {len(said):,} characters of message: {said[:200]}")


# What must not happen while a file is read, whatever is in it. An audit hook cannot be taken out again, so it is one
# that looks at a switch.

FORBIDDEN = ("os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "subprocess.Popen", "socket.connect",
             "socket.getaddrinfo", "pickle.find_class", "ctypes.dlopen", "shutil.rmtree", "os.remove", "os.rename",
             "os.rmdir", "os.link", "os.symlink", "os.chmod")  # fmt: skip
_watch: dict[str, Any] = {"folder": None, "seen": []}


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    folder = _watch["folder"]
    if folder is None:
        return
    if event in FORBIDDEN:
        if not event.startswith("os.re") or not all(
            os.fsdecode(each).startswith(str(folder)) for each in arguments[:1]
        ):
            _watch["seen"].append(f"{event}{arguments!r}"[:300])
    elif event == "open" and isinstance(arguments[0], (str, bytes)):
        path, mode, flags = os.fsdecode(arguments[0]), arguments[1], arguments[2]
        writes = bool(mode and set(mode) & set("wax+")) or bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))
        if writes and not path.startswith((str(folder), "/dev/null")) and "__pycache__" not in path:
            _watch["seen"].append(f"{path} was opened for writing")


sys.addaudithook(_audit)


@contextlib.contextmanager
def watched(folder: Path) -> Iterator[None]:
    """Raises LawBrokenError where a process, a connection or a file outside `folder` was asked for within it."""
    _watch.update(folder=folder, seen=[])
    try:
        yield
    finally:
        _watch["folder"] = None
        if seen := _watch["seen"]:
            raise LawBrokenError(f"an input made its reader do what it must not: {seen[0]}")


# recipes


def _overridden(path: Path) -> None:
    try:
        text = path.read_bytes().decode()
    except UnicodeDecodeError:
        raise UsageError("no text, which no shell hands over") from None
    recipe.parse(TINY, "tiny.toml", "tiny", text.split("\0"))


def _quantities(path: Path) -> None:
    text = path.read_bytes().decode("latin1")
    for parse in (units.parse_count, units.parse_bytes, units.parse_seconds):
        with contextlib.suppress(ValueError):
            parse(text)


TOML = (
    *(b'"', b"'", b'"""', b"'''", b"[", b"]", b"[[", b"{", b"}", b" = ", b"\n", b"#", b".", b"\\", b"\\u0041", b","),
    *(b"[model]\n", b"[train]\n", b"[[model.stages]]\n", b'block = "', b"epochs = ", b"nan", b"inf", b"-", b"1_0"),
    *(b"skips = ", b'"dense"', b"data.name = ", b"parent = ", b"blocks = 1000\n", b"channels = 65536\n", b"width = "),
    *(b"os:system", b"posix:system", b'augment = [{ op = "', b"1979-05-27", b"true", b"\r\n", b"\0", b"\x1b[2J"),
)
FULL = b"""
purpose = 'all kinds of text'
[model]
width = 1.5
stages = [["basic", 1, 4], { block = "bottleneck", blocks = 2, channels = 8, stride = 2, se = { reduction = 4 } }]
[model.stem]
channels = 8
[[train.augment]]
op = "crop"
padding = 4
[train]
epochs = 3
optimizer = { name = "sgd", lr = 0.1 }
[budget]
params = "5M"
"""
OVERRIDES = (b"train.epochs=3", b"model.stages.0.channels=8\0model.width=2", b'data.name="x"', b"train.optimizer.lr=1")

# pickles, records, arrays, images, tables


def _cifar_pickle(path: Path) -> None:
    cifar._read_pickle(path, cifar.LAYOUTS[0])


def _stream(path: Path) -> None:
    """As `snug predict` takes it: an error of one is no error of all."""
    errors = []
    for each in unlabelled.stream([path]):
        try:
            if isinstance(each.image, SnugError):
                raise each.image
            given.one(each.image, 3, 32, each.name)
        except SnugError as error:
            errors.append(error)
    if errors:
        raise errors[0]


def _cifar_folder(path: Path) -> None:
    source = cifar.Cifar(path.parent, cifar.LAYOUTS[1])
    source.describe()
    for split in ("train", "test"):
        (path.parent / "test_batch.bin").write_bytes(path.read_bytes())
        source.read("test" if split == "test" else "val")


def _cifar_meta(path: Path) -> None:
    cifar.Cifar(path.parent, cifar.LAYOUTS[0]).describe()


def _image(path: Path) -> None:
    decode.header_size(path)
    decode.square(decode.open_rgb(path), 8)


def _table(path: Path) -> None:
    (path.parent / "a.png").write_bytes(IMAGES[0])
    listing = list_table(path)
    ImageFiles(listing, 8).describe()


def _folder(path: Path) -> None:
    """A data set whose only image is the input."""
    root = path.parent.parent.parent
    ImageFiles(list_folder(root), None).describe()


def _pickled(value: object, protocol: int) -> bytes:
    return pickle.dumps(value, protocol)


PIXELS = np.arange(2 * 3072, dtype=np.uint32).astype(np.uint8).reshape(2, 3072)
BATCH = {b"data": PIXELS, b"labels": [1, 9], b"filenames": [b"a.png", b"b.png"]}
META = {b"label_names": [str(k).encode() for k in range(10)], b"num_cases_per_batch": 2}
OPCODES = (
    *(each.code.encode("latin1") + tail for each in pickletools.opcodes for tail in (b"", b"\xff\xff\xff\x7f")),
    *(b"cos\nsystem\n", b"cbuiltins\neval\n", b"cnumpy\nndarray\n", b"cnumpy\ndtype\n", b"ccopyreg\n_reconstructor\n"),
)


def _npy(array: Any) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=array.dtype == object)
    return buffer.getvalue()


def _npz(**arrays: Any) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def picture(mode: str, kind: str, **options: Any) -> bytes:
    """A small image file of a mode and a format."""
    draw = np.random.default_rng(0).integers(0, 255, (6, 9, 4), np.uint8)
    image = Image.fromarray(draw, "RGBA").convert("RGB") if mode != "RGBA" else Image.fromarray(draw, "RGBA")
    if mode == "I;16":
        image = Image.fromarray(draw[..., 0].astype(np.uint16) * 257)
    elif mode not in ("RGB", "RGBA"):
        image = image.convert(mode)
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def _turned() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return picture("RGB", "JPEG", exif=exif)


def _animated(kind: str) -> bytes:
    frames = [Image.new("P", (5, 5), k) for k in range(3)]
    buffer = io.BytesIO()
    frames[0].save(buffer, kind, save_all=True, append_images=frames[1:], duration=10, loop=0)
    return buffer.getvalue()


def huge_png(width: int = 60_000, height: int = 60_000) -> bytes:
    """A header that promises 10 GB of pixels, and a few bytes of them."""
    import zlib

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")
    )


def huge_bmp() -> bytes:
    return b"BM" + struct.pack("<IHHIIiiHHIIiiII", 54, 0, 0, 54, 40, 2**31 - 1, 2**31 - 1, 1, 24, 0, 0, 0, 0, 0, 0)


def huge_gif() -> bytes:
    return b"GIF89a" + struct.pack("<HHBBB", 65_535, 65_535, 0, 0, 0) + b",\0\0\0\0" + b"\xff" * 4 + b"\0\2\0;"


IMAGES = (
    picture("RGB", "PNG"), picture("P", "PNG"), picture("I;16", "PNG"), picture("1", "PNG"), picture("LA", "PNG"),
    picture("RGB", "JPEG"), picture("CMYK", "JPEG"), picture("L", "JPEG", progressive=True), _turned(),
    picture("RGB", "BMP"), picture("P", "GIF"), _animated("GIF"), picture("RGB", "TIFF"), picture("CMYK", "TIFF"),
    picture("F", "TIFF"), picture("RGBA", "WEBP"), _animated("WEBP"), picture("RGB", "PPM"), _animated("PNG"),
    huge_png(), huge_bmp(), huge_gif(), b"P6 99999 99999 255\n",
)  # fmt: skip
MARKS = (b"\xff\xd8", b"\xff\xda", b"\xff\xc0", b"IHDR", b"IDAT", b"PLTE", b"tRNS", b"acTL", b"fcTL", b"GIF89a",
         b"RIFF", b"WEBPVP8X", b"II*\0", b"MM\0*", b"Exif\0\0", b"P6 ", b"BM", b"iCCP", b"eXIf")  # fmt: skip
TABLE = b"path,label,split\na.png,cat,train\na.png,dog,train\na.png,cat,test\n"
LISTED = (b"path,label\n", b'"', b",", b"\r\n", b"\n", b"a.png", b"train", b"../", b"/etc/passwd", b"\0",
          b"\xef\xbb\xbf", b"\x1b[31m", b"split", b"=cmd|' /C calc'!A0")  # fmt: skip

# shipped files, checkpoints, run directories, the ledger


def _net(path: Path) -> None:
    net = artifact.read(path)
    found = net.card.model
    if found.image_size <= 64 and net.params < 1_000_000:  # what its own card says is no attack
        net.model(torch.zeros(1, found.in_channels, found.image_size, found.image_size))


SMALL = spec(image_size=8)


def _shipped(**quantization: Any) -> bytes:
    torch.manual_seed(0)
    if not quantization:
        return artifact.encode(card(SMALL), lively(SMALL))
    full = artifact.Card.parse({**card(SMALL).plain(), "quantization": quantization})
    half = quantization["weights"] == "float16"
    return artifact.encode(full, lively(SMALL) if half else rounded(SMALL, **quantization))


NETS = (_shipped(), _shipped(weights="int8"), _shipped(weights="int4", group=4), _shipped(weights="float16"))


def parts(data: bytes) -> tuple[bytes, bytes]:
    """The header of a safetensors file, and what stands behind it."""
    length = int.from_bytes(data[:8], "little")
    return data[8 : 8 + length], data[8 + length :]


def joined(header: bytes, rest: bytes) -> bytes:
    return len(header).to_bytes(8, "little") + header + rest


def _with_header(header: bytes) -> bytes:
    return joined(header, parts(NETS[0])[1])


def _with_text(data: bytes, key: str) -> Callable[[bytes], bytes]:
    """The same file with another entry in the header's metadata."""
    header, rest = parts(data)

    def wrapped(text: bytes) -> bytes:
        tree = json.loads(header)
        tree["__metadata__"][key] = text.decode("latin1")
        return joined(json.dumps(tree).encode(), rest)

    return wrapped


def _card_of(data: bytes) -> bytes:
    return json.loads(parts(data)[0])["__metadata__"]["snugnet"].encode()


TINY_CONFIG = recipe.parse(TINY, "tiny.toml", "tiny").experiment


def learner() -> loop.Learner:
    net = build(TINY_CONFIG.model.replaced(in_channels=1, image_size=8))
    return loop.Learner(net, TINY_CONFIG.train, device.choose("cpu", "fp32"))


def _checkpoint() -> bytes:
    torch.manual_seed(0)
    state = learner().state()
    stamped = {"recipe_sha256": TINY_CONFIG.sha256, "seed": 0, "elapsed_s": 1.0, "training": state}
    tensors: dict[str, torch.Tensor] = {}
    tree = json.dumps(checkpoint._pack(stamped, tensors))
    return save(tensors, {"state": tree})


CHECKPOINT = _checkpoint()


def _stamped(path: Path) -> None:
    run = runs.Run(path.parent.parent, TINY_CONFIG)
    state = run.state()
    if state is not None:
        run.elapsed_s()
        loop.restore(learner(), state)


def _config(path: Path) -> None:
    read = runs.read(path.parent).experiment
    json.dumps(read.plain())


def _summary(path: Path) -> None:
    (path.parent / "config.json").write_text(json.dumps(TINY_CONFIG.plain()))
    record = runs.read_finished(path.parent)
    records.check_finished(record)


def _group(path: Path) -> None:
    (path.parent / "recipe.toml").write_text(TINY)
    runs.members(path.parent)


def _metrics(path: Path) -> None:
    (path.parent / "config.json").write_text(json.dumps(TINY_CONFIG.plain()))
    runs.read(path.parent)
    runs.Run(path.parent, TINY_CONFIG).rewind(1)


def _bench(path: Path) -> None:
    (path.parent / "config.json").write_text(json.dumps(TINY_CONFIG.plain()))
    records.bench_of(runs.read(path.parent))


def _predictions(path: Path) -> None:
    record = runs.RunRecord(path.parent.parent, {}, {}, {}, [])
    logits, labels = record.predictions("test")
    logits.softmax(1).gather(1, labels[:, None])


def _ledger(path: Path) -> None:
    ledger.table(ledger.read_ledger(path))


SUMMARY = json.dumps(
    {"format": 1, "recipe": "x", "val": 0.5, "test": 0.5, "params": 10, "classes": ["a", "b"]}
).encode()
METRIC = b'{"epoch": 1, "train_loss": 1.5, "val_loss": null, "losses": [1.0]}\n'
TIMING = json.dumps(
    {"p50_ms": 1.5, "batch": 1, "threads": 1, "device": "cpu", "hardware": "x", "backend": "torch", "version": "1"}
).encode()
LINE = json.dumps(
    {"recipe": "a/b", "recipe_sha256": "0" * 64, "commit": "", "seed": 0, "epochs": 1, "params": 1, "macs": 1,
     "bytes": 1, "weights": "last", "val": 0.5, "test": 0.5, "seconds": 1.0, "hardware": "x",
     "date": "2026-01-01", "command": "c"}
).encode()  # fmt: skip
PREDICTED = save({"logits": torch.zeros(3, 2), "labels": torch.tensor([0, 1, 1])})
JSON = (b"{", b"}", b"[", b"]", b":", b",", b'"', b"null", b"true", b"NaN", b"Infinity", b"-1", b"1e999", b"\\u0000",
        b"\\ud800", b'"$tensor"', b'"$items"', b'"epoch"', b"\n", b'"seeds"', b'"p50_ms"', b"{}")  # fmt: skip
HEADERS = (*JSON, b'"F32"', b'"F64"', b'"BF16"', b'"F8_E4M3"', b'"F8_E8M0"', b'"F4"', b'"C64"', b'"BOOL"', b'"U16"',
           b'"data_offsets"', b'"shape"', b'"dtype"', b"18446744073709551615", b'"__metadata__"')  # fmt: skip
CARDS = (*JSON, b'"format"', b'"model"', b'"stages"', b'"blocks"', b"1000", b"65536", b'"basic"', b'"fire"', b'"inner"',
         b'"os:system"', b'["basic",1000,65536]', b'"quantization"', b'"weights"', b'"int4"', b'"group"', b'"skips"',
         b'"dense"', b'"classes"', b'"mean"', b'"+0.500000"', b'"image_size"', b'"kernel"', b"\x1b[2J")  # fmt: skip

READERS: dict[str, Reader] = {
    reader.name: reader
    for reader in (
        Reader("recipe", "recipe.toml", lambda path: recipe.load(str(path)), (TINY.encode(), FULL), TOML),
        Reader("set", "overrides", _overridden, OVERRIDES, (*TOML, b"=", b"model.stages.0.", b"train.", b"0.")),
        Reader(
            "quantity",
            "text",
            _quantities,
            (b"5M", b"1.5 MB", b"50m"),
            (b"k", b"GiB", b"e", b"-", b"inf", b"_", b"\xb2"),
        ),
        Reader("pickle", "batch", _cifar_pickle, [_pickled(BATCH, k) for k in (2, 4, 5)], OPCODES, examples=900),
        Reader(
            "predicted pickle",
            "a.pkl",
            _stream,
            [_pickled(BATCH, 2), _pickled({b"data": PIXELS, b"ids": [1, 2]}, 4)],
            OPCODES,
        ),
        Reader("meta", "batches.meta", _cifar_meta, [_pickled(META, 2)], OPCODES, examples=600),
        Reader("records", "data_batch_1.bin", _stream, (bytes(3073), bytes(2 * 3074))),
        Reader(
            "arrays",
            "a.npy",
            _stream,
            (_npy(PIXELS.reshape(2, 32, 32, 3)), _npy(np.array([Evil()], object))),
            (b"|O", b"<f8", b"|u1", b"'shape': (", b"True"),
        ),
        Reader(
            "archive",
            "a.npz",
            _stream,
            (_npz(a=PIXELS.reshape(2, 32, 32, 3), b=np.zeros((4, 4, 3), np.uint8)),),
            (b"PK\3\4", b"PK\1\2", b"../../x", b"|O"),
        ),
        Reader("image", "a.png", _image, IMAGES, MARKS, examples=1500),
        Reader("image folder", "train/cat/a.png", _folder, IMAGES[:3], MARKS),
        Reader("table", "a.csv", _table, (TABLE, b"path,label\na.png,cat\na.png,dog\n"), LISTED, examples=800),
        Reader("net", "model.safetensors", _net, NETS, HEADERS, examples=800),
        Reader(
            "net's header",
            "model.safetensors",
            _net,
            [parts(each)[0] for each in NETS],
            HEADERS,
            _with_header,
            examples=500,
        ),
        Reader(
            "net's card",
            "model.safetensors",
            _net,
            [_card_of(NETS[0]), _card_of(NETS[1])],
            CARDS,
            _with_text(NETS[0], "snugnet"),
            examples=600,
        ),
        Reader(
            "integer net's card",
            "model.safetensors",
            _net,
            [_card_of(NETS[1]), _card_of(NETS[2])],
            CARDS,
            _with_text(NETS[1], "snugnet"),
            examples=300,
        ),
        Reader("checkpoint", "checkpoint/last.safetensors", _stamped, (CHECKPOINT,), HEADERS, examples=500),
        Reader(
            "checkpoint's tree",
            "checkpoint/last.safetensors",
            _stamped,
            [json.loads(parts(CHECKPOINT)[0])["__metadata__"]["state"].encode()],
            JSON,
            _with_text(CHECKPOINT, "state"),
            examples=500,
        ),
        Reader("predictions", "predictions/test.safetensors", _predictions, (PREDICTED,), HEADERS, examples=500),
        Reader(
            "predictions' header",
            "predictions/test.safetensors",
            _predictions,
            [parts(PREDICTED)[0]],
            HEADERS,
            lambda text: joined(text, parts(PREDICTED)[1]),
            examples=500,
        ),
        Reader("config", "config.json", _config, [json.dumps(TINY_CONFIG.plain()).encode()], CARDS, examples=500),
        Reader("summary", "summary.json", _summary, (SUMMARY,), JSON),
        Reader(
            "group",
            "seeds.json",
            _group,
            [json.dumps({"seeds": 2, "experiment": TINY_CONFIG.plain()}).encode()],
            CARDS,
            examples=300,
        ),
        Reader("metrics", "metrics.jsonl", _metrics, (METRIC * 3,), JSON, examples=500),
        Reader("timing", "bench.json", _bench, (TIMING,), JSON),
        Reader("ledger", "ledger.jsonl", _ledger, (LINE + b"\n" + LINE,), JSON, examples=500),
    )
}

# what is exported, and what a server is sent: read where the extras are installed


def _exported() -> list[Reader]:
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
    except ImportError:
        return []
    from snugnet.export import runtime
    from snugnet.export.emit import onnx_bytes
    from snugnet_runtime import images
    from snugnet_runtime.errors import RuntimeFault
    from snugnet_runtime.model import Card

    torch.manual_seed(0)
    net = artifact.Shipped(Path("net"), 0, card(SMALL), lively(SMALL).eval())
    whole = onnx_bytes(net, raw=False)

    def run(path: Path) -> None:
        found = runtime.read(path)
        size = found.card.model.image_size
        if size <= 64:
            found.model(torch.zeros(1, found.card.model.in_channels, size, size))

    def upload(path: Path) -> None:
        images.pixels(path.read_bytes(), Card(8, 3, ("a", "b"), (0, 0, 0)), "image 0", 1_000_000)

    words = (
        b"Loop",
        b"Conv",
        b"/etc/passwd",
        b"location",
        b"pads",
        b"images",
        b"logits",
        b"snugnet",
        b"\x0a\x07",
        b"Resize",
    )
    readers = [
        Reader("onnx", "net.onnx", run, (whole, onnx_bytes(net, raw=True)), words, examples=400),
        Reader("upload", "upload", upload, IMAGES, MARKS, errors=(RuntimeFault,), examples=600),
    ]
    with contextlib.suppress(ImportError):
        from snugnet_runtime import multipart

        def body(path: Path) -> None:
            multipart.files("multipart/form-data; boundary=x", path.read_bytes(), 3)

        form = b'--x\r\nContent-Disposition: form-data; name="a"; filename="b.png"\r\n\r\nABC\r\n--x--\r\n'
        parts_of = (b"--x", b"\r\n", b"--", b"filename=", b'"', b"Content-Disposition", b":", b"; ", b"\0")
        readers.append(Reader("multipart", "body", body, (form, form[:-4] + form), parts_of, errors=(RuntimeFault,)))
    return readers


READERS |= {reader.name: reader for reader in _exported()}
