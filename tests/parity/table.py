"""Every corruption in every variant against the golden files, as one table: `make parity`."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from robench.transforms.corruptions import find_corruption
from robench.transforms.corruptions.c_bar import C_BAR
from robench.transforms.corruptions.three_dcc import THREE_DCC
from robench.transforms.draws import KeyedDraws
from tests.parity import frames, recorded
from tests.parity.published import CLOSE, EQUAL, FILES, NAMES, golden_cell, impulse_deviation, pixels

BARS = dict.fromkeys(EQUAL, "equal") | dict.fromkeys(CLOSE, "truncates alike, at most 1 apart")
CAPTION = (
    "Worst severity of each variant: share of bytes that differ, by how much at most; 'out': values before truncation\n"
    "outside [g - .002, g + 1.002) of the golden byte g; 'over 1': bytes more than 1 apart. impulse_noise: deviation of the\n"
    "shares of salt and pepper in binomial standard deviations, everything else untouched."
)


OF_FRAMES = (
    "Worst sequence: share of bytes that differ, by how much at most; 'out': values before they are made bytes that would\n"
    "not become the golden one, within .002."
)


def describe(name: str, file: str, golden: Path) -> str:
    """The worst figures over the severities of a golden file."""
    severities = FILES[file][1]
    if name == "impulse_noise":
        return f"{max(impulse(file, severity, golden) for severity in severities):.1f} sd"
    cells = [golden_cell(name, file, severity, golden) for severity in severities]
    apart = max((cell.difference > 0).double().mean().item() for cell in cells)
    if apart == 0:
        return "equal"
    found = f"{100 * apart:.3f} % by {max(int(cell.difference.max()) for cell in cells)}"
    if name in CLOSE:
        return f"{found}, out {100 * max(cell.outside for cell in cells):.3f} %"
    over = max((cell.difference > 1).double().mean().item() for cell in cells)
    return f"{found}, over 1: {100 * over:.3f} %, mean {max(cell.difference.mean().item() for cell in cells):.3f}"


def impulse(file: str, severity: int, golden: Path) -> float:
    """Deviation of impulse noise's shares, infinite if it touches anything else."""
    images, constants = pixels(golden, file, "inputs"), FILES[file][0]
    corruption = find_corruption("impulse_noise", constants)
    level = corruption.params(constants, severity)
    result = corruption(images, KeyedDraws(0, torch.arange(len(images)), corruption.name), level)
    deviation, untouched = impulse_deviation(images, result, level["amount"])
    return deviation if untouched else float("inf")


def describe_frames(name: str, file: str, golden: Path) -> str:
    """The worst figures over the sequences of a golden file."""
    sequences = list(frames.golden_sequences(golden, file, name))
    apart = max((one.difference > 0).double().mean().item() for one in sequences)
    if apart == 0:
        return "equal"
    outside = max(one.outside(rounded=name == "tilt") for one in sequences)
    return f"{100 * apart:.3f} % by {max(int(one.difference.max()) for one in sequences)}, out {100 * outside:.3f} %"


def describe_recorded(name: str, file: str, golden: Path) -> str:
    """The share of unequal values over the cells of a golden file, and that of more than one level in the worst image."""
    if name not in (found := recorded.golden_cells(golden, file)):
        return ""
    cells = [recorded.recorded_cell(golden, file, name, severity) for severity in found[name]]
    apart = torch.cat([(ours.int() - expected.int()).abs() for ours, expected in cells])
    if not apart.any():
        return "equal"
    over = (apart > 1).double().mean(dim=(1, 2, 3)).max().item()
    return f"{100 * (apart > 0).double().mean().item():.4f} % by {int(apart.max())}, over 1: {100 * over:.3f} %"


def main() -> None:
    """Read the golden files of ROBENCH_GOLDEN and print the table."""
    shared = Path(os.environ.get("ROBENCH_SHARED", "../shared"))
    golden = Path(os.environ.get("ROBENCH_GOLDEN", shared / "golden"))
    if not golden.is_dir():
        sys.exit(f"no golden files in {golden}: set ROBENCH_GOLDEN to their folder")
    table = Table(title="parity with the published code, from its own draws", title_justify="left", caption=CAPTION)
    for column in ("corruption", *FILES, "bar"):
        table.add_column(column)
    for name in NAMES:
        bar = BARS.get(name, "4 sd" if name == "impulse_noise" else "mean 0.1, over 1: 0.5 %")
        table.add_row(name, *(describe(name, file, golden) for file in FILES), bar)
    sequences = Table(title="parity of the perturbation sequences", title_justify="left", caption=OF_FRAMES)
    for column in ("perturbation", *frames.FILES, "bar"):
        sequences.add_column(column)
    for name in (*frames.EQUAL, *frames.CLOSE):
        bar = (
            "equal" if name in frames.EQUAL else f"{'rounds' if name == 'tilt' else 'truncates'} alike, at most 1 apart"
        )
        sequences.add_row(name, *(describe_frames(name, file, golden) for file in frames.FILES), bar)
    others = Table(title="parity of C-bar and 3DCC, from their recorded draws", title_justify="left")
    for column in ("corruption", *recorded.FILES, "bar"):
        others.add_column(column)
    for name in (*C_BAR, *THREE_DCC):
        bar = f"{100 * recorded.SHARE:g} %, over 1: 0.1 %" if name in recorded.ROUNDED else "equal"
        others.add_row(name, *(describe_recorded(name, file, golden) for file in recorded.FILES), bar)
    Console(width=max(150, Console().width)).print(table, sequences, others)


if __name__ == "__main__":
    main()
