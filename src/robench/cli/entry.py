"""The typer application, and what happens to errors."""

from __future__ import annotations

import errno
import io
import os
import signal
import sys
import tempfile
import traceback
from typing import Annotated

import typer

from robench.cli.cache import cache_app
from robench.cli.compare import compare
from robench.cli.corrupt import corrupt
from robench.cli.evaluate import evaluate
from robench.cli.gate import gate
from robench.cli.leaderboard import leaderboard
from robench.cli.list import list_app
from robench.cli.pool import pool
from robench.cli.preview import preview
from robench.cli.report import report
from robench.cli.score import score
from robench.cli.show import show
from robench.cli.status import status
from robench.cli.verify import verify
from robench.errors import RobenchError

__all__ = ["app", "main", "run_cli"]

_UsageError: type[typer.BadParameter] = next(
    base for base in typer.BadParameter.__mro__ if base.__name__ == "ClickException"
)
"""The root of the parser's errors. Some versions of typer use click, others bring a copy of it: this finds either."""

app = typer.Typer(
    name="robench",
    help="Robustness benchmarks for image classifiers: exact, keyed, resumable, with intervals.",
    epilog="Start with `robench evaluate demo`; it needs no files and no network.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"robench {version('robench')}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


app.command()(evaluate)
app.command()(score)
app.command()(pool)
app.command()(show)
app.command()(status)
app.command()(gate)
app.command()(compare)
app.command()(leaderboard)
app.command()(report)
app.command()(corrupt)
app.command()(preview)
app.command()(verify)
app.add_typer(list_app, name="list")
app.add_typer(cache_app, name="cache")


def main() -> None:
    """Run the command line; the process ends with one of the documented exit codes."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(
                errors="replace"
            )  # A terminal that lacks a character gets a question mark, not an error.
    # Clusters end what they run by SIGTERM: the work ends then as it does at the keyboard.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.exit(run_cli(sys.argv[1:]))


_NAMES = "ENAMETOOLONG ELOOP ENOTDIR EISDIR EACCES EPERM EROFS ENOSPC EDQUOT EBUSY EIO ENXIO EMFILE ENFILE"
_SYSTEM_ERRNOS = {getattr(errno, name) for name in _NAMES.split()}
"""Errors of the operating system that its user can mend; the others are ours."""


def run_cli(arguments: list[str]) -> int:
    """Run one command line and return its exit code; errors are printed as one line."""
    try:
        if sys.stdout is None:
            return _fail("standard output is closed: send it to a file or to /dev/null", 2)
        code = app(args=arguments, prog_name="robench", standalone_mode=False)
        sys.stdout.flush()
        if code == 130:
            raise KeyboardInterrupt  # The parser turns it into an exit code without a word.
    except RobenchError as error:
        return _fail(str(error), 2)
    except _UsageError as error:
        if type(error).__name__ == "NoArgsIsHelpError":
            print(error, file=sys.stderr)  # noqa: T201
            return 2
        return _fail(f"{' '.join(error.format_message().split())} (see `robench --help`)", 2)
    except (typer.Abort, KeyboardInterrupt):
        return _fail("interrupted: give the same command again; an evaluation goes on where it stopped", 130)
    except (BrokenPipeError, SystemExit):
        # The reader of a pipe (`head`) has enough: end as every program does then, and flush nothing to it at exit.
        # The parser, where it prints itself, exits on its own.
        _silence()
        return 141
    except ModuleNotFoundError as error:
        name = (error.name or "").partition(".")[0]
        if name in ("", "robench"):
            return _internal()
        return _fail(f"this needs {name}, which is not installed: `pip install robench` installs what is missing", 2)
    except OSError as error:
        if error.errno not in _SYSTEM_ERRNOS:
            return _internal()
        if error.filename is not None:
            return _fail(f"{error.filename}: {error.strerror}", 2)
        _silence()
        return _fail(f"cannot write the output: {error.strerror}", 2)
    except Exception:  # noqa: BLE001 - the one place where whatever is left becomes exit code 3
        return _internal()
    return code if isinstance(code, int) else 0


def _internal() -> int:
    with tempfile.NamedTemporaryFile("w", prefix="robench-", suffix=".log", delete=False) as log:
        traceback.print_exc(file=log)
    return _fail(f"internal error; the traceback is in {log.name}: please report it with your command", 3)


def _silence() -> None:
    """Send what is still unwritten nowhere."""
    sys.stdout = open(os.devnull, "w")  # noqa: SIM115, PTH123 - open as long as the process


def _fail(text: str, code: int) -> int:
    # Names in files are whatever their makers wrote: a terminal obeys some of it.
    shown = "".join(
        character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in " ".join(text.split())
    )
    print(f"robench: {shown}", file=sys.stderr)  # noqa: T201
    return code
