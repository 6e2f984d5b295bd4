"""The typer application, and the exit codes of errors."""

from __future__ import annotations

import errno
import io
import os
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable, Sequence
from functools import cache
from typing import Annotated, Any

import typer
from rich.text import Text
from typer.completion import completion_init  # type: ignore[attr-defined]
from typer.main import get_command

try:
    from typer import TyperException
except ImportError:  # Older versions raise click's own.
    from click import ClickException as TyperException  # type: ignore[assignment]

from robench.cli.cache import cache_app
from robench.cli.card import card
from robench.cli.compare import compare
from robench.cli.completion import joined_bash_words
from robench.cli.corrupt import corrupt
from robench.cli.evaluate import evaluate
from robench.cli.explain import explain
from robench.cli.gate import gate
from robench.cli.help import Command, Group, completion, help_of, print_version, version
from robench.cli.history import history
from robench.cli.leaderboard import leaderboard
from robench.cli.list import list_app
from robench.cli.pool import pool
from robench.cli.preview import preview
from robench.cli.report import report
from robench.cli.score import score
from robench.cli.show import show
from robench.cli.status import status
from robench.cli.usage_errors import usage_error
from robench.cli.verify import verify
from robench.cli.view import view
from robench.display.console import print_notes, stderr
from robench.errors import RobenchError, flags_shown, printable

__all__ = ["app", "main", "run_cli"]


class _Commands(Group):
    """The group of all commands, in the order of `_COMMANDS`; typer puts groups last."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names of the commands."""
        return [name for commands in _COMMANDS.values() for name in commands]


app = typer.Typer(
    name="robench",
    cls=_Commands,
    help="Robustness benchmarks for image classifiers.",
    epilog="Try `robench evaluate demo`; it needs no files and no network.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

_COMMANDS: dict[str, dict[str, Callable[..., None] | typer.Typer]] = {
    "Measure": {"evaluate": evaluate, "status": status},
    "Read": {
        "show": show,
        "compare": compare,
        "report": report,
        "view": view,
        "leaderboard": leaderboard,
        "history": history,
        "card": card,
    },
    "Guard": {"gate": gate, "pool": pool},
    "Look and check": {"preview": preview, "corrupt": corrupt, "verify": verify},
    "More": {
        "list": list_app,
        "explain": explain,
        "score": score,
        "cache": cache_app,
        "completion": completion,
        "help": help_of,
        "version": version,
    },
}
"""The commands by task, in the order of the help."""

for _panel, _commands in _COMMANDS.items():
    for _name, _command in _commands.items():
        if isinstance(_command, typer.Typer):
            app.add_typer(_command, name=_name, rich_help_panel=_panel)
        else:
            app.command(_name, cls=Command, rich_help_panel=_panel)(_command)


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", "-V", callback=print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


def main() -> None:
    """Run the command line and end the process.

    The exit code is 0 for success, 1 for a failed gate and 2 for an error of the user. It is 3 for an internal error, 130 after
    an interruption and 141 for a closed pipe.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # Print a question mark for a character that the terminal lacks.
    # A cluster ends its jobs with SIGTERM; robench treats it like Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.exit(run_cli(sys.argv[1:]))


_NAMES = "ENAMETOOLONG ELOOP ENOTDIR EISDIR EACCES EPERM EROFS ENOSPC EDQUOT EBUSY EIO ENXIO EMFILE ENFILE"
_SYSTEM_ERRNOS = {getattr(errno, name) for name in _NAMES.split()}
"""Errors of the operating system that the user can fix; others are internal errors."""


@flags_shown()
def run_cli(arguments: list[str]) -> int:
    """Run one command line and return its exit code; print an error and its hint as a line each."""
    if "_ROBENCH_COMPLETE" in os.environ:  # A shell asks for completions; typer prints them and exits.
        completion_init()
        with joined_bash_words():
            app(args=[], prog_name="robench")
    try:
        if sys.stdout is None:
            return _fail("standard output is closed", 2, "redirect it to a file or to /dev/null")
        if arguments in ([], ["list"], ["cache"]):
            program()(args=[*arguments, "--help"], prog_name="robench", standalone_mode=False)
            return 2
        code = program()(args=arguments, prog_name="robench", standalone_mode=False)
        sys.stdout.flush()
        if code == 130:
            raise KeyboardInterrupt  # Typer turns an interruption into this code.
    except RobenchError as error:
        print_notes(getattr(error, "__notes__", []))
        return _fail(error.problem, 2, error.hint)
    except TyperException as error:
        problem, hint = usage_error(error)
        return _fail(problem, 2, hint)
    except (typer.Abort, KeyboardInterrupt):
        return _interrupted(arguments)
    except (BrokenPipeError, SystemExit):
        # The reader of a pipe, such as `head`, closed it. Typer exits by itself if it was printing.
        _discard_output()
        return 141
    except ModuleNotFoundError as error:
        name = (error.name or "").partition(".")[0]
        if name in ("", "robench"):
            return _internal()
        return _fail(f"{name} is not installed", 2, "run `pip install robench` for all requirements")
    except OSError as error:
        if error.errno not in _SYSTEM_ERRNOS:
            return _internal()
        if error.filename is not None:
            return _fail(f"{error.filename}: {error.strerror}", 2)
        _discard_output()
        return _fail(f"cannot write the output: {error.strerror}", 2)
    except Exception as error:  # noqa: BLE001 - every other error is an internal one, exit code 3
        return _interrupted(arguments) if _comes_from_interruption(error) else _internal()
    return code if isinstance(code, int) else 0


@cache
def program() -> Callable[..., Any]:
    """Return the commands of `app` with their options, which typer would otherwise build in every call."""
    return get_command(app)


def _interrupted(arguments: Sequence[str]) -> int:
    again = "without --fresh" if "--fresh" in arguments else "again"
    return _fail("interrupted", 130, f"give the same command {again} to continue an evaluation")


def _comes_from_interruption(error: BaseException) -> bool:
    """Return whether Python replaced an interruption by this error, as it does while it creates a class."""
    origin = error.__cause__ or error.__context__
    return isinstance(error, KeyboardInterrupt) or (origin is not None and _comes_from_interruption(origin))


def _internal() -> int:
    with tempfile.NamedTemporaryFile("w", prefix="robench-", suffix=".log", delete=False) as log:
        traceback.print_exc(file=log)
    return _fail("internal error", 3, f"report it with your command and the traceback in {log.name}")


def _discard_output() -> None:
    """Discard output that is still buffered, so that nothing is flushed into a closed pipe at exit."""
    sys.stdout = open(os.devnull, "w")  # noqa: SIM115, PTH123 - open until the process ends


def _fail(problem: str, code: int, hint: str = "") -> int:
    """Print a problem and its hint on stderr, in colour and wrapped on words if it is a terminal."""
    for label, style, text in (("error", "bold red", problem), ("hint", "bold cyan", hint)):
        if text:
            line = Text.assemble((f"{label}: ", style), printable(" ".join(text.split())))
            console = stderr()
            console.print(line, soft_wrap=not console.is_terminal)
    return code
