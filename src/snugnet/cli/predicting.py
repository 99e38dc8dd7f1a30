"""A net at work: predict."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from snugnet.cli.console import Json, escape, out, print_json
from snugnet.cli.display import show_warning
from snugnet.cli.judging import views
from snugnet.cli.training import Device
from snugnet.errors import DataError, UsageError

if TYPE_CHECKING:
    from snugnet.data.unlabelled import Unlabelled
    from snugnet.ship.predict import Answer

SHOWN, TOLD = 20, 10  # rows of the table, and images that cannot be read
STDIN, UNSURE = Path("-"), "unsure"


def register(app: typer.Typer) -> None:
    app.command()(predict)


def predict(
    run: Annotated[Path, typer.Argument(help="A run directory or a shipped file.")],
    images: Annotated[
        list[Path],
        typer.Argument(
            metavar="IMAGES...",
            help="Image files, folders of them, .npy and .npz arrays, CIFAR's and Kaggle's pickles, CIFAR's .bin; - is "
            "one image file on stdin.",
        ),
    ],
    top: Annotated[int, typer.Option(min=1, help="So many classes an image, the most probable first.")] = 1,
    csv: Annotated[Path | None, typer.Option("--csv", help="Write the answers to this file.")] = None,
    form: Annotated[
        str | None, typer.Option("--format", help="Of the CSV: plain, or kaggle (ID,Labels in whole numbers).")
    ] = None,
    abstain: Annotated[
        str | None,
        typer.Option(
            metavar="SHARE",
            help="Be unsure where the net often is: so that this share of its answers on val is right, or, with "
            "coverage=SHARE, so many of val are answered.",
        ),
    ] = None,
    tta: Annotated[
        str | None, typer.Option(help="Several views an image: mirror, mirror_translate, ten_crop or patil25.")
    ] = None,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Say what is on images: the class of each, and how probable the net holds it.

    Images that cannot be read are told, the others answered, and the exit code is then 4.

    Example: snug predict runs/demo-001 photos/ --csv answers.csv
    """
    from snugnet.data.unlabelled import image_files, stream
    from snugnet.device import find_device
    from snugnet.evaluate.abstain import parse
    from snugnet.ship.predict import opened

    _check_form(form, csv, abstain, top)
    wanted = None if abstain is None else parse(abstain)
    files = [file for path in images if path != STDIN for file in image_files(path)]
    predictor = opened(run, find_device(device), tta=views(tta), top=top, wanted=wanted)
    if predictor.threshold:
        show_warning(predictor.threshold.words)

    def asked() -> Iterator[Unlabelled]:
        yield from _from_stdin(images.count(STDIN))
        yield from stream(files)

    told = _Told(is_table=out.is_terminal and not as_json and not csv, is_list=not (out.is_terminal or as_json or csv))
    kept = [answer for answer in predictor.answers(asked()) if told.hears(answer) and (as_json or csv)]
    _finish(told, [answer for answer in kept if not isinstance(answer, DataError)], csv, form, as_json=as_json)


@dataclass
class _Told:
    """What was said so far: a line an image, or the first rows of a table."""

    is_table: bool
    is_list: bool
    answered: int = 0
    failed: int = 0
    rows: list[Answer] = field(default_factory=list)
    classes: Counter[str] = field(default_factory=Counter)

    def hears(self, answer: Answer | DataError) -> bool:
        """Whether it is an answer."""
        if isinstance(answer, DataError):
            self.failed += 1
            if self.failed <= TOLD:
                show_warning(str(answer))
            return False
        self.answered += 1
        self.classes[UNSURE if answer.label is None else answer.top[0][0]] += 1
        if self.is_list:
            sys.stdout.write("\t".join((answer.image, *_cells(answer))) + "\n")
        elif self.is_table and len(self.rows) < SHOWN:
            self.rows.append(answer)
        return True

    def print_table(self, top: int) -> None:
        table = Table()
        for name in ("image", *(f"{word}{'' if k == 1 else f' {k}'}" for k in range(1, top + 1) for word in COLUMNS)):
            table.add_column(name, justify="right" if name.startswith("probability") else "left", overflow="fold")
        for answer in self.rows:
            table.add_row(escape(answer.image), *map(escape, _cells(answer)))
        out.print(table)
        if self.answered > len(self.rows):
            out.print(f"and {self.answered - len(self.rows):,} images more; --csv FILE writes all")


COLUMNS = ("class", "probability")


def _cells(answer: Answer) -> list[str]:
    named = [(name, f"{share:.4f}") for name, share in answer.top]
    if answer.label is None:
        named[0] = (UNSURE, named[0][1])
    return [cell for pair in named for cell in pair]


def _check_form(form: str | None, csv: Path | None, abstain: str | None, top: int) -> None:
    from snugnet.problems import nearest
    from snugnet.ship.predict import FORMATS

    if form is None:
        return
    if form not in FORMATS:
        raise UsageError(f"--format {form}: must be one of {', '.join(FORMATS)}{nearest(form, FORMATS)}")
    if csv is None:
        raise UsageError(f"--format {form}: says how the CSV is written; give --csv FILE as well")
    if form == "kaggle" and (abstain is not None or top > 1):
        raise UsageError("--format kaggle: has one class for every image; leave --abstain and --top out")


def _from_stdin(times: int) -> Iterator[Unlabelled]:
    from snugnet.data.unlabelled import Unlabelled

    if times > 1:
        raise UsageError("-: stdin holds one image; give - once")
    if times:
        yield Unlabelled("-", sys.stdin.buffer.read())


def _finish(told: _Told, kept: list[Answer], csv: Path | None, form: str | None, *, as_json: bool) -> None:
    from snugnet import files
    from snugnet.ship.predict import as_csv

    total = told.answered + told.failed
    if told.failed > TOLD:
        show_warning(f"and {told.failed - TOLD:,} images more that cannot be read")
    if csv and not (form == "kaggle" and told.failed):
        files.write_text(csv, as_csv(kept, form or "plain"))
    if as_json:
        print_json([answer.plain() for answer in kept])
    elif told.is_table and told.rows:
        told.print_table(len(told.rows[0].top))
    if not as_json and (csv or told.is_table):
        often = ", ".join(f"{escape(name)} {count:,}" for name, count in told.classes.most_common(SHOWN))
        out.print(f"{told.answered:,} images answered: {often or 'none'}", soft_wrap=True)
    if told.failed:
        lost = (
            f"; Kaggle wants every image, so {csv} was not written" if form == "kaggle" else "; the others are answered"
        )
        raise DataError(f"{told.failed:,} of {total:,} images cannot be read, see above{lost}")
    if not total:
        raise DataError("IMAGES: hold no image; give files that do")
    if csv and not as_json:
        out.print(f"Answers: {csv}", soft_wrap=True, markup=False)
