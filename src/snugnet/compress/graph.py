"""A net as a list of operations, batch norms folded away: what quantising, exporting and planning memory work on.

`structure` follows one image through the net of a specification (torch.fx, on the meta device, so no weight is there);
`folded` gives the weights of its operations from the tensors of a trained net.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from typing import Any, Literal, cast

import torch
from torch import Tensor, fx, nn
from torch.fx.passes.shape_prop import ShapeProp

from snugnet.errors import RecipeError
from snugnet.models import compact, convs
from snugnet.models.layers import AcrossChannels, DropPath, Shuffle
from snugnet.models.resnet import ResNet, build_meta
from snugnet.models.spec import ModelSpec

Kind = Literal[
    "input", "conv", "band", "linear", "add", "mul", "cat", "max_pool", "avg_pool", "channel_max", "channel_mean",
    "shuffle", "flatten", "map", "layer_norm", "positions", "attention", "weigh",
]  # fmt: skip
Weights = dict[str, tuple[Tensor, Tensor]]  # of a node with a layer: (O, I / groups, K, K) or (O, I), and bias (O,)
Function = Callable[[Tensor], Tensor]

FLOATING = ("layer_norm", "positions", "attention", "weigh")
LEAVES = (*convs.LEAVES, *compact.FLOATING, DropPath, AcrossChannels, Shuffle)
POOLING: dict[str, tuple[Kind, Kind]] = {"mean": ("avg_pool", "channel_mean"), "amax": ("max_pool", "channel_max")}
SILENT = (nn.Identity, nn.Dropout, DropPath)
NORMS = (nn.BatchNorm2d, nn.BatchNorm1d)
POOLS = (nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveMaxPool2d, nn.AdaptiveAvgPool2d)
BLUNT = {"relu": (0.0, None), "relu6": (0.0, 6.0)}  # functions that only cut: an operation can do so as it ends
OPERATORS: dict[Any, Kind] = {operator.add: "add", operator.mul: "mul", torch.add: "add", torch.mul: "mul"}
FUNCTIONS: dict[str, tuple[Any, ...]] = {
    "relu": (nn.ReLU, torch.relu, nn.functional.relu),
    "relu6": (nn.ReLU6,),
    "gelu": (nn.GELU,),
    "silu": (nn.SiLU,),
    "hardswish": (nn.Hardswish,),
    "leaky_relu": (nn.LeakyReLU,),
    "elu": (nn.ELU,),
    "selu": (nn.SELU,),
    "mish": (nn.Mish,),
    "tanh": (nn.Tanh, torch.tanh),
    "softplus": (nn.Softplus,),
    "sigmoid": (nn.Sigmoid, torch.sigmoid),
}


@dataclass(frozen=True)
class Layer:
    """Where a node's weights stand among a net's tensors. Without a convolution the norm alone scales each channel.

    Nodes of one convolution share its weights, each scaled by its own norm.
    """

    conv: str | None
    norm: str | None = None
    eps: float = 0.0


@dataclass(frozen=True)
class Node:
    """An operation and the value it makes, of `shape` (C, H, W) or (C,) for each image."""

    name: str
    kind: Kind
    inputs: tuple[str, ...]
    shape: tuple[int, ...]
    layer: Layer | None = None
    kernel: int = 1
    stride: int = 1
    padding: int = 0
    groups: int = 1
    function: str = ""  # of a map, else what cuts the result: "relu", "relu6" or ""
    apply: Function | None = field(default=None, compare=False)  # the same as a torch function, of a map
    floats: tuple[str, ...] = ()  # tensors that stay floats, by name
    eps: float = 0.0  # of a layer norm


@dataclass(frozen=True)
class Graph:
    """Nodes in an order in which they can run; the last gives the logits."""

    nodes: tuple[Node, ...]

    def readers(self) -> dict[str, list[Node]]:
        found: dict[str, list[Node]] = {node.name: [] for node in self.nodes}
        for node in self.nodes:
            for name in node.inputs:
                found[name].append(node)
        return found

    @property
    def layers(self) -> list[Node]:
        """Those that have weights, in order."""
        return [node for node in self.nodes if node.layer is not None]

    @property
    def floating(self) -> Node | None:
        """The first operation that integers do not compute; None where they compute the net."""
        return next((node for node in self.nodes if node.kind in FLOATING), None)

    @property
    def in_floats(self) -> list[Node]:
        """Those whose numbers stay floats, in order."""
        return [node for node in self.nodes if node.floats]

    @cached_property
    def owners(self) -> dict[str, str]:
        """Of each node with weights the first one that has the same, mostly itself."""
        first: dict[str, str] = {}
        return {
            node.name: first.setdefault((node.layer and node.layer.conv) or node.name, node.name)
            for node in self.layers
        }

    @property
    def stored(self) -> list[Node]:
        """Those whose weights a file holds: the owners, in order."""
        return [node for node in self.layers if self.owners[node.name] == node.name]

    def node(self, name: str) -> Node:
        return next(node for node in self.nodes if node.name == name)

    def weight_shape(self, node: Node) -> tuple[int, ...]:
        """(O, I / groups, K, K) of a convolution, (O, I) of a linear layer, (1, 1, K, 1) of a band."""
        if node.kind == "band":
            return 1, 1, node.kernel, 1
        channels = self.node(node.inputs[0]).shape[0]
        if node.kind == "linear":
            return node.shape[0], channels
        return node.shape[0], channels // node.groups, node.kernel, node.kernel


@lru_cache(maxsize=16)
def structure(spec: ModelSpec) -> Graph:
    """The operations of a net in evaluation. Raises RecipeError for a user's own block that does what is not known."""
    model = build_meta(spec).eval()
    traced = fx.GraphModule(model, _Tracer().trace(model))
    image = torch.empty(1, spec.in_channels, spec.image_size, spec.image_size, device="meta")
    ShapeProp(traced).propagate(image)
    nodes: dict[str, Node] = {}
    same: dict[str, str] = {}  # values that stand for another
    for each in traced.graph.nodes:
        if each.op == "output":
            continue
        made = _node(each, model, tuple(same.get(other.name, other.name) for other in each.all_input_nodes))
        if made is None:
            same[each.name] = same.get(each.args[0].name, each.args[0].name)
        else:
            nodes[made.name] = made
    return _cut(_fold(Graph(tuple(nodes.values()))))


