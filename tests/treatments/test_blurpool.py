"""BlurPool. The oracles: the untouched network where the filter blurs nothing, and layers written out by hand."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional

from robench.errors import CheckpointError
from robench.models import Classifier, Preprocessing
from robench.models.architectures.cifar_resnet import CifarResNet
from robench.treatments import adapt
from robench.treatments.blurpool import FILTERS, blur
from tests.builders import each
from tests.treatments.networks import CLEAN, randomised, with_module

SIDE = 64


def torchvision_net(name: str, side: int = SIDE) -> Classifier:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        arguments: dict[str, Any] = {"init_weights": False} if name == "googlenet" else {}
        module = torchvision.models.get_model(name, weights=None, num_classes=10, **arguments)
    return around(module.eval().requires_grad_(False).to(memory_format=torch.channels_last), name, side)


def around(module: nn.Module, name: str = "net", side: int = SIDE) -> Classifier:
    preprocessing = Preprocessing(side, side, "bilinear", (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
    return Classifier(name, name, module, preprocessing, 10, "0" * 64, torch.device("cpu"))


def plain(module: nn.Module) -> Classifier:
    preprocessing = Preprocessing(32, 32, "bilinear", (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
    module = module.requires_grad_(False).to(memory_format=torch.channels_last)
    return Classifier("plain", "test", module, preprocessing, 8, "0" * 64, torch.device("cpu"))


def noise(side: int = SIDE, count: int = 2) -> Tensor:
    return torch.randint(0, 256, (count, 3, side, side), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


def treated(classifier: Classifier, text: str) -> Classifier:
    changed, session = adapt(classifier, [f"blurpool:filter={text}"], None, 0).start()
    assert session is None
    return changed


@pytest.mark.parametrize(
    ("name", "layers"),
    [
        ("resnet18", 7),
        ("resnet50", 7),
        ("mobilenet_v2", 4),
        pytest.param("vgg16", 5, marks=pytest.mark.slow),
        ("densenet121", 4),
        ("squeezenet1_0", 3),
    ],
)
def test_a_filter_that_blurs_nothing_leaves_the_network_what_it_is(name: str, layers: int) -> None:
    classifier, images = torchvision_net(name), noise()
    expected = classifier.logits(images)
    assert torch.equal(treated(classifier, "delta1").logits(images), expected)
    blurred = adapt(classifier, ["blurpool"], None, 0)
    assert blurred.layers == (layers,)
    changed = blurred.start()[0].logits(images)
    assert changed.shape == expected.shape
    assert not torch.allclose(changed, expected, rtol=1e-3, atol=1e-12)


@pytest.mark.parametrize(
    "name", ["googlenet", "shufflenet_v2_x1_0", "efficientnet_b0", "alexnet", "mobilenet_v3_small"]
)
def test_other_networks_too(name: str) -> None:
    classifier, images = torchvision_net(name, 75), noise(75)
    assert torch.equal(treated(classifier, "delta1").logits(images), classifier.logits(images))


@pytest.mark.parametrize("name", ["test_resnet", "test_efficientnet", "test_convnext"])
def test_timm_s_networks(name: str) -> None:
    timm = pytest.importorskip("timm")
    classifier = around(randomised(timm.create_model(name, num_classes=10)))
    images = noise(96)
    expected = classifier.logits(images, native=True)
    found = treated(classifier, "delta1").logits(images, native=True)
    assert torch.allclose(found, expected, rtol=1e-5, atol=1e-7)
    assert treated(classifier, "bin5").logits(images, native=True).shape == expected.shape


@each("name", [name for name in FILTERS if name != "delta1"])
@each("side", [1, 2, 3, 8, 9])
def test_the_blur_is_a_convolution_of_the_reflected_map(name: str, side: int) -> None:
    """By NumPy: pad as it reflects, multiply, sum."""
    taps = np.array(FILTERS[name], np.float64)
    x = torch.randn((2, 3, side, side), generator=torch.Generator().manual_seed(0))
    before = (len(taps) - 1) // 2
    padded = np.pad(x.numpy(), ((0, 0), (0, 0), *[(before, len(taps) - 1 - before)] * 2), mode="reflect")
    expected = np.zeros((2, 3, -(-side // 2), -(-side // 2)))
    for row, down in enumerate(taps / taps.sum()):
        for column, right in enumerate(taps / taps.sum()):
            expected += down * right * padded[:, :, row : row + side : 2, column : column + side : 2]
    assert np.allclose(blur(x, FILTERS[name]).numpy(), expected, atol=1e-6)


def dense(conv: nn.Conv2d, x: Tensor) -> Tensor:
    return functional.conv2d(x, conv.weight, conv.bias, 1, conv.padding, conv.dilation, conv.groups)


def test_the_places_in_a_basic_block() -> None:
    """Blur before the second convolution, and before the 1x1 of the shortcut."""
    network = randomised(torchvision.models.resnet18(num_classes=3))
    block: Any = network.get_submodule("layer2.0")
    x, taps = torch.randn((2, 64, 8, 8), generator=torch.Generator().manual_seed(0)), FILTERS["tri3"]
    inside = blur(functional.relu(block.bn1(dense(block.conv1, x))), taps)
    shortcut = block.downsample[1](dense(block.downsample[0], blur(x, taps)))
    expected = functional.relu(block.bn2(block.conv2(inside)) + shortcut)
    assert torch.allclose(changed(network).get_submodule("layer2.0")(x), expected, atol=1e-5)


def test_the_places_in_a_bottleneck() -> None:
    network = randomised(torchvision.models.resnet50(num_classes=3))
    block: Any = network.get_submodule("layer2.0")
    x, taps = torch.randn((2, 256, 8, 8), generator=torch.Generator().manual_seed(0)), FILTERS["tri3"]
    inside = functional.relu(block.bn1(block.conv1(x)))
    inside = blur(functional.relu(block.bn2(dense(block.conv2, inside))), taps)
    shortcut = block.downsample[1](dense(block.downsample[0], blur(x, taps)))
    expected = functional.relu(block.bn3(block.conv3(inside)) + shortcut)
    assert torch.allclose(changed(network).get_submodule("layer2.0")(x), expected, atol=1e-4)


def test_the_places_in_an_inverted_residual() -> None:
    network = randomised(torchvision.models.mobilenet_v2(num_classes=3))
    block: Any = network.get_submodule("features.2")
    x, taps = torch.randn((2, 16, 9, 9), generator=torch.Generator().manual_seed(0)), FILTERS["tri3"]
    wide, deep, narrow, last = block.conv
    inside = blur(functional.relu6(deep[1](dense(deep[0], wide(x)))), taps)
    assert torch.allclose(changed(network).get_submodule("features.2")(x), last(narrow(inside)), atol=1e-5)


def test_the_places_in_the_zoo_s_block() -> None:
    network = randomised(CifarResNet(10, depth=8))
    block: Any = network.get_submodule("layer2.0")
    x, taps = torch.randn((2, 16, 8, 8), generator=torch.Generator().manual_seed(0)), FILTERS["tri3"]
    inside = blur(functional.relu(block.bn1(dense(block.conv1, x))), taps)
    shortcut = functional.pad(blur(x, taps), (0, 0, 0, 0, 8, 8))
    expected = functional.relu(block.bn2(block.conv2(inside)) + shortcut)
    assert torch.allclose(changed(network).get_submodule("layer2.0")(x), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("pool", "by_hand"),
    [
        (nn.MaxPool2d(3, 2, 1), lambda x: blur(functional.max_pool2d(x, 3, 1, 1), FILTERS["tri3"])),
        (nn.MaxPool2d(2, 2), lambda x: blur(functional.max_pool2d(x, 2, 1), FILTERS["tri3"])),
        (nn.AvgPool2d(2, 2), lambda x: blur(x, FILTERS["tri3"])[:, :, : x.shape[2] // 2, : x.shape[3] // 2]),
    ],
)
@pytest.mark.parametrize("side", [8, 9])
def test_pools(pool: nn.Module, by_hand: Any, side: int) -> None:
    x = torch.randn((2, 3, side, side), generator=torch.Generator().manual_seed(0))
    found = changed(nn.Sequential(pool))(x)
    assert torch.allclose(found, by_hand(x), atol=1e-6)
    assert found.shape == pool(x).shape


@each("side", range(5, 14))
@each("pool", [(2, 2, 0), (3, 2, 0), (3, 2, 1), (4, 2, 1)])
def test_pools_that_round_up(pool: tuple[int, int, int], side: int) -> None:
    layer = nn.MaxPool2d(*pool, ceil_mode=True)
    x = torch.randn((1, 3, side, side), generator=torch.Generator().manual_seed(0))
    assert torch.equal(changed(nn.Sequential(layer), "delta1")(x), layer(x))


class Halves(nn.Module):
    """RepVGG's way with the image: two convolutions side by side take it."""

    def __init__(self) -> None:
        super().__init__()
        self.wide, self.narrow = nn.Conv2d(3, 4, 3, 2, 1), nn.Conv2d(3, 4, 1, 2)

    def forward(self, x: Tensor) -> Tensor:
        return torch.as_tensor(self.wide(x) + self.narrow(x))


