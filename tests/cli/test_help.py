"""Help pages: examples that parse, one screen for `-h`, and no type names of Python."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer

from robench.cli.entry import app, run_cli
from tests.builders import each, mistake
from tests.pages import ROOT, command_lines, pages

Capture = pytest.CaptureFixture[str]


def commands(group: Any, path: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], Any]]:
    found: list[tuple[tuple[str, ...], Any]] = []
    for name, command in group.commands.items():
        nested = getattr(command, "commands", None)
        found += commands(command, (*path, name)) if nested else [((*path, name), command)]
    return found


def parse(every: dict[tuple[str, ...], Any], line: str) -> None:
    """Parse a command line; a comment and a redirection end it."""
    words = shlex.split(re.split(r" >|;|\|\||&&", line)[0], comments=True)[1:]
    path = tuple(words[: 2 if words[0] in ("list", "cache") and len(words) > 1 else 1])
    if path not in (("list",), ("cache",)):
        every[path].make_context(path[-1], words[len(path) :], resilient_parsing=False)


def test_examples_are_valid_command_lines() -> None:
    """Oracle: the parser itself."""
    root: Any = typer.main.get_command(app)
    every, examples = dict(commands(root)), 0
    for command in every.values():
        for line in re.findall(r"^\s*(robench .*)$", command.help or "", re.MULTILINE):
            parse(every, line)
            examples += 1
    assert examples > 25


def test_command_lines_of_the_documents_are_valid() -> None:
    root: Any = typer.main.get_command(app)
    every, examples = dict(commands(root)), 0
    for file in (ROOT / "README.md", *pages(), *ROOT.glob("examples/*/README.md")):
        text = file.read_text().replace("\\\n", " ")
        spans = [span for span in re.findall(r"`(robench [a-z]+ [^`]*)`", text) if not re.search("[…|]", span)]
        for line in [*command_lines(file), *spans]:
            try:
                parse(every, line)
            except Exception as error:
                if line in spans and type(error).__name__ in ("MissingParameter", "BadOptionUsage"):
                    continue  # A sentence names an option without the arguments.
                error.add_note(f"{file.name}: {line}")
                raise
            examples += 1
    assert examples > 100


def test_every_page_is_plain(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    root: Any = typer.main.get_command(app)
    for path, _ in commands(root):
        assert run_cli([*path, "--help"]) == 0
        page = capsys.readouterr().out
        assert not re.search(r"<bool>|<str>|list\[|Default:|\[/?b\]", page), path
        assert max(map(len, (line for line in page.splitlines() if "robench " not in line))) <= 80, path
        assert run_cli(["help", *path]) == 0
        assert capsys.readouterr().out == page


def test_the_short_page_of_evaluate_is_one_screen(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    assert run_cli(["evaluate", "-h"]) == 0
    short = capsys.readouterr().out
    assert run_cli(["evaluate", "--help"]) == 0
    whole = capsys.readouterr().out
    assert len(short.splitlines()) <= 30
    hidden = int(re.search(r"lists (\d+) more options", short)[1])  # type: ignore[index]
    options = re.compile(r"^  (?:-\w, |    )--[\w-]+", re.MULTILINE)
    assert len(options.findall(whole)) - len(options.findall(short)) == hidden > 25


@each(
    ("line", "problem", "hint"),
    [
        ("list models --nope", "no such option: --nope", "see `robench list models --help`"),
        ("evaluate demo --suit x", "no such option: --suit", "did you mean --suite? See `robench evaluate --help`"),
        ("evaluate demo --sev 3", "no such option: --sev", "did you mean --severity? See `robench evaluate --help`"),
        ("evaluate", "missing argument: MODEL", "see `robench evaluate --help`"),
        ("evaluate demo -n x", "--limit takes a whole number, not 'x'", "see `robench evaluate --help`"),
        ("cache clear --older-than x", "--older-than takes a number, not 'x'", "see `robench cache clear --help`"),
        ("evaluate demo --limit", "--limit needs a value", "see `robench evaluate --help`"),
        ("evaluate demo --fresh=1", "--fresh takes no value", "see `robench evaluate --help`"),
        ("corrupt x --layout nyp", "--layout is files or npy, not 'nyp'", "see `robench corrupt --help`"),
        ("show a b", "unexpected argument: b", "see `robench show --help`"),
        ("list modles", "no such command: modles", "did you mean `robench list models`? See `robench list --help`"),
        ("help nope", "no such command: nope", "see `robench --help`"),
    ],
)
def test_usage_errors(line: str, problem: str, hint: str, capsys: Capture) -> None:
    assert run_cli(line.split()) == 2
    assert mistake(capsys.readouterr().err) == f"{problem}; {hint}"


def test_the_overview_has_a_line_for_each_command(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    root: Any = typer.main.get_command(app)
    for group in ((), ("list",), ("cache",)):
        assert run_cli([*group, "--help"]) == 0
        page = capsys.readouterr().out
        names = re.findall(r"^  ([a-z]\S*)  ", page, re.MULTILINE)
        nested = root.commands[group[0]] if group else root
        assert sorted(names) == sorted(nested.commands)
        assert not re.search(r"^ {4,}\S", page.partition("\nOptions:")[0], re.MULTILINE), "a summary takes two lines"
        if not group:
            assert names[:3] == ["evaluate", "status", "show"]
            assert names[-7:] == ["list", "explain", "score", "cache", "completion", "help", "version"]


def test_completion_of_values(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    """The words are those of readline, which cuts at a colon and at an equals sign and replaces the last part."""
    for words, expected in (
        ("evaluate demo --suite cifar-c,imagenet-c-2", {"cifar-c,imagenet-c-299"}),
        ("evaluate demo --suite = cif", {"cifar-c", "cifar-c-bar", "cifar-p"}),
        ("evaluate demo --corruption fog,sn", {"fog,snow"}),
        ("evaluate demo --treatment bn-pri", {"bn-prior"}),
        ("evaluate x.pth --arch t", {"torchvision:", "timm:"}),
        ("evaluate x.pth --arch z", {f"zoo:cifar_resnet{depth}" for depth in (8, 20, 32, 44, 56)}),
        ("evaluate x.pth --arch zoo :", {f"cifar_resnet{depth}" for depth in (8, 20, 32, 44, 56)}),
        ("evaluate x.pth --arch zoo : cifar_resnet2", {"cifar_resnet20"}),
        ("evaluate x.pth --arch = torchvision : resnet5", {"resnet50"}),
        ("evaluate torchvision : vgg11", {"vgg11", "vgg11_bn"}),
        ("evaluate tor", set()),
        ("leaderboard --field cifar", {"cifar10-c", "cifar100-c"}),
    ):
        cut = ["robench", *words.split()]
        monkeypatch.setenv("_ROBENCH_COMPLETE", "complete_bash")
        monkeypatch.setenv("COMP_WORDS", "\n".join(cut))
        monkeypatch.setenv("COMP_CWORD", str(len(cut) - 1))
        with pytest.raises(SystemExit):
            run_cli([])
        assert set(capsys.readouterr().out.split()) == expected, words


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_completion_in_bash(tmp_path: Path) -> None:
    """Oracle: bash itself, with the script that `robench completion bash` installs."""
    program = tmp_path / "robench"
    program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m robench "$@"\n')
    program.chmod(0o755)
    lines = """
