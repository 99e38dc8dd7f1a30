from pathlib import Path

from snugnet.report.robustness import corruption_bars, save_both

ROWS = [
    {"name": name, "family": family, "accuracy": [0.9 - 0.1 * k - low for k in range(5)], "mean": 0.7 - low}
    for name, family, low in (("gaussian_noise", "noise", 0.3), ("jpeg", "digital", 0.0))
]
FOUND = {"corruptions": ROWS, "clean": 0.95, "mean": 0.55}


def test_the_picture_says_in_words_what_it_shows():
    plot = corruption_bars(FOUND)
    assert plot.alt == (
        "Accuracy under 2 corruptions at five strengths: 55.00 % in the mean, 95.00 % clean, "
        "lowest gaussian_noise with 40.00 %"
    )
    bars = plot.figure.axes[0].patches
    assert [round(bar.get_width(), 6) for bar in bars[::2]] == [0.6, 0.5, 0.4, 0.3, 0.2]
    assert "gaussian noise" in plot.svg()


def test_both_files_are_the_same_each_time(tmp_path: Path):
    for folder in ("a", "b"):
        paths = save_both(corruption_bars(FOUND), tmp_path / folder)
        assert [path.name for path in paths] == ["corruption.png", "corruption.svg"]
    for name in ("corruption.png", "corruption.svg"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    assert (tmp_path / "a" / "corruption.svg").read_text().startswith("<?xml")
