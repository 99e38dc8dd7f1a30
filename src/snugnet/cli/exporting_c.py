"""For microcontrollers: export-c."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from snugnet.cli.console import Json, errors, out, print_json


def register(app: typer.Typer) -> None:
    app.command("export-c")(export_c)


def export_c(
    path: Annotated[Path, typer.Argument(metavar="RUN_OR_FILE", help="A run directory or a shipped file, in int8.")],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="A folder; RUN/c if not given.")] = None,
    as_json: Json = False,
) -> None:
    """Write an int8 net as C: its numbers in a header, and the program that runs them in a static arena.

    Where there is a C compiler, the program is run here and held to the net's own logits, bit for bit.

    Example: snug export-c runs/small-int8 -o firmware/net
    """
    from snugnet import artifact, runs
    from snugnet.errors import MissingExtra
    from snugnet.export_c.checking import check_c
    from snugnet.export_c.write import write_c

    file = runs.read_finished(path).path / "model.safetensors" if path.is_dir() else path
    shipped = artifact.read(file)
    folder = output or (path if path.is_dir() else path.parent) / "c"
    written = write_c(shipped, folder)
    try:
        checked = check_c(shipped)
    except MissingExtra as error:
        checked = 0
        errors.print(f"not checked: {error}", soft_wrap=True, markup=False)
    document = {
        "path": str(folder),
        "files": [str(each) for each in written.files],
        "arena_bytes": written.arena_bytes,
        "image_bytes": written.image_bytes,
        "data_bytes": written.data_bytes,
        "checked_images": checked,
    }
    if as_json:
        return print_json(document)
    ram = f"RAM {written.arena_bytes:,} B and the image's {written.image_bytes:,} B"
    out.print(f"{folder}: {ram}; flash {written.data_bytes:,} B and the program", soft_wrap=True, markup=False)
    if checked:
        out.print(f"its logits are the net's, bit for bit, on {checked} images of noise", soft_wrap=True, markup=False)
    return errors.print(f"Next: cd {folder} && cc -std=c99 -O2 -o net main.c snug.c", soft_wrap=True, markup=False)
