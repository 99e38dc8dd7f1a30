"""Which channels of a net stand or fall together.

Each convolution and linear layer makes channels; all else hands them on. A net is followed once, without any numbers:
channels that are added together, or that one scales, become one channel of several layers. What is found is exact for
whatever is built of the layers in `_RULES`; a user's own block is not looked into, and its channels are fixed.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import fx, nn

from snugnet import foreign
from snugnet.errors import UsageError
from snugnet.models.layers import DropPath, SqueezeExcite
from snugnet.models.resnet import ResNet, build_meta
from snugnet.models.spec import ModelSpec

NOT_FOLLOWED = ("wide", "shuffle", "transformer")
Rows = tuple[int, ...]  # the channel of each row of a tensor's axis


class Ties:
    """Numbers that may be tied to each other (union-find); each is known by the lowest it is tied to."""

    def __init__(self) -> None:
        self._above: list[int] = []

    def __len__(self) -> int:
        return len(self._above)

    def fresh(self, count: int) -> Rows:
        first = len(self._above)
        self._above.extend(range(first, first + count))
        return tuple(range(first, first + count))

    def root(self, number: int) -> int:
        while self._above[number] != number:
            self._above[number] = number = self._above[self._above[number]]
        return number

    def tie(self, a: int, b: int) -> None:
        low, high = sorted((self.root(a), self.root(b)))
        self._above[high] = low


@dataclass
class Channels:
    """What was found of a net: `axes` of its tensors by name, None for an axis that has no channels (a kernel's);
    `outputs` of its layers by name, each channel's place being its index; `fixed` are those that cannot go."""

    ties: Ties = field(default_factory=Ties)
    axes: dict[str, tuple[Rows | None, ...]] = field(default_factory=dict)
    outputs: dict[str, Rows] = field(default_factory=dict)
    norms: list[str] = field(default_factory=list)  # names of batch norms
    makers: list[str] = field(
        default_factory=list
    )  # names of convolutions and linear layers with channels of their own
    fixed: set[int] = field(default_factory=set)

    def tied(self, a: Rows, b: Rows) -> Rows:
        for one, other in zip(a, b, strict=True):
            self.ties.tie(one, other)
        return a

    def roots(self, rows: Iterable[int]) -> Rows:
        return tuple(map(self.ties.root, rows))

    def settled(self) -> Channels:
        """The same with each channel called by its root, once all are tied that will be."""
        axes = {name: tuple(rows and self.roots(rows) for rows in each) for name, each in self.axes.items()}
        outputs = {name: self.roots(rows) for name, rows in self.outputs.items()}
        return Channels(self.ties, axes, outputs, self.norms, self.makers, set(self.roots(self.fixed)))


def obstacle(spec: ModelSpec) -> str:
    """What of a net keeps its channels from being followed; "" where they can be."""
    for index, stage in enumerate(spec.stages):
        parts = [name for name in ("conv", "eca", "cbam") if getattr(stage, name) is not None]
        parts += [name for name in ("groups", "repeat") if getattr(stage, name) > 1]
        parts += [f"block = {stage.block!r}"] if stage.block in NOT_FOLLOWED else []
        if parts:
            return f"model.stages.{index}: {' and '.join(parts)}"
    if spec.head.pool == "attention":
        return "model.head: pool = 'attention'"
    stem = spec.stem
    given = [] if stem == "none" else [name for name in ("conv", "norm_input", "bare") if getattr(stem, name)]
    return f"model.stem: {' and '.join(given)}" if given else ""


def follow(spec: ModelSpec) -> Channels:
    """The channels of a specification's net. Image, classes, whitening filters and what stands inside squeeze-and-
    excitation or a user's own block are fixed. Raises RecipeError of such a block, UsageError of a net that has parts
    whose channels hang together in ways that are not known here."""
    if found_obstacle := obstacle(spec):
        raise UsageError(f"{found_obstacle}: channels cannot be pruned there; give --int8 or --int4 instead")
    model, own = build_meta(spec).eval(), _own_blocks(spec)
    found, values = Channels(), dict[fx.Node, Rows]()
    graph = _Tracer(own).trace(model)
    for node in graph.nodes:
        reads = [values[each] for each in node.all_input_nodes]
        if node.op == "placeholder":
            values[node] = found.ties.fresh(spec.in_channels)
            found.fixed.update(values[node])
        elif node.op == "output":
            found.fixed.update(reads[0])
        elif node.op == "call_module":
            values[node] = found.outputs[str(node.target)] = _through(found, model, str(node.target), reads[0], own)
        elif node.target is torch.cat:
            values[node] = tuple(row for rows in reads for row in rows)
        else:
            assert node.target in (operator.add, operator.iadd), f"no rule for {node.target}"
            values[node] = found.tied(*reads) if len(reads) > 1 else reads[0]
    if spec.whitens:
        found.fixed.update(found.outputs["stem.conv"])
    return found


class _Tracer(fx.Tracer):
    """Records a net's layers, each one call; blocks of our own making are looked into."""

    def __init__(self, own: dict[str, int]) -> None:
        super().__init__()
        self._own = own

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        is_known = isinstance(m, (*_RULES, DropPath)) or module_qualified_name in self._own
        return is_known or super().is_leaf_module(m, module_qualified_name)


def _own_blocks(spec: ModelSpec) -> dict[str, int]:
    """The width behind each body of the user's own, by its name in the net."""
    places = [
        (name, spec.stages[place.stage], place) for name, place in zip(block_names(spec), spec.places(), strict=True)
    ]
    return {f"{name}.body": place.channels_out for name, stage, place in places if foreign.is_path(stage.block)}


def block_names(spec: ModelSpec) -> list[str]:
    """ "stages.1.0" and so on, in the order of `spec.places()`."""
    first = [int(stage.entry is not None) for stage in spec.stages]
    return [f"stages.{place.stage}.{first[place.stage] + place.block}" for place in spec.places()]


def _through(found: Channels, model: ResNet, name: str, rows: Rows, own: dict[str, int]) -> Rows:
    if name in own:
        made = found.ties.fresh(own[name])
        found.fixed.update((*rows, *made))
        return made
    module = model.get_submodule(name)
    rule = next((rule for kind, rule in _RULES.items() if isinstance(module, kind)), None)
    return rows if rule is None else rule(found, name, module, rows)


def _conv(found: Channels, name: str, conv: Any, rows: Rows) -> Rows:
    """A convolution of each channel alone hands them on; any other makes its own."""
    is_each = conv.groups > 1
    made = rows if is_each else found.ties.fresh(conv.out_channels)
    found.axes[f"{name}.weight"] = (made, None if is_each else rows, None, None)
    if conv.bias is not None:
        found.axes[f"{name}.bias"] = (made,)
    if not is_each:
        found.makers.append(name)
    return made


def _linear(found: Channels, name: str, linear: Any, rows: Rows) -> Rows:
    """Of a flattened map each channel is as many inputs in a row as it has places."""
    places = linear.in_features // len(rows)
    made = found.ties.fresh(linear.out_features)
    found.axes[f"{name}.weight"] = (made, tuple(row for row in rows for _ in range(places)))
    found.axes[f"{name}.bias"] = (made,)
    found.makers.append(name)
    return made


def _norm(found: Channels, name: str, _norm: Any, rows: Rows) -> Rows:
    for tensor in ("weight", "bias", "running_mean", "running_var"):
        found.axes[f"{name}.{tensor}"] = (rows,)
    found.norms.append(name)
    return rows


def _squeeze_excite(found: Channels, name: str, se: Any, rows: Rows) -> Rows:
    inner = found.ties.fresh(se.squeeze.out_channels)
    found.fixed.update(inner)
    for part, axes in (("squeeze", (inner, rows)), ("excite", (rows, inner))):
        found.axes[f"{name}.{part}.weight"] = (*axes, None, None)
        found.axes[f"{name}.{part}.bias"] = axes[:1]
    return rows


_RULES: dict[type[nn.Module], Callable[[Channels, str, Any, Rows], Rows]] = {
    nn.Conv2d: _conv,
    nn.Linear: _linear,
    nn.BatchNorm2d: _norm,
    nn.BatchNorm1d: _norm,
    SqueezeExcite: _squeeze_excite,
}


def alike(spec: ModelSpec, found: Channels) -> Iterator[tuple[Rows, Rows]]:
    """Pairs of layers' channels that need not be the same but must be as many: the specification has one number for
    them. Outputs of a stage's layers that no identity ties (of fire, branch by branch), and both widths inside a
    bottleneck."""
    before: dict[int, list[Rows]] = {}
    for index, stage in enumerate(spec.stages):
        if stage.entry is not None:
            before[index] = [found.outputs[f"stages.{index}.0.activation"]]
    for name, place in zip(block_names(spec), spec.places(), strict=True):
        stage = spec.stages[place.stage]
        if stage.block == "bottleneck":
            yield found.outputs[f"{name}.body.conv1"], found.outputs[f"{name}.body.conv2"]
        parts = _split(found.outputs[f"{name}.activation"], branches(found, name))
        last = before.get(place.stage)
        if last is not None:
            whole = tuple(row for part in last for row in part)
            yield from zip(_split(whole, list(map(len, parts))), parts, strict=True)
        before[place.stage] = parts


def branches(found: Channels, block: str) -> list[int]:
    """How many channels each branch of a fire block gives; of any other block, all at once."""
    names = [name for name in (f"{block}.body.expand.{k}.conv" for k in (0, 1)) if name in found.outputs]
    return [len(found.outputs[name]) for name in names] or [len(found.outputs[f"{block}.activation"])]


def _split(rows: Rows, counts: Sequence[int]) -> list[Rows]:
    ends = [sum(counts[: k + 1]) for k in range(len(counts))]
    return [rows[end - count : end] for end, count in zip(ends, counts, strict=True)]
