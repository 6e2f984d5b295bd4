"""Help pages: commands in groups, copyable examples, and one screen for `-h` where `--help` lists every option."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Iterable, Sequence
from typing import Annotated, Any, Literal

import typer
from typer.completion import install as install_completion  # type: ignore[attr-defined]
from typer.core import TyperCommand, TyperGroup

__all__ = ["Command", "Group", "completion", "help_of", "print_version", "version"]

_INDENT, _GAP = 2, 2
_MAX_WIDTH = 100
_NAMES_WIDTH = 30
"""Widest column of names; longer names stand on a line of their own."""
_BRIEF_ABOVE = 16
"""Number of options above which `-h` leaves out panels."""


class _Page:
    """The lines of a help page."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.width = min(shutil.get_terminal_size((_MAX_WIDTH, 24)).columns, _MAX_WIDTH)

    def text(self, text: str) -> None:
        self.lines += [*textwrap.wrap(text, self.width, break_on_hyphens=False, break_long_words=False), ""]

    def block(self, title: str, lines: Sequence[str]) -> None:
        self.lines += [_heading(title), *(f"{' ' * _INDENT}{line}" for line in lines), ""]

    def rows(self, title: str, rows: Iterable[tuple[str, str, str]], names_width: int) -> None:
        """Add a section of (name, description, suffix); the suffix is dim and stays in one piece."""
        self.lines.append(_heading(title))
        column = _INDENT + names_width + _GAP
        room = max(self.width - column, 30)
        for name, description, suffix in rows:
            # No-break spaces hold the suffix together while it is wrapped.
            kept = suffix.replace(" ", "\xa0") if len(suffix) <= room else suffix
            wrapped = textwrap.wrap(
                f"{description} {kept}".strip(),
                room,
                break_on_hyphens=False,
                break_long_words=False,
            ) or [""]
            wrapped = [line.replace(kept, typer.style(suffix, dim=True)) if kept else line for line in wrapped]
            head = f"{' ' * _INDENT}{typer.style(name, fg='cyan', bold=True)}"
            if len(name) > names_width:
                self.lines.append(head)
                head = " " * column
            else:
                head += " " * (names_width - len(name) + _GAP)
            self.lines += [head + wrapped[0], *(" " * column + line for line in wrapped[1:])]
        self.lines.append("")


def _heading(title: str) -> str:
    return typer.style(f"{title}:", fg="green", bold=True)


def _description(help_text: str) -> tuple[list[str], list[str]]:
    """Split a docstring into its paragraphs and the lines of its Examples section."""
    text, _, examples = help_text.partition("Examples:")
    paragraphs = [" ".join(paragraph.split()) for paragraph in text.split("\n\n") if paragraph.strip()]
    return paragraphs, [line for line in textwrap.dedent(examples.strip("\n")).splitlines() if line.strip()]


def _usage(context: Any) -> str:
    return f"{typer.style('Usage:', fg='green', bold=True)} {context.command_path}"


def _metavar(parameter: Any) -> str:
    if getattr(parameter, "is_flag", False):
        return ""
    text = str(parameter.metavar or parameter.name.upper())
    return f"<{text}>"


def _names(parameter: Any) -> str:
    """Return `-d, --data <DATA>`; an option without a short form is indented like the others."""
    short = next((name for name in parameter.opts if not name.startswith("--")), "")
    long = next((name for name in parameter.opts if name.startswith("--")), "")
    return f"{f'{short}, ' if short else '    '}{long} {_metavar(parameter)}".rstrip()


def _default(parameter: Any) -> str:
    if isinstance(parameter.show_default, str):
        return f"[default: {parameter.show_default}]"
    nothing = any(parameter.default is value for value in (None, False, ()))  # 0 is a value.
    if parameter.required or nothing or callable(parameter.default):
        return ""
    return f"[default: {parameter.default}]"


class _Brief:
    """The choice between the short page of `-h` and the whole page of `--help`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Remember whether the arguments ask for the short page, and give every usage error its context."""
        ctx.meta["robench.brief"] = "-h" in args and "--help" not in args
        try:
            return super().parse_args(ctx, args)  # type: ignore[misc, no-any-return]
        except Exception as error:
            if getattr(error, "ctx", ctx) is None:
                error.ctx = ctx  # type: ignore[attr-defined]
            raise


