"""Check and time every corruption on a device, with eager and with fused kernels; prints each line as soon as it is known.

    python benchmarks/device.py [law|kernels|bare ...] [--device cuda] [--images 256] [--seconds 100]

law: pixels of each corruption and perturbation on the device compared with those of a CPU. At most 0.1 % of the values may differ,
by 1 level. Fused and eager pixels of the device are also compared with each other.
kernels: microseconds an image of each corruption, of the JPEG pass of released files and of the normalisation, eager and fused, and
images/s of the fused ones.
bare: images/s of ResNet-50 in bf16 alone, by batch size.

A part ends after `--seconds`; the last line says how many lines are missing. The exit status is 1 if pixels differ.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice

import numpy as np
import torch
import torchvision
from common import hardware

from robench.evaluation.device_scopes import precision_scope
from robench.models import choose_device
from robench.transforms.corruptions import CORRUPTIONS
from robench.transforms.corruptions.jpeg import jpeg_round_trip, jpeg_round_trip_library
from robench.transforms.draws import KeyedDraws
from robench.transforms.kernels import kernel_scope, why_eager
from robench.transforms.perturbations import PERTURBATIONS
from robench.transforms.resize import normalise
from robench.transforms.warps import PaddedBatch
from robench.types import Images

INDEX = (4, 0, 2**33 + 1, 17, 5)
SEVERITIES = (1, 3, 5)
FRAMES = 5
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def main() -> None:
    """Parse the arguments, run the parts, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", choices=("law", "kernels", "bare", []), help="default: all")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--images", type=int, default=256, help="images of a batch")
    parser.add_argument("--seconds", type=float, default=100.0, help="time of a part")
    options = parser.parse_args()
    device = choose_device(options.device)
    print(hardware(torch.get_num_threads()))
    if device.type == "cuda":
        print(f"{torch.cuda.get_device_name(device)}, CUDA {torch.version.cuda}")
    print(f"fused kernels: {why_eager(device) or 'run'}", flush=True)
    broken = 0
    for part in options.parts or ("law", "kernels", "bare"):
        lines = {"law": law, "kernels": kernels, "bare": bare}[part](device, options.images)
        begun, shown = time.perf_counter(), 0
        for line in lines:
            print(line, flush=True)
            shown, broken = shown + 1, broken + ("FAIL" in line)
            if time.perf_counter() - begun > options.seconds:
                print(f"{part}: stopped after {shown} lines; {sum(1 for _ in islice(lines, 1))} or more are missing")
                break
    sys.exit(broken > 0)


