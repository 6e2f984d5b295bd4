"""Networks for the tests of treatments."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import nn

from robench.models import Classifier
from robench.suites import Condition
from robench.suites.geometry import Geometry

CLEAN = Condition("clean", "clean", 0, Geometry(resize=(32, 32)))


def randomised(module: nn.Module, seed: int = 0) -> nn.Module:
    """Random weights of a size that keeps activations near 1, and random running statistics."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for value in module.parameters():
            fan = value[0].numel() if value.ndim > 1 else 1
            value.copy_(torch.randn(value.shape, generator=generator) * fan**-0.5)
        for name, buffer in module.named_buffers():
            if name.endswith("running_mean"):
                buffer.copy_(torch.randn(buffer.shape, generator=generator) * 0.3)
            elif name.endswith("running_var"):
                buffer.copy_(torch.rand(buffer.shape, generator=generator) + 0.5)
    return module.eval().requires_grad_(False)


def with_module(classifier: Classifier, module: nn.Module) -> Classifier:
    """The same classifier around another network."""
    return replace(classifier, module=module)
