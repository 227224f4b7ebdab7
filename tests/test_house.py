"""House rules that no other tool checks: sizes, names, words, and what an import may load."""

import ast
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "circuitscope"
MODULES = sorted(PACKAGE.rglob("*.py"))
MAY_BE_LARGE = ("projects", "resources/fonts", "tests/data/golden")


def short(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def broken_by(rule: Callable[[ast.Module, Path], Iterator[str]]) -> list[str]:
    found = []
    for path in MODULES:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        found += [f"{short(path)}: {what}" for what in rule(tree, path)]
    return found


def test_files_have_at_most_500_lines() -> None:
    lengths = {short(path): len(path.read_text(encoding="utf-8").splitlines()) for path in MODULES}
    assert not {name: lines for name, lines in lengths.items() if lines > 500}


def test_every_module_says_what_it_holds() -> None:
    def rule(tree: ast.Module, path: Path) -> Iterator[str]:
        if not ast.get_docstring(tree):
            yield "no docstring"

    assert not broken_by(rule)


def test_classes_have_at_most_20_public_methods() -> None:
    def rule(tree: ast.Module, path: Path) -> Iterator[str]:
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                # Properties are data, and camelCase names are Qt's own, overridden.
                methods = [n for n in node.body if isinstance(n, ast.FunctionDef)]
                verbs = [m.name for m in methods if not m.decorator_list and m.name.islower()]
                public = [name for name in verbs if not name.startswith("_")]
                if len(public) > 20:
                    yield f"{node.name} has {len(public)} public methods"

    assert not broken_by(rule)


def test_package_never_unpickles_evaluates_or_prints() -> None:
    def rule(tree: ast.Module, path: Path) -> Iterator[str]:
        for node in ast.walk(tree):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            for name in names:
                if name.partition(".")[0] in ("pickle", "cPickle", "dill", "tqdm"):
                    yield f"line {node.lineno} imports {name}"
            called = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
            if called in ("eval", "exec", "print"):
                yield f"line {node.lineno} calls {called}()"
            is_load = isinstance(node, ast.Attribute) and ast.unparse(node) == "torch.load"
            if is_load and path != PACKAGE / "dictionaries" / "torch_files.py":
                yield f"line {node.lineno} uses torch.load"

    assert not broken_by(rule)


def test_no_file_is_named_after_nothing() -> None:
    vague = {"manager", "helper", "helpers", "util", "utils", "misc", "common", "info"}
    assert not [short(path) for path in MODULES if vague & set(path.stem.split("_"))]


def test_files_carry_no_licence_header() -> None:
    marks = ("SPDX-License", "Copyright")
    assert not [
        short(path)
        for path in MODULES
        if any(m in path.read_text(encoding="utf-8")[:600] for m in marks)
    ]


def test_large_files_lie_only_where_data_belongs() -> None:
    folders = [ROOT / name for name in ("circuitscope", "packaging", "resources", "tests")]
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    large = [short(path) for path in files if path.stat().st_size > 500_000]
    assert not [name for name in large if not name.startswith(MAY_BE_LARGE)]


def loaded_by(statement: str) -> set[str]:
    """Return which heavy packages a fresh process holds after a statement."""
    code = f"{statement}\nimport sys\nsys.stdout.write(' '.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr[-2000:]
    return {"torch", "transformers", "PySide6", "pyqtgraph"} & set(done.stdout.split())


@pytest.mark.parametrize("module", ["circuitscope", "circuitscope.api"])
def test_import_loads_neither_torch_nor_qt(module: str) -> None:
    assert loaded_by(f"import {module}") == set()


def test_no_part_of_the_window_loads_torch() -> None:
    statement = (
        "import importlib, pkgutil, circuitscope.app as app\n"
        "for part in pkgutil.walk_packages(app.__path__, 'circuitscope.app.'):\n"
        "    importlib.import_module(part.name)"
    )
    assert not loaded_by(statement) & {"torch", "transformers"}