class _Tracer(fx.Tracer):
    def is_leaf_module(self, module: nn.Module, name: str) -> bool:
        return isinstance(module, LEAVES) or super().is_leaf_module(module, name)


def _node(each: fx.Node, model: ResNet, inputs: tuple[str, ...]) -> Node | None:
    """The operation of a traced node; None where it changes nothing."""
    shape = tuple(each.meta["tensor_meta"].shape[1:])
    if each.op == "placeholder":
        return Node(each.name, "input", (), shape)
    if each.op == "call_module":
        path = str(each.target)
        home = model.shared.get(f"{path}.weight", f"{path}.weight").removesuffix(".weight")
        return _of_module(home, model.get_submodule(path), each.name, inputs, shape)
    if each.target in OPERATORS and len(inputs) == 2:
        return Node(each.name, OPERATORS[each.target], inputs, shape)
    if each.target is torch.cat and each.kwargs.get("dim", each.args[-1]) == 1:
        return Node(each.name, "cat", inputs, shape)
    if each.op == "call_method" and each.target in POOLING and each.args[1:] in (((2, 3),), (1,)) and len(shape) == 3:
        over_places, over_channels = POOLING[str(each.target)]
        if each.args[1] == 1:
            return Node(each.name, over_channels, inputs, shape)
        return Node(each.name, over_places, inputs, shape, kernel=_side(each.args[0]))
    for name, kinds in FUNCTIONS.items():
        if each.op == "call_function" and each.target in kinds:
            return Node(each.name, "map", inputs, shape, function=name, apply=cast(Function, each.target))
    raise RecipeError(
        f"model: cannot be folded: {each.target} at {each.name} is none of the operations that compressing knows; "
        "write the block with the modules of torch.nn"
    )


def _side(value: Any) -> int:
    return int(value.meta["tensor_meta"].shape[-1])


def _of_module(path: str, module: nn.Module, name: str, inputs: tuple[str, ...], shape: tuple[int, ...]) -> Node | None:
    if isinstance(module, SILENT):
        return None
    if isinstance(module, nn.Flatten):
        return Node(name, "flatten", inputs, shape)
    if isinstance(module, nn.Linear):
        return Node(name, "linear", inputs, shape, Layer(path))
    if isinstance(module, compact.FLOATING):
        return _floating(path, module, name, inputs, shape)
    if isinstance(module, AcrossChannels):
        return Node(name, "band", inputs, shape, Layer(path), _one(module.kernel_size))
    if isinstance(module, Shuffle):
        return Node(name, "shuffle", inputs, shape, groups=module.groups)
    if isinstance(module, NORMS):
        return Node(name, "conv", inputs, shape, Layer(None, path, module.eps), groups=shape[0])
    if isinstance(module, nn.Conv2d) and module.padding_mode == "zeros" and set(module.dilation) == {1}:
        kernel, stride, padding = (_one(value) for value in (module.kernel_size, module.stride, module.padding))
        return Node(name, "conv", inputs, shape, Layer(path), kernel, stride, padding, module.groups)
    if isinstance(module, POOLS):
        return _of_pool(module, name, inputs, shape)
    for function, kinds in FUNCTIONS.items():
        if type(module) in kinds:
            return Node(name, "map", inputs, shape, function=function, apply=module)
    raise RecipeError(
        f"model: cannot be folded: {type(module).__name__} at {path} is none of the layers that compressing knows"
    )


