"""`snug serve`: a run behind the service of snugnet-runtime, which answers as `snug predict` does."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.request
from importlib.util import find_spec
from pathlib import Path

import pytest
from PIL import Image

from command import fails, snug
from snugnet.cli import serving

WANTED = ("onnx", "onnxruntime", "fastapi", "uvicorn", "python_multipart", "snugnet_runtime")
needs_extras = pytest.mark.skipif(any(find_spec(name) is None for name in WANTED), reason="the extras are not here")
PATIENCE_S = 120


@needs_extras
def test_a_run_answers_as_snug_predict_does(finished: Path, elsewhere: Path):
    Image.linear_gradient("L").save(elsewhere / "grey.png")
    predicted = snug("predict", finished, elsewhere / "grey.png", "--top", 3, "--json").json[0]
    paths = [str(Path(find_spec(name).origin).parents[1]) for name in ("snugnet", "snugnet_runtime")]
    command = [sys.executable, "-m", "snugnet", "serve", str(finished), "--port", "0"]
    variables = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=variables) as process:
        try:
            line = process.stderr.readline()
            assert line.startswith("Serving "), line + process.stderr.read()
            address = line.split(" at ")[1].split(";")[0]
            data, kind = (elsewhere / "grey.png").read_bytes(), {"Content-Type": "image/png"}
            request = urllib.request.Request(f"{address}/classify?top=3", data, kind)
            with urllib.request.urlopen(request, timeout=PATIENCE_S) as response:
                (answer,) = json.load(response)
        finally:
            process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_S) == 0
    assert [each["class"] for each in answer["top"]] == [each["class"] for each in predicted["top"]]
    shares = [each["probability"] for each in predicted["top"]]
    assert [each["probability"] for each in answer["top"]] == pytest.approx(shares, abs=1e-6)
    assert len(list((elsewhere / "cache" / "exported").glob("*.onnx"))) == 1, "kept for the next time"


@needs_extras
def test_what_cannot_be_meant_has_the_exit_codes_of_snug(tmp_path: Path):
    fails(snug("serve", tmp_path / "none.onnx"), 4, "none.onnx: cannot be read (No such file or directory)")
    fails(snug("serve", tmp_path / "none.onnx", "--batch", 0), 2, "--batch: must be at least 1; got 0")
    fails(snug("serve", tmp_path / "none.safetensors"), 4, "none.safetensors: no such file")


def test_a_missing_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(serving, "RUNTIME", "no_such_package")
    words = (
        "serve: needs no_such_package, not installed here: pip install 'snugnet[serve]', or in a checkout pip install"
    )
    fails(snug("serve", tmp_path), 6, words)
