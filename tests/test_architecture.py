"""Imports run one way over the packages, and reading tables needs no torch."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

import robench

SOURCE = Path(robench.__file__).parent

# Each row may import from the rows above it.
LAYERS: tuple[tuple[str, ...], ...] = (
    ("errors", "types", "minimal", "github_comment"),
    ("arguments", "plugins"),
    ("suites", "runs"),
    ("transforms", "datasets", "analysis"),
    ("models", "display", "pytest_plugin"),
    ("treatments",),
    ("evaluation",),
    ("viewer",),
    ("cli",),
    ("__main__",),
)
TORCH_FREE = ("suites", "runs", "analysis", "display", "minimal", "github_comment", "pytest_plugin", "plugins")


def modules() -> list[Path]:
    return sorted(path for path in SOURCE.rglob("*.py") if path != SOURCE / "__init__.py")


def name_of(path: Path) -> str:
    return ".".join(("robench", *path.relative_to(SOURCE).with_suffix("").parts)).removesuffix(".__init__")


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def test_the_top_level_holds_eleven_packages_and_eight_files() -> None:
    found = {path.name.removesuffix(".py") for path in SOURCE.iterdir() if not path.name.startswith("__pycache__")}
    assert found == {name for row in LAYERS for name in row} | {"__init__", "py.typed"}


@pytest.mark.parametrize("name", ["comparison.compare", "gate.gate", "gate.power", "leaderboard.leaderboard"])
def test_no_function_hides_its_module(name: str) -> None:
    package, module = name.split(".")
    loaded = importlib.import_module(f"robench.analysis.{name}")
    assert getattr(importlib.import_module(f"robench.analysis.{package}"), module) is loaded


def test_imports_run_one_way() -> None:
    layer = {name: depth for depth, names in enumerate(LAYERS) for name in names}
    wrong = []
    for path in modules():
        own = path.relative_to(SOURCE).parts[0].removesuffix(".py")
        for name in imports(path):
            other = (*name.split("."), "")[1] if name.startswith("robench.") else own
            if other != own and not layer[other] < layer[own]:
                wrong.append(f"{path.relative_to(SOURCE)} imports {name}")
    assert not wrong


def test_modules_import_no_private_names_of_others() -> None:
    wrong = [
        f"{path.relative_to(SOURCE)} imports {name}"
        for path in modules()
        for name in imports(path)
        if name.startswith("robench.") and name.rpartition(".")[2].startswith("_")
    ]
    assert not wrong


def test_only_reference_imports_the_imagecorruptions_package() -> None:
    users = [path.name for path in modules() if any(name.split(".")[0] == "imagecorruptions" for name in imports(path))]
    assert users == ["reference.py"]


def test_tables_need_no_torch() -> None:
    names = [name_of(path) for path in modules() if path.relative_to(SOURCE).parts[0].removesuffix(".py") in TORCH_FREE]
    code = (
        "import sys, importlib\n"
        f"for name in {names!r}: importlib.import_module(name)\n"
        "import robench, robench.cli\n"
        "robench.gate, robench.compare, robench.leaderboard, robench.report\n"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-W", "error", "-c", code], check=False).returncode == 0


def test_public_names() -> None:
    assert robench.__all__ == sorted(robench.__all__)
    for name in robench.__all__:
        assert getattr(robench, name).__doc__, name
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
    assert robench.__version__ == project["version"]
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = robench.nothing
