"""One look for all pictures: legible at 330 px, colours of Okabe and Ito, the same bytes on every run.

Inline SVG follows the page's light or dark colours: each colour here is written as the CSS variable of that name.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from html import escape
from pathlib import Path
from typing import Any, ParamSpec

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from snugnet.files import write_bytes

INK, GRID, PAPER = "#1b1f24", "#d3d8de", "#ffffff"
BLUE, ORANGE, GREEN, PINK, SKY, YELLOW = "#0072b2", "#d55e00", "#008f68", "#b4578c", "#3d9ad1", "#a87d00"
CYCLE = (BLUE, ORANGE, GREEN, PINK, SKY, YELLOW)
CSS = {
    INK: "currentColor", GRID: "var(--grid)", PAPER: "var(--paper)", BLUE: "var(--blue)", ORANGE: "var(--orange)",
    GREEN: "var(--green)", PINK: "var(--pink)", SKY: "var(--sky)", YELLOW: "var(--yellow)",
}  # fmt: skip
STYLE: Any = {  # Any: matplotlib types the keys, each version its own
    "font.family": "DejaVu Sans", "font.size": 10.0, "axes.titlesize": 11.0, "axes.titleweight": "bold",
    "axes.titlelocation": "left", "axes.spines.top": False, "axes.spines.right": False, "axes.edgecolor": INK,
    "axes.labelcolor": INK, "text.color": INK, "xtick.color": INK, "ytick.color": INK, "axes.grid": True,
    "axes.axisbelow": True, "grid.color": GRID, "grid.linewidth": 0.8, "lines.linewidth": 1.8, "axes.facecolor": "none",
    "figure.facecolor": PAPER, "legend.frameon": False, "legend.fontsize": 9.5, "figure.constrained_layout.use": True,
    "figure.constrained_layout.h_pad": 0.08,
    "svg.fonttype": "none",     # text stays text: small, sharp, and read by screen readers
    "pdf.fonttype": 42,         # the same, and what journals ask for
    "text.parse_math": False,   # a class may be named "$"
    "image.interpolation": "none",
}  # fmt: skip
P = ParamSpec("P")


@dataclass(frozen=True)
class Plot:
    """A picture; `alt` says in words what it shows, `name` is its file's."""

    name: str
    alt: str
    figure: Figure

    def svg(self) -> str:
        """An inline SVG element: no outside reference, no date, no colour of its own."""
        text = self.render("svg", transparent=True, metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
        return inline(text, self.name, self.alt)

    def save(self, folder: Path) -> Path:
        path = folder / f"{self.name}.png"
        write_bytes(path, self.render("png", dpi=160, metadata={"Software": None}))
        return path

    def save_pdf(self, folder: Path) -> Path:
        """The same for print: vectors, and letters that stay letters."""
        path = folder / f"{self.name}.pdf"
        write_bytes(path, self.render("pdf", metadata=dict.fromkeys(("CreationDate", "Creator", "Producer"))))
        return path

    def render(self, kind: str, **options: Any) -> bytes:
        buffer = io.BytesIO()
        with styled():
            self.figure.savefig(buffer, format=kind, **options)
        return buffer.getvalue()


@contextmanager
def styled() -> Iterator[None]:
    """matplotlib's settings for one picture. A class name in a script that the font lacks is the browser's to draw."""
    with mpl.rc_context(STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from", category=UserWarning)
        yield


def drawn(function: Callable[P, Plot]) -> Callable[P, Plot]:
    """Runs a function that draws with our style, and lays the picture out once: each layout would move it a little."""

    @wraps(function)
    def in_style(*args: P.args, **kwargs: P.kwargs) -> Plot:
        with styled():
            plot = function(*args, **kwargs)
            plot.figure.draw_without_rendering()
            plot.figure.set_layout_engine("none")
            return plot

    return in_style


def axes(width: float = 320, height: float = 230) -> Axes:
    """Empty axes in a figure of so many points."""
    return Figure(figsize=(width / 72, height / 72)).add_subplot()


def figure_of(ax: Axes) -> Figure:
    figure = ax.figure
    assert isinstance(figure, Figure)
    return figure


def inline(data: bytes, name: str, alt: str) -> str:
    """matplotlib's SVG file as an element of a page.

    Its ids come from memory addresses and repeat among figures: those in use are numbered anew, the others dropped.
    """
    svg = data.decode()
    svg = svg[svg.index("<svg") :]
    used = dict.fromkeys(re.findall(r'(?:url\(|href=")#([^")]+)', svg))
    new = {old: f"{name}-{number}" for number, old in enumerate(used)}
    svg = re.sub(r' id="([^"]+)"', lambda match: f' id="{new[match[1]]}"' if match[1] in new else "", svg)
    svg = re.sub(r'((?:url\(|href=")#)([^")]+)', lambda match: match[1] + new[match[2]], svg)
    svg = re.sub(
        r' xmlns(:\w+)?="[^"]*"| version="[^"]*"|<!--.*?-->|<metadata>.*?</metadata>', "", svg, flags=re.DOTALL
    )
    svg = re.sub(r' width="([\d.]+)pt" height="[\d.]+pt"', r' style="--width: \1px"', svg, count=1)
    svg = re.sub("|".join(CSS), lambda match: CSS[match[0]], svg)
    return svg.replace("<svg", f'<svg role="img" aria-label="{escape(alt)}"', 1)
