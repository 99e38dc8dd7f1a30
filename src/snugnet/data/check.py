"""Everything that is wrong with a data set, at once, for `snug data check`."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import blake2b
from itertools import combinations
from pathlib import Path

from PIL import Image

from snugnet.data import near
from snugnet.data.cifar import OFFICIAL_DIGESTS
from snugnet.data.decode import FORMATS, THREADS, open_rgb
from snugnet.data.download import Report, silent
from snugnet.data.images import SPLITS, Images, Split, content_hashes, digest
from snugnet.data.listing import TEST_FRACTION, ImageFiles, Listing
from snugnet.data.problems import Problem
from snugnet.data.sources import Source, resolve
from snugnet.errors import DataError

IMBALANCE = 10
AHEAD = 10_000  # files a queue: what is queued takes more memory than what is found
_SAME_FORMAT = {"MPO": "JPEG"}  # how some phones write a JPEG


@dataclass(frozen=True)
class CheckReport:
    name: str
    classes: tuple[str, ...]
    images: dict[Split, dict[str, int]]  # by split and class
    sizes: dict[str, int]  # "32×32" to the number of images
    problems: list[Problem]

    @property
    def ok(self) -> bool:
        return not any(problem.severity == "error" for problem in self.problems)


@dataclass(frozen=True, slots=True)
class _Entry:
    """What is remembered of an image that could be read."""

    split: Split
    label: str
    name: str
    size: str
    content: bytes
    look: bytes  # near.fields


def check(name: str, report: Report = silent) -> CheckReport:
    """`name` as a recipe has it. Raises DataError and StorageError only where there is no such data set to look at."""
    source = resolve(name, report=report)
    problems: list[Problem] = []
    if isinstance(source, ImageFiles):
        classes = source.listing.classes
        entries = _read_files(source.listing, problems)
    else:
        classes = _classes(source, problems)
        entries = _read_arrays(source, classes, problems)
    images = {split: _counts(classes, entries, split) for split in SPLITS if any(e.split == split for e in entries)}
    problems += [
        *_imbalance(name, images),
        *_duplicates(name, entries),
        *_near(name, entries),
        *_no_test(name, source, images),
    ]
    return CheckReport(name, classes, images, dict(Counter(entry.size for entry in entries)), problems)


def _classes(source: Source, problems: list[Problem]) -> tuple[str, ...]:
    try:
        return source.describe().classes
    except DataError as error:
        problems.append(Problem.of(error))
        return ()


def _counts(classes: Iterable[str], entries: Iterable[_Entry], split: Split) -> dict[str, int]:
    counts = Counter(entry.label for entry in entries if entry.split == split)
    return {name: counts[name] for name in classes}


def _read_arrays(source: Source, classes: Sequence[str], problems: list[Problem]) -> list[_Entry]:
    entries: list[_Entry] = []
    for split in SPLITS if classes else ():
        try:
            images = source.read(split)
        except DataError as error:
            problems.append(Problem.of(error))
            continue
        if images is not None:
            entries += _entries(split, images, classes)
            problems += _unofficial(source.describe().name, split, images)
    return entries


def _entries(split: Split, images: Images, classes: Sequence[str]) -> Iterator[_Entry]:
    height, width = images.pixels.shape[2:]
    names = images.names or [f"image {index}" for index in range(len(images))]
    every = zip(images.labels.tolist(), names, content_hashes(images), near.fields(images.pixels), strict=True)
    for label, name, content, look in every:
        yield _Entry(split, classes[label], f"{split} {name}", f"{width}×{height}", content, look)


def _unofficial(name: str, split: Split, images: Images) -> Iterator[Problem]:
    count, official = OFFICIAL_DIGESTS.get((name, split), (0, ""))
    if len(images) == count and digest(images) != official:
        message = f"the {count:,} images of {split} are not the official pixels and labels"
        yield Problem(
            "warning", name, message, "unpack the official archive again, or do not compare with published numbers"
        )


def _read_files(listing: Listing, problems: list[Problem]) -> list[_Entry]:
    problems += listing.problems
    listed = [(split, label, path) for split in SPLITS for label, path in listing.of(split)]
    looked: list[tuple[_Entry | None, Problem | None]] = []
    with ThreadPoolExecutor(THREADS) as pool:
        for start in range(0, len(listed), AHEAD):
            looked += pool.map(lambda item: _look(listing, *item), listed[start : start + AHEAD])
    entries = [entry for entry, _ in looked if entry is not None]
    problems += [problem for _, problem in looked if problem is not None]
    problems += _sizes(listing.root, entries)
    return entries


def _look(listing: Listing, split: Split, label: str, path: Path) -> tuple[_Entry | None, Problem | None]:
    try:
        image = open_rgb(path)
    except DataError as error:
        return None, Problem.of(error)
    size = f"{image.width}×{image.height}"
    content = blake2b(image.tobytes(), digest_size=16, person=f"{image.width}x{image.height}".encode()).digest()
    look = image.resize((near.SIDE, near.SIDE), Image.Resampling.BOX).tobytes()
    return _Entry(split, label, listing.shown(path), size, content, look), _wrong_ending(path)


def _wrong_ending(path: Path) -> Problem | None:
    with Image.open(path, formats=FORMATS) as image:
        actual = _SAME_FORMAT.get(image.format or "", image.format or "")
    if Image.registered_extensions().get(path.suffix.lower()) == actual:
        return None
    return Problem(
        "note", str(path), f"is a {actual} file, which its ending does not say", "rename it; it is read all the same"
    )


def _sizes(root: Path, entries: Sequence[_Entry]) -> Iterator[Problem]:
    sizes = Counter(entry.size for entry in entries).most_common()
    if len(sizes) > 1:
        message = f"images differ in size: {len(sizes)} sizes, most often {sizes[0][0]} and {sizes[1][0]}"
        yield Problem("warning", str(root), message, "set data.image_size to the side they shall be resized to")


def _imbalance(name: str, images: dict[Split, dict[str, int]]) -> Iterator[Problem]:
    for split, counts in images.items():
        most, least = max(counts, key=counts.__getitem__), min(counts, key=counts.__getitem__)
        if counts[most] > IMBALANCE * counts[least]:
            message = f"{split} has {counts[most]:,} images of {most!r} and {counts[least]:,} of {least!r}"
            yield Problem("warning", name, message, "add images, or read scores by class")


def _duplicates(name: str, entries: Iterable[_Entry]) -> Iterator[Problem]:
    groups: dict[bytes, list[_Entry]] = defaultdict(list)
    for entry in entries:
        groups[entry.content].append(entry)
    repeated = [group for group in groups.values() if len(group) > 1]
    for split in SPLITS:
        copies = [same for group in repeated if len(same := [e for e in group if e.split == split]) > 1]
        yield from _repeated(name, copies, f"more than once in {split}", "remove the copies")
    for first, second in combinations(SPLITS, 2):
        shared = [pair for group in repeated if (pair := _pair({e.split: e for e in group}, first, second))]
        yield from _repeated(name, shared, f"in both {first} and {second}", f"remove them from {first}")
    torn = [list(labels.values()) for group in repeated if len(labels := {e.label: e for e in group}) > 1]
    yield from _repeated(name, torn, "under more than one class", "keep the right one")


def _near(name: str, entries: Sequence[_Entry]) -> Iterator[Problem]:
    """Images that others are judged on, or chosen by, and that look like one trained on without being equal to any."""
    by_split = {split: [entry for entry in entries if entry.split == split] for split in SPLITS}
    known = {entry.content for entry in by_split["train"]}
    for split in ("val", "test"):
        fresh = [entry for entry in by_split[split] if entry.content not in known]
        if len(fresh) * len(known) > near.MOST_PAIRS:
            message = f"{split} and train are too many images to look for those that are almost alike"
            yield Problem("note", name, message, "look among a part of them")
            continue
        found = near.alike([entry.look for entry in fresh], [entry.look for entry in by_split["train"]])
        if found:
            most = max(found, key=lambda pair: pair.product)
            one, other = fresh[most.first], by_split["train"][most.second]
            share = f"{len(found):,} of {len(by_split[split]):,} images of {split}"
            message = f"{share} look like one of train ({one.name} ~ {other.name})"
            yield Problem(
                "warning", name, message, "scores on them are of what was seen: read the others, or remove them"
            )


def _pair(by_split: dict[Split, _Entry], first: Split, second: Split) -> list[_Entry]:
    return [by_split[first], by_split[second]] if first in by_split and second in by_split else []


def _repeated(name: str, groups: Sequence[Sequence[_Entry]], where: str, remedy: str) -> Iterator[Problem]:
    if groups:
        count = "1 image" if len(groups) == 1 else f"{len(groups):,} images"
        one, other = groups[0][:2]
        yield Problem("warning", name, f"holds {count} {where} ({one.name} = {other.name})", remedy)


def _no_test(name: str, source: Source, images: dict[Split, dict[str, int]]) -> Iterator[Problem]:
    if isinstance(source, ImageFiles) and source.listing.holds_out_test:
        message = f"has no split column: {TEST_FRACTION:.0%} of each class will be held out for testing"
        yield Problem("note", name, message, "add the column to choose them yourself")
    elif "test" not in images:
        yield Problem("warning", name, "has no test images", "add a test split; val is never taken for it")
