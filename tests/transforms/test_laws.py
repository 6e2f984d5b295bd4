"""Laws of every corruption; the table of corruptions selects what is tested.

Oracles: the corruption itself on another batch, order, layout or device; the suites' lists of names.
"""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from robench.errors import OptionError
from robench.suites import C_BAR_VALUES, SUITES
from robench.suites.imagenet_c import CORRUPTIONS as PUBLISHED
from robench.suites.imagenet_c import EXTRA
from robench.transforms.corruptions import CONSTANT_SETS, CORRUPTIONS, IMAGECORRUPTIONS
from robench.transforms.corruptions.base import Corruption
from robench.transforms.device import to_device
from robench.transforms.draws import KeyedDraws
from robench.types import Images
from tests.builders import each
from tests.transforms.on_device import fake_cuda, where_cuda

EVERY = {
    f"{name}-{constants}": (found, constants)
    for constants in CONSTANT_SETS
    for name, found in CONSTANT_SETS[constants].items()
}
"""Every corruption of every set of constants; of the package's, those that are its own."""
EVERY = {key: one for key, one in EVERY.items() if one[1] in one[0].kernel.__module__ or one[1] != "imagecorruptions"}
FIRST = {one[0].kernel: key for key, one in reversed(EVERY.items())}
KERNELS = {key: one for key, one in EVERY.items() if FIRST[one[0].kernel] == key}
"""One entry of each kernel."""
every_kernel = each(("corruption", "constants"), KERNELS.values())
SEVERITIES = (1, 3, 5)


def every_entry(quick: Callable[[str, str], tuple[int, ...]]) -> pytest.MarkDecorator:
    """One case an entry with its quick severities (of its key and constants), and one a night with the others."""
    cases = []
    for key, (corruption, constants) in EVERY.items():
        chosen = quick(key, constants)
        rest = tuple(severity for severity in SEVERITIES if severity not in chosen)
        for severities, marks in ((chosen, ()), (rest, pytest.mark.nightly)):
            if severities:
                label = "-".join(map(str, severities))
                cases.append(pytest.param(corruption, constants, severities, id=f"{key}-{label}", marks=marks))
    return pytest.mark.parametrize(("corruption", "constants", "severities"), cases)


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


def global_state() -> tuple[list[int], list[int]]:
    return torch.get_rng_state().tolist(), np.random.get_state()[1].tolist()  # type: ignore[index]  # noqa: NPY002


def broken_laws(corruption: Corruption, constants: str, severity: int) -> Iterator[str]:
    images = pictures(64, 64)
    copy, state = images.clone(), global_state()
    whole = corrupt(corruption, images, constants, severity)
    if (whole.shape, whole.dtype, whole.device) != (images.shape, torch.uint8, images.device):
        yield "the shape, type or device changes"
    if whole.data_ptr() == images.data_ptr():
        yield "the result is the memory of the input"
    if torch.equal(whole, images):
        yield "no pixel changes"
    if global_state() != state:
        yield "the global random state moves"
    torch.rand(7)
    np.random.random(7)  # noqa: NPY002
    order = [3, 1, 4, 0, 2]
    permuted = corrupt(corruption, images[order], constants, severity, tuple(INDEX[place] for place in order))
    if not torch.equal(permuted, whole[order]):
        yield "a second run in another order has other pixels"
    for row, sample in enumerate(INDEX):
        alone = corrupt(corruption, images[row : row + 1], constants, severity, (sample,))
        if not torch.equal(alone[0], whole[row]):
            yield f"image {row} alone has other pixels"
    if not torch.equal(images, copy):
        yield "the input changes"
    two = copy[:2]
    for what, index, seed in (("seed", INDEX[:2], 1), ("index", (1, 2), 0)):
        other = corrupt(corruption, two, constants, severity, index, seed)
        if torch.equal(other, whole[:2]) is corruption.random:
            yield f"random is {corruption.random}, but another {what} says otherwise"


@every_entry(lambda _, constants: (1, 5) if constants in ("224", "32") else (3,))
def test_pixels_depend_on_image_index_and_seed_alone(
    corruption: Corruption, constants: str, severities: tuple[int, ...]
) -> None:
    """A batch equals its images one by one, an order only permutes, a second run is equal, and the input is unchanged."""
    broken = [f"severity {one}: {law}" for one in severities for law in broken_laws(corruption, constants, one)]
    assert not broken, "\n".join(broken)


@every_kernel
def test_pieces_of_a_batch_do_not_show(corruption: Corruption, constants: str) -> None:
    """A CPU takes a batch in pieces: here five images at once, or two, two and one."""
    for side in (32, 224) if constants == "224" else (32,):
        images, results = pictures(side, side), []
        for size in (5, 2):
            pieces = replace(corruption, chunk_values=size * images[0].numel())
            results.append(corrupt(pieces, images, constants, 3))
        assert torch.equal(*results), f"{side} pixels"


@every_kernel
def test_every_size_and_an_empty_batch_keep_their_shape(corruption: Corruption, constants: str) -> None:
    for shape in ((101, 77), (32, 33), (45, 128)):
        images = pictures(*shape)
        assert corrupt(corruption, images, constants, 3).shape == images.shape
        assert corrupt(corruption, images[:0], constants, 3, ()).shape == (0, 3, *shape)


