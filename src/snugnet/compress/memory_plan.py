"""Where each value of an int8 net lies while it runs: one arena, whose size is what a microcontroller needs.

A value is a byte for each number. It lives from the operation that makes it to the last one that reads it, and beside
it the bytes that an operation works in. Larger ones are placed first, each at the lowest place that is free all its
life. What reads no number twice writes over its input, where nothing else reads that: sums, products, tables, pools.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from snugnet.compress.graph import Graph, Node
from snugnet.errors import RecipeError

IN_PLACE = ("add", "mul", "map", "max_pool", "avg_pool")


@dataclass(frozen=True)
class Plan:
    """Offsets in bytes, by the name of a node; of the logits there is none. `least_bytes` is what lives at once at
    the worst moment: no order of places is smaller."""

    values: dict[str, int]
    scratch: dict[str, int]
    size_bytes: int
    least_bytes: int


@dataclass
class _Block:
    """Bytes that are kept from one operation to another, both inclusive."""

    size: int
    born: int
    dies: int
    offset: int = 0

    def meets(self, other: _Block) -> bool:
        return self.born <= other.dies and other.born <= self.dies


def plan(graph: Graph) -> Plan:
    """Raises RecipeError of a net that integers do not compute."""
    if graph.floating is not None:
        raise RecipeError(
            f"model: has no arena: {graph.floating.kind.replace('_', ' ')} at {graph.floating.name} is not computed in "
            "integers"
        )
    values, scratch = _values(graph), _scratch(graph)
    blocks = [*{id(block): block for block in values.values()}.values(), *scratch.values()]
    placed: list[_Block] = []
    for block in sorted(blocks, key=lambda each: (-each.size, each.born)):
        block.offset = _first_fit(block, [other for other in placed if other.meets(block)])
        placed.append(block)
    return Plan(
        values={name: block.offset for name, block in values.items()},
        scratch={name: block.offset for name, block in scratch.items()},
        size_bytes=max(block.offset + block.size for block in blocks),
        least_bytes=max(
            sum(block.size for block in blocks if block.born <= step <= block.dies) for step in range(len(graph.nodes))
        ),
    )


def _first_fit(block: _Block, others: list[_Block]) -> int:
    offset = 0
    for other in sorted(others, key=lambda each: each.offset):
        if other.offset - offset >= block.size:
            break
        offset = max(offset, other.offset + other.size)
    return offset


def _values(graph: Graph) -> dict[str, _Block]:
    """Of each value; those that lie in one place share a block."""
    last = {name: step for step, node in enumerate(graph.nodes) for name in node.inputs}
    blocks: dict[str, _Block] = {}
    for step, node in enumerate(graph.nodes[:-1]):
        size, dies = prod(node.shape), last.get(node.name, step)
        shared = _shared(graph, node, step, blocks)
        if shared is None:
            blocks[node.name] = _Block(size, step, dies)
        else:
            shared.size, shared.dies = max(shared.size, size), max(shared.dies, dies)
            blocks[node.name] = shared
    return blocks


def _shared(graph: Graph, node: Node, step: int, blocks: dict[str, _Block]) -> _Block | None:
    """The input whose place a node takes."""
    if is_alias(graph, node):
        return blocks[node.inputs[0]]
    if node.kind not in IN_PLACE or node.padding:
        return None
    for name in node.inputs:
        if blocks[name].dies == step and (node.kind.endswith("pool") or graph.node(name).shape == node.shape):
            return blocks[name]
    return None


def is_alias(graph: Graph, node: Node) -> bool:
    """Whether a flattened map stays where it is: maps lie channels last, and linear layers take their weights in the
    order they find; whatever else reads it wants channels first."""
    if node.kind != "flatten":
        return False
    channels, *sides = graph.node(node.inputs[0]).shape
    return channels == 1 or prod(sides) == 1 or all(each.kind == "linear" for each in graph.readers()[node.name])


def _scratch(graph: Graph) -> dict[str, _Block]:
    """A convolution of several places gathers what it reads for one number."""
    found = {}
    for step, node in enumerate(graph.nodes):
        if node.kind == "conv" and not is_depthwise(graph, node) and (node.kernel > 1 or node.padding):
            found[node.name] = _Block(prod(graph.weight_shape(node)[1:]), step, step)
    return found


def is_depthwise(graph: Graph, node: Node) -> bool:
    """Whether each channel of a convolution is made of the same one of its input alone."""
    return node.kind == "conv" and node.groups == node.shape[0] == graph.node(node.inputs[0]).shape[0]
