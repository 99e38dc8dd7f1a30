"""The machine: doctor."""

from __future__ import annotations

import shutil
import sys
from typing import Any

import typer

from snugnet import units
from snugnet.cli.console import Json, escape, out, print_json

STEPS, MOST_DIVERGENCE = 8, 0.05  # of the training that bf16 is held against fp32 by
EXTRAS = {"bench": ("torchvision", "timm"), "export": ("onnx", "onnxruntime"), "hub": ("huggingface_hub",)}


def register(app: typer.Typer) -> None:
    app.command()(doctor)


def doctor(as_json: Json = False) -> None:
    """Show versions, device, CPU flags, extras, disk and data, and try one training step.

    Example: snug doctor
    """
    facts = _facts()
    if as_json:
        return print_json(facts)
    for name, value in facts.items():
        out.print(f"[bold]{name:<12}[/] {escape(_shown(value))}", soft_wrap=True)
    if facts["bf16_divergence"] > MOST_DIVERGENCE:
        out.print("bf16 strays from fp32 on this machine: set train.precision = 'fp32', and reinstall torch.")
    return out.print("Next: snug demo" if facts["ok"] else "The training step failed: reinstall torch.")


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key}: {_shown(item)}" for key, item in value.items())
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(value) if isinstance(value, list) else str(value)


def _facts() -> dict[str, Any]:
    import torch

    import snugnet
    from snugnet import device, environment, track

    compute = device.choose("auto", "auto")
    flags = environment.describe(compute)["cpu_flags"]
    divergence = _divergence()
    return {
        "ok": _step_works() and divergence <= MOST_DIVERGENCE,
        "snugnet": snugnet.__version__,
        "python": sys.version.split()[0],
        "torch": environment.torch_version(),
        "device": str(compute.device),
        "precision": compute.precision,
        "bf16_divergence": round(divergence, 4),
        "hardware": environment.hardware(compute.device),
        "cpu_flags": flags,
        "threads": torch.get_num_threads(),
        "disk_free": units.show_bytes(shutil.disk_usage(".").free),
        "extras": {
            name: all(map(track.is_installed, packages)) for name, packages in {**EXTRAS, **track.PACKAGES}.items()
        },
        "data": _data(),
    }


def _data() -> dict[str, str]:
    """Where each named set lies on disk; nothing is downloaded."""
    from snugnet.data.sources import on_disk

    return {name: str(on_disk(name) or "not on disk") for name in ("cifar10", "cifar100")}


def _divergence() -> float:
    """How far, as a share, the losses of the same short training in bf16 stray from those in fp32."""
    from snugnet import device

    where = device.find_device("auto")
    exact, half = (_losses(device.Compute(where, precision)) for precision in ("fp32", "bf16"))
    return float(((half - exact).abs() / exact).max().nan_to_num(float("inf")))


def _losses(compute: Any) -> Any:
    """Of a tiny net that learns one batch by heart."""
    import torch
    from torch.nn import functional as F

    from snugnet.models.resnet import build
    from snugnet.models.spec import ModelSpec

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = build(ModelSpec.parse({"stages": [["basic", 1, 8]]})).to(compute.device)
        images, labels = torch.randn(16, 3, 16, 16).to(compute.device), (torch.arange(16) % 10).to(compute.device)
    rule = torch.optim.SGD(model.parameters(), lr=0.05)
    losses = []
    for _ in range(STEPS):
        with compute.autocast():
            logits = model(images)
        loss = F.cross_entropy(logits.float(), labels)
        rule.zero_grad()
        loss.backward()
        rule.step()
        losses.append(loss.detach())
    return torch.stack(losses)


def _step_works() -> bool:
    """One step of a tiny net on the device gives a finite loss."""
    import torch
    from torch.nn import functional as F

    from snugnet import device
    from snugnet.models.resnet import build
    from snugnet.models.spec import ModelSpec

    compute = device.choose("auto", "auto")
    model = build(ModelSpec.parse({"stages": [["basic", 1, 8]]})).to(compute.device)
    with compute.autocast():
        loss = F.cross_entropy(model(torch.randn(4, 3, 32, 32, device=compute.device)).float(), torch.arange(4))
    loss.backward()
    return bool(loss.isfinite())
