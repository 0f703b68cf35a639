"""The floors of both packages: imports run from higher floors to lower ones, without a circle, inside folders too."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import antiphon

ROOT = Path(__file__).parents[2]
# from the ground up: a module or a folder may import what stands in the rows before its own
FLOORS = {
    "antiphon": [
        {"common"},
        {"errors", "server"},
        {"registry", "files", "devices", "metrics"},
        {"config"},
        {"data"},
        {"model"},
        {"decoding"},
        {"saved"},
        {"evaluation"},
        {"training"},
        {"inspection"},
        {"export"},
        {"use"},
        {"shards"},
        {"api", "track"},
        {"experiments"},
        {"tools"},
        {"extend"},
        {"cli"},
        {"__main__"},
    ],
    "antiphon_runtime": [
        {"common"},
        {"errors", "server"},
        {"batches", "search", "codecs"},
        {"copied", "ctc", "exceptions", "graph", "pictures", "sampling"},
        {"series"},
        {"kinds"},
        {"model"},
        {"loading"},
        {"serving", "blocks"},
        {"cli"},
        {"__main__"},
    ],
}
FOLDERS = {"antiphon": ROOT / "antiphon", "antiphon_runtime": ROOT / "runtime/antiphon_runtime"}
FORBIDDEN = {  # what would be below, and must not be known
    "model.parts": {"config", "data"},
    "data.codecs": {"config"},
    **{f"decoding.{name}": {"config", "data"} for name in ("hypothesis", "step", "greedy", "scoring")},
    **{f"decoding.{name}": {"config", "data"} for name in ("constraints", "beam")},
}
DISTRIBUTIONS = sorted(FLOORS)
SHARED = ("common", "server")  # folders of both distributions: what they import of these is relative
SERVES_BOTH = ROOT / "antiphon/use/serving.py"  # models of both distributions, where the runtime is installed


def modules(distribution: str) -> dict[str, Path]:
    """Dotted names below the package, without packages themselves."""
    folder, known = FOLDERS[distribution], {}
    linked = (path for name in SHARED for path in folder.glob(f"{name}/*.py"))  # which are links in the runtime
    for path in sorted({*folder.rglob("*.py"), *linked}):
        names = path.relative_to(folder).with_suffix("").parts
        if names[-1] != "__init__":
            known[".".join(names)] = path
    return known


def imports(distribution: str, path: Path) -> set[str]:
    """Modules of the package that a file imports anywhere, in functions and for type checking too."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level and path.parent.name in SHARED:  # two names, one folder
            above = [distribution, path.parent.name][: 3 - node.level]
            place = ".".join([*above, *([node.module] if node.module else [])])
            names |= {place} | {f"{place}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            raise AssertionError(f"{path}: relative import")
    others = {name for name in names if top(name) in FLOORS.keys() - {distribution}}
    assert not others or path == SERVES_BOTH, f"{path} imports the other distribution"
    known = modules(distribution)
    inner = {name.removeprefix(f"{distribution}.") for name in names if name.startswith(f"{distribution}.")}
    return {name for name in inner if name in known}


def top(module: str) -> str:
    return module.split(".")[0]


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_every_module_has_its_floor(distribution: str) -> None:
    assert set().union(*FLOORS[distribution]) == {top(name) for name in modules(distribution)}


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_imports_go_down(distribution: str) -> None:
    floor = {name: number for number, names in enumerate(FLOORS[distribution]) for name in names}
    for module, path in modules(distribution).items():
        for used in imports(distribution, path):
            if top(used) != top(module):
                assert floor[top(used)] < floor[top(module)], f"{module} must not import {used}"
            for place, names in FORBIDDEN.items():
                if distribution == "antiphon" and f"{module}.".startswith(f"{place}."):
                    assert top(used) not in names, f"{module} must not know {used}"


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_no_import_circle(distribution: str) -> None:
    graph = {module: imports(distribution, path) for module, path in modules(distribution).items()}
    done: set[str] = set()

    def visit(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, f"circle: {' -> '.join([*path, module])}"
        if module not in done:
            for used in sorted(graph[module]):
                visit(used, (*path, module))
            done.add(module)

    for module in graph:
        visit(module, ())


def test_the_root_is_small() -> None:
    assert len(list(FOLDERS["antiphon"].glob("*.py"))) <= 12


def test_modules_hold_parameters_only() -> None:
    """State is a value: no module of the model keeps a buffer or a tensor attribute of its own."""
    import torch
    from models import covering, make

    for choice in covering():
        model = make(choice)
        assert not list(model.buffers())
        for module in model.modules():
            held = [name for name, value in vars(module).items() if isinstance(value, torch.Tensor)]
            assert not held, f"{type(module).__name__} holds {held}"


def test_public_names_are_the_documented_ones_and_import_is_light() -> None:
    import subprocess
    import sys

    predictions = ["Label", "Labels", "Number", "Numbers", "Series", "Text", ""]
    names = {f"{kind}Prediction" for kind in predictions} | {"AntiphonError", "Callback", "Candidate", "LiveEnd"}
    names |= {"Chosen", "Doubt", "Lexicon", "doubt", "lexicon", "next_rows", "pull", "push"}
    assert set(antiphon.__all__) == names | {
        "Predictor",
        "Run",
        "Trace",
        "__version__",
        "check",
        "compare",
        "distill",
        "load",
        "track",
        "train",
    }
    for name in antiphon.__all__:
        assert getattr(antiphon, name) is not None
    code = "import sys, antiphon; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_public_definitions_have_docstrings() -> None:
    for module, path in modules("antiphon").items():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        if module == "__main__":
            continue
        assert ast.get_docstring(tree), module
        for node in tree.body:
            if isinstance(node, ast.ClassDef | ast.FunctionDef) and not node.name.startswith("_"):
                if any(isinstance(mark, ast.Name) and mark.id == "overload" for mark in node.decorator_list):
                    continue  # the definition behind it is described
                assert ast.get_docstring(node), f"{module}.{node.name}"
