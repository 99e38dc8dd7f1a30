"""`snug explain`: for some images, pictures of where nets look, and how much the maps of two nets agree."""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from torch import Tensor

from snugnet import artifact, device, files, runs, scoring
from snugnet.artifact import Shipped
from snugnet.config import Frozen
from snugnet.data import grid
from snugnet.data.images import Images
from snugnet.data.loader import EvalLoader
from snugnet.errors import ArtifactError, UsageError
from snugnet.evaluate import explain as looking
from snugnet.report import heat, questions
from snugnet.report.questions import Question, Questions
from snugnet.units import show_percent

METHODS = ("grad_cam", "occlusion")
TITLES = {"grad_cam": "Grad-CAM", "occlusion": "occlusion"}
FILTER_COLUMNS = 8
FILTER_WORDS = ("Filters of the first layer, each by itself:", "grey is 0, white above, black below")
AT_ONCE = 64  # images of 32x32, fewer of larger ones: gradients keep every map behind the layer


class How(Frozen):
    """How images are looked at. None: the last map before the head; a quarter of the image's side; half the patch."""

    layer: str | None = None
    patch: int | None = None
    stride: int | None = None
    count: int = 8  # mistakes that are shown where no image is given
    device: str = "auto"

    def sizes(self, image_size: int) -> tuple[int, int]:
        """Patch and stride. Raises UsageError."""
        patch = max(1, image_size // 4) if self.patch is None else self.patch
        stride = max(1, patch // 2) if self.stride is None else self.stride
        if patch > image_size:
            raise UsageError(f"--patch {patch}: must be at most the images' side of {image_size}; give a smaller one")
        if stride > patch:
            raise UsageError(f"--stride {stride}: must be at most the patch of {patch}, or pixels are never hidden")
        return patch, stride


@dataclass(frozen=True)
class Looker:
    """A run's net, and the layer that its Grad-CAM is made of."""

    path: Path
    shipped: Shipped
    layer: str

    @classmethod
    def open(cls, path: Path, layer: str | None) -> Looker:
        runs.read_finished(path)
        shipped = artifact.read(path / "model.safetensors")
        return cls(path, shipped, looking.layer_named(shipped.model, layer, str(path))[0])


@dataclass(frozen=True)
class Seen:
    """What a net says of the images: probabilities (N, classes); maps (N, 2, H, W) of each method, for the class that
    the first net predicts and the true one."""

    probabilities: Tensor
    maps: dict[str, Tensor]


def explain(
    path: Path,
    given: Sequence[Path] = (),
    *,
    output: Path | None = None,
    other: Path | None = None,
    how: How | None = None,
) -> dict[str, Any]:
    """Writes a picture an image, and one of each net's first filters; returns what they show.

    Raises ArtifactError, DataError, StorageError, UsageError.
    """
    how = how or How()
    lookers = [Looker.open(each, how.layer) for each in (path, other) if each is not None]
    check_alike(lookers)
    shipped = lookers[0].shipped
    patch, stride = how.sizes(shipped.card.model.image_size)
    where = device.find_device(how.device)
    asked = questions.of_files(shipped, given) if given else questions.of_mistakes(runs.read(path), how.count)
    targets = classes_asked(shipped, asked, where)
    seen = [look(each.shipped, asked.pixels, targets, where, each.layer, (patch, stride)) for each in lookers]
    folder = output or path / "plots" / "explain"
    images = [
        {
            "path": str(draw(folder, number, lookers, asked, targets, seen)),
            **facts(number, lookers, asked, targets, seen),
        }
        for number in range(len(asked.each))
    ]
    filters = [str(draw_filters(folder, number, each)) for number, each in enumerate(lookers, 1)]
    if output is None:  # the folder is the run's own, so what an earlier call left there is ours
        remove_others(folder, {*filters, *(each["path"] for each in images)})
    return {
        "run": str(path),
        "with": None if other is None else str(other),
        "output": str(folder),
        "patch": patch,
        "stride": stride,
        "layers": [layer_facts(each) for each in lookers],
        "filters": filters,
        "images": images,
        "concentration": {str(each.path): mean_concentration(images, str(each.path)) for each in lookers},
        "agreement": mean_agreement(images) if other else None,
    }


def remove_others(folder: Path, kept: Container[str]) -> None:
    for pattern in ("[0-9][0-9]-*.png", "filters*.png"):
        for old in folder.glob(pattern):
            if str(old) not in kept:
                old.unlink()


def check_alike(lookers: Sequence[Looker]) -> None:
    """Raises ArtifactError where two nets cannot be shown the same images, or name other classes."""
    first, last = lookers[0], lookers[-1]
    takes = [
        (spec.in_channels, spec.image_size, spec.image_size)
        for each in (first, last)
        if (spec := each.shipped.card.model)
    ]
    if takes[0] != takes[1]:
        raise ArtifactError(
            f"{last.path}: takes images {takes[1]}, but {first.path} takes {takes[0]}; compare nets of one data set"
        )
    if first.shipped.card.classes != last.shipped.card.classes:
        raise ArtifactError(f"{last.path}: knows other classes than {first.path}; compare nets of one data set")


def classes_asked(shipped: Shipped, asked: Questions, where: torch.device) -> Tensor:
    """int64 (N, 2): the class that the net predicts, and the true one, or the predicted again where it is not known."""
    predicted = scoring.logits_of(shipped, _as_images(asked.pixels), where).argmax(1)
    true = [int(own) if each.true is None else each.true for each, own in zip(asked.each, predicted, strict=True)]
    return torch.stack([predicted, torch.tensor(true)], 1)


def look(
    shipped: Shipped, pixels: Tensor, targets: Tensor, where: torch.device, layer: str, sizes: tuple[int, int]
) -> Seen:
    images = _as_images(pixels)
    probabilities = scoring.logits_of(shipped, images, where).double().softmax(1)
    patch, stride = sizes
    at_once = scoring.as_many(scoring.EVAL_BATCH, images)
    hidden = [
        looking.occlusion(shipped.model, batch, classes, patch=patch, stride=stride, batch_size=at_once).cpu()
        for batch, classes in _batches(shipped, images, targets, where)
    ]
    maps = {"grad_cam": grad_cam(shipped, pixels, targets, where, layer), "occlusion": torch.cat(hidden)}
    return Seen(probabilities, maps)


def grad_cam(
    shipped: Shipped, pixels: Tensor, targets: Tensor, where: torch.device, layer: str | None = None
) -> Tensor:
    """(N, K, H, W) on the CPU, for classes int64 (N, K) of images uint8 (N, C, H, W)."""
    _, module = looking.layer_named(shipped.model, layer)
    shipped.model.to(where, memory_format=torch.channels_last)  # type: ignore[call-overload]
    batches = _batches(shipped, _as_images(pixels), targets, where)
    return torch.cat([looking.grad_cam(shipped.model, batch, classes, module).cpu() for batch, classes in batches])


def _batches(shipped: Shipped, images: Images, targets: Tensor, where: torch.device) -> Iterator[tuple[Tensor, Tensor]]:
    start, size = 0, scoring.as_many(AT_ONCE, images)
    for batch in EvalLoader(images, shipped.card.normalization, batch_size=size, device=where):
        yield batch, targets[start : start + len(batch)].to(where)
        start += len(batch)


def _as_images(pixels: Tensor) -> Images:
    return Images(pixels, torch.zeros(len(pixels), dtype=torch.int64), None)


def shown_classes(targets: Tensor, number: int) -> list[tuple[int, int]]:
    """(place among the maps, class) of what is shown: one where the true class is not known, or is the predicted."""
    predicted, true = targets[number].tolist()
    return [(0, predicted)] if true == predicted else [(0, predicted), (1, true)]


def facts(
    number: int, lookers: Sequence[Looker], asked: Questions, targets: Tensor, seen: Sequence[Seen]
) -> dict[str, Any]:
    """What is said of an image, by the first net at the top and by each in `said`; how concentrated each map is."""
    one, classes = asked.each[number], lookers[0].shipped.card.classes
    said = [_said(each.probabilities[number], classes, one.true) for each in seen]
    maps = [
        {
            "run": str(looker.path),
            "method": method,
            "class": classes[label],
            "concentration": looking.concentration(answer.maps[method][number, place]),
        }
        for looker, answer in zip(lookers, seen, strict=True)
        for method in METHODS
        for place, label in shown_classes(targets, number)
    ]
    return {
        "image": None if one.file is None else str(one.file),
        "split": one.split,
        "index": one.index,
        "converted": one.converted,
        "true": None if one.true is None else classes[one.true],
        **said[0],
        "said": [{"run": str(looker.path), **words} for looker, words in zip(lookers, said, strict=True)],
        "maps": maps,
        "agreement": _agreements(number, targets, seen, classes) if len(seen) > 1 else None,
    }


def _said(probabilities: Tensor, classes: Sequence[str], true: int | None) -> dict[str, Any]:
    predicted = int(probabilities.argmax())
    return {
        "predicted": classes[predicted],
        "probability": float(probabilities[predicted]),
        "probability_true": None if true is None else float(probabilities[true]),
    }


def _agreements(number: int, targets: Tensor, seen: Sequence[Seen], classes: Sequence[str]) -> list[dict[str, Any]]:
    return [
        {
            "method": method,
            "class": classes[label],
            "correlation": looking.agreement(*(each.maps[method][number, place] for each in seen)),
        }
        for method in METHODS
        for place, label in shown_classes(targets, number)
    ]


def mean_agreement(images: Sequence[dict[str, Any]]) -> dict[str, float | None]:
    found = [each for image in images for each in image["agreement"]]
    return {method: _mean(each["correlation"] for each in found if each["method"] == method) for method in METHODS}


def mean_concentration(images: Sequence[dict[str, Any]], path: str) -> dict[str, float | None]:
    found = [each for image in images for each in image["maps"] if each["run"] == path]
    return {method: _mean(each["concentration"] for each in found if each["method"] == method) for method in METHODS}


def _mean(values: Iterator[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if known else None


def layer_facts(looker: Looker) -> dict[str, Any]:
    """The layer of the Grad-CAM, and the side of its map."""
    module = looking.map_layers(looker.shipped.model)[looker.layer]
    size: list[int] = []
    handle = module.register_forward_hook(lambda _module, _inputs, output: size.append(output.shape[-1]))
    spec = looker.shipped.card.model
    own = next(looker.shipped.model.parameters()).device
    with torch.no_grad():
        looker.shipped.model(torch.zeros(1, spec.in_channels, spec.image_size, spec.image_size, device=own))
    handle.remove()
    return {"run": str(looker.path), "layer": looker.layer, "map_size": size[0]}


def draw(
    folder: Path, number: int, lookers: Sequence[Looker], asked: Questions, targets: Tensor, seen: Sequence[Seen]
) -> Path:
    """The picture of one image: a row a net, with the image and its maps."""
    one, classes = asked.each[number], lookers[0].shipped.card.classes
    image = asked.pixels[number]
    side = heat.panel_side(image.shape[-1])
    rows = []
    for looker, answer in zip(lookers, seen, strict=True):
        panels = [("image", heat.enlarged(image, side))]
        for method in METHODS:
            for place, label in shown_classes(targets, number):
                shown = heat.smooth(answer.maps[method][number, place], side)
                panels.append((f"{TITLES[method]}: {classes[label]}", heat.overlay(image, shown)))
        rows.append((f"{_short(looker.path)}: {_words(answer.probabilities[number], classes, one.true)}", panels))
    path = folder / f"{number + 1:02d}-{one.name}.png"
    files.write_bytes(path, heat.sheet([_heading(one, classes)], rows))
    return path


def _short(path: Path, most: int = 40) -> str:
    text = str(path)
    return text if len(text) <= most else f"…{text[1 - most :]}"


def _heading(one: Question, classes: Sequence[str]) -> str:
    place = f"{one.split} image {one.index}" if one.file is None else one.file.name
    changed = f" ({one.converted})" if one.converted else ""
    return f"{place}{changed}, true class {'not known' if one.true is None else classes[one.true]}"


def _words(probabilities: Tensor, classes: Sequence[str], true: int | None) -> str:
    predicted = int(probabilities.argmax())
    words = f"predicted {classes[predicted]} ({show_percent(float(probabilities[predicted]), 1)})"
    if true is None or true == predicted:
        return words
    return f"{words}, the true class {show_percent(float(probabilities[true]), 1)}"


def draw_filters(folder: Path, number: int, looker: Looker) -> Path:
    """The filters of the first layer, a numbered tile each."""
    filters = looking.first_filters(looker.shipped.model)
    path = folder / ("filters.png" if number == 1 else f"filters-{number}.png")
    numbers = [str(each) for each in range(1, len(filters) + 1)]
    grid.write_grid(path, filters, numbers, min(FILTER_COLUMNS, len(filters)), FILTER_WORDS)
    return path
