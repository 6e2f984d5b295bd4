"""Tests. Without a GPU Triton interprets fused kernels; it reads this variable when it is first imported."""

import os

import torch

if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"
