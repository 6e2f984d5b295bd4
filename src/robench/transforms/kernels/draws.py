"""Random draws: Philox4x32-10 in 32-bit words, and what is made of them, in one kernel.

Source: Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3". The counter is (block, 0, low and high half of the
sample's index), and the key has two halves. Word j is output j // blocks of block j % blocks, as in `KeyedDraws.words`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

from robench.transforms.kernels.launch import launch, programs

__all__ = ["integers", "normal", "normal_kernel", "uniform", "words", "words_kernel", "works"]

_UNIFORM, _INTEGERS = tl.constexpr(1), tl.constexpr(2)


@triton.jit
def philox(
    c0, k0, k1, low, high,
    M0: tl.constexpr, M1: tl.constexpr, W0: tl.constexpr, W1: tl.constexpr, ROUNDS: tl.constexpr,
):  # fmt: skip
    """Return four words for each counter c0.

    A round replaces (c0, c1, c2, c3) by (hi(c2 M1) ^ c1 ^ k0, lo(c2 M1), hi(c0 M0) ^ c3 ^ k1, lo(c0 M0)).
    """
    c1, c2, c3 = c0 * 0, c0 * 0 + low, c0 * 0 + high
    m0, m1 = tl.full((), M0, tl.uint32), tl.full((), M1, tl.uint32)
    w0, w1 = tl.full((), W0, tl.uint32), tl.full((), W1, tl.uint32)
    for _ in tl.static_range(ROUNDS):
        p0, p2 = c0 * m0, c2 * m1
        c0, c2 = tl.umulhi(c2, m1) ^ c1 ^ k0, tl.umulhi(c0, m0) ^ c3 ^ k1
        c1, c3 = p2, p0
        k0, k1 = k0 + w0, k1 + w1
    return c0, c1, c2, c3


@triton.jit
def halves(index_ptr, row):
    """Return the low and the high half of the index of a sample."""
    index = tl.load(index_ptr + row)
    return (index & 0xFFFFFFFF).to(tl.uint32), (index >> 32).to(tl.uint32)


@triton.jit(do_not_specialize=("k0", "k1", "count", "span", "least"))
def words_kernel(
    index_ptr, out_ptr, count, k0, k1, span, least,
    FORM: tl.constexpr, M0: tl.constexpr, M1: tl.constexpr, W0: tl.constexpr, W1: tl.constexpr, ROUNDS: tl.constexpr,
    SIZE: tl.constexpr,
):  # fmt: skip
    """Write (b, count) words w as int64, as uniform floats (w >> 8) 2^-24, or as integers (w span >> 32) + least."""
    row, number = tl.program_id(0), (count + 3) // 4
    block = tl.program_id(1) * SIZE + tl.arange(0, SIZE)
    low, high = halves(index_ptr, row)
    outputs = philox(block.to(tl.uint32), k0.to(tl.uint32), k1.to(tl.uint32), low, high, M0, M1, W0, W1, ROUNDS)
    out_ptr += row.to(tl.int64) * count + block
    for lane in tl.static_range(4):
        word = outputs[lane]
        if FORM == _UNIFORM:
            value = (word >> 8).to(tl.float32) * 5.9604644775390625e-08
        elif FORM == _INTEGERS:
            value = tl.umulhi(word, (block * 0).to(tl.uint32) + span.to(tl.uint32)).to(tl.int64) + least
        else:
            value = word.to(tl.int64)
        tl.store(out_ptr + lane * number, value, mask=(block < number) & (block + lane * number < count))


@triton.jit(do_not_specialize=("k0", "k1", "count"))
def normal_kernel(
    index_ptr, out_ptr, count, k0, k1,
    M0: tl.constexpr, M1: tl.constexpr, W0: tl.constexpr, W1: tl.constexpr, ROUNDS: tl.constexpr, SIZE: tl.constexpr,
):  # fmt: skip
    """Write (b, count) float32 by Box and Muller: sqrt(-2 log u) cos(a) and sin(a); u has a word, a half a word."""
    row, pairs = tl.program_id(0), (count + 1) // 2
    number = (pairs + (pairs + 1) // 2 + 3) // 4
    pair = tl.program_id(1) * SIZE + tl.arange(0, SIZE)
    low, high = halves(index_ptr, row)
    k0, k1 = k0.to(tl.uint32), k1.to(tl.uint32)
    long = pair.to(tl.uint32)
    short = long
    for half in tl.static_range(2):
        place = pairs + pair // 2 if half else pair
        a, b, c, d = philox((place % number).to(tl.uint32), k0, k1, low, high, M0, M1, W0, W1, ROUNDS)
        lane = place // number
        word = tl.where(lane == 0, a, tl.where(lane == 1, b, tl.where(lane == 2, c, d)))
        if half:
            short = word
        else:
            long = word
    direction = tl.where(pair % 2 == 0, short & 0xFFFF, short >> 16).to(tl.int16).to(tl.float32)
    radius = tl.sqrt_rn(tl.log((long.to(tl.float32) + 0.5) * 2.3283064365386963e-10) * -2.0)
    angle = (direction + 0.5) * 9.587379924285257e-05
    out_ptr += row.to(tl.int64) * count + pair
    tl.store(out_ptr, tl.cos(angle) * radius, mask=pair < pairs)
    tl.store(out_ptr + pairs, tl.sin(angle) * radius, mask=(pair < pairs) & (pair + pairs < count))


def words(index: Tensor, key: tuple[int, int], count: int, constants: Sequence[int]) -> Tensor:
    """Return (b, count) int64 words.

    Args:
        index: (b,) int64, index of each sample.
        key: The two halves of the key, 0..2^32-1.
        count: Words of a sample.
        constants: The two multipliers, the two Weyl constants and the number of rounds of Philox.
    """
    return _words(index, key, count, constants, torch.int64, 0)


def uniform(index: Tensor, key: tuple[int, int], count: int, constants: Sequence[int]) -> Tensor:
    """Return (b, count) float32 in [0, 1); the arguments are those of `words`."""
    return _words(index, key, count, constants, torch.float32, _UNIFORM.value)


def integers(index: Tensor, key: tuple[int, int], count: int, constants: Sequence[int], low: int, high: int) -> Tensor:
    """Return (b, count) int64 in low..high-1; the other arguments are those of `words`."""
    return _words(index, key, count, constants, torch.int64, _INTEGERS.value, high - low, low)


def _words(
    index: Tensor,
    key: tuple[int, int],
    count: int,
    constants: Sequence[int],
    dtype: torch.dtype,
    form: int,
    span: int = 0,
    least: int = 0,
) -> Tensor:
    out = torch.empty((len(index), count), dtype=dtype, device=index.device)
    number, size = programs(-(-count // 4))
    launch(
        words_kernel, (len(index), number), index.device, index.contiguous(), out, count, *map(_signed, key), span, least,
        form, *constants, SIZE=size,
    )  # fmt: skip
    return out


def normal(index: Tensor, key: tuple[int, int], count: int, constants: Sequence[int]) -> Tensor:
    """Return (b, count) float32, standard normal; the arguments are those of `words`."""
    out = torch.empty((len(index), count), dtype=torch.float32, device=index.device)
    number, size = programs(-(-count // 2))
    grid = len(index), number
    launch(normal_kernel, grid, index.device, index.contiguous(), out, count, *map(_signed, key), *constants, SIZE=size)
    return out


def _signed(half: int) -> int:
    """Return the bits of an unsigned 32-bit number as a signed one, which has one type for all keys."""
    return half - 2**32 if half >= 2**31 else half


def works(device: torch.device) -> bool:
    """Return whether a device computes the known answer of Random123 for a counter and key of zeros."""
    from robench.transforms.draws import PHILOX

    found = words(torch.zeros(1, dtype=torch.int64, device=device), (0, 0), 4, PHILOX)
    return bool(found[0].tolist() == [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8])
