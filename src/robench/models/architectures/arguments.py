"""Arguments of architectures and factories, written as `?name=value&name2=value2`."""

from __future__ import annotations

import ast

from robench.errors import CheckpointError

__all__ = ["label_of", "parse_arguments", "split_arguments"]


def split_arguments(text: str) -> tuple[str, dict[str, object]]:
    """Return the part of a text before its arguments, and the arguments by name."""
    name, _, listed = text.partition("?")
    return name, parse_arguments(text, listed)


def parse_arguments(text: str, listed: str | None) -> dict[str, object]:
    """Return arguments by name.

    Args:
        text: The whole architecture, for errors.
        listed: `name=value&name2=value2`; None or empty for no arguments. A value is a Python literal, and otherwise a text.

    Raises:
        CheckpointError: An argument has no name or no value.
    """
    arguments: dict[str, object] = {}
    for item in (listed or "").split("&") if listed else ():
        key, equals, value = item.partition("=")
        if not key.isidentifier() or not equals:
            raise CheckpointError(f"{text} has an argument {item!r}", "write ?key=value&key2=value2")
        try:
            arguments[key] = ast.literal_eval(value)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            arguments[key] = value
    return arguments


def label_of(text: str) -> str:
    """Return the name for tables of `family:name?arguments` or a factory: the last name, and the arguments without folders."""
    name, _, listed = text.partition("?")
    arguments = [argument.rpartition("/")[2] for argument in listed.split("&") if argument]
    return "-".join([name.rpartition(":")[2], *arguments])
