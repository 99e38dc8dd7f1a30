"""Imports between the modules of snugnet point one way. The order stands here, and nowhere else."""

import ast
from pathlib import Path

import pytest

import snugnet

# A module may import those of its own line and of the lines above it. "data" is the module or all modules under it.
ORDER = [
    "errors",
    "changes units config files launch problems builtin toml_lines toml_text",
    "foreign",
    "device parallel stopping",
    "models data",
    "compress",
    "artifact checkpoint",
    "export",
    "budget counts evaluate",
    "train",
    "memory environment",
    "recipe",
    "design explore runs",
    "lineage finetune inventory",
    "scoring",
    "nets",
    "pipeline",
    "track",
    "judging compare",
    "export_c",
    "ship",
    "search",
    "report",
    "hub",
    "api",
    "cli __main__",
]
LAZY = {
    ("data.digits", "sklearn.datasets"),
    ("files", "fcntl"),
    ("data.store", "fcntl"),
}  # a second to import; not on every system

ROOT = Path(snugnet.__file__).parent
LEVEL = {name: level for level, line in enumerate(ORDER) for name in line.split()}
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(ROOT.rglob("*.py"))
    if path != ROOT / "__init__.py"
}


def imports(name):
    """(module imported, line, whether inside a function) of a module; snugnet's own without their first part."""
    tree = ast.parse(MODULES[name].read_text())
    functions = [n for n in ast.walk(tree) if isinstance(n, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))]
    inside = {id(node) for function in functions for node in ast.walk(function)}
    for node in ast.walk(tree):
        lazy = id(node) in inside
        if isinstance(node, ast.Import):
            yield from ((alias.name.removeprefix("snugnet."), node.lineno, lazy) for alias in node.names)
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name}:{node.lineno}: a relative import"
            base = (node.module or "").removeprefix("snugnet").removeprefix(".")
            for alias in node.names:
                inner = f"{base}.{alias.name}".removeprefix(".")
                yield (
                    (inner if (node.module or "").startswith("snugnet") and inner in MODULES else base),
                    node.lineno,
                    lazy,
                )


def level(name):
    return LEVEL[name.split(".")[0]]


def graph():
    return {name: {found for found, _, _ in imports(name) if found in MODULES} for name in MODULES}


def test_every_module_has_its_place():
    assert {name.split(".")[0] for name in MODULES} == set(LEVEL)


@pytest.mark.parametrize("name", MODULES)
def test_imports_point_one_way(name):
    for found, line, _ in imports(name):
        if found in MODULES:
            assert level(found) <= level(name), f"{name}:{line} imports {found}, which stands higher"


def test_no_two_modules_lead_to_each_other():
    left = graph()
    while free := {name for name, needs in left.items() if not needs & left.keys()}:
        left = {name: needs for name, needs in left.items() if name not in free}
    assert not left, f"cycles among {sorted(left)}"


@pytest.mark.parametrize("name", [name for name in MODULES if not name.startswith(("cli", "__main__"))])
def test_only_the_command_line_imports_lazily(name):
    lazy = {(name, found) for found, _, is_lazy in imports(name) if is_lazy}
    assert lazy <= LAZY


def test_the_proof_sees_what_it_should():
    assert "errors" in graph()["config"] or "errors" in graph()["files"]
    assert "models.spec" in graph()["models.resnet"]
    assert ("sklearn.datasets", True) in {(found, lazy) for found, _, lazy in imports("data.digits")}
