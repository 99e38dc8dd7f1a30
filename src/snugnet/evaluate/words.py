"""What calibration and a temperature come to, as the terminal and the pages say it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from snugnet.units import show_percent

CALIBRATED = {"yes": "well calibrated", "nearly": "nearly calibrated", "no": "not calibrated"}
DIRECTIONS = {
    "overconfident": "it is overconfident",
    "underconfident": "it is underconfident",
    "mixed": "overconfident here and underconfident there",
}


def verdict(found: Mapping[str, Any]) -> str:
    """Of a plain Calibration, and what luck would explain."""
    words, luck = CALIBRATED[found["calibrated"]], show_percent(found["ece_by_chance"])
    if found["calibrated"] == "yes":
        return f"{words}: an error of up to {luck} would be luck"
    return f"{words} ({DIRECTIONS[found['direction']]}): luck explains an error of up to {luck}"


def how_sure(found: Mapping[str, Any], ece: float, accuracy: float) -> str:
    return (
        f"Expected calibration error {show_percent(ece)}; on average it is {show_percent(found['confidence'])} sure, "
        f"and right in {show_percent(accuracy)}"
    )


def remedy(facts: Mapping[str, Any]) -> list[str]:
    """How to calibrate a net, and why one cannot: `facts` are those of `calibration.scaled`, with ece and loss."""
    lines = []
    if facts["temperature"] is not None:
        fitted = f"T = {facts['temperature']:.3f}, fitted on {facts['temperature_images']:,} val images"
        error = show_percent(facts["ece_scaled"])
        if facts["ece_scaled"] < facts["ece"]:
            lines.append(
                f"to calibrate it, divide its logits by T before the softmax (no prediction changes): {fitted}, makes "
                f"the calibration error {error}, the loss {facts['loss_scaled']:.4f}"
            )
        else:
            lines.append(f"a temperature has nothing to gain: {fitted}, would make the calibration error {error}")
    if facts["temperature_note"]:
        lines.append(facts["temperature_note"])
    return lines
