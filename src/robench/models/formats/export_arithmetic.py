"""Arithmetic on sizes for graphs of torch.export, with integers of at most 64 bits.

A Python integer can grow until memory ends, and nothing can stop its computation. Integers of torch have 64 bits.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any

import torch

__all__ = ["ARITHMETIC"]

_OPERATORS = "add sub mul truediv floordiv mod pow neg pos abs eq ne lt le gt ge and_ or_ not_ xor lshift rshift"
_SYMBOLIC = "int float ite max min not sqrt sum"
_GROWING = ("pow", "lshift")
_LIMIT = 2**63


def _bounded(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
    """Return an operator that takes only numbers, because `mul` repeats lists and text, and keeps integers below 2^63."""

    def bounded(*numbers: Any) -> Any:
        if not all(isinstance(number, int | float) for number in numbers):
            raise ArithmeticError(f"its graph calls {name} with something else than numbers")
        are_integers = all(isinstance(number, int) for number in numbers)
        is_huge = are_integers and name in _GROWING and len(numbers) == 2 and not _fits(name, *numbers)
        result = None if is_huge else call(*numbers)
        if is_huge or (isinstance(result, int) and abs(result) >= _LIMIT):
            raise ArithmeticError(f"its graph computes a number of more than 64 bits by {name}")
        return result

    return bounded


def _fits(name: str, first: int, second: int) -> bool:
    """Return whether a power or a shift has about 64 bits at most, without computing it."""
    bits = first.bit_length()
    return second <= 0 or (bits + second if name == "lshift" else (bits - 1) * second) <= 64


ARITHMETIC: dict[str, Callable[..., Any]] = {
    **{f"_operator.{name}": _bounded(name, getattr(operator, name)) for name in _OPERATORS.split()},
    "_operator.getitem": operator.getitem,
    **{f"math.{name}": getattr(math, name) for name in ("ceil", "floor", "trunc", "sqrt")},
    **{
        f"torch.sym_{name}": getattr(torch, f"sym_{name}")
        for name in _SYMBOLIC.split()
        if hasattr(torch, f"sym_{name}")
    },
    "torch._sym_sqrt": math.sqrt,
}
