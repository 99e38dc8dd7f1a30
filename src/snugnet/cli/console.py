"""Where output goes: results to stdout, progress and errors to stderr, one JSON document with --json."""

from __future__ import annotations

import json
import os
import re
import sys
from typing import Annotated, Any

import typer
from rich.console import Console, ConsoleRenderable, RenderHook
from rich.text import Text

from snugnet.launch import place

CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")  # all but tabs and ends of lines
FOLLOWS = place().rank > 0  # of several processes the first one alone reports


class Results(Console):
    """stdout. Once its reader has gone, as in `snug recipes | head`, the command goes on to its end in silence."""

    def on_broken_pipe(self) -> None:
        self.quiet = True
        write_nowhere()


def write_nowhere() -> None:
    """What is still to come on stdout, at the end of the process too, is dropped."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


out = Results(highlight=False, emoji=False, quiet=FOLLOWS)  # a device called cpu:x: is no cross
errors = Console(stderr=True, highlight=False, emoji=False, quiet=FOLLOWS)

Json = Annotated[bool, typer.Option("--json", help="Answer with one JSON document on stdout.")]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="SECTION.KEY=VALUE", help="Change a value of the recipe; repeatable."),
]
Data = Annotated[str | None, typer.Option("--data", help="cifar10, cifar100, digits, a folder of images, or a CSV.")]


def escape(text: object) -> str:
    """Text of others, such as paths and class names, whose brackets are no markup."""
    from rich.markup import escape as escaped

    return escaped(visible(str(text)))


def visible(text: str) -> str:
    """Control characters as they are written: names in files of others may hold some, and a terminal obeys them."""
    return CONTROL.sub(lambda found: ascii(found[0])[1:-1], text)


class _Visible(RenderHook):
    """The same of texts that are printed as they are."""

    def process_renderables(self, renderables: list[ConsoleRenderable]) -> list[ConsoleRenderable]:
        for each in renderables:
            if isinstance(each, Text) and CONTROL.search(each.plain):
                each.plain = visible(each.plain)
        return renderables


for console in (out, errors):
    console.push_render_hook(_Visible())


def require_recipe(name: str | None) -> None:
    """Raises RecipeError of a name that is mistyped, before the seconds that importing torch takes."""
    if name is not None:
        from snugnet import builtin

        builtin.find(name)


def print_json(value: Any) -> None:
    try:
        sys.stdout.write(json.dumps(value, indent=1) + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        write_nowhere()


def is_live() -> bool:
    """Whether progress may be redrawn in place: on a terminal, and not in a CI job that only looks like one."""
    return errors.is_terminal and not errors.quiet and not os.environ.get("CI") and os.environ.get("TERM") != "dumb"