robench completion bash > /dev/null
source "$HOME/.bash_completions/robench.sh"
COMP_WORDS=(robench evaluate x.pth --suite = cifar-c,cifar-p) COMP_CWORD=5
_robench_completion robench
printf '%s\n' "${COMPREPLY[@]}"
"""
    environment = {**os.environ, "HOME": str(tmp_path), "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(["bash", "-ec", lines], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["cifar-c,cifar-p"], done.stderr


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("mce", "arXiv:1903.12261"),
        ("ce", "formula CE(c) = 100 * (sum over s of E(c, s)) / (sum over s of B(c, s))"),
        ("ece", "n(b) / n * |accuracy(b) - mean confidence(b)|"),
        ("ci", "1,000, evenly spread"),
        ("webdataset", "--data"),
        ("fog", "amount 1.5"),
        ("imagenet-c", "gaussian_noise 88.6"),
        ("imagenet-p", "23.7"),
        ("bn-prior", "arXiv:2006.16971"),
        ("resize256-bilinear-crop224+jpeg85+fp32#559c40a3", "jpeg85"),
    ],
)
def test_explain(name: str, expected: str, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    """Oracle: AlexNet's published errors and the published constants."""
    monkeypatch.setenv("COLUMNS", "100")
    assert run_cli(["explain", name]) == 0
    assert expected in " ".join(capsys.readouterr().out.split())


def test_explain_suggests(capsys: Capture) -> None:
    for name, near in (("gausian_noise", "gaussian_noise"), ("rel_mce", "relative_mce"), ("parquets", "parquet")):
        assert run_cli(["explain", name]) == 2
        assert mistake(capsys.readouterr().err) == f"unknown name {name!r}; did you mean {near!r}?"


def test_explain_an_own_corruption(capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("my.py").write_text("def fade(images, share=(0.2, 0.9)):\n    return images\n\nMINE = [fade]\n")
    for name, expected in (("my.py:fade", "share 0.2 share 0.9"), ("my.py:MINE", "severities 1, 2")):
        assert run_cli(["explain", name]) == 0
        assert expected in " ".join(capsys.readouterr().out.split())
    assert run_cli(["explain", "my.py:fad"]) == 2
    assert mistake(capsys.readouterr().err) == "unknown name 'fad' of my.py; did you mean 'fade'?"
