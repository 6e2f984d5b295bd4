"""Oracles: the known answers of Random123, Philox in plain Python integers, SciPy's distributions."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from robench.transforms.draws import DRAWS_VERSION, KeyedDraws, compiled_philox, philox
from tests.builders import each
from tests.transforms.on_device import fake_cuda

KNOWN = [  # Random123, tests/kat_vectors: counter, key, output of philox4x32-10
    ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]


def plain_philox(counter: tuple[int, ...], key: tuple[int, ...]) -> tuple[int, ...]:
    """Philox4x32-10 in Python integers, from the paper (Salmon et al. 2011, section 3.3)."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(10):
        high0, low0 = divmod(0xD2511F53 * c0, 2**32)
        high1, low1 = divmod(0xCD9E8D57 * c2, 2**32)
        c0, c1, c2, c3 = high1 ^ c1 ^ k0, low1, high0 ^ c3 ^ k1, low0
        k0, k1 = (k0 + 0x9E3779B9) % 2**32, (k1 + 0xBB67AE85) % 2**32
    return c0, c1, c2, c3


def batch_philox(counters: list[tuple[int, ...]], keys: list[tuple[int, ...]]) -> list[tuple[int, ...]]:
    columns = [torch.tensor(column) for column in (*zip(*counters, strict=True), *zip(*keys, strict=True))]
    outputs = philox(*columns)
    return [tuple(row) for row in torch.stack(outputs, dim=1).tolist()]


def keyed(index: list[int], seed: int = 3, scope: str = "test") -> KeyedDraws:
    return KeyedDraws(seed, torch.tensor(index, dtype=torch.int64), scope)


DRAWN: dict[str, Callable[[KeyedDraws, tuple[int, ...]], Tensor]] = {
    "uniform": lambda draws, shape: draws.uniform("x", shape),
    "normal": lambda draws, shape: draws.normal("x", shape),
    "integers": lambda draws, shape: draws.integers("x", -3, 9, shape),
    "int16": lambda draws, shape: draws.int16("x", shape),
    "poisson": lambda draws, shape: draws.poisson("x", (0.0, 2.5, 40.0), levels(draws.index, shape)),
}
CHANCE = 1e-4
"""The keys are fixed, so a check passes or fails for good: a true generator fails one of these twenty in 500."""

DTYPES = {"integers": torch.int64, "int16": torch.int16}


def levels(index: Tensor, shape: tuple[int, ...]) -> Tensor:
    """A row of rates for every value, a function of the sample's index alone."""
    places = torch.arange(int(np.prod(shape)), device=index.device).reshape(1, *shape)
    return (places + index.reshape(-1, *[1] * len(shape))) % 3


@pytest.mark.parametrize(("counter", "key", "answer"), KNOWN)
def test_philox_known_answers(counter: tuple[int, ...], key: tuple[int, ...], answer: tuple[int, ...]) -> None:
    assert plain_philox(counter, key) == answer
    assert batch_philox([counter], [key]) == [answer]


def test_philox_equals_plain_integers() -> None:
    source = random.Random(0)
    counters = [tuple(source.getrandbits(32) for _ in range(4)) for _ in range(500)]
    keys = [tuple(source.getrandbits(32) for _ in range(2)) for _ in range(500)]
    expected = [plain_philox(counter, key) for counter, key in zip(counters, keys, strict=True)]
    assert batch_philox(counters, keys) == expected


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*distutils")
def test_compiled_philox_gives_the_same_draws() -> None:
    try:
        compiled_philox()(*[torch.zeros((1, 1), dtype=torch.int64)] * 6)
    except (torch._dynamo.exc.BackendCompilerFailed, torch._inductor.exc.InductorError) as error:
        if "Cxx" not in str(error):
            raise
        pytest.skip("torch.compile finds no C++ compiler")
    index = torch.tensor([0, 7, 2**40 + 5])
    for shape in ((3, 32, 32), (3, 224, 224), (5,)):
        eager, compiled = KeyedDraws(1, index, "test"), KeyedDraws(1, index, "test", compiled_philox())
        for draw in DRAWN.values():
            assert torch.equal(draw(eager, shape), draw(compiled, shape))


