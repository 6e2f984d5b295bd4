"""What holds for every corruption; a new one is tested by being in the table.

Oracles: the corruption itself on another batch, order, layout or device; the suites' lists of names.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from itertools import product

import numpy as np
import pytest
import torch
from torch import Tensor

from on_device import fake_cuda
from robench.errors import OptionError
from robench.suites import SUITES
from robench.suites.imagenet_c import CORRUPTIONS as PUBLISHED
from robench.suites.imagenet_c import EXTRA
from robench.transforms.corruptions import CONSTANT_SETS, CORRUPTIONS, IMAGECORRUPTIONS
from robench.transforms.corruptions.base import Corruption
from robench.transforms.device import to_device
from robench.transforms.draws import KeyedDraws
from robench.types import Images

EVERY = {
    f"{name}-{constants}": (found, constants)
    for constants in CONSTANT_SETS
    for name, found in CONSTANT_SETS[constants].items()
}
"""Every corruption of every set of constants; of the package's, those that are its own."""
EVERY = {key: one for key, one in EVERY.items() if one[1] != "package" or one[0].kernel.__module__.endswith("package")}
CASES = [pytest.param(*one, severity, id=f"{key}-{severity}") for key, one in EVERY.items() for severity in (1, 3, 5)]
every_case = pytest.mark.parametrize(("corruption", "constants", "severity"), CASES)
FEW = {key: one for key, one in EVERY.items() if one[1] in ("224", "package")}
every_corruption = pytest.mark.parametrize(("corruption", "constants"), FEW.values(), ids=FEW)
INDEX = (4, 0, 2**33 + 1, 17, 5)