def _floating(path: str, module: nn.Module, name: str, inputs: tuple[str, ...], shape: tuple[int, ...]) -> Node:
    if isinstance(module, compact.LayerNorm):
        floats = (f"{path}.weight", f"{path}.bias")
        return Node(name, "layer_norm", inputs, shape, floats=floats, eps=module.eps)
    if isinstance(module, compact.Positions):
        return Node(name, "positions", inputs, shape, floats=(f"{path}.weight",))
    if isinstance(module, compact.Attend):
        return Node(name, "attention", inputs, shape, groups=module.heads)
    return Node(name, "weigh", inputs, shape)


def _of_pool(module: nn.Module, name: str, inputs: tuple[str, ...], shape: tuple[int, ...]) -> Node:
    kind: Kind = "max_pool" if isinstance(module, (nn.MaxPool2d, nn.AdaptiveMaxPool2d)) else "avg_pool"
    if isinstance(module, (nn.AdaptiveMaxPool2d, nn.AdaptiveAvgPool2d)):
        return Node(name, kind, inputs, shape, kernel=0)  # the whole map
    sizes = cast(Any, module)
    return Node(name, kind, inputs, shape, None, _one(sizes.kernel_size), _one(sizes.stride), _one(sizes.padding))


def _one(value: Any) -> int:
    """The one number of a pair; nets are square."""
    return int(value[0] if isinstance(value, tuple) else value)


def _fold(graph: Graph) -> Graph:
    """Norms joined to the convolution or linear layer before them, where nothing else reads that."""
    readers, gone = graph.readers(), dict[str, str]()
    nodes: dict[str, Node] = {}
    for node in graph.nodes:
        inputs = tuple(gone.get(name, name) for name in node.inputs)
        before = nodes.get(inputs[0]) if len(inputs) == 1 else None
        if node.layer and node.layer.conv is None and before and _takes_norm(before) and len(readers[before.name]) == 1:
            assert before.layer is not None
            layer = replace(node.layer, conv=before.layer.conv)
            nodes[before.name] = replace(before, layer=layer)
            readers[before.name] = readers[node.name]
            gone[node.name] = before.name
        else:
            nodes[node.name] = _whole(replace(node, inputs=inputs), nodes)
    return Graph(tuple(nodes.values()))


def _takes_norm(node: Node) -> bool:
    return node.layer is not None and node.layer.norm is None and node.kind != "band"


def _whole(node: Node, nodes: Mapping[str, Node]) -> Node:
    """A pool of the whole map with its kernel, which is known once its input is."""
    if node.kernel:
        return node
    side = nodes[node.inputs[0]].shape[-1]
    return replace(node, kernel=side, stride=side)


def _cut(graph: Graph) -> Graph:
    """Functions that only cut joined to the operation before them, where nothing else reads that."""
    readers, gone = graph.readers(), dict[str, str]()
    nodes: dict[str, Node] = {}
    for node in graph.nodes:
        inputs = tuple(gone.get(name, name) for name in node.inputs)
        before = nodes.get(inputs[0]) if len(inputs) == 1 else None
        if node.function in BLUNT and before and _can_cut(before) and len(readers[before.name]) == 1:
            nodes[before.name] = replace(before, function=node.function)
            readers[before.name] = readers[node.name]
            gone[node.name] = before.name
        else:
            nodes[node.name] = replace(node, inputs=inputs)
    return Graph(tuple(nodes.values()))


def _can_cut(node: Node) -> bool:
    return node.kind in ("conv", "linear", "add") and not node.function


def folded(graph: Graph, tensors: Mapping[str, Tensor]) -> Weights:
    """The weights of each node with a layer, by its name, norms folded into them (in float64, then rounded)."""
    found = {node.name: _folded(node.layer, tensors) for node in graph.layers if node.layer}
    return found | {node.name: in_floats([tensors[name] for name in node.floats]) for node in graph.in_floats}


def in_floats(given: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """The numbers of a node that stay floats, as weight and bias; positions have none of the second."""
    weight, *rest = (each.float() for each in given)
    return weight, rest[0] if rest else weight.new_zeros(0)


def _folded(layer: Layer, tensors: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    weight, bias = None, None
    if layer.conv is not None:
        weight, bias = tensors[f"{layer.conv}.weight"].double(), tensors.get(f"{layer.conv}.bias")
    if layer.norm is None:
        assert weight is not None
        weight = weight.unsqueeze(-1) if weight.dim() == 3 else weight  # of a band
        return weight.float(), torch.zeros(len(weight)) if bias is None else bias.float()
    own = {name: tensors[f"{layer.norm}.{name}"].double() for name in ("weight", "bias", "running_mean", "running_var")}
    scale = own["weight"] / (own["running_var"] + layer.eps).sqrt()
    shift = own["bias"] + scale * ((0.0 if bias is None else bias.double()) - own["running_mean"])
    if weight is None:
        return scale.view(-1, 1, 1, 1).float(), shift.float()
    return (weight * scale.view(-1, *[1] * (weight.dim() - 1))).float(), shift.float()
