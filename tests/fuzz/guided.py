"""Fuzzing that coverage guides, by atheris (`pip install -e '.[fuzz]'`): each reader of others' files, for a time.

    python tests/fuzz/guided.py                        # all readers, ten minutes each
    python tests/fuzz/guided.py --seconds 60 recipe image

Prints executions and edges of each; ends with 1 where the law of tests/fuzz/hostile.py was broken, and keeps the input
that broke it as crash-* in --keep. Inputs that found something new stay too, and the next search begins with them.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from random import Random
from typing import Any

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent), str(HERE.parent.parent / "runtime" / "src")]
WATCHED = ["snugnet", "snugnet_runtime", "tomllib", "pickle", "json"]  # whose branches guide
MEMORY_MB, INPUT_S = 4096, 20


def search(name: str, seconds: int, corpus: Path) -> None:
    """In this process; atheris ends it."""
    import atheris

    with atheris.instrument_imports(include=WATCHED):
        from hostile import ATTACKS, READERS, outcome
        from mutations import LARGEST, mutated
    reader = READERS[name]
    for number, data in enumerate([*reader.sound, *ATTACKS]):
        (corpus / f"{number:03d}").write_bytes(data)
    folder = corpus / "files"

    def one(data: bytes) -> None:
        outcome(reader, data, folder)

    def bend(data: bytes, most: int, seed: int) -> bytes:
        random = Random(seed)
        if random.random() < 0.5:
            return mutated(random, data, reader.words, 1)[:most]
        changed: Any = atheris.Mutate(data, most)
        return bytes(changed)

    limits = [f"-max_total_time={seconds}", f"-timeout={INPUT_S}", f"-rss_limit_mb={MEMORY_MB}", f"-max_len={LARGEST}"]
    kept = f"-artifact_prefix={corpus}/"
    atheris.Setup([sys.argv[0], *limits, kept, "-print_final_stats=1", str(corpus)], one, custom_mutator=bend)
    atheris.Fuzz()


def run(name: str, seconds: int, corpus: Path) -> bool:
    """In a process of its own; whether the law held."""
    corpus.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, __file__, "--inside", str(corpus.resolve()), "--seconds", str(seconds), name]
    environment = {**os.environ, "SNUG_CACHE": str(corpus.resolve() / "cache"), "SNUG_OFFLINE": "1"}
    with tempfile.TemporaryDirectory() as scratch:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", cwd=scratch, env=environment)
    said = done.stdout + done.stderr
    counts = re.findall(r"number_of_executed_units:\s*(\d+)", said)
    edges = re.findall(r"cov: (\d+)", said)
    verdict = "held" if done.returncode == 0 else "BROKEN"
    print(
        f"{name:24} {int(counts[-1]) if counts else 0:>9,} executions  {(edges or ['0'])[-1]:>6} edges  {verdict}",
        flush=True,
    )
    if done.returncode:
        print("\n".join(said.splitlines()[-25:]), flush=True)
    return done.returncode == 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("readers", nargs="*", help="all where none is named")
    parser.add_argument("--seconds", type=int, default=600, help="a reader")
    parser.add_argument("--keep", type=Path, default=Path(tempfile.gettempdir()) / "snugnet-fuzz")
    parser.add_argument("--inside", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.inside:
        search(given.readers[0], given.seconds, given.inside)
        return
    from hostile import READERS

    if unknown := set(given.readers) - set(READERS):
        parser.error(f"unknown: {', '.join(sorted(unknown))}; known are {', '.join(READERS)}")
    held = [run(name, given.seconds, given.keep / re.sub(r"\W", "-", name)) for name in given.readers or READERS]
    sys.exit(not all(held))


if __name__ == "__main__":
    main()
