"""A long training holds no more at its end than at its beginning. Half a minute on an idle core."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

EPOCHS = 200
LONG = """
import gc, json, os, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
import torch
torch.set_num_threads(1)
from small_runs import SGD_EMA_BEST, tiny
from snugnet import pipeline
from snugnet.pipeline import Controls
from snugnet.train.loop import Epoch

seen = {}

def observe(progress):
    if isinstance(progress, Epoch) and progress.epoch in (5, 100, int(sys.argv[3])):
        gc.collect()
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        seen[progress.epoch] = pages * os.sysconf("SC_PAGE_SIZE"), len(os.listdir("/proc/self/fd"))

pipeline.start(tiny(*SGD_EMA_BEST, f"train.epochs={sys.argv[3]}"), Path(sys.argv[1]), Controls(observe=observe))
print(json.dumps(seen))
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is told by /proc")
def test_memory_and_open_files_stay_as_they_are(tmp_path: Path):
    command = [sys.executable, "-c", LONG, str(tmp_path / "run"), str(Path(__file__).parent), str(EPOCHS)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (early, opened), (late, still) = (json.loads(done.stdout)[str(epoch)] for epoch in (5, EPOCHS))
    print(f"{early:,} B and {opened} open files after 5 epochs, {late:,} B and {still} after {EPOCHS}")
    assert late <= 1.02 * early
    assert still == opened
    lines = (tmp_path / "run" / "metrics.jsonl").read_bytes().splitlines()
    assert len(lines) == EPOCHS
    assert max(map(len, lines)) < 1.2 * min(map(len, lines))
