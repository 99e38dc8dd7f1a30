"""Muon: momentum, orthogonalised (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # the steepest quintic at 0: singular values end between 0.7 and 1.2
ITERATIONS = 5


def newton_schulz(matrix: Tensor) -> Tensor:
    """The nearest half-orthogonal matrix, about: U V' of its singular value decomposition U S V'."""
    a, b, c = COEFFICIENTS
    wide: Tensor = matrix.T if matrix.shape[0] > matrix.shape[1] else matrix
    wide = wide / wide.norm().clamp(min=1e-7)  # the largest singular value is at most 1
    for _ in range(ITERATIONS):
        gram = wide @ wide.T
        wide = a * wide + (b * gram + c * gram @ gram) @ wide
    return wide.T if matrix.shape[0] > matrix.shape[1] else wide


class Muon(torch.optim.Optimizer):
    """For weights of two or more axes; those behind the first count as one, so that a filter is a row.

    `normalize`: before each step a weight is scaled so that its rows have a root mean square norm of 1 (Jordan 2024,
    airbench94_muon), which makes `lr` a relative rate.

    torch.optim.Muon takes two axes only, and is not in the oldest torch that we run on.
    """

    def __init__(
        self, groups: list[dict[str, Any]], *, lr: float, momentum: float, nesterov: bool, normalize: bool = False
    ) -> None:
        shared = {"lr": lr, "momentum": momentum, "nesterov": nesterov, "normalize": normalize, "weight_decay": 0.0}
        super().__init__(groups, shared)

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]  # noqa: ARG002
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is not None:
                    self._move(weight, weight.grad, group)

    def _move(self, weight: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        state = self.state[weight]
        if not state:
            state["momentum"] = torch.zeros_like(weight)
        average = state["momentum"].lerp_(gradient, 1 - group["momentum"])
        towards = gradient.lerp(average, group["momentum"]) if group["nesterov"] else average
        rows = towards.flatten(1)
        # bf16 halves the time on a card and is what the authors use; most CPUs only emulate it.
        direction = newton_schulz(rows.bfloat16() if rows.is_cuda else rows)
        scale = max(1.0, rows.shape[0] / rows.shape[1]) ** 0.5  # every update moves outputs by about as much
        if group["normalize"]:
            weight.mul_(weight.shape[0] ** 0.5 / weight.norm().clamp(min=1e-7))
        weight.mul_(1 - group["lr"] * group["weight_decay"])
        weight.add_(direction.view(weight.shape).to(weight.dtype), alpha=-group["lr"] * scale)
