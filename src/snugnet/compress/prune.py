"""Structured pruning: whole channels are removed, and what is left is an ordinary specification and its tensors.

Channels are ranked by what they matter, least first; the target decides how many go.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from snugnet.compress.channels import Channels, Rows, Ties, alike, block_names
from snugnet.config import Frozen
from snugnet.models.parts import Shortcut, SqueezeExcitation
from snugnet.models.spec import WITH_INNER, ModelSpec, Stage

By = Literal["bn_scale", "magnitude", "taylor"]
Scope = Literal["global", "uniform"]
Batches = Iterable[tuple[Tensor, Tensor]]  # normalised images and labels
State = Mapping[str, Tensor]


class PruneConfig(Frozen):
    """`by`: what a channel matters. "bn_scale": the size of its norms' scales, without one its filters (Liu et al.
    2017, arXiv 1708.06519); "magnitude": the L2 norm of its filters (Li et al. 2017, arXiv 1608.08710, with L1 there);
    "taylor": the square of the first-order change in loss without it (Molchanov et al. 2019, arXiv 1906.10771).

    `scope`: "global" ranks the channels of all groups together, "uniform" takes the same share of every group.
    """

    by: By = "taylor"
    scope: Scope = "global"
    floor: Annotated[float, Field(ge=0, lt=1)] = 0.0  # share of its channels that each layer keeps; one in any case
    multiple: Annotated[int, Field(ge=1, le=1024)] = 1  # of which groups are cut to multiples


def importance(found: Channels, state: State, by: By, model: nn.Module | None = None, batches: Batches = ()) -> Tensor:
    """What each channel matters (len(found.ties),), summed over the layers that it is a channel of; those that are
    tied bear it at the lowest of them. "taylor" alone reads the model, which holds the state, and the batches."""
    if by == "taylor":
        assert model is not None
        return _taylor(found, model, batches)
    filters = {name: state[f"{name}.weight"].float().flatten(1).norm(dim=1) for name in found.makers}
    if by == "magnitude":
        return _summed(found, filters)
    return _of_norms(found, {name: state[f"{name}.weight"].float().abs() for name in found.norms}, filters)


def _summed(found: Channels, rows: Mapping[str, Tensor]) -> Tensor:
    """Values of layers' output channels, by channel."""
    total = torch.zeros(len(found.ties), dtype=torch.float64)
    for name, values in rows.items():
        total.index_add_(0, torch.tensor(found.roots(_made(found, name))), values.detach().double().cpu())
    return total


def _made(found: Channels, layer: str) -> Rows:
    made = found.axes[f"{layer}.weight"][0]
    assert made is not None
    return made


def _of_norms(found: Channels, norms: Mapping[str, Tensor], others: Mapping[str, Tensor]) -> Tensor:
    """Values of the norms; of other layers for channels without one."""
    has_norm = _summed(found, {name: torch.ones_like(values) for name, values in norms.items()}) > 0
    return torch.where(has_norm, _summed(found, norms), _summed(found, others))


def _taylor(found: Channels, model: nn.Module, batches: Batches) -> Tensor:
    """A gate of 1 behind each norm of a channel: the loss's derivative by all of them together, squared, summed over
    batches. The net is in evaluation mode, and is left without gradients."""
    total = torch.zeros(len(found.ties), dtype=torch.float64)
    model.eval()
    for images, labels in batches:
        model.zero_grad(set_to_none=True)
        F.cross_entropy(model(images), labels).backward()
        norms = {name: _gate(model, name) for name in found.norms}
        total += _of_norms(found, norms, {name: _gate(model, name) for name in found.makers}) ** 2
    model.zero_grad(set_to_none=True)
    return total


def _gate(model: nn.Module, name: str) -> Tensor:
    """The loss's derivative by a factor on each output channel of a layer: on its filter, or scale, and its shift."""
    layer = model.get_submodule(name)
    assert isinstance(layer.weight, Tensor)
    total = layer.weight.new_zeros(len(layer.weight))
    for each in layer.parameters(recurse=False):
        if each.grad is not None:  # filters that whiten have none
            total += (each.detach() * each.grad).reshape(len(each), -1).sum(1)
    return total


