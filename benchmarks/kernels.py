"""Compile every fused kernel for an H200 without a GPU, and print what the compiler made of it.

    python benchmarks/kernels.py [--json]

Registers and stack are of a thread; a stack means that registers spill, or that a slow path of a function is there. `fused` counts
the floating-point multiplications and additions that are contracted in PTX. `lines` counts the kernel's own lines.
"""

from __future__ import annotations

import argparse
import inspect
import json
import os
import re
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

os.environ.pop("TRITON_INTERPRET", None)  # Triton reads it when it is imported.

import torch
import triton
from rich.console import Console
from rich.table import Table
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from robench.transforms.draws import PHILOX
from robench.transforms.kernels import draws, filters, glass, jpeg, motion
from robench.transforms.kernels import normalise as normalisation

TARGET = GPUTarget("cuda", 90, 32)
TOOLS = Path(triton.__file__).parent / "backends" / "nvidia" / "bin"
GENERATOR = dict(zip(("M0", "M1", "W0", "W1", "ROUNDS"), PHILOX, strict=True))
WORDS = "*i64 {} i32 i32 i32 i32 i32"
CORRELATE = "*{0} *{0} *{0} i32 i32 i32 i32"

KERNELS: dict[str, tuple[Any, str, Mapping[str, Any]]] = {
    "words": (draws.words_kernel, WORDS.format("*i64"), {"FORM": 0, **GENERATOR, "SIZE": 512}),
    "uniform": (draws.words_kernel, WORDS.format("*fp32"), {"FORM": 1, **GENERATOR, "SIZE": 512}),
    "integers": (draws.words_kernel, WORDS.format("*i64"), {"FORM": 2, **GENERATOR, "SIZE": 512}),
    "normal": (draws.normal_kernel, "*i64 *fp32 i32 i32 i32", {**GENERATOR, "SIZE": 512}),
    "JPEG, encode": (jpeg.encode_kernel, "*u8 *u8 *u8 *i32 *i32 *i32 i32 i32", {"COUNT": 16}),
    "JPEG, decode": (jpeg.decode_kernel, "*u8 *u8 *u8 i32 i32", {"SIZE": 512}),
    "motion": (motion.motion_kernel, "*u8 *fp64 *i32 *i32 *u8 i32 i32 i32", {"TAPS": 31, "SIZE": 512}),
    "shuffle": (glass.shuffle_kernel, "*u8 *i64 *u8 i32 i32 i32 i32 i32", {"ITERATIONS": 3, "SIZE": 128}),
    "filter, float32": (
        filters.correlate_kernel,
        CORRELATE.format("fp32"),
        {"AXIS": 2, "BORDER": 1, "RADIUS": 16, "SIZE": 512},
    ),
    "filter, float64": (
        filters.correlate_kernel,
        CORRELATE.format("fp64"),
        {"AXIS": 3, "BORDER": 1, "RADIUS": 4, "SIZE": 512},
    ),
    "filter, reflect": (
        filters.correlate_kernel,
        CORRELATE.format("fp32"),
        {"AXIS": 2, "BORDER": 2, "RADIUS": 7, "SIZE": 512},
    ),
    "normalise": (
        normalisation.normalise_kernel,
        "*u8 *fp32 *fp32 *bf16 i32",
        {"REVERSED": False, "SIZE": 512},
    ),
}
"""Each kernel with the types of its arguments and its constants."""


def compiled(name: str) -> dict[str, int]:
    """Return registers, bytes of stack, instructions and contracted operations of a kernel."""
    kernel, types, constants = KERNELS[name]
    given = dict(zip((one for one in kernel.arg_names if one not in constants), types.split(), strict=True))
    signature = {one: given.get(one, "constexpr") for one in kernel.arg_names}
    source = ASTSource(kernel, signature=signature, constexprs=dict(constants))
    made = triton.compile(source, target=TARGET, options={"num_warps": 4, "enable_fp_fusion": False})
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(made.asm["cubin"])
        file.flush()
        usage = subprocess.run(
            [TOOLS / "cuobjdump", "-res-usage", file.name], capture_output=True, text=True, check=True
        )
        code = subprocess.run([TOOLS / "nvdisasm", "-c", file.name], capture_output=True, text=True, check=True).stdout
    used = {key: int(value) for key, value in re.findall(r"(REG|STACK):(\d+)", usage.stdout + usage.stderr)}
    return {
        "registers": used["REG"],
        "stack": used["STACK"],
        "instructions": len(re.findall(r"/\*[0-9a-f]{4,}\*/\s+\S", code)),
        "fused": len(re.findall(r"\bfma\.rn\.(?:ftz\.)?f(?:32|64)", made.asm["ptx"])),
        "lines": len(inspect.getsource(kernel.fn).splitlines()),
    }


def main() -> None:
    """Parse the arguments, compile, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    found = {name: compiled(name) for name in KERNELS}
    if options.json:
        print(json.dumps(found))
        return
    table = Table(
        title=f"sm_{TARGET.arch}, Triton {triton.__version__}, torch {torch.__version__}", title_justify="left"
    )
    table.add_column("kernel")
    for column in next(iter(found.values())):
        table.add_column(column, justify="right")
    for name, values in found.items():
        table.add_row(name, *(f"{value:,}" for value in values.values()))
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
