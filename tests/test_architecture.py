"""The folders show how the data flows: imports point one way, and what reads tables needs no torch."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import robench

SOURCE = Path(robench.__file__).parent

# From the ground up: a module imports only from layers before its own, or from its own package.
LAYERS: tuple[tuple[str, ...], ...] = (
    ("types", "errors", "memory", "light", "observer", "transfer", "profile"),
    ("geometry", "tables", "draws", "extensions", "moved", "heartbeat"),
    ("parquet", "watch"),
    ("rundir", "suites", "metrics", "baselines"),
    ("images", "filters", "scoring", "rectangles", "status"),
    ("corruption", "perturbation"),
    ("corruptions", "models", "data", "summary", "contrast", "leaderboard"),
    ("gate", "compare"),
    ("pytest_plugin",),
    ("perturbations",),
    ("reference", "packages"),
    ("conditions",),
    ("treatments", "pipeline"),
    ("loop",),
    ("options",),
    ("plan", "machine"),
    ("manifest", "evaluation"),
    ("recipe",),
    ("preparation",),
    ("engine",),
    ("run",),
    ("jobs",),
    ("estimate", "export", "verify", "report", "preview"),
    ("cli",),
    ("__main__",),
)
TORCH_FREE = (
    *("types", "errors", "geometry", "tables", "extensions", "rundir", "suites", "metrics", "baselines", "scoring"),
    *("summary", "contrast", "gate", "compare", "pytest_plugin", "leaderboard", "report", "light", "moved", "parquet"),
    *("observer", "heartbeat", "status", "profile"),
)


LISTED = ("robench.suites", "robench.scoring")
"""Packages whose modules list every name that another takes from them."""


def top(name: str) -> str:
    return name.split(".")[1] if "." in name else ""


def modules() -> list[Path]:
    return sorted(path for path in SOURCE.rglob("*.py") if path != SOURCE / "__init__.py")


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            found |= {
                f"{node.module}.{alias.name}" if node.module == "robench" else node.module for alias in node.names
            }
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return found


@pytest.mark.parametrize("path", modules(), ids=lambda path: path.relative_to(SOURCE).as_posix())
def test_imports_point_one_way(path: Path) -> None:
    layer = {name: depth for depth, names in enumerate(LAYERS) for name in names}
    own = path.relative_to(SOURCE).parts[0].removesuffix(".py")
    for name in imports(path):
        if not name.startswith("robench"):
            continue
        other = top(name)
        assert other == own or layer[other] < layer[own], f"{own} may not import {other}"


@pytest.mark.parametrize("path", modules(), ids=lambda path: path.relative_to(SOURCE).as_posix())
def test_only_reference_imports_the_package(path: Path) -> None:
    if path.name != "reference.py":
        assert not any(name.split(".")[0] == "imagecorruptions" for name in imports(path))


def test_tables_need_no_torch() -> None:
    code = (
        "import sys, importlib\n"
        f"for name in {TORCH_FREE!r}: importlib.import_module('robench.' + name)\n"
        "import robench, robench.cli\n"
        "robench.gate.gate, robench.compare.compare, robench.leaderboard.leaderboard\n"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-W", "error", "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("path", modules(), ids=lambda path: path.relative_to(SOURCE).as_posix())
def test_what_others_take_of_suites_and_scoring_is_listed(path: Path) -> None:
    """`__all__` of their modules has every name that is imported from them."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith(LISTED):
            module = importlib.import_module(node.module)
            names = {alias.name for alias in node.names if not isinstance(getattr(module, alias.name), ModuleType)}
            assert names <= set(module.__all__), node.module


def test_public_names() -> None:
    assert robench.__all__ == sorted(robench.__all__)
    for name in robench.__all__:
        assert getattr(robench, name).__doc__, name
    assert robench.__version__ == "0.1.0"
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = robench.nothing