def evened(spec: ModelSpec, found: Channels, scores: Tensor) -> tuple[Channels, dict[int, float]]:
    """Ties what must be as many though not the same, the most important of one layer to that of the other; the channels
    then, and what each matters."""
    score = dict(enumerate(scores.tolist()))
    for one, other in alike(spec, found):
        a, b = found.roots(one), found.roots(other)
        if a == b:
            continue
        ranked = [sorted(dict.fromkeys(rows), key=lambda root: -score[root]) for rows in (a, b)]
        for x, y in zip(*ranked, strict=True):
            if (x := found.ties.root(x)) != (y := found.ties.root(y)):
                found.ties.tie(x, y)
                score[min(x, y)] = score[x] + score[y]
    settled = found.settled()
    roots = {settled.ties.root(number) for number in range(len(settled.ties))}
    return settled, {root: score[root] for root in sorted(roots)}


@dataclass(frozen=True)
class Step:
    """Channels that are removed at once. Those of one `kind` are of the same layers, and cost the same."""

    gone: tuple[int, ...]
    kind: Any


def groups(found: Channels) -> list[list[int]]:
    """The channels, as settled, in groups: those of one layer are in one group."""
    together = Ties()
    together.fresh(len(found.ties))
    for rows in (rows for axes in found.axes.values() for rows in axes if rows):
        for row in rows[1:]:
            together.tie(rows[0], row)
    found_groups: dict[int, list[int]] = {}
    for root in dict.fromkeys(row for name in found.makers for row in _made(found, name)):
        found_groups.setdefault(together.root(root), []).append(root)
    return list(found_groups.values())


def order(found: Channels, score: Mapping[int, float], config: PruneConfig) -> list[Step]:
    """All that can go, what matters least first.

    Globally, scales and magnitudes count in shares of their group's mean, since layers of different fan-in have
    different ones; first-order changes are of the same loss everywhere, and count as they are.
    """
    layers: dict[int, tuple[str, ...]] = {}
    for name in found.makers:
        for row in _made(found, name):
            layers[row] = (*layers.get(row, ()), name)
    kept = _protected(found, score, config.floor)
    ranked: list[tuple[float, Step]] = []
    for number, group in enumerate(groups(found)):
        mean = 1.0 if config.by == "taylor" else sum(score[root] for root in group) / len(group) or 1.0
        free = sorted((root for root in group if root not in kept), key=lambda root: score[root])
        start, size = 0, len(group) % config.multiple or config.multiple
        while start + size <= len(free):
            gone = free[start : start + size]
            start, size = start + size, config.multiple
            key = start / len(group) if config.scope == "uniform" else sum(score[r] for r in gone) / len(gone) / mean
            ranked.append((key, Step(tuple(gone), layers[gone[0]] if config.multiple == 1 else number)))
    return [step for _, step in sorted(ranked, key=lambda pair: pair[0])]


def _protected(found: Channels, score: Mapping[int, float], floor: float) -> set[int]:
    """What stays in any case: what is fixed, and of each layer its most important channels, one at least."""
    kept = set(found.fixed)
    for name in found.makers:
        made = _made(found, name)
        kept.update(sorted(made, key=lambda root: -score[root])[: max(1, math.ceil(floor * len(made)))])
    return kept


def choose(steps: Sequence[Step], fits: Callable[[set[int]], bool]) -> set[int] | None:
    """The channels to remove: the fewest steps of the order after which it fits, then each one put back, what matters
    most first, with which it still does. None where all steps are not enough."""

    def gone(count: int) -> set[int]:
        return {root for step in steps[:count] for root in step.gone}

    low, high = 0, len(steps)
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if fits(gone(middle)) else (middle + 1, high)
    while low < len(steps) and not fits(gone(low)):  # a file's header may grow by some bytes where a net shrinks
        low += 1
    removed, full = gone(low), set()
    if not fits(removed):
        return None
    for step in reversed(steps[:low]):
        if step.kind not in full:
            more = removed - set(step.gone)
            if fits(more):
                removed = more
            else:
                full.add(step.kind)
    return removed


