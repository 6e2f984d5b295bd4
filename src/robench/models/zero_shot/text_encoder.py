"""The text tower of a vision-language model, and the function from its features to logits."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from robench.models.checkpoints.read import file_sha256

__all__ = ["TOKENIZER_FILES", "TextEncoder", "tokenizer_sha256"]

TOKENIZER_FILES = ("*token*", "vocab*", "merges*", "*.model", "*spiece*")
"""Patterns of the names of a tokenizer's files."""
_BATCH = 256


@dataclass(frozen=True)
class TextEncoder:
    """The part of a vision-language model that turns class names into the weights of a classifier.

    The logits are scale * cosine + bias, with the cosine of the image's features and those of the class.

    Attributes:
        tower: Holds the weights of the text tower.
        tokenize: Function from texts to the arguments of `encode`.
        encode: Function from these arguments, on the device of the tower, to features (n, d).
        scale: Factor of the cosine.
        bias: Added to each logit.
        tokenizer_sha256: Hash of the tokenizer's files.
        versions: Versions of the libraries.
        release: Called when no more texts follow, to free the tower.
    """

    tower: nn.Module
    tokenize: Callable[[list[str]], Mapping[str, Tensor]]
    encode: Callable[[Mapping[str, Tensor]], Tensor]
    scale: float
    bias: float
    tokenizer_sha256: str
    versions: Mapping[str, str] = field(default_factory=dict)
    release: Callable[[], object] = lambda: None

    def class_weights(self, texts: Sequence[Sequence[str]], device: torch.device) -> Tensor:
        """Return the features of classes (classes, d), float32, on the CPU.

        Those of a class are the mean of the normalised features of its texts, normalised again.

        Args:
            texts: As many texts for each class.
            device: Device of the tower.
        """
        self.tower.to(device).eval()
        listed = [text for of_class in texts for text in of_class]
        parts = []
        with torch.no_grad():
            for start in range(0, len(listed), _BATCH):
                tokens = self.tokenize(listed[start : start + _BATCH])
                features = self.encode({name: value.to(device) for name, value in tokens.items()}).float()
                parts.append(nn.functional.normalize(features, dim=1).cpu())
        features = torch.cat(parts).reshape(len(texts), -1, parts[0].shape[1]).mean(1)
        return nn.functional.normalize(features, dim=1)


def tokenizer_sha256(folder: Path) -> str:
    """Return the hash of the tokenizer's files in a folder, by their names."""
    files = sorted({file for pattern in TOKENIZER_FILES for file in folder.glob(pattern) if file.is_file()})
    lines = "".join(f"{file_sha256(file)}  {file.name}\n" for file in files)
    return hashlib.sha256(lines.encode()).hexdigest()
