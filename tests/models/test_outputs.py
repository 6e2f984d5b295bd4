"""Oracles: the softmax and the sigmoid of torch on what a module gave, in whatever it was wrapped."""

from __future__ import annotations

from collections import OrderedDict, namedtuple
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from robench.errors import CheckpointError
from robench.models.outputs import as_logits, ends_in_sigmoid, head_of, logit_indices, output_tensor
from tests.builders import each

VALUES = torch.randn((4, 5), generator=torch.Generator().manual_seed(0))
Inception = namedtuple("Inception", ["logits", "aux_logits"])


@dataclass
class _Output:
    loss: Tensor | None
    logits: Tensor


@each(
    "output",
    [
        VALUES,
        (VALUES, VALUES * 2),
        [VALUES],
        {"logits": VALUES, "features": VALUES * 2},
        OrderedDict(out=VALUES, aux=VALUES * 2),
        {"anything": VALUES, "loss": 0.5},
        _Output(None, VALUES),
        Inception(VALUES, VALUES * 2),
        VALUES[:, :, None, None],
    ],
    ids=lambda output: type(output).__name__,
)
def test_the_logits_are_found(output: object) -> None:
    assert torch.equal(as_logits(output, "logits", 4), VALUES)


@each("output", [None, "text", {}, {"a": VALUES, "b": VALUES}, (), (None, VALUES), SimpleNamespace()])
def test_anything_else_is_named(output: object) -> None:
    with pytest.raises(TypeError, match=f"a {type(output).__name__}"):
        output_tensor(output)


@each(
    ("output", "places"),
    [
        (VALUES, []),
        ((VALUES,), []),
        ((None, VALUES), [1]),
        ((VALUES, VALUES[:, :2]), [0, 1]),
        ([VALUES[:, :, None, None], VALUES[:, 0]], [0, 1]),
        ((torch.zeros(4, 8, 7, 7), VALUES), [1]),
        ((torch.zeros(()), torch.zeros(4, 5, dtype=torch.int64), torch.zeros(3, 5), VALUES, torch.zeros(4, 0)), [3]),
        ((VALUES, {"more": VALUES}), []),
        (Inception(VALUES, VALUES * 2), []),
        ({"features": VALUES, "scores": VALUES}, []),
        (_Output(None, VALUES), []),
    ],
)
def test_what_can_be_the_logits_of_several_outputs(output: object, places: list[int]) -> None:
    assert logit_indices(output, 4) == places


def test_probabilities_become_logits_with_the_same_softmax() -> None:
    probabilities = VALUES.softmax(1)
    assert head_of(probabilities, None) == "probabilities"
    assert torch.allclose(as_logits(probabilities, "probabilities", 4).softmax(1), probabilities, atol=1e-6)
    certain = torch.eye(5)[:4]
    assert torch.isfinite(as_logits(certain, "probabilities", 4)).all()
    assert as_logits(torch.full((1, 5), torch.nan), "probabilities", 1).isnan().all()


@pytest.mark.parametrize(
    "values", [VALUES, VALUES.abs(), VALUES.softmax(1) * 1.1, VALUES.log_softmax(1), VALUES.sigmoid()]
)
def test_logits_are_not_taken_for_probabilities(values: Tensor) -> None:
    assert head_of(values, None) == "logits"


@pytest.mark.parametrize("shape", [(4, 1), (4,), (4, 1, 1, 1)])
def test_a_single_logit_is_that_of_the_second_class(shape: tuple[int, ...]) -> None:
    single = VALUES[:, 0].reshape(shape)
    assert head_of(single.reshape(4, -1), None) == "logit"
    assert torch.allclose(as_logits(single, "logit", 4).softmax(1)[:, 1], VALUES[:, 0].sigmoid())
    assert torch.allclose(as_logits(single.sigmoid(), "probability", 4).softmax(1)[:, 1], VALUES[:, 0].sigmoid())


@pytest.mark.parametrize("shape", [(1, 20), (5, 4), (20,), ()])
def test_an_output_without_a_row_for_each_image_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(CheckpointError, match=f"gives a {'x'.join(map(str, shape)) or 'scalar'} tensor for 4 images"):
        as_logits(torch.zeros(shape), "logits", 4)
    assert as_logits(VALUES[0], "logits", 1).shape == (1, 5)


class _Sigmoid(nn.Module):
    def forward(self, x: Tensor) -> Any:
        return {"logits": torch.sigmoid(x.sum(1)).unsqueeze(1)}


class _Gated(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return (x.sigmoid() * x).sum(1)


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:FutureWarning", "ignore:.*torch.jit.*:DeprecationWarning")
@pytest.mark.parametrize("traced", [False, True])
@pytest.mark.parametrize(("module", "expected"), [(_Sigmoid(), True), (_Gated(), False)])
def test_a_last_sigmoid_is_seen(module: nn.Module, expected: bool, traced: bool) -> None:
    if traced:
        module = torch.jit.trace(module, VALUES, strict=False)
    with torch.inference_mode():
        assert ends_in_sigmoid(lambda: module(VALUES)) == expected
