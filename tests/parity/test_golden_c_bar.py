"""Oracle: pixels that the published code of C-bar and 3DCC made, from the draws that it recorded.

The quick tier tests the last severity of each file. The rest is nightly.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from robench.suites import C_BAR_VALUES, find_suite
from robench.transforms.corruptions import CONSTANT_SETS
from tests.parity.recorded import FILES, INVERSES, ROUNDED, SHARE, golden_cells, recorded_cell

every_kernel = pytest.mark.parametrize(
    ("file", "name"), [(file, name) for file, suite in FILES.items() for name in CONSTANT_SETS[suite]]
)


def test_no_golden_cell_is_left_out(golden: Path) -> None:
    for file, suite in FILES.items():
        assert tuple(golden_cells(golden, file)) == find_suite(suite).corruptions
    assert {name for values in C_BAR_VALUES.values() for name in values} == set(INVERSES)


@pytest.mark.parametrize("severities", [slice(-1, None), pytest.param(slice(-1), marks=pytest.mark.nightly)], ids=str)
@every_kernel
def test_recorded_draws_give_the_golden_bytes(file: str, name: str, severities: slice, golden: Path) -> None:
    cells = [recorded_cell(golden, file, name, one) for one in golden_cells(golden, file)[name][severities]]
    if not cells:
        pytest.skip(f"{file} has one severity")
    ours, expected = (torch.cat(side).int() for side in zip(*cells, strict=True))
    difference = (ours - expected).abs()
    if name in ROUNDED:
        assert (difference <= 1).double().mean(dim=(1, 2, 3)).min() >= 0.999
        assert (difference > 0).double().mean() <= SHARE
    else:
        assert difference.max() == 0
