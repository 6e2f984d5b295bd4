"""Ctrl-C in the first moments of the command line."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

import pytest

_BEGUN = "from robench.__main__ import main; import sys; sys.stdout.write('begun'); sys.stdout.flush(); main()"
"""A program that prints a word once the interpreter has read robench's first module, and then is the command `robench`."""


@pytest.mark.parametrize("delay", [0.0, 0.05, 0.2, 0.5])
def test_an_interruption_is_one_line(delay: float) -> None:
    """Before its first line, the interpreter itself ends with a traceback, which no program can prevent."""
    command = [sys.executable, "-c", _BEGUN, "evaluate", "demo", "--dry-run"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.read(5) == "begun"
        time.sleep(0.01 + delay)  # The first statements of `main` take less.
        process.send_signal(signal.SIGINT)
        error = process.stderr.read()
        assert process.wait() == 130, error
    lines = [line for line in error.splitlines() if not line.startswith("hint: ")]
    assert lines == ["error: interrupted"]


def test_an_interruption_inside_a_class_is_one() -> None:
    """Python 3.11 replaces an exception of `__set_name__` by a RuntimeError."""
    program = """
import sys
from robench.cli import entry

class Interrupts:
    def __set_name__(self, *_):
        raise KeyboardInterrupt

def help_of(*_, **__):
    type("Owner", (), {"member": Interrupts()})

entry.program = lambda: help_of
sys.exit(entry.run_cli(["version"]))
"""
    process = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert process.returncode == 130, process.stderr
    assert process.stderr.startswith("error: interrupted\nhint: ")
