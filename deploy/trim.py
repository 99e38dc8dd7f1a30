"""Removes from an image's site-packages what snugnet-runtime never loads: tests, tools, a second copy of ONNX Runtime
for C programs, what ONNX Runtime needs to write files, parts of numpy, AVIF and fonts. Only for images that hold
nothing else: `python trim.py SITE_PACKAGES`."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

UNUSED = (
    "**/tests",
    "**/__pycache__",
    "**/*.pyi",
    "onnxruntime/transformers",
    "onnxruntime/tools",
    "onnxruntime/quantization",
    "onnxruntime/datasets",
    "onnxruntime/backend",
    "onnxruntime/capi/libonnxruntime.so.*",
    "google",
    "protobuf-*",
    "flatbuffers*",
    "numpy/random",
    "numpy/f2py",
    "numpy/distutils",
    "numpy/ma",
    "numpy/fft",
    "numpy/polynomial",
    "numpy/testing",
    "numpy/_core/_simd.*",
    "numpy/_core/_*_tests.*",
    "numpy/_core/include",
    "numpy/_core/lib",
    "PIL/_avif.*",
    "PIL/_imagingft.*",
    "pillow.libs/libavif-*",
    "pillow.libs/libfreetype-*",
    "pillow.libs/libharfbuzz-*",
    "pillow.libs/libbrotli*",
    "pip*",
    "setuptools*",
    "pkg_resources",
    "_distutils_hack",
    "distutils-precedence.pth",
)


def main(site: Path) -> None:
    if not (site / "snugnet_runtime").is_dir():
        sys.exit(f"{site}: holds no snugnet_runtime; give the site-packages that it was installed into")
    before = size_mb(site)
    for pattern in UNUSED:
        for path in list(site.glob(pattern)):
            if path.is_dir():
                shutil.rmtree(path)
            elif path.exists():
                path.unlink()
    print(f"{site}: {before:.0f} MB, now {size_mb(site):.0f} MB")


def size_mb(folder: Path) -> float:
    return sum(path.lstat().st_size for path in folder.rglob("*") if not path.is_dir()) / 1e6


if __name__ == "__main__":
    main(Path(sys.argv[1]))