class Command(_Brief, TyperCommand):
    """A command whose help begins with its purpose and examples, as its docstring has them."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the page."""
        page = _Page()
        paragraphs, examples = _description(self.help or "")
        arguments = [parameter for parameter in self.params if parameter.param_type_name == "argument"]
        options = [parameter for parameter in self.get_params(ctx) if parameter.param_type_name == "option"]
        brief = bool(ctx.meta.get("robench.brief")) and len(options) > _BRIEF_ABOVE
        for paragraph in paragraphs[:1] if brief else paragraphs:
            page.text(paragraph)
        words = [f"{_metavar(argument)}{'...' if argument.nargs == -1 else ''}" for argument in arguments]
        words = [word if argument.required else f"[{word}]" for word, argument in zip(words, arguments, strict=True)]
        page.lines += [" ".join([_usage(ctx), "[OPTIONS]", *words]), ""]
        if examples:
            page.block("Examples", examples[:3] if brief else examples)
        panels: dict[str, list[tuple[str, str, str]]] = {}
        for argument in arguments:
            panel = "Options" if brief else "Arguments"
            name = f"{'    ' * brief}{_metavar(argument)}"
            panels.setdefault(panel, []).append((name, getattr(argument, "help", "") or "", _default(argument)))
        hidden = 0
        for option in options:
            panel = getattr(option, "rich_help_panel", None) or "Options"
            if brief and panel != "Options":
                hidden += 1
                continue
            panels.setdefault(panel, []).append((_names(option), getattr(option, "help", "") or "", _default(option)))
        every = [name for rows in panels.values() for name, _, _ in rows]
        names_width = min(max(map(len, every), default=0), _NAMES_WIDTH)
        for panel, rows in panels.items():
            page.rows(panel, rows, names_width)
        if hidden:
            page.text(f"`{ctx.command_path} --help` lists {hidden} more options.")
        formatter.write("\n".join(page.lines).rstrip() + "\n")


class Group(_Brief, TyperGroup):
    """A group whose help lists its commands by task: the `rich_help_panel` of each command."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the page."""
        page = _Page()
        for paragraph in _description(self.help or "")[0]:
            page.text(paragraph)
        page.lines += [" ".join([_usage(ctx), "[OPTIONS] <COMMAND>"]), ""]
        panels: dict[str, list[tuple[str, str, str]]] = {}
        for name in self.list_commands(ctx):
            command = self.get_command(ctx, name)
            if command is None or command.hidden:
                continue
            summary = _description(command.help or "")[0][:1] or [""]
            panel = getattr(command, "rich_help_panel", None)
            title = panel if isinstance(panel, str) else "Commands"
            panels.setdefault(title, []).append((name, summary[0].rstrip("."), ""))
        names_width = max((len(name) for rows in panels.values() for name, _, _ in rows), default=0)
        for panel, rows in panels.items():
            page.rows(panel, rows, names_width)
        if ctx.parent is None:
            options = [
                (_names(option), getattr(option, "help", "") or "", "")
                for option in self.get_params(ctx)
                if not getattr(option, "hidden", False)
            ]
            page.rows("Options", options, max(len(name) for name, _, _ in options))
        if self.epilog:
            page.text(self.epilog)
        formatter.write("\n".join(page.lines).rstrip() + "\n")


def help_of(
    context: typer.Context,
    command: Annotated[list[str] | None, typer.Argument(help="Command, such as evaluate or list models.")] = None,
) -> None:
    """Print the help of a command.

    Examples:
        robench help evaluate
    """
    root = context.find_root().command
    root.main([*(command or []), "--help"], prog_name="robench", standalone_mode=False)


def print_version(requested: bool) -> None:
    """Print the version and exit, if requested."""
    if requested:
        version()
        raise typer.Exit


def version() -> None:
    """Print the version of robench."""
    from importlib.metadata import version as installed

    typer.echo(f"robench {installed('robench')}")


def completion(
    shell: Annotated[
        Literal["bash", "zsh", "fish", "powershell"] | None,
        typer.Argument(help="Shell: bash, zsh, fish or powershell.", metavar="SHELL", show_default="the current one"),
    ] = None,
) -> None:
    """Set up shell completion.

    It completes commands, suites, corruptions, treatments and architectures.

    Examples:
        robench completion
        robench completion zsh
    """
    found, path = install_completion(shell, prog_name="robench")
    typer.echo(f"completion for {found} is installed in {path}; it works in new terminals")
