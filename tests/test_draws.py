"""Keyed draws: Random123's known answers, independence of the batch, and the distributions."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from robench.draws import KeyedDraws, compiled_philox, philox

MASK = 0xFFFFFFFF
KNOWN = [
    ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((MASK,) * 4, (MASK,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]


def plain_philox(counter: tuple[int, ...], key: tuple[int, ...]) -> tuple[int, ...]:
    """Philox4x32-10 as its paper writes it, in whole numbers of any size."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(10):
        p0, p1 = 0xD2511F53 * c0, 0xCD9E8D57 * c2
        c0, c1, c2, c3 = (p1 >> 32) ^ c1 ^ k0, p1 & MASK, (p0 >> 32) ^ c3 ^ k1, p0 & MASK
        k0, k1 = (k0 + 0x9E3779B9) & MASK, (k1 + 0xBB67AE85) & MASK
    return c0, c1, c2, c3


def words(*values: int) -> list[Tensor]:
    return [torch.tensor([[value]]) for value in values]


@pytest.mark.parametrize(("counter", "key", "expected"), KNOWN)
def test_known_answers_of_random123(counter: tuple[int, ...], key: tuple[int, ...], expected: tuple[int, ...]) -> None:
    assert plain_philox(counter, key) == expected
    assert tuple(int(word) for word in philox(*words(*counter, *key))) == expected


def test_random_counters_against_plain_integers() -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        values = tuple(int(v) for v in rng.integers(0, 2**32, 6))
        assert tuple(int(w) for w in philox(*words(*values))) == plain_philox(values[:4], values[4:])


def draws(index: list[int] | None = None, seed: int = 0, scope: str = "scope") -> KeyedDraws:
    return KeyedDraws(seed, torch.tensor(index if index is not None else list(range(5))), scope)


def all_kinds(source: KeyedDraws, shape: tuple[int, ...]) -> dict[str, Tensor]:
    row = (torch.arange(math.prod(shape)).reshape(shape) % 256).expand(len(source.index), *shape)
    return {
        "uniform": source.uniform("a", shape),
        "normal": source.normal("a", shape),
        "integers": source.integers("a", -3, 9, shape),
        "int16": source.int16("a", shape),
        "poisson": source.poisson("a", tuple(level / 255 * 60 for level in range(256)), row),
    }


@pytest.mark.parametrize("shape", [(1,), (7,), (3, 32, 32), (3, 33, 31), (3, 224, 224)])
def test_a_sample_does_not_depend_on_its_batch(shape: tuple[int, ...]) -> None:
    index = [7, 3, 2**40 + 5, 0, 11]
    whole = all_kinds(draws(index), shape)
    for place, one in enumerate(index):
        alone = all_kinds(draws([one]), shape)
        for kind, values in whole.items():
            assert values.shape == (5, *shape)
            assert torch.equal(values[place], alone[kind][0]), kind
    some = all_kinds(draws(index).rows(slice(1, 3)), shape)
    for kind, values in whole.items():
        assert torch.equal(values[1:3], some[kind]), kind


def test_large_batches_are_cut_without_a_seam() -> None:
    index = list(range(150))
    whole = draws(index).uniform("a", (3, 32, 32))
    assert torch.equal(whole[149], draws([149]).uniform("a", (3, 32, 32))[0])
    assert len(torch.unique(whole[:, 0, 0, 0])) == 150


def test_everything_in_the_key_counts() -> None:
    base = draws().uniform("a", (50,))
    for other in (
        draws(seed=1).uniform("a", (50,)),
        draws(scope="other").uniform("a", (50,)),
        draws().uniform("b", (50,)),
        draws([i + 2**32 for i in range(5)]).uniform("a", (50,)),
        draws([i + 5 for i in range(5)]).uniform("a", (50,)),
    ):
        assert (base == other).sum() <= 1
    assert torch.equal(base, draws().uniform("a", (50,)))


def test_the_process_generator_is_untouched() -> None:
    before = torch.get_rng_state()
    all_kinds(draws(), (100,))
    assert torch.equal(before, torch.get_rng_state())


def test_uniform_and_normal() -> None:
    uniform = draws().uniform("a", (40_000,)).flatten().double().numpy()
    assert 0 <= uniform.min() < uniform.max() < 1
    assert stats.kstest(uniform, "uniform").pvalue > 1e-3
    normal = draws().normal("a", (40_001,)).double().numpy()
    assert stats.kstest(normal.ravel(), "norm").pvalue > 1e-3
    assert abs(normal.mean()) < 4 / math.sqrt(normal.size)
    assert abs(normal.std() - 1) < 4 / math.sqrt(2 * normal.size)
    first, second = normal[:, :20_000], normal[:, 20_001:40_001]
    assert abs(np.corrcoef(first.ravel(), second.ravel())[0, 1]) < 4 / math.sqrt(first.size), "the two of a pair"
    assert abs(np.corrcoef(np.abs(first).ravel(), np.abs(second).ravel())[0, 1]) < 4 / math.sqrt(first.size)


def test_integers() -> None:
    values = draws().integers("a", -4, 3, (30_000,))
    counts = torch.bincount(values.flatten() + 4, minlength=7).numpy()
    assert len(counts) == 7
    assert stats.chisquare(counts).pvalue > 1e-3
    halves = draws().int16("a", (30_001,)).long()
    assert halves.min() < -32_000
    assert halves.max() > 32_000
    assert stats.kstest((halves.flatten().double().numpy() + 32768.5) / 65536, "uniform").pvalue > 1e-3


@pytest.mark.parametrize("photons", [3.0, 60.0, 500.0])
def test_poisson_inverts_the_distribution_function(photons: float) -> None:
    """scipy's percent-point function at the very words is the oracle."""
    rates = tuple(level / 255 * photons for level in range(256))
    row = torch.arange(256).repeat(40)[None]
    source = draws([9])
    counts = source.poisson("a", rates, row)[0].numpy()
    u = (source.words("a", row.numel())[0].numpy() + 0.5) / 2.0**32
    expected = stats.poisson.ppf(u, np.array(rates)[row[0].numpy()])
    expected = np.where(row[0].numpy() == 0, 0, expected)
    assert (counts == expected).mean() > 0.9999, "but for words within rounding of a step"
    assert np.abs(counts - expected).max() <= 1


def test_no_host_synchronisation_on_a_gpu() -> None:
    with FakeTensorMode():
        source = KeyedDraws(0, torch.arange(3, device="cuda"), "scope")
        for kind, values in all_kinds_on_device(source).items():
            assert values.device.type == "cuda", kind


def all_kinds_on_device(source: KeyedDraws) -> dict[str, Tensor]:
    row = torch.zeros((3, 3, 8, 8), dtype=torch.int64, device="cuda")
    shape = (3, 8, 8)
    return {
        "uniform": source.uniform("a", shape),
        "normal": source.normal("a", shape),
        "integers": source.integers("a", 0, 9, shape),
        "int16": source.int16("a", shape),
        "poisson": source.poisson("a", (0.0, 1.5), row),
    }


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_compiled_draws_are_the_same() -> None:
    try:
        compiled = compiled_philox()
        compiled(*words(*KNOWN[2][0], *KNOWN[2][1]))
    except Exception as error:  # noqa: BLE001 - whatever a missing compiler raises
        pytest.skip(f"torch.compile does not work here: {type(error).__name__}")
    for shape in ((3, 32, 32), (3, 64, 64)):
        eager, fast = draws(), KeyedDraws(0, torch.arange(5), "scope", compiled)
        assert torch.equal(eager.words("a", math.prod(shape)), fast.words("a", math.prod(shape)))