@pytest.mark.parametrize("count", [1, 3, 4, 5, 4096, 200_003])
def test_words_follow_the_documented_layout(count: int) -> None:
    """The counter and key of `KeyedDraws.words`, in plain integers: a change would change every published number."""
    index = [0, 5, 2**32 + 5, 2**62 + 1]
    words = keyed(index).words("x", count)
    digest = hashlib.blake2b(f"{DRAWS_VERSION}/3/test/x".encode(), digest_size=8).digest()
    key = int.from_bytes(digest[:4], "little"), int.from_bytes(digest[4:], "little")
    blocks = -(-count // 4)
    assert words.shape == (4, count)
    for row, sample in enumerate(index):
        for place in {0, 1, count // 2, count - 1} & set(range(count)):
            lane, block = divmod(place, blocks)
            assert words[row, place] == plain_philox((block, 0, sample % 2**32, sample // 2**32), key)[lane]


@each("kind", DRAWN)
@each(("samples", "shape"), [(100, (3, 32, 32)), (4, (3, 224, 224)), (3, (3, 256, 257)), (5, (7,)), (3, ())])
def test_rows_do_not_depend_on_the_batch(kind: str, samples: int, shape: tuple[int, ...]) -> None:
    draw = DRAWN[kind]
    index = [(position * 7919) % 2**33 for position in range(samples)]
    whole = draw(keyed(index), shape)
    assert whole.shape == (samples, *shape)
    assert whole.dtype == DTYPES.get(kind, torch.float32)
    assert torch.equal(whole.flip(0), draw(keyed(index[::-1]), shape))
    assert torch.equal(whole, torch.cat([draw(keyed(index[:1]), shape), draw(keyed(index[1:]), shape)]))
    assert torch.equal(whole[1:], draw(keyed(index).select(slice(1, None)), shape))
    for row in (0, samples // 2, samples - 1):
        assert torch.equal(whole[row], draw(keyed([index[row]]), shape)[0])


@pytest.mark.parametrize("kind", DRAWN)
def test_an_empty_batch_has_no_draws(kind: str) -> None:
    assert DRAWN[kind](keyed([]), (3, 4, 4)).shape == (0, 3, 4, 4)


def test_every_part_of_the_key_counts() -> None:
    """Independent streams: 64 words of two different keys share none, nor are shifted copies."""
    streams = [
        keyed([5]).words("x", 64),
        keyed([5], seed=4).words("x", 64),
        keyed([5], scope="other").words("x", 64),
        keyed([5]).words("y", 64),
        keyed([6]).words("x", 64),
        keyed([5 + 2**32]).words("x", 64),
        keyed([5 + 2**33]).words("x", 64),
    ]
    assert len(set(torch.cat(streams).flatten().tolist())) == 64 * len(streams)


def test_draws_leave_their_index_alone() -> None:
    draws = keyed([3, 1, 2**40])
    for draw in DRAWN.values():
        draw(draws, (3, 5))
    assert draws.index.tolist() == [3, 1, 2**40]


def test_uniform_is_uniform() -> None:
    values = keyed(list(range(20))).uniform("x", (5000,))
    assert values.min() >= 0
    assert values.max() < 1
    assert torch.equal(values * 2**24, (values * 2**24).floor())
    assert stats.kstest(values.flatten().numpy(), "uniform").pvalue > CHANCE


def test_normal_is_normal() -> None:
    values = keyed(list(range(20))).normal("x", (5000,)).double()
    assert stats.kstest(values.flatten().numpy(), "norm").pvalue > CHANCE
    assert stats.kurtosistest(values.flatten().numpy()).pvalue > CHANCE
    assert values.abs().max() < 6.8
    # Both values of a pair come from one radius: uncorrelated, and so are their squares.
    first, second = values[:, :2500].flatten(), values[:, 2500:].flatten()
    for one, other in ((first, second), (first**2, second**2)):
        assert abs(np.corrcoef(one, other)[0, 1]) < 4 / len(one) ** 0.5


def test_samples_are_independent() -> None:
    values = keyed(list(range(50))).normal("x", (2000,)).numpy()
    correlations = np.corrcoef(values)[np.triu_indices(50, 1)]
    assert stats.kstest(correlations * 2000**0.5, "norm").pvalue > CHANCE


def test_integers_cover_their_range_evenly() -> None:
    values = keyed(list(range(10))).integers("x", -3, 9, (6000,)).numpy()
    found, counts = np.unique(values, return_counts=True)
    assert found.tolist() == list(range(-3, 9))
    assert stats.chisquare(counts).pvalue > CHANCE
    wide = keyed([0]).integers("x", 0, 2**31 - 1, (50_000,))
    assert wide.min() >= 0
    assert stats.kstest(wide.flatten().numpy() / (2**31 - 1), "uniform").pvalue > CHANCE
    assert (keyed([0]).integers("x", 4, 5, (100,)) == 4).all()


def test_int16_covers_all_values_evenly() -> None:
    values = keyed(list(range(10))).int16("x", (60_001,)).numpy().astype(np.int64) + 2**15
    assert (values.min() // 256, values.max() // 256) == (0, 255)
    for byte in (values // 256, values % 256):
        assert stats.chisquare(np.bincount(byte.ravel(), minlength=256)).pvalue > CHANCE


@pytest.mark.parametrize("most", [3.0, 60.0, 500.0])
def test_poisson_inverts_scipys_distribution(most: float) -> None:
    rates = tuple(level / 255 * most for level in range(256))
    row = torch.arange(256).repeat(4, 100)
    draws = keyed([0, 1, 2, 2**35])
    quantiles = (draws.words("x", row.shape[1]).double().numpy() + 0.5) / 2**32
    expected = stats.poisson.ppf(quantiles, np.array(rates)[row.numpy()])
    assert np.array_equal(draws.poisson("x", rates, row).numpy(), expected)


def test_poisson_at_the_ends_of_its_words() -> None:
    """Words that a random test never meets: the tails of scipy.stats.poisson."""
    rates = (0.0, 0.02, 3.0, 60.0)
    words = torch.tensor([1, 2, 100, 2**31, 2**32 - 100, 2**32 - 2, 2**32 - 1])

    def chosen(*_: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        return words[:2], words[2:4], words[4:6], words[6:].repeat(2)

    for row, rate in enumerate(rates):
        draws = KeyedDraws(0, torch.tensor([0]), "test", chosen)
        counts = draws.poisson("x", rates, torch.full((1, 7), row))
        expected = stats.poisson.ppf((words.double().numpy() + 0.5) / 2**32, rate)
        assert counts[0].tolist() == expected.tolist()


def test_poisson_counts_have_their_rates() -> None:
    rates = (0.5, 4.0, 30.0)
    row = torch.arange(3).repeat_interleave(20_000)[None].repeat(2, 1)
    counts = keyed([0, 1]).poisson("x", rates, row).numpy().reshape(2, 3, 20_000)
    for level, rate in enumerate(rates):
        found = counts[:, level].ravel()
        most = int(stats.poisson.isf(1e-3, rate))
        observed = np.bincount(found.astype(int).clip(0, most), minlength=most + 1)
        expected = stats.poisson.pmf(np.arange(most + 1), rate)
        expected[-1] = stats.poisson.sf(most - 1, rate)
        assert stats.chisquare(observed, expected * len(found)).pvalue > CHANCE


@pytest.mark.parametrize("kind", DRAWN)
def test_runs_on_a_cuda_device_without_asking_the_host(kind: str) -> None:
    """FakeTensorMode stands in for the GPU: it refuses mixed devices and whatever waits for a value."""
    with fake_cuda():
        index = torch.arange(3, device="cuda")
        drawn = DRAWN[kind](KeyedDraws(0, index, "test"), (3, 33, 35))
    assert drawn.device.type == "cuda"
    assert drawn.shape == (3, 3, 33, 35)
