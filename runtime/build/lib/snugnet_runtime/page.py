"""The page of the service: one file, and a policy that lets run what it holds and nothing else."""

from __future__ import annotations

import re
from base64 import b64encode
from hashlib import sha256
from importlib.resources import files


def page() -> tuple[str, str]:
    """Its text and its Content-Security-Policy."""
    text = files("snugnet_runtime").joinpath("page.html").read_text(encoding="utf-8")
    style, script = (_digest(text, tag) for tag in ("style", "script"))
    rules = (
        "default-src 'none'", f"style-src '{style}'", f"script-src '{script}'", "img-src blob: data:",
        "connect-src 'self'", "base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'",
    )  # fmt: skip
    return text, "; ".join(rules)


def _digest(text: str, tag: str) -> str:
    (inner,) = re.findall(rf"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
    return "sha256-" + b64encode(sha256(inner.encode()).digest()).decode()
