"""The typer application, and the exit codes of errors."""

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

try:
    from typer import TyperException
except ImportError:  # Older versions raise click's own.
    from click import ClickException as TyperException  # type: ignore[assignment]

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
from robench.errors import RobenchError, flags_shown, printable

__all__ = ["app", "main", "run_cli"]

app = typer.Typer(
    name="robench",
    help="Robustness benchmarks for image classifiers: exact, keyed, resumable, with intervals.",
    epilog="Start with `robench evaluate demo`; it needs no files and no network.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)


def _version(requested: bool) -> None:
    if requested:
        from importlib.metadata import version

        typer.echo(f"robench {version('robench')}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Version of robench.")
    ] = False,
) -> None:
    pass


for verb in (evaluate, score, pool, show, status, gate, compare, leaderboard, report, corrupt, preview, verify):
    # Typer keeps line breaks within a paragraph, so its lines are joined here.
    paragraphs = (verb.__doc__ or "").split("\n\n")
    app.command(help="\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs))(verb)
app.add_typer(list_app, name="list")
app.add_typer(cache_app, name="cache")


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
    """Run one command line and return its exit code; print an error as one line."""
    try:
        if sys.stdout is None:
            return _fail("standard output is closed; redirect it to a file or to /dev/null", 2)
        if arguments in ([], ["list"], ["cache"]):
            app(args=[*arguments, "--help"], prog_name="robench", standalone_mode=False)
            return 2
        code = app(args=arguments, prog_name="robench", standalone_mode=False)
        sys.stdout.flush()
        if code == 130:
            raise KeyboardInterrupt  # Typer turns an interruption into this code.
    except RobenchError as error:
        return _fail(str(error), 2)
    except TyperException as error:
        return _fail(f"{error.format_message().rstrip('.')}; see `robench --help`", 2)
    except (typer.Abort, KeyboardInterrupt):
        return _fail("interrupted; give the same command again to continue an evaluation", 130)
    except (BrokenPipeError, SystemExit):
        # The reader of a pipe, such as `head`, closed it. Typer exits by itself if it was printing.
        _discard_output()
        return 141
    except ModuleNotFoundError as error:
        name = (error.name or "").partition(".")[0]
        if name in ("", "robench"):
            return _internal()
        return _fail(f"{name} is not installed; run `pip install robench` for all requirements", 2)
    except OSError as error:
        if error.errno not in _SYSTEM_ERRNOS:
            return _internal()
        if error.filename is not None:
            return _fail(f"{error.filename}: {error.strerror}", 2)
        _discard_output()
        return _fail(f"cannot write the output: {error.strerror}", 2)
    except Exception:  # noqa: BLE001 - every other error is an internal one, exit code 3
        return _internal()
    return code if isinstance(code, int) else 0


def _internal() -> int:
    with tempfile.NamedTemporaryFile("w", prefix="robench-", suffix=".log", delete=False) as log:
        traceback.print_exc(file=log)
    return _fail(f"internal error; report it with your command and the traceback in {log.name}", 3)


def _discard_output() -> None:
    """Discard output that is still buffered, so that nothing is flushed into a closed pipe at exit."""
    sys.stdout = open(os.devnull, "w")  # noqa: SIM115, PTH123 - open until the process ends


def _fail(text: str, code: int) -> int:
    print(f"robench: {printable(' '.join(text.split()))}", file=sys.stderr)  # noqa: T201
    return code