@pytest.mark.slow
@every_kernel
def test_a_large_photograph_keeps_its_shape_and_changes(corruption: Corruption, constants: str) -> None:
    images = torch.nn.functional.interpolate(pictures(48, 64)[:1], scale_factor=8, mode="bilinear")
    corrupted = corrupt(corruption, images, constants, 5, (4,))
    assert corrupted.shape == images.shape
    assert (corrupted != images).float().mean() > 0.01


LAYOUTS: dict[str, Callable[[Images], Images]] = {
    "channels last": lambda x: x.contiguous(memory_format=torch.channels_last),
    "columns first": lambda x: x.transpose(2, 3).contiguous().transpose(2, 3),
    "part of a wider image": lambda x: torch.cat([x, x], dim=3)[..., : x.shape[3]],
    "reversed batch": lambda x: x.flip(0).clone().flip(0),
}


@every_kernel
def test_layouts_in_memory_do_not_show(corruption: Corruption, constants: str) -> None:
    for side in (40, 100):
        images = pictures(side, side)
        expected = corrupt(corruption, images, constants, 3)
        for name, layout in LAYOUTS.items():
            assert torch.equal(corrupt(corruption, layout(images), constants, 3), expected), f"{name}, {side} pixels"


def test_what_is_refused_is_named() -> None:
    for corruption, constants in KERNELS.values():
        name, level = corruption.name, corruption.params(constants, 1)
        with pytest.raises(OptionError, match=f"{name} needs images of at least 32x32 pixels, not 31x40"):
            corruption(torch.zeros((5, 3, 31, 40), dtype=torch.uint8), draws(corruption), level)
        grey = [] if corruption.per_band else [pictures(40, 40)[:, :1]]
        for wrong in (pictures(40, 40).float(), pictures(40, 40)[0], *grey):
            with pytest.raises(OptionError, match=f"{name} takes .* uint8 images, not .*{wrong.dtype}"):
                corruption(wrong, draws(corruption), level)
        with pytest.raises(OptionError, match="severity 0 does not exist"):
            corruption.params(constants, 0)
        with pytest.raises(OptionError, match=f"{name} has no constants '225'"):
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


@every_entry(lambda key, constants: (5,) if constants in C_BAR_VALUES or key in KERNELS else ())
def test_a_cuda_device_works_without_asking_the_host(
    corruption: Corruption, constants: str, severities: tuple[int, ...]
) -> None:
    for severity in severities:
        with fake_cuda():
            images = torch.zeros((2, 3, 45, 38), dtype=torch.uint8, device="cuda")
            keyed = KeyedDraws(0, torch.arange(2, device="cuda"), corruption.name)
            result = corruption(images, keyed, corruption.params(constants, severity))
        assert (result.shape, result.dtype, result.device.type) == (images.shape, torch.uint8, "cuda")


@where_cuda
@every_entry(lambda *_: SEVERITIES)
def test_cuda_equals_cpu(
    corruption: Corruption, constants: str, severities: tuple[int, ...], cuda: torch.device
) -> None:
    images = pictures(101, 77)
    for severity in severities:
        expected = corrupt(corruption, images, constants, severity).int()
        keyed = KeyedDraws(0, torch.tensor(INDEX, device=cuda), corruption.name)
        result = corruption(images.to(cuda), keyed, corruption.params(constants, severity))
        assert result.device.type == "cuda"
        difference = (result.cpu().int() - expected).abs()
        assert difference.max() <= 1, f"severity {severity}"
        assert (difference > 0).double().mean() <= 0.001, f"severity {severity}"


@pytest.mark.slow(minutes=0.2)
def test_pixels_do_not_depend_on_the_processor(tmp_path: Path) -> None:
    """Oracle: torch's kernels for the plainest processor, which has no fused multiplication and addition."""
    code = f"""
        import numpy as np
        from tests.transforms.test_laws import EVERY, corrupt, pictures
        made = {{f"{{key}}-{{severity}}": corrupt(found, pictures(101, 77), constants, severity).numpy()
                for key, (found, constants) in EVERY.items() for severity in (1, 3, 5)}}
        np.savez({str(tmp_path / "plain.npz")!r}, **made)
    """
    environment = {**os.environ, "ATEN_CPU_CAPABILITY": "default"}
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], env=environment, check=True)
    with np.load(tmp_path / "plain.npz") as plain:
        assert len(plain.files) == 3 * len(EVERY)
        for key, (corruption, constants) in EVERY.items():
            for severity in SEVERITIES:
                here = corrupt(corruption, pictures(101, 77), constants, severity).numpy()
                assert np.array_equal(here, plain[f"{key}-{severity}"]), (key, severity)


@every_kernel
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


def test_the_table_says_what_a_reader_needs() -> None:
    for key, (corruption, constants) in KERNELS.items():
        assert CONSTANT_SETS[constants][corruption.name] is corruption, key
        assert corruption.source.strip(), key
        assert corruption.summary.endswith("."), key
        assert {one for one in CONSTANT_SETS if CONSTANT_SETS[one].get(corruption.name) is corruption} == set(
            corruption.levels
        ), key
        assert len({tuple(level) for levels in corruption.levels.values() for level in levels}) == 1, key
        assert all(len(levels) == 5 for levels in corruption.levels.values()), key


def test_suites_and_corruptions_name_each_other() -> None:
    published = (*PUBLISHED, *EXTRA)
    assert tuple(CORRUPTIONS) == published
    assert set(IMAGECORRUPTIONS) == set(published)
    for suite in (suite for suite in SUITES.values() if not suite.family.has_frames and suite.corruptions):
        assert suite.names == tuple(CONSTANT_SETS[suite.constants])