def pictures(count: int, height: int, width: int) -> Images:
    """Return smooth, noisy, black, white and saturated images in turn."""
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:height, :width]
    smooth = np.stack([127 + 120 * np.sin(rows / 9 + phase) * np.cos(columns / 7) for phase in range(3)])
    primary = np.zeros((3, height, width))
    primary[0, : height // 2], primary[2, height // 3 :], primary[1, :, width // 2 :] = 255, 200, 1
    kinds = [smooth, rng.integers(0, 256, (3, height, width)), 0 * smooth, 0 * smooth + 255, primary]
    return torch.from_numpy(np.stack([kinds[number % 5] for number in range(count)]).astype(np.uint8))


def choices(device: torch.device) -> tuple[str, ...]:
    """Return the kernels that a device can run."""
    return ("eager",) if why_eager(device) else ("eager", "fused")


def law(device: torch.device, _: int) -> Iterator[str]:
    """Yield a line for each corruption at three severities, for JPEG, and for each perturbation."""
    for quality in (7, 85):
        images = pictures(5, 101, 77)
        work = partial(recompressed, quality)
        yield compared(f"JPEG {quality}, Pillow", device, images, work, jpeg_round_trip_library(images, quality))
    for name in CORRUPTIONS:
        for severity in SEVERITIES:
            yield compared(f"{name} {severity}", device, pictures(5, 101, 77), partial(corrupted, name, severity))
    for name in PERTURBATIONS:
        yield compared(f"{name}, frames", device, pictures(5, 256, 256), partial(frames, name))


def corrupted(name: str, severity: int, images: Images, index: torch.Tensor) -> Images:
    """Return the pixels of a corruption."""
    corruption = CORRUPTIONS[name]
    return corruption(images, KeyedDraws(0, index, name), corruption.params("224", severity))


def recompressed(quality: int, images: Images, _: torch.Tensor) -> Images:
    """Return the pixels after JPEG."""
    return jpeg_round_trip(images, quality)


def frames(name: str, images: Images, index: torch.Tensor) -> Images:
    """Return the first frames of a perturbation."""
    perturbation = PERTURBATIONS[name]
    found = perturbation(PaddedBatch.of(images), 224, KeyedDraws(0, index, name), perturbation.params("224"))
    return torch.stack(list(islice(found, FRAMES)))


def compared(
    name: str,
    device: torch.device,
    images: Images,
    work: Callable[[Images, torch.Tensor], Images],
    expected: Images | None = None,
) -> str:
    """Compare pixels of a device with those of a CPU, and those of fused kernels with the eager ones."""
    index = torch.tensor(INDEX)
    if expected is None:
        with kernel_scope("eager"):
            expected = work(images, index)
    found = {}
    for choice in choices(device):
        with kernel_scope(choice):
            found[choice] = work(images.to(device), index.to(device)).cpu()
    cells, passes = [], True
    for choice, pixels in found.items():
        difference = (pixels.int() - expected.int()).abs()
        share, most = (difference > 0).double().mean().item(), int(difference.max())
        passes &= share <= 0.001 and most <= 1
        cells.append(f"{choice} {100 * share:.4f} % by {most}")
    if "fused" in found:
        unequal = int((found["fused"] != found["eager"]).sum())
        passes &= unequal == 0 or ("noise" in name and unequal <= 1)
        cells.append(f"fused and eager {unequal} unequal")
    return f"{name:28s} {'ok  ' if passes else 'FAIL'} {'; '.join(cells)}"


def kernels(device: torch.device, count: int) -> Iterator[str]:
    """Yield the microseconds an image of each corruption, eager and fused."""
    images, index = pictures(count, 224, 224).to(device), torch.arange(count, device=device)
    reverse, dtype = False, torch.float32
    work: dict[str, Callable[[], object]] = {
        "release JPEG": lambda: jpeg_round_trip(images, 85),
        "normalisation": lambda: normalise(images, MEAN, STD, reverse=reverse, dtype=dtype),
    }
    for name in CORRUPTIONS:
        for severity in SEVERITIES:
            work[f"{name} {severity}"] = partial(corrupted, name, severity, images, index)
    for name, function in work.items():
        cells = []
        for choice in choices(device):
            with kernel_scope(choice):
                took = seconds(function, device) / count
            cells.append(f"{choice} {took * 1e6:9.3f} us {1 / took:12,.0f}/s")
        yield f"{name:28s} {'; '.join(cells)}"


def bare(device: torch.device, count: int) -> Iterator[str]:
    """Yield the images/s of ResNet-50 in bf16 under autocast, as a run computes it."""
    module = torchvision.models.resnet50(weights=None).eval().requires_grad_(False)
    module = module.to(device).to(memory_format=torch.channels_last)
    for batch in sorted({min(64, count), count}):
        values = torch.randn((batch, 3, 224, 224)).to(device).contiguous(memory_format=torch.channels_last)
        with precision_scope("bf16", device), torch.inference_mode():
            took = seconds(lambda: module(values), device, 1.0)  # noqa: B023
        yield f"resnet50, bf16, batch {batch:4d} {batch / took:12,.1f}/s"


def seconds(work: Callable[[], object], device: torch.device, least: float = 0.15) -> float:
    """Return the median time of a call, by the device's own clock if it has one, after two calls to warm up."""
    if device.type != "cuda":
        work()
        start = time.perf_counter()
        work()
        return time.perf_counter() - start
    for _ in range(2):
        work()
    found: list[float] = []
    begun = time.perf_counter()
    while len(found) < 3 or (time.perf_counter() - begun < least and len(found) < 50):
        start_event, end_event = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start_event.record()
        work()
        end_event.record()
        end_event.synchronize()
        found.append(start_event.elapsed_time(end_event) / 1000)
    return float(np.median(found))


if __name__ == "__main__":
    main()
