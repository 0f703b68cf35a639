"""The floors of the package: imports run from higher floors to lower ones, without a circle."""

from __future__ import annotations

import ast
from pathlib import Path

import antiphon

PACKAGE = Path(antiphon.__file__).parent
FLOORS = [
    {"errors", "symbols"},
    {"tables", "files", "devices"},
    {"config", "metrics", "trace", "calibration"},
    {"data", "parts"},
    {"decoding", "dataset", "answers"},
    {"model", "rules", "lanes", "exceptions"},
    {"structures", "ensemble", "narrowed"},
    {"search"},
    {"evaluation", "bundle"},
    {"training", "explanation"},
    {"sides", "inputs"},
    {"predictor", "defaults", "checkup"},
    {"api", "inspection", "export", "comparison", "conversion", "server"},
    {"demo", "bench"},
    {"cli"},
    {"__main__"},
]
FORBIDDEN = {
    "parts": {"config", "data", "dataset"},
    "data": {"config", "parts"},
    "decoding": {"data", "parts", "config"},
}


def modules() -> dict[str, Path]:
    """Dotted names below the package, without packages themselves."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        if parts[-1] != "__init__":
            found[".".join(parts)] = path
    return found


def imports(path: Path) -> set[str]:
    """Modules of the package that a file imports anywhere, in functions and for type checking too."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            raise AssertionError(f"{path}: relative import")
    known = modules()
    inner = {name.removeprefix("antiphon.") for name in names if name.startswith("antiphon.")}
    return {name for name in inner if name in known}


def top(module: str) -> str:
    return module.split(".")[0]


def test_every_module_has_its_floor() -> None:
    listed = set().union(*FLOORS)
    assert listed == {top(name) for name in modules()}


def test_imports_go_down() -> None:
    floor = {name: number for number, names in enumerate(FLOORS) for name in names}
    for module, path in modules().items():
        for used in imports(path):
            if top(used) == top(module):
                continue
            assert floor[top(used)] < floor[top(module)], f"{module} must not import {used}"
            assert top(used) not in FORBIDDEN.get(top(module), set()), f"{module} must not know {used}"


def test_no_import_circle() -> None:
    graph = {module: imports(path) for module, path in modules().items()}
    done: set[str] = set()

    def visit(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, f"circle: {' -> '.join([*path, module])}"
        if module not in done:
            for used in sorted(graph[module]):
                visit(used, (*path, module))
            done.add(module)

    for module in graph:
        visit(module, ())


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

    assert sorted(antiphon.__all__) == ["AntiphonError", "Prediction", "Predictor", "__version__", "load", "train"]
    for name in antiphon.__all__:
        assert getattr(antiphon, name) is not None
    code = "import sys, antiphon; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_public_definitions_have_docstrings() -> None:
    for module, path in modules().items():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        if module == "__main__":
            continue
        assert ast.get_docstring(tree), module
        for node in tree.body:
            if isinstance(node, ast.ClassDef | ast.FunctionDef) and not node.name.startswith("_"):
                if module == "config" and isinstance(node, ast.ClassDef):
                    continue  # keys are described field by field
                assert ast.get_docstring(node), f"{module}.{node.name}"
