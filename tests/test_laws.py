"""The laws that every corruption obeys, whatever it does. A new one gets them by being in the table."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from robench.corruptions import CORRUPTIONS, find_corruption
from robench.draws import KeyedDraws
from robench.errors import OptionError

CONSTANTS = ("224", "299", "64", "32")
CASES = [
    pytest.param(name, constants, severity, id=f"{name}-{constants}-{severity}")
    for name in CORRUPTIONS
    for constants in CONSTANTS
    for severity in (1, 3, 5)
]


def smooth(batch: int, height: int, width: int) -> Tensor:
    """Smooth pictures with some black, white and grey in them."""
    generator = torch.Generator().manual_seed(height + width)
    small = torch.rand((batch, 3, 6, 5), generator=generator) * 1.4 - 0.2
    images = (
        torch.nn.functional.interpolate(small, (height, width), mode="bilinear").clamp(0, 1).mul(255).to(torch.uint8)
    )
    images[:, :, :4] = images[:, :1, :4]
    return images


def apply(
    name: str, images: Tensor, constants: str, severity: int, seed: int = 0, index: Tensor | None = None
) -> Tensor:
    corruption = CORRUPTIONS[name]
    index = torch.arange(len(images), device=images.device) if index is None else index
    return corruption(images, KeyedDraws(seed, index, name), corruption.level(constants, severity))


@pytest.mark.parametrize(("name", "constants", "severity"), CASES)
def test_laws(name: str, constants: str, severity: int) -> None:
    images = smooth(7, 40, 37)
    before = images.clone()
    whole = apply(name, images, constants, severity)
    assert torch.equal(images, before), "the input is left alone"
    assert (whole.shape, whole.dtype, whole.device) == (images.shape, images.dtype, images.device)
    assert whole.data_ptr() != images.data_ptr()
    assert torch.equal(apply(name, images, constants, severity), whole), "same seed, same bytes"
    for place in range(7):
        one = apply(name, images[place : place + 1], constants, severity, index=torch.tensor([place]))
        assert torch.equal(one[0], whole[place]), "one by one as in the batch"
    order = torch.tensor([3, 0, 6, 5, 1, 2, 4])
    assert torch.equal(apply(name, images[order], constants, severity, index=order), whole[order]), (
        "a permutation permutes"
    )
    other = apply(name, images, constants, severity, seed=1)
    assert torch.equal(other, whole) != CORRUPTIONS[name].random, "only what draws depends on the seed"
    assert not torch.equal(whole, images), "it does something"


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_laws_at_full_size(name: str) -> None:
    images = smooth(3, 224, 224)
    whole = apply(name, images, "224", 3)
    for place in range(3):
        assert torch.equal(
            apply(name, images[place : place + 1], "224", 3, index=torch.tensor([place]))[0], whole[place]
        )


@pytest.mark.parametrize("name", CORRUPTIONS)
@pytest.mark.parametrize("size", [(32, 32), (101, 77), (33, 200)])
def test_any_size_layout_and_number(name: str, size: tuple[int, int]) -> None:
    images = smooth(2, *size)
    whole = apply(name, images, "224", 2)
    assert whole.shape == images.shape
    assert torch.equal(apply(name, images.contiguous(memory_format=torch.channels_last), "224", 2), whole)
    assert apply(name, images[:0], "224", 2).shape == (0, 3, *size)


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_refusals_carry_the_name(name: str) -> None:
    for images in (smooth(1, 31, 40), smooth(1, 40, 40).float(), smooth(1, 40, 40)[0], smooth(1, 40, 40)[:, :2]):
        with pytest.raises(OptionError, match=name):
            apply(name, images, "224", 1)
    for severity in (0, 6):
        with pytest.raises(OptionError, match="use 1 to 5"):
            apply(name, smooth(1, 40, 40), "224", severity)


@pytest.mark.parametrize(("name", "constants", "severity"), CASES)
def test_runs_on_a_device_without_looking_at_values(name: str, constants: str, severity: int) -> None:
    """On a fake CUDA device a stray CPU tensor or a host synchronisation raises, on any machine."""
    with FakeTensorMode():
        images = torch.zeros((2, 3, 64, 64), dtype=torch.uint8, device="cuda")
        corrupted = apply(name, images, constants, severity)
        assert (corrupted.device.type, corrupted.dtype, corrupted.shape) == ("cuda", torch.uint8, images.shape)


@pytest.mark.gpu
@pytest.mark.parametrize(("name", "constants", "severity"), CASES)
def test_cuda_is_the_cpu(name: str, constants: str, severity: int, cuda: torch.device) -> None:
    images = smooth(4, 64, 64)
    cpu, gpu = apply(name, images, constants, severity), apply(name, images.to(cuda), constants, severity).cpu()
    difference = (cpu.int() - gpu.int()).abs()
    assert difference.max() <= 1
    assert (difference > 0).float().mean() <= 1e-3


def test_the_table() -> None:
    for name, corruption in CORRUPTIONS.items():
        assert corruption.name == name
        assert corruption.source.startswith("arXiv:")
        assert corruption.summary.endswith(".")
        assert set(corruption.levels) == set(CONSTANTS)
        assert {len(levels) for levels in corruption.levels.values()} == {5}
    with pytest.raises(OptionError, match="did you mean 'contrast'"):
        find_corruption("contrats")
    with pytest.raises(OptionError, match="has no constants '128'"):
        CORRUPTIONS["contrast"].level("128", 1)
