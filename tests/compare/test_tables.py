import csv
import io

import pytest

from fakes import record
from snugnet.compare import compare
from snugnet.compare.tables import as_csv, as_latex, escaped, groups_table, pairs_table, write_csv


def some():
    return compare(
        [
            record(f"runs/{name}-{seed}", name, accuracy, seed, images=1000)
            for name, accuracies in (("a_b", (0.80, 0.82)), ("50% & more", (0.90, 0.94)))
            for seed, accuracy in enumerate(accuracies)
        ]
    )


def rows(table):
    return list(csv.DictReader(io.StringIO(as_csv(table))))


def test_groups_as_csv():
    first, second = rows(groups_table(some()))
    assert (first["group"], second["group"]) == ("a_b", "50% & more")
    assert float(first["mean"]) == pytest.approx(0.81)
    assert float(first["std"]) == pytest.approx(0.0141421, abs=1e-6)
    assert (first["params"], first["pareto"], first["fits"], first["p50_ms"]) == ("4978810", "False", "", "")
    assert (first["epochs_to_80"], second["epochs_to_80"]) == ("", "4.5")


def test_tests_as_csv():
    (only,) = rows(pairs_table(some()))
    assert (only["a"], only["method"], only["identical"]) == ("a_b", "paired t-test", "False")
    assert float(only["p_seeds"]) == float(only["p_seeds_holm"]) < 0.1


def test_three_files_of_csv(tmp_path):
    paths = write_csv(some(), tmp_path / "table.csv")
    assert [path.name for path in paths] == ["table.csv", "table-runs.csv", "table-tests.csv"]
    assert len((tmp_path / "table-runs.csv").read_text().splitlines()) == 5
    one = write_csv(compare([record()]), tmp_path / "one.csv")
    assert [path.name for path in one] == ["one.csv", "one-runs.csv"]


def test_latex():
    text = as_latex(some())
    assert text.startswith("% needs \\usepackage{booktabs}\n\n\\begin{tabular}{lrrrrr}\n\\toprule\n")
    assert "a\\_b & 2 & 81.00 $\\pm$ 1.41 & 4.98M & 19.9 MB & 557M \\\\\n" in text
    assert "50\\% \\& more & 2 & 92.00 $\\pm$ 2.83 & " in text
    assert "a\\_b & 50\\% \\& more & +11.00 & 0.058 & 0.000 \\\\\n" in text
    assert text.count("\\toprule") == text.count("\\midrule") == text.count("\\bottomrule") == 3


@pytest.mark.parametrize(
    ("text", "latex"),
    [
        ("a_b&c%d$e#f{g}", r"a\_b\&c\%d\$e\#f\{g\}"),
        ("~^\\", r"\textasciitilde{}\textasciicircum{}\textbackslash{}"),
        ("[2pt]*", "{[}2pt{]}{*}"),
        ("a\nb", "a b"),
        ("±–−", r"$\pm$--$-$"),
        ("0.9 †", r"0.9 $^\dagger$"),
    ],
)
def test_a_stranger_s_text_in_latex(text, latex):
    assert escaped(text) == latex
