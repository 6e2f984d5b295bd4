"""Tent. The oracle is the method written out: torch's training mode of BatchNorm, the entropy, torch's own optimisers."""

from __future__ import annotations

import copy

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from robench.errors import CheckpointError, OptionError
from robench.evaluation.options import Options
from robench.evaluation.plan import make_plan
from robench.evaluation.samples import Samples
from robench.models import Classifier
from robench.treatments import adapt, equal_parts, sample_order
from tests.treatments.conftest import Treat
from tests.treatments.networks import CLEAN, with_module


def by_hand(classifier: Classifier, samples: Samples, n: int, optimiser: str, lr: float) -> np.ndarray:
    """Confidences in the order of the samples."""
    module = copy.deepcopy(classifier.module)
    norms = [one for one in module.modules() if isinstance(one, nn.BatchNorm2d)]
    parameters = [value.requires_grad_(True) for one in norms for value in (one.train().weight, one.bias)]
    steps = torch.optim.Adam(parameters, lr) if optimiser == "adam" else torch.optim.SGD(parameters, lr, momentum=0.9)
    found = np.empty(len(samples.rows), np.float32)
    for part in equal_parts(sample_order(samples.index, CLEAN, 0), n):
        pixels, _ = samples.images.take(samples.rows[part])
        x = ((torch.from_numpy(pixels).float() / 255 - 0.5) / 0.25).contiguous(memory_format=torch.channels_last)
        probabilities = module(x).softmax(1)
        found[part] = probabilities.detach().max(1).values.numpy()
        steps.zero_grad()
        torch.distributions.Categorical(probabilities).entropy().mean().backward()
        steps.step()
    return found


@pytest.mark.parametrize("optimiser", ["adam", "sgd"])
def test_it_is_the_method_written_out(normalised: Classifier, samples: Samples, treat: Treat, optimiser: str) -> None:
    found = treat(f"tent:n=8,lr=0.05,optimiser={optimiser}")["confidence"].to_numpy()
    expected = by_hand(normalised, samples, 8, optimiser, 0.05)
    assert np.allclose(found, expected, atol=1e-5)
    assert not np.allclose(found, treat("bn-test:n=8")["confidence"], atol=1e-3)


def test_without_a_step_it_is_the_test_batch(treat: Treat) -> None:
    still, batch = treat("tent:n=8,lr=0"), treat("bn-test:n=8")
    assert still["pred"].tolist() == batch["pred"].tolist()
    assert np.allclose(still["confidence"], batch["confidence"], atol=1e-6)


def test_the_first_batch_is_from_before_the_step(treat: Treat, samples: Samples) -> None:
    first = equal_parts(sample_order(samples.index, CLEAN, 0), 8)[0]
    stepped, batch = treat("tent:n=8,lr=0.5"), treat("bn-test:n=8")
    same = np.isclose(stepped["confidence"], batch["confidence"], atol=1e-6)
    assert same[first].all()
    assert not same.all()


def test_every_condition_starts_from_the_checkpoint(normalised: Classifier, samples: Samples, treat: Treat) -> None:
    from robench.evaluation.loop import evaluate_condition

    before = copy.deepcopy(normalised.module.state_dict())
    treated, session = adapt(normalised, ["tent:n=8,lr=0.5"], None, 0).start()
    runs = [evaluate_condition(treated, samples, CLEAN, seed=0, batch_size=size, session=session) for size in (3, 30)]
    pd.testing.assert_frame_equal(runs[0], runs[1], check_exact=True)
    assert all(torch.equal(value, before[name]) for name, value in normalised.module.state_dict().items())


def test_nothing_but_scale_and_shift_changes(normalised: Classifier, samples: Samples) -> None:
    from robench.evaluation.loop import evaluate_condition

    treated, session = adapt(normalised, ["tent:n=8,lr=0.5"], None, 0).start()
    evaluate_condition(treated, samples, CLEAN, seed=0, batch_size=8, session=session)
    after = {name.removeprefix("network."): value for name, value in treated.module.state_dict().items()}
    changed = {
        name
        for name, value in normalised.module.state_dict().items()
        if name in after and not torch.equal(value, after[name])
    }
    assert changed == {"1.weight", "1.bias", "4.weight", "4.bias"}


def test_the_defaults_follow_the_input(normalised: Classifier) -> None:
    assert adapt(normalised, ["tent"], None, 0).label == "tent:n=200,lr=0.001,optimiser=adam"
    from dataclasses import replace

    large = replace(normalised, preprocessing=normalised.preprocessing.replaced(crop=224))
    assert adapt(large, ["tent"], None, 0).label == "tent:n=64,lr=0.00025,optimiser=sgd"


def test_frames_are_refused(normalised: Classifier) -> None:
    plan = make_plan(["shift"], Options(corruption=["crop"]), normalised.preprocessing)
    with pytest.raises(OptionError, match="omit shift, or use --treatment bn-frozen"):
        adapt(normalised, ["tent"], None, 0).notes(plan.conditions)


def test_one_batch_alone_is_noted(normalised: Classifier, treat: Treat) -> None:
    """The thirty pictures in one batch are what bn-test makes of them; in two, the second is not."""
    adaptation = adapt(normalised, ["tent:n=30"], None, 0)
    found = [note for note in adaptation.notes([CLEAN], 30) if "one batch" in note]
    assert found == [
        "tent:n=30,lr=0.001,optimiser=adam: a condition's 30 images form one batch, but updates affect only later batches; reduce n"
    ]
    assert np.allclose(treat("tent:n=30,lr=0.5")["confidence"], treat("bn-test:n=30")["confidence"], atol=1e-6)
    for quiet in (adaptation.notes([CLEAN], 31), adaptation.notes([CLEAN])):
        assert not [note for note in quiet if "one batch" in note]
    assert not [note for note in adapt(normalised, ["bn-test"], None, 0).notes([CLEAN], 30) if "one batch" in note]
    assert not np.allclose(treat("tent:n=29,lr=0.5")["confidence"], treat("bn-test:n=29")["confidence"], atol=1e-3)


def test_without_affine_parameters_it_is_refused(normalised: Classifier) -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, affine=False))
    with pytest.raises(CheckpointError, match="have no scale and shift"):
        adapt(with_module(normalised, module), ["tent"], None, 0)