def pruned_spec(spec: ModelSpec, found: Channels, gone: set[int]) -> ModelSpec:
    """The specification without some channels, all widths written out; itself where none goes."""
    if not gone:
        return spec

    def width(layer: str) -> int:
        return sum(root not in gone for root in found.outputs[layer])

    names: dict[int, list[str]] = {index: [] for index in range(len(spec.stages))}
    for name, place in zip(block_names(spec), spec.places(), strict=True):
        names[place.stage].append(name)
    stages = tuple(_stage(spec, index, names[index], width) for index in range(len(spec.stages)))
    hidden = tuple(width(f"head.hidden{number}") for number, _ in enumerate(spec.head.hidden, 1))
    update: dict[str, Any] = {"width": 1.0, "stages": stages, "head": spec.head.model_copy(update={"hidden": hidden})}
    if spec.stem != "none":
        stem = {"channels": width("stem.conv"), "se": _fixed_se(spec.stem.se, spec.stem_channels)}
        update["stem"] = spec.stem.model_copy(update=stem)
    return _with_shortcuts(spec, spec.model_copy(update=update))


def _stage(spec: ModelSpec, index: int, blocks: list[str], width: Callable[[str], int]) -> Stage:
    stage = spec.stages[index]
    channels = width(f"{blocks[-1] if blocks else f'stages.{index}.0'}.activation")
    update: dict[str, Any] = {"channels": channels, "se": _fixed_se(stage.se, spec.scaled(stage.channels))}
    if stage.block in WITH_INNER:
        layer = "body.squeeze.conv" if stage.block == "fire" else "body.conv1"
        inner = tuple(width(f"{name}.{layer}") for name in blocks)
        is_default = not inner or (stage.block in ("basic", "preact") and set(inner) == {channels})
        update["inner"] = None if is_default else inner[0] if len(set(inner)) == 1 else inner
        update["reduction"] = 4  # its default: inner says it
    elif stage.inner is not None:  # of a block of the user's own
        update["inner"] = (
            tuple(map(spec.scaled, stage.inner)) if isinstance(stage.inner, tuple) else spec.scaled(stage.inner)
        )
    if stage.block == "fire" and blocks:
        parts = [f"{blocks[0]}.body.expand.{number}.conv" for number in (0, 1)]
        update["expand"] = (width(parts[0]), width(parts[1])) if spec.scaled(stage.channels) > 1 else None
    return stage.model_copy(update=update)


def _fixed_se(se: SqueezeExcitation | None, channels: int) -> SqueezeExcitation | None:
    """With the width inside it that it has."""
    return se and SqueezeExcitation(inner=se.width(channels))


def _with_shortcuts(before: ModelSpec, after: ModelSpec) -> ModelSpec:
    """A projection stays one where the widths that it joined became equal."""
    stages = list(after.stages)
    for old, new in zip(before.places(), after.places(), strict=True):
        shortcut: Shortcut = stages[new.stage].shortcut or after.shortcut
        if shortcut.kind != "none" and before.has_projection(old) != after.has_projection(new):
            first = {"shortcut": shortcut.model_copy(update={"kind": "first"})}
            stages[new.stage] = stages[new.stage].model_copy(update=first)
    return after.model_copy(update={"stages": tuple(stages)})


def sliced(state: State, found: Channels, gone: set[int]) -> dict[str, Tensor]:
    """The tensors of the pruned net."""
    return {name: _sliced(value, found.axes.get(name, ()), gone) for name, value in state.items()}


def _sliced(value: Tensor, axes: Sequence[Rows | None], gone: set[int]) -> Tensor:
    for axis, rows in enumerate(axes):
        if rows is not None and not gone.isdisjoint(rows):
            value = value.index_select(axis, torch.tensor([place for place, row in enumerate(rows) if row not in gone]))
    return value
