"""Causes of errors of a first forward pass, with one hint for each cause; libraries have no error classes for them."""

from __future__ import annotations

import re
from collections.abc import Callable

__all__ = ["find_hint"]

_CHANNELS = "it takes images of another number of channels than three; export it for red, green and blue"
_DTYPES = "its weights and its code mix dtypes; convert it as a whole, such as by model.float()"
_OPERATOR = "this installation lacks an operator of the model; install the package of the operator, or export the model without it"
_SIZE = "set --crop if its input size is another"
_CAUSES: tuple[tuple[str, str | Callable[[re.Match[str]], str]], ...] = (
    (r"no kernel image is available", "this torch does not support the GPU; use --device cpu"),
    (
        r"Found no NVIDIA driver|not compiled with CUDA|No CUDA GPUs|CUDA driver|invalid device ordinal|No HIP GPUs"
        r"|with arguments from the '(CUDA|MPS|XPU|HIP)' backend|not linked with support for (cuda|mps|xpu)",
        lambda match: (
            f"its code asks for {(match[1] or match[2] or 'cuda').lower()}; export it on the CPU, or run where there is one"
        ),
    ),
    (
        r"on the same device|at least two devices|torch\.cuda\.\w+Tensor|is on (cuda|cpu|mps)[:\d]*,? but|different device",
        "its code makes tensors on one device only; give that device by --device, or export it on the device of the run",
    ),
    (r"expected input\[\d+, 3, \d+, \d+\] to have \d+ channels|running_mean should contain 3 elements", _CHANNELS),
    (r"index: 1 Got: 3 Expected: \d+", _CHANNELS),
    (
        r"'indices' to have one of the following scalar types|expected .*indices.* (Long|Int)",
        "it takes numbers of words or classes instead of images",
    ),
    (
        r"scalar type|dtype|Input type .* should be the same|not implemented for '\w+'|data type",
        _DTYPES,
    ),
    (
        r"(in|between|range) .?0(\.0*)?( and|,|-|;| to) ?1\b",
        "give --mean 0,0,0 --std 1,1,1 if it takes images in 0 to 1",
    ),
    (r"engine for operation|NoQEngine", "this torch has no engine for quantized models; export it unquantized"),
    (
        r"Could not run '[\w:.]+' with arguments|Could not find an implementation|NOT_IMPLEMENTED|Unknown builtin op"
        r"|No Op registered|_OpNamespace|operator \S+ does not exist|is not a registered",
        _OPERATOR,
    ),
    (
        r"missing \d+ required positional|missing value for argument|takes \d+ positional arguments? but|unexpected keyword",
        "an image classifier takes one argument, the images",
    ),
    (r'missing the required "forward"', "its class defines no forward method"),
    (
        r"exported for images of (\d+) px only|(?:image|height|width|size)\W+expected (\d+) but got"
        r"|doesn't match model \(?(\d+)|index: [123] Got: \d+ Expected: (\d+)",
        lambda match: f"set --crop {next(filter(None, match.groups()))}",
    ),
    (
        r"shapes cannot be multiplied|is invalid for input of size|size of tensor|sizes of tensors|size mismatch|size doesn't match"
        r"|doesn't match model|wrong image|image size|input size|input (height|width)|Output size is too small|kernel size"
        r"|padding size|divisible|multiple of|exported for images of|invalid dimensions|cannot be reshaped|divide axis"
        r"|expanded size|broadcast|equal size|dimension mismatch|shape mismatch|incompatible (shape|dim)",
        _SIZE,
    ),
)
"""Parts of the texts of torch, TorchScript, onnxruntime, timm and torchvision, and hints; the first part that is found counts."""


def find_hint(error: BaseException) -> str:
    """Return the hint for the cause of an error; empty if the cause is unknown."""
    text = " ".join(str(error).split())
    for pattern, hint in _CAUSES:
        if match := re.search(pattern, text, re.IGNORECASE):
            return hint if isinstance(hint, str) else hint(match)
    return ""