def pictures(height: int, width: int, count: int = 5) -> Images:
    """Smooth, noisy, black, white and saturated pictures in turn: where divisions by zero and clipping happen."""
    rng = np.random.default_rng(height * 1000 + width)
    rows, columns = np.mgrid[:height, :width]
    smooth = np.stack([127 + 120 * np.sin(rows / 9 + phase) * np.cos(columns / 7) for phase in range(3)])
    primary = np.zeros((3, height, width))
    primary[0, : height // 2], primary[2, height // 3 :], primary[1, :, width // 2 :] = 255, 200, 1
    kinds = [smooth, rng.integers(0, 256, (3, height, width)), 0 * smooth, 0 * smooth + 255, primary]
    return torch.from_numpy(np.stack([kinds[place % 5] for place in range(count)]).astype(np.uint8))


def draws(corruption: Corruption, index: tuple[int, ...] = INDEX, seed: int = 0) -> KeyedDraws:
    return KeyedDraws(seed, torch.tensor(index, dtype=torch.int64), corruption.name)


def corrupt(
    corruption: Corruption, images: Images, constants: str, severity: int, index: tuple[int, ...] = INDEX, seed: int = 0
) -> Images:
    return corruption(images, draws(corruption, index, seed), corruption.params(constants, severity))


@every_case
def test_shape_type_device_and_input_are_kept(corruption: Corruption, constants: str, severity: int) -> None:
    images = pictures(64, 64)
    copy = images.clone()
    result = corrupt(corruption, images, constants, severity)
    assert (result.shape, result.dtype, result.device) == (images.shape, torch.uint8, images.device)
    assert torch.equal(images, copy)
    assert result.data_ptr() != images.data_ptr()
    assert not torch.equal(result, images)


@every_case
def test_batch_equals_one_by_one_and_only_permutes(corruption: Corruption, constants: str, severity: int) -> None:
    images = pictures(64, 64)
    whole = corrupt(corruption, images, constants, severity)
    for row, sample in enumerate(INDEX):
        alone = corrupt(corruption, images[row : row + 1], constants, severity, (sample,))
        assert torch.equal(alone[0], whole[row])
    order = [3, 1, 4, 0, 2]
    permuted = corrupt(corruption, images[order], constants, severity, tuple(INDEX[place] for place in order))
    assert torch.equal(permuted, whole[order])


@every_corruption
@pytest.mark.parametrize(("side", "count"), [(32, 90), (224, 5)])
def test_pieces_of_a_batch_do_not_show(corruption: Corruption, constants: str, side: int, count: int) -> None:
    """A CPU takes a batch in pieces: 85 images at 32 pixels, one at 224."""
    images, index = pictures(side, side, count), tuple(range(count))
    whole = corrupt(corruption, images, constants, 3, index)
    for row in {0, 1, 84, 85, count - 1} & set(index):
        assert torch.equal(corrupt(corruption, images[row : row + 1], constants, 3, (row,))[0], whole[row])


@every_case
def test_a_seed_decides_what_is_random(corruption: Corruption, constants: str, severity: int) -> None:
    images = pictures(64, 64)
    result = corrupt(corruption, images, constants, severity)
    assert torch.equal(corrupt(corruption, images, constants, severity), result)
    other_seed = corrupt(corruption, images, constants, severity, seed=1)
    other_index = corrupt(corruption, images, constants, severity, (1, 2, 3, 6, 7))
    assert torch.equal(other_seed, result) is not corruption.random
    assert torch.equal(other_index, result) is not corruption.random


@every_corruption
def test_global_random_state_is_neither_read_nor_moved(corruption: Corruption, constants: str) -> None:
    images = pictures(64, 64)
    before = torch.get_rng_state(), np.random.get_state()[1].tolist()  # type: ignore[index]  # noqa: NPY002
    first = corrupt(corruption, images, constants, 3)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.random.get_state()[1].tolist() == before[1]  # type: ignore[index]  # noqa: NPY002
    torch.rand(7)
    assert torch.equal(corrupt(corruption, images, constants, 3), first)


@every_corruption
@pytest.mark.parametrize("shape", [(101, 77), (32, 33), (45, 128)])
def test_any_size_and_an_empty_batch(corruption: Corruption, constants: str, shape: tuple[int, int]) -> None:
    images = pictures(*shape)
    assert corrupt(corruption, images, constants, 3).shape == images.shape
    assert corrupt(corruption, images[:0], constants, 3, ()).shape == (0, 3, *shape)


@every_corruption
def test_a_large_photograph(corruption: Corruption, constants: str) -> None:
    """1024x768 keeps its shape, and every corruption changes something."""
    images = torch.nn.functional.interpolate(pictures(48, 64)[:1], scale_factor=16, mode="bilinear")
    corrupted = corrupt(corruption, images, constants, 5, (4,))
    assert corrupted.shape == images.shape
    assert (corrupted != images).float().mean() > 0.01


@every_corruption
@pytest.mark.parametrize("side", [40, 100])
def test_layouts_in_memory_do_not_show(corruption: Corruption, constants: str, side: int) -> None:
    images = pictures(side, side)
    expected = corrupt(corruption, images, constants, 3)
    layouts: list[Callable[[Images], Images]] = [
        lambda x: x.contiguous(memory_format=torch.channels_last),
        lambda x: x.transpose(2, 3).contiguous().transpose(2, 3),
        lambda x: torch.cat([x, x], dim=3)[..., :side],
        lambda x: x.flip(0).clone().flip(0),
    ]
    for layout in layouts:
        assert torch.equal(corrupt(corruption, layout(images), constants, 3), expected)


@every_corruption
def test_what_is_refused_is_named(corruption: Corruption, constants: str) -> None:
    level = corruption.params(constants, 1)
    with pytest.raises(OptionError, match=f"{corruption.name} needs images of at least 32x32 pixels, these have 31x40"):
        corruption(torch.zeros((5, 3, 31, 40), dtype=torch.uint8), draws(corruption), level)
    for wrong in (pictures(40, 40).float(), pictures(40, 40)[0], pictures(40, 40)[:, :1]):
        with pytest.raises(OptionError, match=f"{corruption.name} takes .* uint8 images, not .*{wrong.dtype}"):
            corruption(wrong, draws(corruption), level)
    with pytest.raises(OptionError, match="severity 0 does not exist"):
        corruption.params(constants, 0)
    with pytest.raises(OptionError, match=f"{corruption.name} has no constants '225'"):
        corruption.params("225", 1)


def test_the_fake_device_notices_the_host() -> None:
    """The oracle of the next test: copies that wait, a value and a mixture of devices are each refused."""
    with fake_cuda():
        values, here = torch.ones(3, device="cuda"), torch.ones(3)
        with pytest.raises(AssertionError, match="copies from the device"):
            values.cpu()
        with pytest.raises(torch._subclasses.fake_tensor.DataDependentOutputException):
            values.sum().item()
        with pytest.raises(torch._subclasses.fake_tensor.FakeTensorDeviceMismatchError):
            values + here
        waiting: tuple[Callable[[], Tensor], ...] = (
            lambda: here.to("cuda"),
            lambda: here.to("cuda", non_blocking=True),
            lambda: values.copy_(here),
            lambda: to_device(here, values.device).copy_(torch.empty(3, pin_memory=True)),
        )
        for waits, mode in product(waiting, (nullcontext, torch.inference_mode)):
            with mode(), pytest.raises(AssertionError, match="waits for its copy"):
                waits()
        with pytest.raises(AssertionError, match="waits for its copy"):
            torch.tensor([1.0], device="cuda")
        assert to_device(here, values.device).device.type == "cuda"


@every_case
def test_runs_on_a_cuda_device_without_asking_the_host(corruption: Corruption, constants: str, severity: int) -> None:
    with fake_cuda():
        images = torch.zeros((2, 3, 101, 77), dtype=torch.uint8, device="cuda")
        keyed = KeyedDraws(0, torch.arange(2, device="cuda"), corruption.name)
        result = corruption(images, keyed, corruption.params(constants, severity))
    assert (result.shape, result.dtype, result.device.type) == (images.shape, torch.uint8, "cuda")


@pytest.mark.gpu
@every_case
def test_cuda_equals_cpu(corruption: Corruption, constants: str, severity: int, cuda: torch.device) -> None:
    images = pictures(101, 77)
    expected = corrupt(corruption, images, constants, severity).int()
    keyed = KeyedDraws(0, torch.tensor(INDEX, device=cuda), corruption.name)
    result = corruption(images.to(cuda), keyed, corruption.params(constants, severity))
    assert result.device.type == "cuda"
    difference = (result.cpu().int() - expected).abs()
    assert difference.max() <= 1
    assert (difference > 0).double().mean() <= 0.001


@every_corruption
def test_severities_between_the_published_ones(corruption: Corruption, constants: str) -> None:
    """Oracle: the two neighbours, between which every constant and the mean change lie."""
    if not corruption.interpolates:
        with pytest.raises(OptionError, match=f"{corruption.name} has no severity 2.5"):
            corruption.params(constants, 2.5)
        return
    images = pictures(96, 96)
    milder, between, stronger = (corruption.params(constants, severity) for severity in (2, 2.5, 3))
    assert all(between[name] == pytest.approx((milder[name] + stronger[name]) / 2) for name in milder)
    assert corruption.params(constants, 2.0) == milder
    if corruption.name == "saturate":
        return  # Between 2 and 3 its factor passes 1, which changes nothing.
    changes = [
        (corruption(images, draws(corruption), level).float() - images.float()).abs().mean().item()
        for level in (milder, between, stronger)
    ]
    low, high = sorted((changes[0], changes[2]))
    assert low * 0.97 <= changes[1] <= high * 1.03


@every_corruption
def test_the_table_says_what_a_reader_needs(corruption: Corruption, constants: str) -> None:
    assert CONSTANT_SETS[constants][corruption.name] is corruption
    assert corruption.source.strip()
    assert corruption.summary.endswith(".")
    assert {key for key in CONSTANT_SETS if CONSTANT_SETS[key][corruption.name] is corruption} == set(corruption.levels)
    names = {tuple(level) for levels in corruption.levels.values() for level in levels}
    assert len(names) == 1
    assert all(len(levels) == 5 for levels in corruption.levels.values())


def test_suites_and_corruptions_name_each_other() -> None:
    published = (*PUBLISHED, *EXTRA)
    assert tuple(CORRUPTIONS) == published
    assert set(IMAGECORRUPTIONS) == set(published)
    for suite in (suite for suite in SUITES.values() if suite.family == "corruptions"):
        assert {*suite.corruptions, *suite.extra} in ({*published}, set())
        assert not suite.corruptions or suite.constants in CONSTANT_SETS
