"""examples/evaluate_in_training.py in a short training."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

EXAMPLE = Path(__file__).parents[2] / "examples" / "evaluate_in_training.py"


def test_the_callback_evaluates_every_second_epoch(picture_folder: Path, tmp_path: Path) -> None:
    spec = importlib.util.spec_from_file_location("evaluate_in_training", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3, stride=4), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(256, 3))
    data = TensorDataset(torch.rand(12, 3, 32, 32), torch.arange(12) % 3)
    callback = example.RobustnessCallback(
        picture_folder,
        tmp_path,
        every=2,
        suite="cifar-c",
        corruption="fog",
        severity=3,
        size=32,
        limit=6,
        progress=False,
    )
    example.train(net, DataLoader(data, batch_size=6), 4, callback)
    assert [entry["epoch"] for entry in callback.history] == [2, 4]
    assert all(0 <= entry["cifar-c/mean_error"] <= 1 for entry in callback.history)
    assert net.training
