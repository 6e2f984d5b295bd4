"""Refuse banned words in src and docs, and headings and docstrings of all folders that begin with a question word.

Templates of pages and `docs/decisions` are exempt. `--sentences` also lists sentences of more than 25 words.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
LONGEST = 25
DOCSTRINGS = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
QUESTION = re.compile(r"(What|Whom|Whose|Who|Where|How)\b")


def banned() -> list[tuple[re.Pattern[str], str]]:
    """Return a pattern of each banned word, and the word to use."""
    lines = (ROOT / "scripts/banned_words.txt").read_text().splitlines()
    pairs = (line.split("\t") for line in lines if line and not line.startswith("#"))
    # An underscore ends a word, so the rule also covers names.
    return [(re.compile(rf"(?<![A-Za-z])(?:{word})(?![A-Za-z])", re.IGNORECASE), use) for word, use in pairs]


def texts() -> list[Path]:
    """Return the files that must follow the rules."""
    docs = [*(ROOT / "docs").rglob("*.md"), ROOT / "README.md", ROOT / "CONTRIBUTING.md"]
    return sorted([*(ROOT / "src").rglob("*.py"), *(path for path in docs if "decisions" not in path.parts)])


def programs() -> list[Path]:
    """Return the files of which only the docstrings must follow a rule."""
    return sorted(
        path for name in ("tests", "benchmarks", "scripts", "examples") for path in (ROOT / name).rglob("*.py")
    )


def docstrings(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the docstrings of a module, its assignments' included, with their lines."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, DOCSTRINGS) and (text := ast.get_docstring(node)):
            yield node.body[0].lineno, text
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            yield node.lineno, node.value.value


def problems(path: Path, *, sentences: bool) -> Iterator[tuple[int, str]]:
    """Yield violations of the rules in a file, with their lines."""
    text = path.read_text()
    for number, line in enumerate(text.splitlines(), 1):
        for pattern, use in banned():
            if match := pattern.search(line):
                yield number, f"{match[0]!r}: write {use}"
        if path.suffix == ".md" and (match := re.match(r"#+ (.*)", line)) and QUESTION.match(match[1]):
            yield number, f"a heading begins with {match[1].split()[0]!r}"
    blocks = dict(docstrings(path)) if path.suffix == ".py" else {}
    if sentences:
        prose = {number: block.partition("Examples:\n")[0] for number, block in blocks.items()}
        for number, block in (
            prose.items() if path.suffix == ".py" else [(1, re.sub(r"```.*?```", "", text, flags=re.S))]
        ):
            for sentence in re.split(r"(?<=[.!?:])\s+(?=[A-Z`])|\n\s*\n|\n\s*[-|]|\n\s*\w+: |\n#", block):
                if len(sentence.split()) > LONGEST and "|" not in sentence:
                    yield number, f"{len(sentence.split())} words: {' '.join(sentence.split())[:100]}…"


def questions(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the docstrings of a file that begin with a question word, with their lines."""
    for number, block in docstrings(path):
        if match := QUESTION.match(block.strip()):
            yield number, f"a docstring begins with {match[0]!r}"


def main() -> int:
    """Print the problems of all files, or of those below the given paths; 1 if there are any."""
    sentences, below = "--sentences" in sys.argv, [Path(name).resolve() for name in sys.argv[1:] if name[0] != "-"]
    count = 0
    prose = texts()
    for path in [*prose, *programs()]:
        if below and not any(path.is_relative_to(parent) for parent in below):
            continue
        found = [*problems(path, sentences=sentences)] if path in prose else []
        for number, problem in found + ([*questions(path)] if path.suffix == ".py" else []):
            print(f"{path.relative_to(ROOT)}:{number}: {problem}")
            count += 1
    return 1 if count else 0


if __name__ == "__main__":
    sys.exit(main())
