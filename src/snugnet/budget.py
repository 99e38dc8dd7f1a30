"""What a design costs, and whether it fits. The only place that counts; docs/budget.md says what is counted."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from math import prod
from typing import Annotated, Any

import torch
from pydantic import AfterValidator, BeforeValidator, Field
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode

from snugnet import artifact, units
from snugnet.artifact import Card
from snugnet.compress import memory_plan
from snugnet.compress.config import Quantization
from snugnet.compress.graph import structure
from snugnet.config import Frozen
from snugnet.errors import OverBudget, RecipeError
from snugnet.models import compact
from snugnet.models.layers import AcrossChannels
from snugnet.models.resnet import ResNet, build_meta
from snugnet.models.spec import ModelSpec
from snugnet.problems import nearest

COUNTED = (nn.Conv2d, nn.Linear)
MEASURES = ("params", "macs", "bytes", "size_mb", "peak_activation_bytes", "ram_bytes")


@dataclass(frozen=True)
class Layer:
    """One layer with weights: its name in the module tree, kind, output shape (C, H, W), parameters and MACs."""

    name: str
    kind: str
    output: tuple[int, ...]
    params: int
    macs: int


@dataclass(frozen=True)
class Cost:
    """The price of a design. MACs and activations are for one image."""

    params: int
    macs: int
    size_mb: float  # tu24's: parameters and buffers, in MiB
    bytes: int  # of the shipped file, exactly
    bytes_fp32: int  # were it kept in float32
    bytes_int8: int | None  # in int8; None where a user's own block cannot be folded
    peak_activation_bytes: int
    ram_bytes: int | None  # the arena of the net as C; None where a user's own block cannot be folded
    layers: tuple[Layer, ...]

    def plain(self) -> dict[str, Any]:
        return asdict(self)


def _limit(kind: Any) -> Any:
    def read(value: Any) -> Any:
        if not isinstance(value, (str, int, float)) or isinstance(value, bool):
            raise ValueError(f"a budget must be a number or a text like '5M' or '64kB'; got {value!r}")
        return kind(value)

    return BeforeValidator(read)


Count = Annotated[int, _limit(units.parse_count), Field(gt=0)]
Size = Annotated[int, _limit(units.parse_bytes), Field(gt=0)]


def _name_measures(floor: dict[str, float]) -> dict[str, float]:
    for name in floor:
        if name not in MEASURES:
            raise ValueError(f"{name!r} is no measure{nearest(name, MEASURES) or '; known are ' + ', '.join(MEASURES)}")
    return floor


class Budget(Frozen):
    """Upper limits; None is no limit. `floor` holds lower ones, where a budget is a window around another design."""

    params: Count | None = None
    macs: Count | None = None
    bytes: Size | None = None
    size_mb: Annotated[float, Field(gt=0)] | None = None
    peak_activation_bytes: Size | None = None
    ram_bytes: Size | None = None
    floor: Annotated[dict[str, float], AfterValidator(_name_measures)] | None = None

    def limits(self) -> dict[str, float]:
        return {name: limit for name in MEASURES if (limit := getattr(self, name)) is not None}


def count_params(model: nn.Module) -> int:
    """Every weight the net needs to run: frozen ones included, tied ones once, buffers not."""
    return sum(parameter.numel() for parameter in model.parameters())


def price(card: Card) -> Cost:
    """What the net of a card costs, on the meta device: no weight is allocated."""
    model = build_meta(card.model).eval()
    layers, peak = _trace(model, card.model)
    return Cost(
        params=count_params(model),
        macs=sum(layer.macs for layer in layers),
        size_mb=_size_mb(model),
        bytes=artifact.predict_bytes(card),
        bytes_fp32=artifact.predict_bytes(card.model_copy(update={"quantization": None})),
        bytes_int8=_bytes_int8(card),
        peak_activation_bytes=peak,
        ram_bytes=_ram_bytes(card),
        layers=tuple(layers),
    )


def measure(card: Card, name: str) -> float:
    """One measure of a design, without the price of the others."""
    if name == "params":
        return count_params(build_meta(card.model))
    if name == "bytes":
        return artifact.predict_bytes(card)
    if name == "ram_bytes":
        return _arena(card)
    if name == "size_mb":
        return _size_mb(build_meta(card.model))
    layers, peak = _trace(build_meta(card.model).eval(), card.model)
    return peak if name == "peak_activation_bytes" else sum(layer.macs for layer in layers)


def _size_mb(model: nn.Module) -> float:
    """tu24's formula: every parameter and buffer, batch norm's int64 counters too, over 2^20."""
    tensors = [*model.parameters(), *model.buffers()]
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors) / 2**20


def _bytes_int8(card: Card) -> int | None:
    try:
        whole = structure(card.model).floating is None
        kept = Quantization() if whole else Quantization(activations="float")
        return artifact.predict_bytes(card.model_copy(update={"quantization": kept}))
    except RecipeError:
        return None


def _arena(card: Card) -> int:
    return memory_plan.plan(structure(card.model)).size_bytes


def _ram_bytes(card: Card) -> int | None:
    try:
        return _arena(card)
    except RecipeError:
        return None


def _macs(module: nn.Module, output: Tensor) -> int:
    """Multiply-adds for one image: each output value takes one for every weight of its filter."""
    if isinstance(module, nn.Conv2d):
        return prod(output.shape[1:]) * prod(module.weight.shape[1:])
    if isinstance(module, AcrossChannels):
        return prod(output.shape[1:]) * module.weight.shape[-1]
    return prod(output.shape[1:]) * module.in_features if isinstance(module, nn.Linear) else 0


class _LiveTensors(TorchDispatchMode):
    """Follows which tensors are alive while a net runs; `peak` is the largest sum of their bytes."""

    def __init__(self, *present: Tensor) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._fixed = {StorageWeakRef(tensor.untyped_storage()).cdata for tensor in present}
        self._live: dict[int, tuple[StorageWeakRef, int]] = {}
        self.peak = 0

    def watch(self, tensor: Tensor) -> None:
        storage = StorageWeakRef(tensor.untyped_storage())
        if storage.cdata not in self._fixed:
            self._live[storage.cdata] = (storage, tensor.untyped_storage().nbytes())

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        results = result if isinstance(result, (tuple, list)) else [result]
        if func is torch.ops.aten.native_batch_norm.default:
            results = results[:1]  # batch statistics are for training; on other devices than meta they are empty
        for tensor in results:
            if isinstance(tensor, Tensor) and tensor.numel():
                self.watch(tensor)
        self._live = {key: entry for key, entry in self._live.items() if not entry[0].expired()}
        self.peak = max(self.peak, sum(size for _, size in self._live.values()))
        return result


def _trace(model: ResNet, spec: ModelSpec) -> tuple[list[Layer], int]:
    """One image through the net on the meta device: its layers, and the peak of live activations in bytes."""
    layers: list[Layer] = []
    counted = set[int]()  # weights that several layers share count at the first

    def record(name: str, module: nn.Module) -> Any:
        def hook(_module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            own = [each for each in module.parameters(recurse=False) if id(each) not in counted]
            counted.update(map(id, own))
            params = sum(parameter.numel() for parameter in own)
            macs = _macs(module, output) + compact.macs(module, inputs)
            layers.append(Layer(name, type(module).__name__, tuple(output.shape[1:]), params, macs))

        return module.register_forward_hook(hook)

    handles = [
        record(name, module)
        for name, module in model.named_modules()
        if isinstance(module, compact.FLOATING) or any(True for _ in module.parameters(recurse=False))
    ]
    image = torch.empty(1, spec.in_channels, spec.image_size, spec.image_size, device="meta")
    live = _LiveTensors(*model.parameters(), *model.buffers())
    live.watch(image)
    with torch.no_grad(), live:
        model(image)
    for handle in handles:
        handle.remove()
    return layers, live.peak


def excess(cost: Cost, budget: Budget) -> dict[str, float]:
    """How far each measure is outside: positive above its limit, negative below its floor; empty when all fit.

    Raises RecipeError for a limit of what is not known of the design."""
    over = {name: _used(cost, name) - limit for name, limit in budget.limits().items()}
    under = {name: _used(cost, name) - low for name, low in (budget.floor or {}).items()}
    return {name: d for name, d in over.items() if d > 0} | {name: d for name, d in under.items() if d < 0}


def _used(cost: Cost, name: str) -> float:
    used: float | None = getattr(cost, name)
    if used is None:
        raise RecipeError(
            f"budget: {name}: it is known of nets that compressing can fold and integers compute, and this one has a "
            "block of your own, or attention; leave the limit out, or write the block with the modules of torch.nn"
        )
    return used


def show(name: str, value: float) -> str:
    """A measure to its unit: "4,978,810 parameters", "64,001 B", "0.5218 MB"."""
    if name == "size_mb":
        return f"{value:.6f} MB"
    unit = {"params": "parameters", "macs": "MACs"}.get(name, "B")
    return f"{value:,.0f} {unit}"


def check(cost: Cost, budget: Budget, what: str = "the design") -> None:
    """Raises OverBudget, naming the excess of every measure to one unit."""
    lines = []
    limits, floor = budget.limits(), budget.floor or {}
    for name, distance in excess(cost, budget).items():
        used, away = show(name, getattr(cost, name)), _bare(name, abs(distance))
        if distance > 0:
            lines.append(f"{what} is {used}, {away} over the budget of {_bare(name, limits[name])}")
        else:
            lines.append(f"{what} is {used}, {away} under the floor of {_bare(name, floor[name])}")
    if lines:
        raise OverBudget("\n".join(lines))


def _bare(name: str, value: float) -> str:
    return show(name, value).removesuffix(" parameters").removesuffix(" MACs")


def check_bytes(size_bytes: int, budget: Budget, what: str = "artifact") -> None:
    """Holds a written file to the budget, by its size on disk. Raises OverBudget."""
    if budget.bytes is not None and size_bytes > budget.bytes:
        over = size_bytes - budget.bytes
        raise OverBudget(f"{what} is {size_bytes:,} B, {over:,} B over the budget of {budget.bytes:,} B")
