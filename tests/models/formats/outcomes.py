"""Outcomes of a model in a file: the distance of its logits from the original's, or the answer to a broken file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from robench.errors import CheckpointError
from robench.models import Classifier, load_classifier
from robench.models.formats.base import LoadRequest
from robench.models.loader import load_model
from tests.models.formats.makers import Made

__all__ = ["CUTS", "Outcome", "broken", "load_made", "original"]

CUTS = (0.001, 0.25, 0.5, 0.9, 0.9999)
"""Shares of a file that are left of it."""
_FLIPS = (0.0, 0.1, 0.35, 0.6, 0.97)


@dataclass(frozen=True)
class Outcome:
    """Answers to a damaged file.

    refused: in one line.  changed: loaded, with other logits, because the format has no checksum.  same: loaded, with equal
    ones.  line: of the first refusal.  crashes: whatever else was raised.
    """

    refused: int
    changed: int
    same: int
    line: str
    crashes: tuple[str, ...]


def load_made(made: Made, side: int) -> Classifier:
    """Load a model with the input side that exported ones do not state."""
    return load_classifier(made.path, made.arch, "cpu", crop=side)


def original(module: nn.Module, like: Classifier) -> Classifier:
    """The module itself, fed as another classifier feeds it."""
    return Classifier("original", "", module, like.preprocessing, like.classes, "0", torch.device("cpu"))


def broken(made: Made, side: int, images: Tensor, expected: Tensor, kind: str) -> Outcome:
    """Damage the file in several places, one after the other, and load it each time.

    kind: "truncated", "flipped" (one bit of one byte), or "keys" (a tensor has another name).
    """
    whole = made.file.read_bytes()
    refused, changed, same, lines, crashes = 0, 0, 0, [], []
    for content in _damaged(made.file, whole, kind):
        made.file.write_bytes(content)
        try:
            # Without the trial, which would take most of the time, and hide what the formats themselves let through.
            request = LoadRequest(made.path, made.arch, torch.device("cpu"))
            logits = load_model(made.path, request, {"crop": side}).logits(images)
        except CheckpointError as error:
            refused += 1
            lines.append(str(error))
            if "\n" in str(error):
                crashes.append(f"more than a line: {error}")
        except Exception as error:  # noqa: BLE001 - that nothing else comes is what is tested
            crashes.append(f"{type(error).__name__}: {error}")
        else:
            equal = torch.equal(logits, expected)
            same, changed = same + equal, changed + (not equal)
    made.file.write_bytes(whole)
    return Outcome(refused, changed, same, lines[0] if lines else "", tuple(crashes))


def _damaged(file: Path, whole: bytes, kind: str) -> Iterator[bytes]:
    if kind == "truncated":
        yield from (whole[: int(share * len(whole))] for share in CUTS)
    elif kind == "flipped":
        for share in _FLIPS:
            place = int(share * len(whole))
            yield whole[:place] + bytes([whole[place] ^ 16]) + whole[place + 1 :]
    else:
        yield _renamed(file)


def _renamed(file: Path) -> bytes:
    """The file with its first tensor under another name."""
    copy = file.with_name("renamed.tmp")
    if file.suffix == ".safetensors":
        state = load_file(file)
        first = next(iter(state))
        save_file({f"{first}x" if key == first else key: value for key, value in state.items()}, copy)
    else:
        content = torch.load(file, weights_only=True)
        state = content.get("state_dict", content)
        first = next(key for key in state if state[key].ndim)
        state[f"{first}x"] = state.pop(first)
        torch.save(content, copy)
    renamed = copy.read_bytes()
    copy.unlink()
    return renamed
