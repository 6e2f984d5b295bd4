"""Pages of the documentation as programs: the blocks of a page run in their order, in one folder.

- `python` runs; `pycon` is a doctest; all blocks of a page share their names.
- A block with `title="FILE"` is written to that file instead.
- `console` has commands after `$ ` and their output, if it is shown. `…` there stands for any text. `$ echo $?` prints the exit
  code of the command before it. Only `robench` and `echo` can run.
- Any other block, such as `sh`, does not run. `tests/cli/test_help.py` parses the command lines of all blocks.
"""

from __future__ import annotations

import doctest
import io
import re
import shlex
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import sklearn.datasets
import torch
from PIL import Image

from robench.cli.entry import run_cli
from robench.datasets import open_dataset
from robench.models.architectures.cifar_resnet import build

__all__ = ["ROOT", "Block", "blocks", "command_lines", "pages", "run_console", "run_page", "write_files"]

ROOT = Path(__file__).parents[1]

_BLOCK = re.compile(r'^```(\w*)(?: title="([^"]+)")?[^\n]*\n(.*?)^```', re.MULTILINE | re.DOTALL)
_FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


@dataclass(frozen=True)
class Block:
    """A fenced block of a page.

    Attributes:
        language: The word after the fence; empty for none.
        title: The file that the block is; empty for none.
        text: The lines of the block.
        line: Number of its first line in the page.
    """

    language: str
    title: str
    text: str
    line: int

    @property
    def runs(self) -> bool:
        return self.language in ("python", "pycon", "console")


def pages() -> list[Path]:
    """Return the pages of the site that people write, without the decisions."""
    return sorted((ROOT / "docs").glob("*.md"))


def blocks(page: Path) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    return [Block(one[1], one[2] or "", one[3], text[: one.start(3)].count("\n") + 1) for one in _BLOCK.finditer(text)]


def command_lines(page: Path) -> Iterator[str]:
    """Yield the command lines of `robench` in the blocks of a page."""
    for block in blocks(page):
        if block.language in ("", "sh", "bash", "console"):
            for line in block.text.replace("\\\n", " ").splitlines():
                command = line.strip().removeprefix("$ ")
                if command.startswith("robench "):
                    yield command


def run_page(page: Path, capsys: pytest.CaptureFixture[str], names: dict[str, Any] | None = None) -> int:
    """Run the blocks of a page in the current folder, and return their number.

    Args:
        page: The page.
        capsys: Captures what commands print.
        names: Values that the programs of the page have already.
    """
    names = {"__name__": "page"} | (names or {})
    last, count = 0, 0
    for block in blocks(page):
        where = f"{page.name}:{block.line}"
        try:
            if block.title:
                Path(block.title).parent.mkdir(parents=True, exist_ok=True)
                Path(block.title).write_text(block.text, encoding="utf-8")
            elif block.language == "python":
                exec(compile("\n" * (block.line - 1) + block.text, str(page), "exec"), names)
            elif block.language == "pycon":
                _doctest(block, names, where)
            elif block.language == "console":
                last = run_console(block, capsys, last)
        except Exception as error:
            error.add_note(where)
            raise
        count += block.runs or bool(block.title)
    return count


def write_files(folder: Path) -> None:
    """Write the small files that pages name: 50 digits as `cifar10/test`, untrained weights, a photograph."""
    digits = open_dataset("demo")
    for position in range(0, len(digits), 18):
        image = Image.open(io.BytesIO(digits.read(position))).convert("RGB").resize((32, 32))
        for part in ("train", "test"):
            file = folder / "cifar10" / part / digits.classes[digits.labels[position]] / f"{position}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            image.save(file)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        torch.save(build("cifar_resnet20")[0].state_dict(), folder / "resnet20.th")
    shutil.copy(Path(sklearn.datasets.__file__).parent / "images" / "flower.jpg", folder / "cat.jpg")


def _doctest(block: Block, names: dict[str, Any], where: str) -> None:
    test = doctest.DocTestParser().get_doctest(block.text.replace("…", "..."), names, where, str(where), block.line)
    found: list[str] = []
    doctest.DocTestRunner(optionflags=_FLAGS).run(test, out=found.append, clear_globs=False)
    names.update(test.globs)
    assert not found, "".join(found)


def run_console(block: Block, capsys: pytest.CaptureFixture[str], last: int = 0) -> int:
    """Run the commands of a block after a command with the exit code `last`, and return the last exit code."""
    parts = re.split(r"^\$ ", block.text.replace("\\\n", " "), flags=re.MULTILINE)
    assert not parts[0], "a console block begins with a command"
    for part in parts[1:]:
        command, _, expected = part.partition("\n")
        capsys.readouterr()
        if command == "echo $?":
            printed = f"{last}\n"
        else:
            program, *arguments = shlex.split(command, comments=True)
            assert program == "robench", f"{program} does not run here: use a block of sh"
            last = run_cli(arguments)
            done = capsys.readouterr()
            printed = done.out or done.err
        if expected.strip():
            assert matches(expected, printed), f"$ {command}\n{printed}"
        elif last not in (0, 1):
            raise AssertionError(f"$ {command}\n{printed}\nexit code {last}")
    return last


def matches(expected: str, printed: str) -> bool:
    """Whether a text was printed; `…` stands for anything, and spaces at the ends of lines do not count."""
    wanted, found = ("\n".join(line.rstrip() for line in text.strip("\n").splitlines()) for text in (expected, printed))
    return re.fullmatch(".*?".join(map(re.escape, wanted.split("…"))), found, flags=re.DOTALL) is not None