class Channels(nn.Module):
    """So many channels from three: means of all, repeated."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.count = count

    def forward(self, x: Tensor) -> Tensor:
        return x.mean(dim=1, keepdim=True).repeat(1, self.count, 1, 1)


@pytest.mark.parametrize(
    ("stem", "rest"),
    [
        ([nn.Conv2d(3, 4, 3, 2, 1)], [nn.Conv2d(4, 4, 3, 2, 1)]),
        ([Channels(1), nn.Conv2d(1, 4, 3, 2, 1)], [nn.Conv2d(4, 4, 3, 2, 1)]),
        ([Channels(6), nn.Conv2d(6, 4, 3, 2, 1)], [nn.Conv2d(4, 4, 3, 2, 1)]),
        ([Halves()], [nn.Conv2d(4, 4, 3, 2, 1)]),
        ([nn.Conv2d(3, 4, 3, 2, 1), nn.Conv2d(4, 3, 1)], [nn.Conv2d(3, 4, 3, 2, 1)]),
        ([], [nn.MaxPool2d(2), nn.MaxPool2d(2)]),
    ],
)
def test_only_what_takes_the_image_stays(stem: list[nn.Module], rest: list[nn.Module]) -> None:
    """By hand: the stem as it is, every strided layer after it dense and blurred."""
    network = randomised(nn.Sequential(*stem, *rest))
    x = torch.randn((2, 3, 16, 16), generator=torch.Generator().manual_seed(0))
    expected = nn.Sequential(*stem)(x)
    for layer in rest:
        full = dense(layer, expected) if isinstance(layer, nn.Conv2d) else functional.max_pool2d(expected, 2, 1)
        expected = blur(full, FILTERS["tri3"])
    assert adapt(around(network), ["blurpool"], None, 0).layers == (len(rest),)
    assert torch.allclose(changed(network)(x), expected, atol=1e-5)


def changed(module: nn.Module, text: str = "tri3") -> nn.Module:
    classifier = around(module)
    return treated(classifier, text).module


def test_it_is_counted_and_composed(normalised: Classifier) -> None:
    """The first convolution stays; the operations are those of the blurred network; then come statistics."""
    module = randomised(CifarResNet(10, depth=8))
    network = with_module(normalised, module)
    adaptation = adapt(network, ["bn-test:n=20", "blurpool:filter=rect2"], None, 0)
    assert adaptation.classifier.label == "normed+bn-test:n=20+blurpool:filter=rect2"
    assert adaptation.layers == (7, 4)
    assert adaptation.notes([CLEAN])[2] == (
        "rect2 has an even number of taps, and shifts the image by half a pixel at every layer"
    )
    before, after = network.gflops(32), adaptation.gflops(32)
    assert before is not None
    assert after is not None
    assert after > 1.1 * before
    images = noise(32, 20)
    first, session = adaptation.start()
    assert session is not None
    assert session.start_condition(CLEAN, lambda _: iter(())) == 20
    plain = copy.deepcopy(treated(network, "rect2").module)
    for one in plain.modules():
        if isinstance(one, nn.BatchNorm2d):
            one.train()
    assert torch.allclose(first.logits(images), with_module(network, plain).logits(images), atol=1e-5)


def test_what_it_cannot_change_is_refused(normalised: Classifier) -> None:
    with pytest.raises(CheckpointError, match="no layer of stride 2 that blurpool could change, except its first"):
        treated(normalised, "tri3")

    class Same(nn.Conv2d):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(functional.pad(x, (0, 1, 0, 1)))

    module = nn.Sequential(nn.Conv2d(3, 4, 3), Same(4, 4, 3, stride=2))
    with pytest.raises(CheckpointError, match="cannot change 1, a Same, whose padding depends on its stride"):
        treated(with_module(normalised, module), "tri3")

    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Conv2d(4, 4, 3, stride=2), nn.Linear(4, 4)

    with pytest.raises(CheckpointError, match=r"cannot tell where the activation after 1\.first is"):
        treated(with_module(normalised, nn.Sequential(nn.Conv2d(3, 4, 3), Odd())), "tri3")


def test_a_network_that_no_longer_runs_is_refused() -> None:
    class Particular(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.down = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 8, 1, stride=2)

        def forward(self, x: Tensor) -> Tensor:
            if self.down._forward_pre_hooks and not self.down._forward_hooks:
                raise RuntimeError("maps that do not fit each other")
            return torch.as_tensor(self.down(self.stem(x)).mean(dim=(2, 3)))

    with pytest.raises(CheckpointError, match="does not run with blurpool"):
        treated(plain(Particular().eval()), "tri3")


def test_a_network_with_one_activation_for_several_convolutions_is_refused() -> None:
    timm = pytest.importorskip("timm")
    classifier = around(randomised(timm.create_model("res2net50_14w_8s", num_classes=10)))
    with pytest.raises(CheckpointError, match="one activation for several layers"):
        treated(classifier, "tri3")


class Called(nn.Module):
    """A strided layer that is found, and an operator called in the forward; upsampling, and every second column alone."""

    def __init__(self, step: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.first, self.norm, self.act = nn.Conv2d(3, 8, 3, 1, 1), nn.BatchNorm2d(8), nn.ReLU()
        self.down, self.act2, self.last = nn.Conv2d(8, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 8, 1)
        self.weight = nn.Parameter(torch.ones(8, 8, 2, 2))
        self.step = step

    def forward(self, x: Tensor) -> Tensor:
        x = functional.conv_transpose2d(self.act(self.norm(self.first(x))), self.weight, stride=2)
        x = torch.cat([x[..., ::2], x[..., 1::2]], dim=-1)
        return torch.as_tensor(self.step(self.last(self.act2(self.down(x))), self.weight).mean(dim=(2, 3)))


@each(
    ("step", "said"),
    [
        (lambda x, _: functional.max_pool2d(x, 3, stride=2), "1 max_pool2d"),
        (lambda x, _: functional.avg_pool2d(functional.avg_pool2d(x, 2), 2), "2 avg_pool2d"),
        (lambda x, weight: functional.conv2d(x, weight, stride=2), "1 conv2d"),
        (lambda x, _: x[:, :, ::2, ::2], "1 slice ::2"),
        (lambda x, weight: functional.max_pool2d(functional.conv2d(x, weight, stride=2), 2), "1 conv2d, 1 max_pool2d"),
        (lambda x, weight: functional.avg_pool2d(functional.conv2d(x, weight), 3, stride=1)[:, :, ::2][:, :, ::2], ""),
    ],
)
@each("texts", [["blurpool:filter=bin5"], ["blurpool:filter=delta1"], ["tent:n=8", "blurpool"]])
def test_subsampling_that_belongs_to_no_layer_is_refused(
    step: Callable[[Tensor, Tensor], Tensor], said: str, texts: list[str]
) -> None:
    adaptation = adapt(plain(randomised(Called(step))), texts, None, 0)
    if not said:
        adaptation.start()
        return
    with pytest.raises(CheckpointError) as caught:
        adaptation.start()
    assert str(caught.value) == (
        f"plain+{'+'.join(map(str, adaptation.treatments))} subsamples by two outside of the layers that blurpool can change "
        f"({said}); leave blurpool out"
    )


def test_inception_is_refused() -> None:
    """Its two reduction blocks pool beside their strided convolutions."""
    with torch.random.fork_rng():
        module = torchvision.models.inception_v3(weights=None, init_weights=False, num_classes=10).eval()
    with pytest.raises(CheckpointError, match=r"subsamples by two outside of the layers .* \(2 max_pool2d\)"):
        treated(with_module(torchvision_net("alexnet", 96), module), "tri3")


def test_an_activation_of_several_layers_is_refused() -> None:
    """Its hook would subsample after every one of them, and maps of any size fit an adaptive pool."""
    shared = nn.ReLU()

    def block(taken: int, stride: int) -> nn.Sequential:
        return nn.Sequential(nn.Conv2d(taken, 8, 3, stride, 1), nn.BatchNorm2d(8), shared)

    net = nn.Sequential(block(3, 1), block(8, 2), block(8, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
    with pytest.raises(CheckpointError, match="one activation for several layers"):
        adapt(plain(net), ["blurpool"], None, 0).start()


def test_a_pool_of_two_parents_is_changed_once_and_a_stride_may_be_a_list() -> None:
    pool = nn.MaxPool2d(2, stride=[2, 2])  # type: ignore[arg-type]

    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.again = nn.Sequential(nn.Conv2d(3, 4, 3), pool), nn.Sequential(pool)

        def forward(self, x: Tensor) -> Tensor:
            return torch.as_tensor(self.again(self.first(x)).mean(dim=(2, 3)))

    net = Twice().eval()
    assert adapt(plain(net), ["blurpool"], None, 0).layers == (1,)
    assert torch.equal(treated(plain(net), "delta1").logits(noise(32)), plain(net).logits(noise(32)))
