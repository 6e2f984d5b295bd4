"""Statistics that a layer normalises with. Oracles: torch's training mode, instance normalisation, NumPy over all activations."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from robench.errors import CheckpointError
from robench.models import Classifier
from robench.transforms.apply import Frame, Position
from robench.treatments import adapt
from robench.treatments.batch_norm import BatchNorms, batch_norms
from robench.treatments.bn_frozen import pool
from tests.treatments.networks import CLEAN, randomised, with_module


def logits(classifier: Classifier, images: Tensor, *texts: str) -> Tensor:
    """Of one test batch, whatever size the method would take."""
    treated, session = adapt(classifier, texts, None, 0).start()
    if session is not None:
        session.start_condition(CLEAN, lambda _: iter([Frame(0, Position(0.0), images)]))
    return treated.logits(images)


def trained(classifier: Classifier, images: Tensor) -> Tensor:
    """The logits in torch's training mode of BatchNorm alone."""
    module = copy.deepcopy(classifier.module)
    for one in module.modules():
        if isinstance(one, nn.BatchNorm2d):
            one.train()
    return with_module(classifier, module).logits(images)


def test_batch_statistics_are_those_of_training(normalised: Classifier, images: Tensor) -> None:
    assert torch.equal(logits(normalised, images, "bn-test:n=20"), trained(normalised, images))
    assert not torch.allclose(logits(normalised, images, "bn-test:n=20"), normalised.logits(images), atol=0.1)


def test_the_variance_is_biased(normalised: Classifier) -> None:
    few = torch.randint(0, 256, (2, 3, 32, 32), generator=torch.Generator().manual_seed(3), dtype=torch.uint8)
    module = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(3072), nn.Linear(3072, 3))
    wide = with_module(normalised, randomised(module))
    x = few.flatten(1).double() / 255 * 4 - 2
    expected = (x - x.mean(0)) / (x.var(0, correction=0) + 1e-5).sqrt()
    found = logits(wide, few, "bn-prior:N=1e-9,n=2").double()
    weights = {name: value.double() for name, value in module.named_parameters()}
    affine = expected * weights["1.weight"] + weights["1.bias"]
    by_hand = functional.linear(affine, weights["2.weight"], weights["2.bias"])
    assert torch.allclose(found, by_hand, atol=1e-3)


def test_no_prior_is_the_test_batch(normalised: Classifier, images: Tensor) -> None:
    assert torch.equal(logits(normalised, images, "bn-prior:N=0,n=20"), logits(normalised, images, "bn-test:n=20"))
    # Through the other code, which mixes, the same but for rounding.
    nearly = logits(normalised, images, "bn-prior:N=1e-9,n=20")
    assert torch.allclose(nearly, logits(normalised, images, "bn-test:n=20"), atol=1e-4)


@pytest.mark.parametrize("prior", ["inf", "1e12"])
@pytest.mark.parametrize("n", [1, 20])
def test_an_infinite_prior_is_no_treatment(normalised: Classifier, images: Tensor, prior: str, n: int) -> None:
    treated = logits(normalised, images, f"bn-prior:N={prior},n={n}")
    assert torch.allclose(treated, normalised.logits(images), atol=1e-4)


def test_the_prior_weighs_images(normalised: Classifier, images: Tensor) -> None:
    """mu = N/(N+n) mu_s + n/(N+n) mu_t, var likewise: by hand in the first layer, whose input nothing else changes."""
    treated, session = adapt(normalised, ["bn-prior:N=5,n=20"], None, 0).start()
    assert session is not None
    assert session.start_condition(CLEAN, lambda _: iter([Frame(0, Position(0.0), images)])) == 20
    treated.logits(images)
    first = with_module(normalised, normalised.module.get_submodule("0"))
    x = first.module(images.float() / 255 * 4 - 2).double().numpy()
    own, now = (next(iter(batch_norms(one.module).values())) for one in (normalised, treated))
    for mine, theirs, measured in (
        (own.running_mean, now.running_mean, x.mean((0, 2, 3))),
        (own.running_var, now.running_var, x.var((0, 2, 3))),
    ):
        assert mine is not None
        assert theirs is not None
        assert np.allclose(theirs.numpy(), 5 / 25 * mine.numpy() + 20 / 25 * measured, atol=1e-5)


