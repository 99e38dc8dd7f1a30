"""What a shipped net says of images without labels, in bounded memory, and the files that its answers go into."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from snugnet import artifact, runs, scoring
from snugnet.artifact import Shipped
from snugnet.data import given
from snugnet.data.decode import THREADS
from snugnet.data.images import Images
from snugnet.data.unlabelled import Unlabelled
from snugnet.errors import DataError, Diverged, UsageError
from snugnet.evaluate import abstain
from snugnet.evaluate.abstain import Threshold, Wanted
from snugnet.evaluate.tta import TtaConfig
from snugnet.scoring import Net

FORMATS = ("plain", "kaggle")


@dataclass(frozen=True)
class Answer:
    """`label` is the number of the most probable class, None where the net is not sure enough; `top` has the most
    probable classes with their probabilities, falling."""

    image: str
    id: int | None
    label: int | None
    top: tuple[tuple[str, float], ...]

    @property
    def said(self) -> str | None:
        return None if self.label is None else self.top[0][0]

    def plain(self) -> dict[str, Any]:
        document: dict[str, Any] = {"image": self.image, "class": self.said, "probability": self.top[0][1]}
        if len(self.top) > 1:
            document["top"] = [{"class": name, "probability": share} for name, share in self.top]
        return document


@dataclass(frozen=True)
class Predictor:
    """A net that answers with its `top` most probable classes, where it is as sure as `threshold` asks."""

    shipped: Shipped
    net: Net
    tta: TtaConfig | None = None
    top: int = 1
    threshold: Threshold | None = None

    def answers(self, images: Iterable[Unlabelled]) -> Iterator[Answer | DataError]:
        """Of each image in turn what the net says, or why it cannot be read. Raises Diverged."""
        spec = self.shipped.card.model
        size = scoring.of_side(scoring.EVAL_BATCH, spec.image_size)  # the batches of `snug evaluate`
        remaining = iter(images)
        with ThreadPoolExecutor(THREADS) as pool:
            while chunk := list(islice(remaining, size)):
                made = list(pool.map(self._pixels, chunk))
                read = [pixels for pixels in made if isinstance(pixels, Tensor)]
                shares = iter(self._shares(torch.stack(read)) if read else ())
                for each, pixels in zip(chunk, made, strict=True):
                    yield pixels if isinstance(pixels, DataError) else self._answer(each, *next(shares))

    def _pixels(self, each: Unlabelled) -> Tensor | DataError:
        spec = self.shipped.card.model
        if isinstance(each.image, DataError):
            return each.image
        try:
            return given.one(each.image, spec.in_channels, spec.image_size, each.name)
        except DataError as error:
            return error

    def _shares(self, pixels: Tensor) -> Iterator[tuple[list[int], list[float]]]:
        """Classes and probabilities of each image. Of equal logits the first class is the larger, as in scores."""
        logits = self.net.look(Images(pixels, torch.zeros(len(pixels), dtype=torch.int64), None), self.tta).averaged
        if not logits.isfinite().all():
            raise Diverged(f"{self.shipped.path}: its logits must be finite, but are not; train it again")
        places = logits.argsort(dim=1, descending=True, stable=True)[:, : self.top]
        temperature = self.threshold.temperature if self.threshold else 1.0
        shares = (logits.double() / temperature).softmax(1).gather(1, places)
        yield from zip(places.tolist(), shares.tolist(), strict=True)

    def _answer(self, each: Unlabelled, labels: list[int], shares: list[float]) -> Answer:
        names = self.shipped.card.classes
        is_sure = self.threshold is None or shares[0] >= self.threshold.probability
        top = tuple((names[label], share) for label, share in zip(labels, shares, strict=True))
        return Answer(each.name, each.id, labels[0] if is_sure else None, top)


def opened(
    path: Path, where: torch.device, *, tta: TtaConfig | None = None, top: int = 1, wanted: Wanted | None = None
) -> Predictor:
    """The net of a run, or of a shipped file. Raises ArtifactError, UsageError."""
    threshold = None if wanted is None else threshold_of(path, wanted, tta)
    shipped = artifact.read(runs.shipped_file(path))
    if top > (count := len(shipped.card.classes)):
        raise UsageError(f"--top {top}: {path} knows {count} classes; give at most that")
    return Predictor(shipped, Net.of(shipped, where), tta, top, threshold)


def threshold_of(path: Path, wanted: Wanted, tta: TtaConfig | None = None) -> Threshold:
    """Chosen on what a run has said of val, at one look. Raises ArtifactError, UsageError."""
    if tta is not None:
        raise UsageError("--abstain: its threshold is chosen on val at one look an image; leave --tta out")
    if not path.is_dir():
        raise UsageError(f"{path}: --abstain needs the run, which keeps what was said of val; give its directory")
    record = runs.read_finished(path)
    if record.summary["val"] is None:
        raise UsageError(
            f"{path}: --abstain chooses its threshold on val, and this run has none; train with data.train_on = "
            "'train' and data.val_fraction above 0"
        )
    return abstain.choose(*record.predictions("val"), wanted)


def as_csv(answers: Sequence[Answer], form: str = "plain") -> str:
    """ "plain": image,class,probability, and so on for further classes; the class is empty where the net is not sure.
    "kaggle": ID,Labels, the numbers of images and classes. Raises UsageError."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    if form == "kaggle":
        _check_numbers(answers)
        writer.writerow(("ID", "Labels"))
        writer.writerows((each.id, each.label) for each in answers)
        return text.getvalue()
    further = range(2, len(answers[0].top) + 1) if answers else ()
    more = [name for place in further for name in (f"class_{place}", f"probability_{place}")]
    writer.writerow(("image", "class", "probability", *more))
    for each in answers:
        rest = [value for name, share in each.top[1:] for value in (name, f"{share:.6f}")]
        writer.writerow((each.image, each.said or "", f"{each.top[0][1]:.6f}", *rest))
    return text.getvalue()


def _check_numbers(answers: Sequence[Answer]) -> None:
    seen: dict[int, str] = {}
    for each in answers:
        if each.id is None:
            raise UsageError(
                f"--format kaggle: {each.image} has no ID, as images of a pickle or an array have; leave --format out"
            )
        if each.id in seen:
            raise UsageError(
                f"--format kaggle: ID {each.id} is of {seen[each.id]} and of {each.image}; give one of them"
            )
        seen[each.id] = each.image
