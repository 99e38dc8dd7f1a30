"""A net drawn from its specification, from the image at the top to the classes at the bottom, as SVG.

Blocks are drawn as in He et al. 2015: a box of convolutions, the shortcut beside it, solid where it is the identity and
dashed where it is a convolution, and the sum below. Skips past blocks (tu24) run at the right: one line for what enters
a block, a dot at each sum it is added to.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape

from snugnet.models.spec import ModelSpec
from snugnet.report.architecture import Box, Part, image_shape, parts, words

LEFT, BOX, EDGE = 54, 172, 12  # px: the boxes' left side and width, the panel's margin
ROW, PAD, GAP = 18, 6, 16  # a line of text, inside a box above and below, between boxes
ARC, LANE, MOST_LANES = (
    24,
    9,
    14,
)  # how far shortcuts bulge, lines of skips apart, and how many there are before they share one
FONT = 'font-family="system-ui, sans-serif" font-size="13"'
STROKES = {"layer": "var(--blue)", "block": "var(--blue)", "pool": "var(--green)"}
ALONE = (
    "<style>svg{color:#1b1f24;--soft:#545d68;--paper:#fff;--panel:#f5f7f9;--grid:#d3d8de;--blue:#0072b2;--green:#008f68;"
    "--orange:#d55e00}@media (prefers-color-scheme:dark){svg{color:#e6e9ed;--soft:#a3adb9;--paper:#14181d;"
    "--panel:#1d232a;--grid:#3a424c;--blue:#4aa8e0;--green:#2fbf95;--orange:#f08a3c}}</style>"
)


@dataclass
class Drawing:
    """SVG elements so far, how far down they reach, and where each block's input and sum are."""

    shapes: list[str] = field(default_factory=list)
    y: float = 0
    inputs: dict[int, float] = field(default_factory=dict)
    sums: dict[int, float] = field(default_factory=dict)

    def line(self, path: str, extra: str = "") -> None:
        self.shapes.append(f'<path d="{path}" fill="none" stroke="currentColor" stroke-width="1.2"{extra}/>')

    def text(self, x: float, y: float, content: str, extra: str = "") -> None:
        self.shapes.append(f'<text x="{x:g}" y="{y:g}" fill="currentColor"{extra}>{escape(content)}</text>')

    def rect(self, place: tuple[float, float, float, float], extra: str) -> None:
        x, y, width, height = place
        self.shapes.append(f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" {extra}/>')


def svg(spec: ModelSpec, *, alone: bool = False) -> str:
    """The diagram as an SVG element that takes its colours from the page, or, `alone`, as a file with its own."""
    drawing = Drawing()
    lanes = _lanes(spec)
    width = LEFT + BOX + EDGE + ARC + (LANE * (1 + max(lanes.values())) + 4 if lanes else 0) + EDGE
    drawing.text(LEFT + BOX / 2, 14, f"image {image_shape(spec)}", ' text-anchor="middle"')
    drawing.y = 20
    found = parts(spec)
    for part in found:
        _draw_part(drawing, part, width, has_lanes=bool(lanes))
    _draw_skips(drawing, spec, lanes)
    _draw_legend(drawing, _legend(spec, found))
    head = f'viewBox="0 0 {width:g} {drawing.y + 6:g}" role="img" aria-label="{escape(words(spec))}" {FONT}'
    body = "".join(drawing.shapes)
    if not alone:
        return f'<svg {head} style="--width: {width / 1.4:.1f}px">{body}</svg>'
    size = f'xmlns="http://www.w3.org/2000/svg" width="{width:g}" height="{drawing.y + 6:g}"'
    paper = '<rect width="100%" height="100%" fill="var(--paper)"/>'
    return f"<svg {size} {head}>{ALONE}{paper}{body}</svg>\n"


def _lanes(spec: ModelSpec) -> dict[int, int]:
    """For each block that skips start from, its line at the right, the first the outermost; all share one where they
    are too many."""
    starts = sorted({start for start, _ in spec.skip_pairs()}, reverse=True)
    return {start: 0 if len(starts) > MOST_LANES else lane for lane, start in enumerate(starts)}


def _draw_part(drawing: Drawing, part: Part, width: float, *, has_lanes: bool) -> None:
    """A panel with a title, and the boxes in it. The title ends before the lines of skips."""
    right = LEFT + BOX + ARC - 2 if has_lanes else width - EDGE - 8
    _arrow(drawing, 10)
    top = drawing.y
    panel = len(drawing.shapes)
    drawing.text(EDGE + 8, top + 17, part.name, ' font-weight="600"')
    drawing.text(right, top + 17, part.shape, ' text-anchor="end"')
    drawing.y = top + 24
    if part.note:
        soft = ' font-size="12" style="fill: var(--soft)"'
        drawing.text(EDGE + 8, top + 33, part.note, soft)
        drawing.y += 14
    for place, box in enumerate(part.boxes):
        _draw_box(drawing, box, first=place == 0)
    drawing.y += 8
    back = Drawing()
    back.rect((EDGE, top, width - 2 * EDGE, drawing.y - top), 'rx="6" fill="var(--panel)" stroke="var(--grid)"')
    drawing.shapes[panel:panel] = back.shapes


def _arrow(drawing: Drawing, length: float) -> None:
    middle, end = LEFT + BOX / 2, drawing.y + length
    drawing.line(f"M{middle:g} {drawing.y:g}V{end:g}m-3.5 -5l3.5 5l3.5 -5")
    drawing.y = end


def _draw_box(drawing: Drawing, box: Box, *, first: bool) -> None:
    start = drawing.y
    if box.kind == "block" or not first:
        _arrow(drawing, GAP)
    drawing.inputs[box.number] = start + (drawing.y - start) / 2
    height = ROW * len(box.lines) + 2 * PAD
    corner = height / 2 if box.kind == "pool" else 4
    look = f'rx="{corner:g}" fill="var(--paper)" stroke="{STROKES[box.kind]}" stroke-width="1.4"'
    if box.times > 1:
        drawing.rect((LEFT + 4, drawing.y + 4, BOX, height), look)
        drawing.text(LEFT - 8, drawing.y + height / 2 + 5, f"{box.times}×", ' text-anchor="end" font-weight="600"')
    drawing.rect((LEFT, drawing.y, BOX, height), look)
    for number, content in enumerate(box.lines):
        y = drawing.y + PAD + ROW * number + 13
        drawing.text(LEFT + BOX / 2, y, content, ' text-anchor="middle"')
    drawing.y += height
    if box.kind == "block":
        _draw_sum(drawing, box)


def _draw_sum(drawing: Drawing, box: Box) -> None:
    """Below a block: a circle with a plus, and the shortcut that leads to it."""
    middle, right = LEFT + BOX / 2, LEFT + BOX + ARC / 2 + 2
    begin, center = drawing.inputs[box.number], drawing.y + 5 + 8
    drawing.line(f"M{middle:g} {drawing.y + (4 if box.times > 1 else 0):g}V{center - 6:g}")
    circle = (
        f'<circle cx="{middle:g}" cy="{center:g}" r="6" fill="var(--paper)" stroke="currentColor" stroke-width="1.2"/>'
    )
    drawing.shapes.append(circle)
    drawing.line(f"M{middle - 3.5:g} {center:g}h7M{middle:g} {center - 3.5:g}v7")
    if box.shortcut:
        dashes = "" if box.shortcut == "identity" else ' stroke-dasharray="4 3"'
        drawing.line(f"M{middle:g} {begin:g}H{right - 8:g}q8 0 8 8V{center - 10.5:g}q0 8 -8 8H{middle + 5.5:g}", dashes)
    drawing.sums[box.number] = center
    drawing.y = center + 6


def _draw_skips(drawing: Drawing, spec: ModelSpec, lanes: dict[int, int]) -> None:
    middle = LEFT + BOX / 2
    color = ' style="stroke: var(--orange)"'
    for start, lane in lanes.items():
        x = LEFT + BOX + ARC + LANE * (lane + 0.6)
        ends = sorted(end for begin, end in spec.skip_pairs() if begin == start)
        drawing.line(f"M{middle:g} {drawing.inputs[start] - 4:g}H{x:g}V{drawing.sums[ends[-1]] + 2.5:g}", color)
        for end in ends:
            y = drawing.sums[end] + 2.5  # the shortcut ends as far above the middle
            drawing.line(f"M{x:g} {y:g}H{middle + 5.5:g}", color)
            drawing.shapes.append(f'<circle cx="{x:g}" cy="{y:g}" r="2.4" fill="var(--orange)"/>')


def _legend(spec: ModelSpec, found: Sequence[Part]) -> list[tuple[str, str]]:
    """(look of a line, what it means), of what is drawn."""
    shortcuts = {box.shortcut for part in found for box in part.boxes if box.kind == "block"}
    kernels = " or ".join(sorted(shortcuts - {"", "identity"}))
    rows = [("", "shortcut: identity")] if "identity" in shortcuts else []
    rows += [(' stroke-dasharray="4 3"', f"shortcut: {kernels} convolution")] if kernels else []
    rows += [(' style="stroke: var(--orange)"', "skip: 1×1 convolution and norm")] if spec.skip_pairs() else []
    return rows


def _draw_legend(drawing: Drawing, rows: Sequence[tuple[str, str]]) -> None:
    drawing.y += 8
    for look, meaning in rows:
        drawing.y += ROW - 2
        drawing.line(f"M{EDGE:g} {drawing.y - 4:g}h22", look)
        drawing.text(EDGE + 30, drawing.y, meaning, ' font-size="12" style="fill: var(--soft)"')
    drawing.y += 4