def test_one_group_is_the_test_batch(normalised: Classifier, images: Tensor) -> None:
    assert torch.equal(logits(normalised, images, "localnorm:g=20"), logits(normalised, images, "bn-test:n=20"))


def test_groups_of_one_are_instance_statistics(normalised: Classifier, images: Tensor) -> None:
    class Instance(nn.Module):
        def __init__(self, layer: nn.BatchNorm2d) -> None:
            super().__init__()
            self.layer = layer

        def forward(self, x: Tensor) -> Tensor:
            return functional.instance_norm(x, weight=self.layer.weight, bias=self.layer.bias, eps=self.layer.eps)

    layers = [Instance(one) if isinstance(one, nn.BatchNorm2d) else one for one in normalised.module.children()]
    expected = with_module(normalised, nn.Sequential(*layers).eval()).logits(images)
    for text in ("localnorm:g=1", "bn-test:n=1", "bn-prior:N=0,n=1"):
        assert torch.allclose(logits(normalised, images, text), expected, atol=1e-4)


def test_one_image_by_itself_is_what_it_is_in_a_batch(normalised: Classifier, images: Tensor) -> None:
    together = logits(normalised, images, "bn-prior:N=16,n=1")
    alone = torch.cat([logits(normalised, image[None], "bn-prior:N=16,n=1") for image in images])
    assert torch.allclose(together, alone, atol=1e-4)


def test_pooled_moments_are_those_over_all_activations(normalised: Classifier, images: Tensor) -> None:
    module = copy.deepcopy(normalised.module)
    seen: dict[str, list[Tensor]] = {}
    for name, layer in batch_norms(module).items():
        layer.register_forward_pre_hook(lambda _, args, name=name: seen.setdefault(name, []).append(args[0].clone()))
    layers = BatchNorms(module)
    batches = ((0, part) for part in images.split([7, 7, 6]))
    moments = pool(with_module(normalised, module), layers, batches)[0]
    layers.fix(moments)
    assert len(seen) == 2
    for one, found in zip(moments, seen.values(), strict=True):
        whole = torch.cat(found).double().numpy()
        assert len(found) == 3
        assert np.allclose(one.mean.numpy(), whole.mean((0, 2, 3)), atol=1e-5, rtol=1e-5)
        assert np.allclose(one.var.numpy(), whole.var((0, 2, 3)), atol=1e-5, rtol=1e-5)


def test_frozen_statistics_do_not_know_the_batch(normalised: Classifier, images: Tensor) -> None:
    treated, session = adapt(normalised, ["bn-frozen:M=20"], None, 0).start()
    assert session is not None
    assert session.start_condition(CLEAN, lambda _: iter([Frame(0, Position(0.0), images)])) is None
    alone = torch.cat([treated.logits(image[None]) for image in images])
    assert torch.allclose(treated.logits(images), alone, atol=1e-4)
    # One batch is all there is: the same as its own statistics.
    assert torch.allclose(treated.logits(images), trained(normalised, images), atol=1e-4)


def test_a_layer_that_sees_one_value_keeps_its_own(normalised: Classifier, images: Tensor) -> None:
    module = randomised(nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(3, 3)))
    pooled = with_module(normalised, module)
    for text in ("bn-test:n=1", "bn-test:n=20", "bn-prior:N=2,n=20", "bn-frozen:M=1", "localnorm:g=1"):
        assert torch.allclose(logits(pooled, images[:1], text), pooled.logits(images[:1]), atol=1e-5), text
    assert torch.allclose(logits(pooled, images, "localnorm:g=1"), pooled.logits(images), atol=1e-5)
    assert not torch.allclose(logits(pooled, images, "bn-test:n=20"), pooled.logits(images), atol=1e-2)


def test_the_checkpoint_is_left_as_it_was(normalised: Classifier, images: Tensor) -> None:
    before = {name: value.clone() for name, value in normalised.module.state_dict().items()}
    for text in ("bn-test", "bn-prior", "bn-frozen", "localnorm", "localnorm:g=1"):
        logits(normalised, images, text)
    after = normalised.module.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert not any(one._forward_pre_hooks for one in normalised.module.modules())


