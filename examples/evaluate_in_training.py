"""Evaluate robustness every few epochs of a plain training loop.

`RobustnessCallback` keeps the metrics of each evaluation, as experiment trackers take them: `wandb.log(callback.history[-1])`.
"""

from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader

import robench


class RobustnessCallback:
    """Evaluates a network after every `every` epochs; each evaluation has its own run directory below `out`."""

    def __init__(self, data: str | Path, out: str | Path, every: int = 5, **options: Any) -> None:
        self.data, self.out, self.every, self.options = data, Path(out), every, options
        self.history: list[dict[str, float]] = []

    def after_epoch(self, epoch: int, net: nn.Module) -> None:
        """Evaluate the network, which stays in its mode and on its device."""
        if epoch % self.every == 0:
            run = robench.evaluate(net, self.data, out=self.out / f"epoch-{epoch}", **self.options)
            self.history.append({"epoch": epoch, **run.metrics})


def train(net: nn.Module, batches: DataLoader[Any], epochs: int, callback: RobustnessCallback) -> None:
    """Train a network with a callback after each epoch."""
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    for epoch in range(1, epochs + 1):
        net.train()
        for images, labels in batches:
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(images), labels).backward()
            optimizer.step()
        callback.after_epoch(epoch, net)
