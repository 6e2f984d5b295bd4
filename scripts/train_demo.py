"""Train the embedded demo checkpoint: a ResNet-8 on the even-numbered handwritten digits, seeded, about a minute on a CPU.

    python scripts/train_demo.py

Writes src/robench/models/data/digits.safetensors. The odd-numbered digits, which `robench evaluate demo` uses, are never seen.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import nn

from robench.datasets.readers.demo import digits
from robench.models.architectures.cifar_resnet import build
from robench.suites import SUITES

TARGET = Path(__file__).parents[1] / "src/robench/models/data/digits.safetensors"
EPOCHS, BATCH = 40, 64


def main() -> None:
    """Train, print the accuracy on the training half, and write the weights."""
    geometry = SUITES["cifar-c"].geometry
    assert geometry is not None
    grey, labels = digits()
    digit_images = [geometry.apply(Image.fromarray(one.astype(np.uint8))) for one in grey[0::2]]
    images = torch.from_numpy(np.stack([np.asarray(image) for image in digit_images])).permute(0, 3, 1, 2) / 255
    targets = torch.from_numpy(labels[0::2])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model, preprocessing = build("cifar_resnet8")
        mean, std = (torch.tensor(values)[:, None, None] for values in (preprocessing.mean, preprocessing.std))
        optimiser = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4, nesterov=True)
        steps = EPOCHS * -(-len(images) // BATCH)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=0.1, total_steps=steps)
        model.train()
        for _ in range(EPOCHS):
            for rows in torch.split(torch.randperm(len(images)), BATCH):
                dy, dx = torch.randint(-3, 4, (2,)).tolist()
                batch = (images[rows].roll((dy, dx), dims=(2, 3)) - mean) / std
                loss = nn.functional.cross_entropy(model(batch), targets[rows], label_smoothing=0.05)
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
                schedule.step()
    model.eval()
    with torch.inference_mode():
        accuracy = (model((images - mean) / std).argmax(1) == targets).float().mean()
    print(f"accuracy on the training half: {accuracy:.4f}")
    TARGET.parent.mkdir(exist_ok=True)
    tensors = {name: value.contiguous() for name, value in model.state_dict().items() if "num_batches" not in name}
    save_file(
        tensors, TARGET, metadata={"source": "scripts/train_demo.py", "data": "scikit-learn digits, even-numbered"}
    )


if __name__ == "__main__":
    main()