def test_the_rest_stays_in_eval_mode(normalised: Classifier, images: Tensor) -> None:
    """Dropout before the last layer would make two passes differ."""
    treated, session = adapt(normalised, ["bn-test:n=20"], None, 0).start()
    assert session is not None
    session.start_condition(CLEAN, lambda _: iter([Frame(0, Position(0.0), images)]))
    assert torch.equal(treated.logits(images), treated.logits(images))
    assert not any(one.training for one in treated.module.modules())


def test_layers_of_every_dimension(normalised: Classifier, images: Tensor) -> None:
    module = nn.Sequential(
        nn.Unflatten(1, (3, 1)), nn.Conv3d(3, 4, (1, 3, 3)), nn.BatchNorm3d(4), nn.Flatten(1, 2),
        nn.Conv2d(4, 4, 3), nn.SyncBatchNorm(4), nn.Flatten(2), nn.BatchNorm1d(4), nn.Flatten(), nn.Linear(3136, 3),
    )  # fmt: skip
    deep = with_module(normalised, randomised(module))
    adaptation = adapt(deep, ["bn-test:n=20"], None, 0)
    assert adaptation.layers == (3,)
    assert adaptation.notes([CLEAN]) == ["bn-test:n=20 changes 3 layers"]
    plain = copy.deepcopy(module)
    for name in ("2", "5", "7"):
        layer = plain.get_submodule(name)
        assert isinstance(layer, nn.modules.batchnorm._BatchNorm)
        layer.running_mean = layer.running_var = None
    assert torch.equal(logits(deep, images, "bn-test:n=20"), with_module(deep, plain).logits(images))
    assert torch.isfinite(logits(deep, images, "localnorm:g=1")).all()


def test_the_activation_of_timm_s_layer_stays(normalised: Classifier, images: Tensor) -> None:
    layers = pytest.importorskip("timm.layers")
    norm = layers.BatchNormAct2d(4, act_layer=nn.ReLU, inplace=False)
    module = nn.Sequential(nn.Conv2d(3, 4, 3), norm, nn.Flatten(), nn.Linear(3600, 3))
    active = with_module(normalised, randomised(module))
    treated, session = adapt(active, ["bn-test:n=20"], None, 0).start()
    assert session is not None
    session.start_condition(CLEAN, lambda _: iter([Frame(0, Position(0.0), images)]))
    seen: list[Tensor] = []
    layer = treated.module.get_submodule("1")
    assert type(layer) is type(norm)
    layer.register_forward_hook(lambda *args: seen.append(args[2]))
    found = treated.logits(images)
    assert float(seen[0].min()) == 0.0
    assert torch.equal(found, trained(active, images))


@pytest.mark.parametrize(
    ("layer", "named"),
    [(nn.GroupNorm(2, 8), "1 GroupNorm"), (nn.BatchNorm2d(8, track_running_stats=False), "1 BatchNorm2d")],
)
def test_a_network_without_batch_norm_is_refused(normalised: Classifier, layer: nn.Module, named: str) -> None:
    module = nn.Sequential(nn.Conv2d(3, 8, 3), layer, nn.Flatten(), nn.Linear(7200, 3))
    for text in ("bn-test", "bn-prior", "bn-frozen", "localnorm"):
        with pytest.raises(CheckpointError, match=f"has no BatchNorm layer with statistics, only {named}"):
            adapt(with_module(normalised, module), [text], None, 0)


def test_frozen_batch_norm_and_no_norm_are_refused(normalised: Classifier) -> None:
    from torchvision.ops import FrozenBatchNorm2d

    module = nn.Sequential(nn.Conv2d(3, 8, 3), FrozenBatchNorm2d(8), nn.LayerNorm(30))
    with pytest.raises(CheckpointError, match="only 1 FrozenBatchNorm2d, 1 LayerNorm; "):
        adapt(with_module(normalised, module), ["bn-test"], None, 0)
    with pytest.raises(CheckpointError, match="only layers that normalise nothing"):
        adapt(with_module(normalised, nn.Sequential(nn.Flatten(), nn.Linear(3072, 3))), ["localnorm"], None, 0)
