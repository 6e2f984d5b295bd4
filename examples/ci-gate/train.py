"""Write the demo's weights to digits.safetensors, in place of a training; --noise makes them worse."""

from __future__ import annotations

import argparse
from importlib.resources import as_file, files
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument(
    "--noise", type=float, default=0.0, help="standard deviation of the noise, relative to each tensor's own"
)
noise = parser.parse_args().noise

with as_file(files("robench") / "models" / "data" / "digits.safetensors") as path:
    weights = load_file(path)
generator = torch.Generator().manual_seed(0)
for name, values in weights.items():
    if values.dim() > 1:
        weights[name] = values + noise * values.std() * torch.randn(values.shape, generator=generator)
save_file(weights, Path("digits.safetensors"))
