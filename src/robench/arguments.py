"""Checks of the arguments of Python's functions: a value or a list, and errors that say what is expected."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeVar, cast

from robench.errors import OptionError
from robench.types import Size

__all__ = ["ArgumentError", "check_type", "one_or_more", "path_of", "paths_of", "size_of"]

T = TypeVar("T")


class ArgumentError(OptionError, TypeError):
    """An argument has a wrong type."""


def check_type(name: str, value: object, kind: type[T] | tuple[type[T], ...], expected: str) -> T:
    """Return a value, or raise ArgumentError if it has another type. A bool is no number.

    Args:
        name: Name of the argument.
        value: The argument.
        kind: Accepted types.
        expected: Description of the accepted values, such as `a whole number`.
    """
    kinds = kind if isinstance(kind, tuple) else (kind,)
    value = (
        value.item() if getattr(value, "ndim", None) == 0 and hasattr(value, "item") else value
    )  # Numbers of numpy and torch.
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        raise ArgumentError(f"{name} must be {expected}, not {_described(value)}")
    return value


def one_or_more(name: str, value: object, kind: type[T] | tuple[type[T], ...], expected: str) -> list[T]:
    """Return a value, or the values of a list, as a list.

    Args:
        name: Name of the argument.
        value: One value, or an iterable of at least one value.
        kind: Accepted types of a value.
        expected: Description of the accepted values, such as `a name or a list of names`.

    Raises:
        ArgumentError: A value has another type.
        OptionError: The list is empty.
    """
    value = value.tolist() if hasattr(value, "tolist") else value  # Arrays, tensors and columns of tables.
    single = isinstance(value, (kind, str, bytes, os.PathLike)) or not isinstance(value, Iterable)
    values: list[Any] = [value] if single else [*cast("Iterable[Any]", value)]
    if not values:
        raise OptionError(f"{name} is an empty list", f"give {expected}")
    return [check_type(name, item, kind, expected) for item in values]


def path_of(name: str, value: object, expected: str = "a path") -> Path:
    """Return a path, or raise ArgumentError for anything but a text or a path."""
    kinds: Any = (str, os.PathLike)
    return Path(check_type(name, value, kinds, expected))


def paths_of(name: str, value: object, expected: str) -> list[Path]:
    """Return one path, or the paths of a list, as a list; see `one_or_more`."""
    if isinstance(value, list | tuple) and not value:
        raise OptionError(f"no {name.removeprefix('the ')} is given", "give one or more")
    kinds: Any = (str, os.PathLike)
    return [Path(item) for item in one_or_more(name, value, kinds, expected)]


def size_of(name: str, value: object) -> Size:
    """Return a size in pixels from a whole number, a pair of them, or a text such as 224 or 224x320 (height x width).

    Raises:
        ArgumentError: The value is none of these; also an OptionError.
    """
    if isinstance(value, str) and re.fullmatch(r"\s*[0-9]{1,9}(x[0-9]{1,9})?\s*", value):
        sides = [int(side) for side in value.split("x")]
    elif isinstance(value, list | tuple) and len(value) == 2:
        sides = [check_type(name, side, int, _PIXELS) for side in value]
    else:
        sides = [check_type(name, value, int, _PIXELS)]
    return sides[0] if len(sides) == 1 else (sides[0], sides[1])


_PIXELS = "a whole number of pixels, or HEIGHTxWIDTH"


def _described(value: object) -> str:
    if value is None or isinstance(value, bool | int | float | str):
        return repr(value) if len(repr(value)) <= 60 else f"a long {type(value).__name__}"
    kind = type(value).__name__
    return f"{'an' if kind[0] in 'aeiouAEIOU' else 'a'} {kind}"
