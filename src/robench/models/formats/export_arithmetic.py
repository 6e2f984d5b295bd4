"""Arithmetic on sizes, as graphs of torch.export name it: on numbers alone, and with integers of 64 bits.

Python's integers have as many digits as there is memory for, and nothing can stop it while it computes them; torch's have 64 bits.
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
_LARGEST = 2**63


def _bounded(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
    """Return arithmetic on numbers alone, whose integers stay below 2^63: on lists and text, `mul` repeats."""

    def bounded(*numbers: Any) -> Any:
        if not all(isinstance(number, int | float) for number in numbers):
            raise ArithmeticError(f"its graph gives {name} something else than numbers")
        integers = all(isinstance(number, int) for number in numbers)
        if integers and name in _GROWING and len(numbers) == 2 and not _fits(name, *numbers):
            raise ArithmeticError(f"its graph computes a number of more than 64 bits by {name}")
        result = call(*numbers)
        if isinstance(result, int) and abs(result) >= _LARGEST:
            raise ArithmeticError(f"its graph computes a number of more than 64 bits by {name}")
        return result

    return bounded


def _fits(name: str, first: int, second: int) -> bool:
    """Whether a power or a shift has less than some 64 bits, told before it is computed."""
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
