"""What `snug evaluate` prints of its answer."""

from __future__ import annotations

from typing import Any

from rich.table import Table

from snugnet.cli.console import escape, out
from snugnet.evaluate import words
from snugnet.units import show_percent

MOST_NAMED = 5  # pairs, mistakes and classes on one line
LEAST_GAP = 0.0005  # of a class, below which its confidence and precision read alike


def print_scores(result: dict[str, Any]) -> None:
    for line in (
        accuracy_line(result),
        *changed_lines(result),
        *view_lines(result),
        *gap_lines(result),
        *average_lines(result),
    ):
        say(line)
    for line in calibration_lines(result):
        say(line)
    print_classes(result)
    for line in mistake_lines(result):
        say(line)
    if found := result["corruption"]:
        print_corruption(found, result)


def say(line: str) -> None:
    out.print(line, soft_wrap=True)


def accuracy_line(result: dict[str, Any]) -> str:
    low, high = result["accuracy_interval"]
    return (
        f"[bold]{result['split']} accuracy {show_percent(result['accuracy'])}[/] on {escape(result['data'])} "
        f"(95 % interval {100 * low:.2f} to {100 * high:.2f} %, {of_images(result)}), "
        f"top-5 {show_percent(result['top5'])}, loss {result['loss']:.4f}"
    )


def changed_lines(result: dict[str, Any]) -> list[str]:
    return [f"changed in its recipe: {escape(', '.join(result['changed']))}"] if result["changed"] else []


def of_images(result: dict[str, Any]) -> str:
    if result["images"] == result["images_in_split"]:
        return f"{result['images']:,} images"
    return f"{result['images']:,} of {result['images_in_split']:,} images, a fixed random sample"


def view_lines(result: dict[str, Any]) -> list[str]:
    tta = result["tta"]
    if tta is None:
        return []
    share = f" at the least certain {100 * tta['least_certain']:g} %" if tta["least_certain"] < 1 else ""
    return [
        f"with {tta['name']}{share} ({tta['passes']:g} passes an image, the mean of {tta['mean_of']}); "
        f"without it {show_percent(tta['accuracy_without'])}"
    ]


def gap_lines(result: dict[str, Any]) -> list[str]:
    if result["gap"] is None:
        return []
    train, points = show_percent(result["train_accuracy"]), f"{100 * abs(result['gap']):.2f}"
    side = "above" if result["gap"] >= 0 else "below"
    return [
        f"train accuracy {train} ({result['train_images']:,} images, not augmented): "
        f"{points} points {side} {result['split']}{' without views' if result['tta'] else ''}"
    ]


def average_lines(result: dict[str, Any]) -> list[str]:
    return [
        f"macro precision {result['macro_precision']:.4f}, recall {result['macro_recall']:.4f}, "
        f"F1 {result['macro_f1']:.4f}, balanced accuracy {show_percent(result['balanced_accuracy'])}"
    ]


def calibration_lines(result: dict[str, Any]) -> list[str]:
    """The answer in words, the temperature, and where it is worst."""
    found = result["calibration"]
    sure = words.how_sure(found, result["ece"], result["accuracy"])
    lines = [f"[bold]{words.verdict(found)}[/]. {sure}", *words.remedy(result)]
    if found["calibrated"] == "yes":
        return lines
    worst = found["worst_bin"]
    where = (
        f"worst calibrated: where it is {100 * worst['low']:.0f} to {100 * worst['high']:.0f} % sure "
        f"({worst['images']:,} images) it is right in {show_percent(worst['accuracy'])}"
    )
    by_class = worst_classes(result)
    lines.append(where + (f"; by class said: {', '.join(by_class)}" if by_class else ""))
    return lines


def worst_classes(result: dict[str, Any]) -> list[str]:
    """The classes whose confidence lies furthest from their precision, of those that it said at all."""
    said = [sum(column) for column in zip(*result["confusion"], strict=True)]
    rows = zip(result["per_class"], said, strict=True)
    gaps = [(row, images) for row, images in rows if abs(row["calibration_gap"]) > LEAST_GAP]
    ranked = sorted(gaps, key=lambda pair: -abs(pair[0]["calibration_gap"]))[:3]
    return [
        f"{escape(row['class'])} ({images:,} images, {show_percent(row['confidence'], 1)} sure, "
        f"{show_percent(row['precision'], 1)} right)"
        for row, images in ranked
    ]


def print_classes(result: dict[str, Any]) -> None:
    table = Table(title="per class")
    for column in ("class", "images", "recall", "precision", "F1", "confidence"):
        table.add_column(column, justify="left" if column == "class" else "right")
    for row in result["per_class"]:
        numbers = [f"{row[name]:.4f}" for name in ("recall", "precision", "f1", "confidence")]
        table.add_row(escape(row["class"]), f"{row['support']:,}", *numbers)
    out.print(table)


def mistake_lines(result: dict[str, Any]) -> list[str]:
    if not result["confused"]:
        return ["no image is taken for another class"]
    pairs = [
        f"{escape(pair['true'])} taken for {escape(pair['predicted'])}: {pair['images']:,} "
        f"({show_percent(pair['share'], 1)})"
        for pair in result["confused"][:MOST_NAMED]
    ]
    mistakes = [
        f"{named(each)}: true {escape(each['true'])}, said {escape(each['predicted'])} "
        f"({show_percent(each['probability'])})"
        for each in result["mistakes"][:MOST_NAMED]
    ]
    return [f"most often confused: {', '.join(pairs)}", f"most confident mistakes: {'; '.join(mistakes)}"]


def named(mistake: dict[str, Any]) -> str:
    """By its number in the split, as in pictures of `snug explain`, and its file where there is one."""
    file = f" ({escape(mistake['name'])})" if mistake["name"] else ""
    return f"image {mistake['index']}{file}"


def print_corruption(found: dict[str, Any], result: dict[str, Any]) -> None:
    table = Table(title="accuracy of corrupted images, %")
    table.add_column("corruption")
    for column in ("1", "2", "3", "4", "5", "mean", "drop"):
        table.add_column(column, justify="right")
    family = None
    for row in found["corruptions"]:
        if row["family"] != family:
            family = row["family"]
            table.add_section()
        numbers = [f"{100 * value:.2f}" for value in (*row["accuracy"], row["mean"])]
        table.add_row(row["name"], *numbers, f"{100 * row['relative_drop']:.1f}")
    out.print(table)
    say(
        f"[bold]corrupted {show_percent(found['mean'])}[/], clean {show_percent(found['clean'])}: "
        f"a relative drop of {show_percent(found['relative_drop'], 1)} ({of_images(result)}, one look each)"
    )
    families = ", ".join(f"{name} {show_percent(mean)}" for name, mean in found["families"].items())
    say(f"by family: {families}; mean over families {show_percent(found['mean_over_families'])}")
