"""Oracle: the definitions of OpenOOD and torch-uncertainty on the logits of the same images, in float64."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import robench
from robench.runs.schema import RECORDS

CLASSES = 130


class Wide(nn.Module):
    """130 logits of an image; those of the reddest image are not finite."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.weight = nn.Parameter(3 * torch.randn(3, CLASSES, generator=generator))

    def forward(self, images: Tensor) -> Tensor:
        means = images.mean(dim=(2, 3))
        logits = means @ self.weight
        return torch.where((means[:, :1] > 0.99), torch.nan, logits)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for number in range(CLASSES):
        folder = tmp_path / "data" / f"{number:03d}"
        folder.mkdir(parents=True)
        colour = rng.integers(0, 200, 3) if number else (255, 0, 0)
        Image.fromarray(np.full((32, 32, 3), colour, np.uint8)).save(folder / "0.png")
    return tmp_path / "data"


def test_columns_of_uncertainty(images: Path, tmp_path: Path) -> None:
    model, options = Wide(), {"mean": (0, 0, 0), "std": (1, 1, 1), "size": 32}
    run = robench.evaluate(model, images, "clean", tmp_path / "run", batch_size=17, **options)  # type: ignore[arg-type]
    records = run.directory.read_records("clean-32px")
    files = sorted(images.glob("*/*.png"))
    pixels = np.stack([np.asarray(Image.open(file)) for file in files]).transpose(0, 3, 1, 2) / 255
    with torch.no_grad():
        logits = model(torch.tensor(pixels, dtype=torch.float32)).double().numpy()[1:]
    p = np.exp(logits - logits.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    top = np.sort(p, axis=1)[:, -100:]
    expected = {
        "confidence": p.max(axis=1),
        "max_logit": logits.max(axis=1),
        "entropy": -(p * np.log(p)).sum(axis=1),
        "sum_p2": (p**2).sum(axis=1),
        "gen": (top**0.1 * (1 - top) ** 0.1).sum(axis=1),
    }
    for name, values in expected.items():
        assert records[name].to_numpy()[1:] == pytest.approx(values, rel=1e-4), name
        assert records[name].dtype == np.float32
    energy = np.log(np.exp(logits).sum(axis=1))
    ours = records["max_logit"].to_numpy()[1:] - np.log(records["confidence"].to_numpy()[1:])
    assert ours == pytest.approx(energy, rel=1e-4)
    first = records.iloc[0]
    assert (first["pred"], first["sum_p2"], first["max_logit"]) == (-1, 0, -np.inf)
    assert first["entropy"] == first["gen"] == np.inf
    # A sample without a prediction has no probability of its class, and so its condition has no proper score.
    metrics = set(run.results["metric"])
    assert "aurc" in metrics
    assert not metrics.intersection({"nll", "brier"})


def test_the_new_columns_take_at_most_20_bytes() -> None:
    size = {"float": 4}
    assert sum(size[one.type] for one in RECORDS.columns if one.name in ("max_logit", "entropy", "sum_p2", "gen")) <= 20
