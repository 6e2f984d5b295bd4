"""Search for run directories, the same for every command that takes several runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from robench.errors import RunError
from robench.runs.progress import PROGRESS

__all__ = ["find_runs", "runs_in"]


def find_runs(
    paths: Sequence[Path | str], *, finished: bool = True, on_skip: Callable[[str], None] = lambda _: None
) -> list[Path]:
    """Replace each folder of runs by the run directories in it, and in folders directly inside it.

    Other paths stay, also if they are no runs, for the caller to read or to refuse.

    Args:
        paths: Run directories, folders of them, and files.
        finished: Whether to leave out the runs of a folder that have no results, and those that `--fresh` moved aside.
        on_skip: Receives a note on the runs that are left out.

    Returns:
        The paths in order; the runs of a folder by name, and none that was named before.

    Raises:
        RunError: A folder holds no run, or no finished one.
    """
    found: list[Path] = []
    for path in map(Path, paths):
        inside = runs_in(path)
        if not path.is_dir() or _is_run(path):
            found.append(path)
            continue
        if not inside:
            has_tables = any(path.glob("*.csv"))
            hint = f"name its files, as {path / '*.csv'}" if has_tables else "give a run directory, or a folder of them"
            raise RunError(f"there is no run in {path}", hint)
        kept = [run for run in inside if not finished or ((run / "results.csv").exists() and not _was_moved_aside(run))]
        if not kept:
            raise RunError(f"no run in {path} is finished", f"`robench status {path}` shows their progress")
        if left_out := [run for run in inside if run not in kept]:
            on_skip(f"{', '.join(map(str, left_out))}: left out, because unfinished or moved aside")
        found += [run for run in kept if run not in found]
    return found


def runs_in(folder: Path) -> list[Path]:
    """Return the run directories in a folder and in the folders directly inside it, by name; none for a run directory."""
    if not folder.is_dir() or _is_run(folder):
        return []
    runs: list[Path] = []
    for child in _folders(folder):
        runs += [child] if _is_run(child) else [inner for inner in _folders(child) if _is_run(inner)]
    return runs


def _folders(folder: Path) -> Iterator[Path]:
    try:
        yield from sorted(child for child in folder.iterdir() if child.is_dir() and not child.name.startswith("."))
    except OSError as error:
        raise RunError(f"cannot list {folder}: {error.strerror}", "check its permissions") from error


def _is_run(path: Path) -> bool:
    return any((path / name).is_file() for name in ("manifest.json", PROGRESS))


def _was_moved_aside(run: Path) -> bool:
    """Return whether a run is called NAME.N, next to NAME."""
    name, _, number = run.name.rpartition(".")
    return number.isdecimal() and bool(name) and (run.parent / name).is_dir()
