"""Train a small CLIP on a folder of class folders with images of 32 px, and save it as a folder of open_clip.

The captions are the names of the classes in templates. The last images of each class are kept for a test; their paths are in test.txt.

    python examples/train_small_clip.py cifar10/test small-clip
    robench evaluate small-clip --data cifar10/test --subset small-clip/test.txt --suite cifar-c --prompts simple

Training takes about a minute on one core.
"""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional

__all__ = ["main", "train"]

MEAN, STD = [0.491, 0.482, 0.447], [0.247, 0.243, 0.262]
CONFIG: dict[str, Any] = {
    "model_cfg": {
        "embed_dim": 64,
        "vision_cfg": {"image_size": 32, "layers": [1, 1, 1, 1], "width": 32},  # a small CLIP of the kind RN50
        "text_cfg": {"context_length": 24, "vocab_size": 49408, "width": 64, "heads": 2, "layers": 1},
    },
    "preprocess_cfg": {"mean": MEAN, "std": STD, "interpolation": "bicubic", "resize_mode": "shortest"},
}
BATCH = 100


def main(data: Path, out: Path, epochs: int = 12, tested: int = 50) -> None:
    """Train on all but the last images of each class, and write the folder.

    Args:
        data: Class folders of images of 32 px.
        out: Folder to write.
        epochs: Number of passes over the images.
        tested: Number of images of each class that are kept for a test.
    """
    classes = sorted(path.name for path in data.iterdir() if path.is_dir())
    files = {name: sorted(file for file in (data / name).iterdir() if file.is_file()) for name in classes}
    out.mkdir(parents=True, exist_ok=True)
    kept = [f"{name}/{file.name}" for name in classes for file in files[name][-tested:]]
    (out / "test.txt").write_text("\n".join(kept) + "\n")
    (out / "open_clip_config.json").write_text(json.dumps(CONFIG, indent=2))
    pixels, labels = [], []
    for label, name in enumerate(classes):
        for file in files[name][:-tested]:
            with Image.open(file) as image:
                pixels.append(np.asarray(image.convert("RGB")))
            labels.append(label)
    images = torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2)
    model = train(out, images, torch.tensor(labels), [name.replace("_", " ") for name in classes], epochs)
    save_file(
        {name: value.contiguous() for name, value in model.state_dict().items()}, out / "open_clip_model.safetensors"
    )


def train(folder: Path, images: Tensor, labels: Tensor, names: list[str], epochs: int) -> Any:
    """Return a model whose image features are nearest to a caption of their class.

    Args:
        folder: Folder with the configuration of the model.
        images: (n, 3, 32, 32) uint8.
        labels: (n,) classes.
        names: Names of the classes.
        epochs: Number of passes over the images.
    """
    torch.manual_seed(0)
    choose = random.Random(0)
    model = open_clip.create_model(f"local-dir:{folder}", load_weights=False).train()
    tokenizer = open_clip.get_tokenizer(f"local-dir:{folder}")
    captions = [tokenizer([template(name) for name in names]) for template in open_clip.SIMPLE_IMAGENET_TEMPLATES]
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.05)
    steps = epochs * -(-len(images) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (MEAN, STD))
    for _ in range(epochs):
        for rows in torch.randperm(len(images)).split(BATCH):
            batch = functional.pad(images[rows].float() / 255, (4, 4, 4, 4), mode="reflect")
            top, left = choose.randrange(9), choose.randrange(9)
            batch = batch[:, :, top : top + 32, left : left + 32]
            batch = torch.where(torch.rand(len(rows), 1, 1, 1) < 0.5, batch.flip(3), batch)
            pictures = model.encode_image((batch - mean) / std, normalize=True)
            texts = model.encode_text(choose.choice(captions), normalize=True)
            loss = functional.cross_entropy(
                model.logit_scale.exp() * pictures @ texts.T, labels[rows], label_smoothing=0.1
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return model.eval()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), *map(int, sys.argv[3:4]))
