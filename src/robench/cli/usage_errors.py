"""Usage errors of typer as a problem and a hint in the words of this program."""

from __future__ import annotations

import re
from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any

__all__ = ["usage_error"]

_NUMBERS = {"int": "a whole number", "float": "a number", "bool": "true or false"}
"""Expected values by the first word of a pydantic error type, such as `int_parsing`."""


def usage_error(error: Any) -> tuple[str, str]:
    """Return the problem and the hint of a typer exception; the hint ends with the help of its command.

    Args:
        error: The exception; its `ctx`, if it has one, is the context of the command.
    """
    context = getattr(error, "ctx", None)
    see = f"`{'robench' if context is None else context.command_path} --help`"
    problem, near = _problem(error, context)
    return problem, f"did you mean {near}? See {see}" if near else f"see {see}"


def _problem(error: Any, context: Any) -> tuple[str, str]:
    """Return the problem, and the known name that is nearest to an unknown one; the name may be empty."""
    text = str(error.format_message()).rstrip(".")
    name = getattr(error, "option_name", "")
    if text.startswith("No such option"):
        known = [option for parameter in context.command.params for option in parameter.opts] if context else []
        return f"no such option: {name}", _nearest(name, known)
    if name:
        return f"{name} needs a value" if "requires" in text else f"{name} takes no value", ""
    if command := re.match(r"No such command '(.*?)'", text):
        near = _nearest(command[1], context.command.list_commands(context))
        return f"no such command: {command[1]}", f"`{context.command_path} {near}`" if near else ""
    if extra := re.match(r"Got unexpected extra argument\S* \((.*)\)", text):
        return f"unexpected argument: {extra[1]}", ""
    parameter = getattr(error, "param", None)
    if parameter is None:
        return text[:1].lower() + text[1:], ""
    option = next((one for one in parameter.opts if one.startswith("--")), str(parameter.metavar or parameter.name))
    if text.startswith("Missing"):
        return f"{option} is missing", ""
    return _bad_value(error, option, parameter), ""


def _bad_value(error: Any, option: str, parameter: Any) -> str:
    """Return the problem of a value that has another type, or is none of the choices."""
    message = str(error.message).removeprefix("Value error, ").rstrip(".")
    if choice := re.match(r"('.*') is not one of (.*)", message):
        choices = re.findall(r"'([^']*)'", choice[2])
        return f"{option} is {', '.join(choices[:-1])} or {choices[-1]}, not {choice[1]}"
    causes: list[dict[str, Any]] = getattr(error.__cause__, "errors", list)()
    if causes and (expected := _NUMBERS.get(str(causes[0]["type"]).partition("_")[0])):
        return f"{option} takes {expected}, not {str(causes[0]['input'])!r}"
    return f"{option}: {message[:1].lower()}{message[1:]}"


def _nearest(name: str, known: Sequence[str]) -> str:
    """Return the known name that begins with `name`, else the most similar one; empty if none is similar."""
    plain = {one.lstrip("-"): one for one in known}
    word = name.lstrip("-")
    begins = [one for one in plain if len(word) > 1 and one.startswith(word)]
    near = begins or get_close_matches(word, plain, n=1)
    return plain[near[0]] if near else ""
