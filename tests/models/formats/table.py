"""Every format of a model: whether it loads, to which logits, and what a broken one is answered, as a table: `make formats`."""

from __future__ import annotations

import copy
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from robench.datasets import decode_few, open_dataset, select
from robench.models import load_classifier
from robench.models.architectures import build_architecture
from tests.models.formats.makers import FORMATS, Made, hugging_face_resnet
from tests.models.formats.outcomes import Outcome, broken, load_made, original

__all__ = ["describe", "made_in", "main", "network"]

CAPTION = (
    "max |d|: largest difference of a logit to the original module's on the same images; top-1: images with another\n"
    "prediction. Of 5 truncated files and 5 with a bit flipped: refused in one line, loaded with other logits (the format\n"
    "has no checksum), loaded with the same logits (the byte plays no role)."
)


def network(arch: str, classes: int) -> nn.Module:
    """A network with seeded random weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return build_architecture(arch, classes)[0].eval()


def made_in(folder: Path, name: str, module: nn.Module, arch: str, side: int) -> Made:
    """Store a module in the format called `name`, in a folder of its own."""
    place = folder / "".join(character if character.isalnum() else "-" for character in name)
    place.mkdir()
    module = copy.deepcopy(module).to(memory_format=torch.contiguous_format)  # as a training script has it
    return FORMATS[name][1](module, arch, place, side)


def describe(outcome: Outcome) -> str:
    """An outcome in a cell."""
    parts = [f"{outcome.refused} refused"]
    parts += [f"{outcome.changed} changed"] if outcome.changed else []
    parts += [f"{outcome.same} same"] if outcome.same else []
    parts += [f"{len(outcome.crashes)} CRASHED ({outcome.crashes[0]})"] if outcome.crashes else []
    return ", ".join(parts)


def _row(table: Table, name: str, how: str, made: Made, images: Tensor, expected: Tensor) -> list[str]:
    side = images.shape[2]
    classifier = load_made(made, side)
    images = images if name in _EVERYWHERE else images[:_FEW]
    expected = expected[: len(images)]
    logits = torch.cat([classifier.logits(part) for part in images.split(50)])
    few = images[:2]
    small = classifier.logits(few)
    cells = [describe(broken(made, side, few, small, kind)) for kind in ("truncated", "flipped")]
    keys = broken(made, side, few, small, "keys") if made.file.suffix in (".pth", ".safetensors") else None
    table.add_row(
        name,
        how,
        f"{len(images):,}",
        f"{(logits - expected).abs().max().item():.1e}",
        str(int((logits.argmax(1) != expected.argmax(1)).sum())),
        *cells,
        describe(keys) if keys else "",
    )
    return [keys.line] if keys and keys.line else []


def main(arguments: Sequence[str]) -> int:
    """Print the tables: the shared SqueezeNet on the shared pictures, and a network that Hugging Face has too."""
    shared = Path(os.environ.get("ROBENCH_SHARED", "../shared"))
    if not shared.is_dir():
        print(f"no real data: ROBENCH_SHARED={shared} is no folder")
        return 2
    limit = int(arguments[0]) if arguments else 1000
    weights = shared / "data/checkpoints/squeezenet1_0_imagenet.pth"
    classifier = load_classifier(weights, "torchvision:squeezenet1_0", "cpu")
    dataset = open_dataset(shared / "data/imagenet")
    pixels = decode_few(dataset, select(dataset, limit=limit), classifier.preprocessing.geometry())
    images = torch.from_numpy(pixels)
    resnet = network("torchvision:resnet18", 1000)
    with tempfile.TemporaryDirectory() as folder:
        for title, module, arch, names in (
            ("SqueezeNet 1.0, its real weights", classifier.module, "torchvision:squeezenet1_0", list(FORMATS)),
            ("ResNet-18, random weights", resnet, "torchvision:resnet18", list(_EVERYWHERE[:-1])),
        ):
            table = Table(title=title, caption=CAPTION, title_justify="left", caption_justify="left")
            for column in (
                "format",
                "made by",
                "pictures",
                "max |d|",
                "top-1",
                "truncated",
                "a bit flipped",
                "a key renamed",
            ):
                table.add_column(column)
            lines: list[str] = []
            place = Path(folder, arch.partition(":")[2])
            place.mkdir()
            alone = original(module, classifier)
            expected = torch.cat([alone.logits(part) for part in images.split(50)])
            for name in names:
                print(name, file=sys.stderr)
                lines += _row(table, name, FORMATS[name][0], made_in(place, name, module, arch, 224), images, expected)
            if module is resnet:
                made = hugging_face_resnet(module, place / "huggingface", 1000)
                lines += _row(table, "Hugging Face folder", "save_pretrained", made, images, expected)
            Console(width=180).print(table)
            print(lines[0])
    return 0


_EVERYWHERE = ("state dict", "safetensors", "TorchScript, traced", "torch.export", "ONNX", "Hugging Face folder")
"""Formats that differ in what runs the network: of these all pictures are compared, of the others some."""
_FEW = 100


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
