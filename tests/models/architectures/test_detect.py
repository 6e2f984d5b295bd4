"""Oracles: the networks of the libraries themselves, loaded strictly by torch; sets of names and shapes, compared whole."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

import pytest
import timm
import torch
import torchvision
from torch import Tensor, nn

from robench.errors import CheckpointError
from robench.models import ARCHITECTURES, architecture_names, load_classifier
from robench.models.architectures import build_architecture, detect
from robench.models.architectures.cifar_resnet import CifarResNet
from robench.models.architectures.detect import detect_architecture, fitting_architectures, shapes
from robench.models.architectures.fingerprint import fingerprint, similarity
from robench.models.architectures.index import Structure, indexed_versions, load_index
from robench.models.checkpoints.state_dict import read_weights
from tests.builders import each

State = dict[str, Tensor]


def _zoo(depth: int = 8, classes: int = 10) -> State:
    with torch.device("meta"):
        return CifarResNet(classes, depth=depth).state_dict()


def _torchvision(name: str, classes: int) -> State:
    with torch.device("meta"):
        module: nn.Module = torchvision.models.get_model(name, num_classes=classes)
    return module.state_dict()


def _timm(name: str, classes: int | None) -> State:
    with torch.device("meta"):
        module: nn.Module = timm.create_model(name, num_classes=classes)
    return module.state_dict()


def _refusal(state: State, stated: str | None = None) -> str:
    with pytest.raises(CheckpointError) as caught:
        detect_architecture(state, stated)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("file", "arch"),
    [
        ("cifar10_resnet20.th", "zoo:cifar_resnet20"),
        ("cifar10_resnet56.th", "zoo:cifar_resnet56"),
        ("squeezenet1_0_imagenet.pth", "torchvision:squeezenet1_0"),
        ("squeezenet1_0_imagenet.safetensors", "torchvision:squeezenet1_0"),
    ],
)
def test_real_checkpoints_are_known(shared: Path, file: str, arch: str) -> None:
    assert detect_architecture(read_weights(shared / "data/checkpoints" / file).state) == arch


@pytest.mark.parametrize("classes", [2, 10, 1000])
def test_networks_of_every_family_are_known_at_any_number_of_classes(classes: int) -> None:
    assert detect_architecture(_zoo(classes=classes)) == "zoo:cifar_resnet8"
    assert detect_architecture(_torchvision("mobilenet_v2", classes)) == "torchvision:mobilenet_v2"
    assert detect_architecture(_timm("test_vit2", classes)) == "timm:test_vit2"


def test_a_network_that_is_published_without_a_head_is_known_by_the_one_that_it_got() -> None:
    assert detect_architecture(_timm("vit_small_patch14_reg4_dinov2", 37)) == "timm:vit_small_patch14_reg4_dinov2"


@pytest.mark.parametrize("name", ["cifar_resnet8", "test_resnet"])
def test_what_is_guessed_loads(name: str, tmp_path: Path) -> None:
    family = "zoo" if name.startswith("cifar") else "timm"
    module, _ = ARCHITECTURES[family].build(name, 7)
    torch.save(module.state_dict(), tmp_path / "w.pth")
    arch = detect_architecture(read_weights(tmp_path / "w.pth").state)
    assert (arch, load_classifier(tmp_path / "w.pth", arch, "cpu").classes) == (f"{family}:{name}", 7)


def test_files_without_batch_counters_are_known() -> None:
    state = {key: value for key, value in _zoo().items() if not key.endswith("num_batches_tracked")}
    assert len(state) < len(_zoo())
    assert detect_architecture(state) == "zoo:cifar_resnet8"


def test_the_dtype_of_the_weights_plays_no_role_but_integers_are_none() -> None:
    assert detect_architecture({key: value.half() for key, value in _zoo().items()}) == "zoo:cifar_resnet8"
    found = _refusal(_zoo() | {"conv1.weight": torch.ones(16, 3, 3, 3, dtype=torch.int8)})
    assert "zoo:cifar_resnet8 has 1 of another kind (conv1.weight torch.int8 instead of torch.float32)" in found


def test_several_that_fit_are_listed_and_none_is_chosen() -> None:
    state = _torchvision("resnet18", 37)
    fitting = fitting_architectures(state)
    assert {"torchvision:resnet18", "timm:resnet18"} <= set(fitting)
    for arch in fitting:
        family, _, name = arch.partition(":")
        with torch.device("meta"):
            module, _ = ARCHITECTURES[family].build(name, 37)
        assert module.load_state_dict(state, strict=True)
    found = _refusal(state)
    assert f"its weights fit {len(fitting)} known architectures; give --arch" in found
    assert ", ".join(fitting) in found


def test_a_stated_name_decides_where_it_fits() -> None:
    state = _torchvision("resnet18", 37)
    assert (
        "fit 2 known architectures; give --arch with the right one of torchvision:resnet18, timm:resnet18"
        in _refusal(state, "resnet18")
    )
    assert detect_architecture(state, "timm:resnet18") == "timm:resnet18"
    assert detect_architecture(state, "resnet18.a1_in1k") == "timm:resnet18.a1_in1k"
    assert detect_architecture(_timm("vit_tiny_patch16_224", 5), "vit_tiny_patch16_224") == "timm:vit_tiny_patch16_224"


@pytest.mark.parametrize("stated", ["resnet18", "resnet18.nope", "my_net", "hf-hub:someone/net", "", "zoo:", "a\nb"])
def test_a_stated_name_that_does_not_fit_plays_no_role(stated: str) -> None:
    assert detect_architecture(_zoo(), stated) == "zoo:cifar_resnet8"


def test_a_long_list_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(detect, "fitting_architectures", lambda *_: [*"abcdefghij"])
    assert _refusal({}).endswith("the right one of a, b, c, d, e, f, g, h and 2 more")


@each(
    "own, prefix, arch, fitting",
    [
        ("zoo:cifar_resnet8", "", "torchvision:resnet18", "zoo:cifar_resnet8: omit --arch, or give it"),
        ("zoo:cifar_resnet8", "module.net.", "zoo:cifar_resnet20", "zoo:cifar_resnet8:"),
        (
            "torchvision:resnet18",
            "",
            "torchvision:resnet34",
            "torchvision:resnet18, timm:resnet18, timm:resnetblur18: give one",
        ),
        ("timm:test_convnext", "", "timm:test_vit", "timm:test_convnext: omit --arch"),
        ("timm:test_vit?depth=2", "", "timm:test_vit", ""),
    ],
)
def test_a_wrong_architecture_is_answered_with_the_right_one(
    own: str, prefix: str, arch: str, fitting: str, tmp_path: Path
) -> None:
    state = build_architecture(own, 7)[0].state_dict()
    torch.save({f"{prefix}{name}": value for name, value in state.items()}, tmp_path / "w.pth")
    with pytest.raises(CheckpointError, match=rf"w\.pth does not fit {arch} ") as caught:
        load_classifier(tmp_path / "w.pth", arch, "cpu")
    told = f"the weights fit {fitting}" if fitting else "is it another architecture?"
    assert caught.value.hint.startswith(told)
    assert len(caught.value.problem) - len(str(tmp_path)) < 300


def test_average_pooling_is_suggested_by_its_names() -> None:
    state = shapes("timm:vit_tiny_patch16_224?global_pool=avg", 7)
    assert "give --arch, such as 'timm:deit_tiny_patch16_224?global_pool=avg'" in _refusal(state)


def test_where_nothing_fits_the_nearest_are_said_and_what_differs() -> None:
    state = _zoo()
    del state["layer1.0.conv1.weight"], state["layer1.0.bn1.bias"]
    state["layer1.0.extra"] = torch.ones(1)
    state["conv1.weight"] = torch.ones(16, 3, 5, 5)
    found = _refusal(state)
    assert (
        "its weights fit no known architecture; the nearest: zoo:cifar_resnet8 has 2 missing (layer1.0.conv1.weight), "
        "1 unexpected (layer1.0.extra), 1 of another shape (conv1.weight 16x3x5x5 instead of 16x3x3x3); "
    ) in found
    assert found.count(" has ") == 3


def test_a_leading_dimension_that_is_no_head_does_not_fit() -> None:
    found = _refusal(_zoo() | {"layer1.0.bn1.bias": torch.ones(17)})
    assert "zoo:cifar_resnet8 has 1 of another shape (layer1.0.bn1.bias 17 instead of 16)" in found
    assert "2 of another shape (bn1.bias 17 instead of 16)" in _refusal(
        _zoo() | {"bn1.bias": torch.ones(17), "linear.bias": torch.ones(12)}
    )


def test_a_network_like_no_other_is_said_to_be_one() -> None:
    state = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.LazyLinear(3)).state_dict()
    state = {f"mine.{key}": torch.ones(3) for key in state}
    assert _refusal(state) == "its weights fit no known architecture, and none has a tensor of such a name"


def test_names_of_the_files_own_choice_stay_in_one_line() -> None:
    found = _refusal({"\ud800\n": torch.ones(1), **_zoo()})
    assert r"zoo:cifar_resnet8 has 1 unexpected (\ud800\n)" in found
    assert len(_refusal(_zoo() | {"x" * 10_000: torch.ones(1)})) < 1000


def _indexed(state: State, *archs: str) -> Structure:
    return Structure(fingerprint(state), archs)


def test_architectures_that_the_index_lacks_are_tried_while_they_are_few(monkeypatch: pytest.MonkeyPatch) -> None:
    without = tuple(one for one in load_index() if not one.archs[0].startswith("zoo:"))
    monkeypatch.setattr(detect, "load_index", lambda: without)
    assert detect_architecture(_zoo()) == "zoo:cifar_resnet8"
    monkeypatch.setattr(detect, "_NEW", 4)
    assert "(5 of the installed libraries are newer than the index and were not tried)" in _refusal(_zoo())


def test_architectures_that_the_libraries_no_longer_have_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    old = (_indexed(_zoo(), "timm:gone", "zoo:cifar_resnet8", "keras:net"), _indexed(_zoo(14), "timm:gone_too"))
    others = [one for one in load_index() if "zoo:cifar_resnet8" not in one.archs]
    monkeypatch.setattr(detect, "load_index", lambda: (*old, *others))
    assert detect_architecture(_zoo()) == "zoo:cifar_resnet8"
    assert "zoo:cifar_resnet8 has 1 unexpected (extra)" in _refusal(_zoo() | {"extra": torch.ones(1)})
    assert "gone" not in _refusal(_zoo(14))


def test_an_architecture_that_changed_since_is_found_by_its_likeness(monkeypatch: pytest.MonkeyPatch) -> None:
    state = _zoo()
    before = {key.replace("linear", "fc"): value for key, value in state.items()}
    changed = [_indexed(before, *one.archs) if "zoo:cifar_resnet8" in one.archs else one for one in load_index()]
    monkeypatch.setattr(detect, "load_index", lambda: tuple(changed))
    assert detect_architecture(state) == "zoo:cifar_resnet8"
    assert "zoo:cifar_resnet8 has 2 missing (linear.weight), 2 unexpected (fc.weight)" in _refusal(before)


def test_an_architecture_that_cannot_be_built_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    def without_values(arch: str, classes: int | None = None) -> State:
        if arch.startswith("torchvision:"):
            raise NotImplementedError("no data!")
        return shapes(arch, classes)

    monkeypatch.setattr(detect, "shapes", without_values)
    found = fitting_architectures(_torchvision("resnet18", 37))
    assert "timm:resnet18" in found
    assert "torchvision:resnet18" not in found


@pytest.mark.parametrize(
    "text", ["", "# timm 1: x\nstructure,archs\n00,a:b\n", "# timm 1: x\nstructure,sketch,archs\n00,zz,a:b\n"]
)
def test_an_index_that_is_missing_or_damaged_is_said(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("robench.models.architectures.index.files", lambda package: tmp_path)
    with pytest.raises(CheckpointError, match="missing; install robench again"):
        load_index.__wrapped__()
    (tmp_path / "architectures.csv").write_text(text)
    with pytest.raises(CheckpointError, match="damaged; install robench again"):
        load_index.__wrapped__()


def test_building_leaves_the_callers_generator_alone() -> None:
    before = torch.random.get_rng_state()
    build_architecture("zoo:cifar_resnet8")
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize(
    "arch", ["zoo:cifar_resnet8", "timm:test_vit", "torchvision:regnet_y_400mf", "torchvision:inception_v3"]
)
def test_shapes_without_values_are_those_of_the_network(arch: str) -> None:
    family, _, name = arch.partition(":")
    module, _ = ARCHITECTURES[family].build(name, 3)
    found = shapes(arch, 3)
    assert {key: (value.shape, value.dtype) for key, value in found.items()} == {
        key: (value.shape, value.dtype) for key, value in module.state_dict().items()
    }
    assert max((value for value in found.values()), key=Tensor.numel).is_meta


def _features(state: State) -> set[str]:
    names = [key for key in state if "num_batches" not in key]
    return {*names, *(f"{key} {tuple(state[key].shape[1:])}" for key in names)}


def test_likeness_estimates_the_share_of_names_and_shapes_in_common() -> None:
    states = [_zoo(8), _zoo(20), _zoo(56), _timm("vit_tiny_patch16_224", 3), _timm("vit_small_patch16_224", 3)]
    prints = [fingerprint(state) for state in states]
    for one, state in zip(prints, states, strict=True):
        exact = [len(_features(state) & _features(o)) / len(_features(state) | _features(o)) for o in states]
        # Four standard deviations of 64 draws at a share of a half.
        assert similarity(one, prints) == pytest.approx(exact, abs=0.25)


def test_a_fingerprint_knows_shapes_but_neither_classes_nor_order() -> None:
    one = fingerprint(_zoo())
    assert one == fingerprint(_zoo(classes=3)) == fingerprint(dict(reversed(_zoo().items())))
    assert one != fingerprint(_zoo() | {"conv1.weight": torch.ones(16, 3, 5, 5)})
    assert similarity(one, [one]).tolist() == [1.0]


def _sample() -> list[str]:
    names = [f"{family}:{name}" for family in ("torchvision", "timm") for name in architecture_names(family)]
    return [*(f"zoo:{name}" for name in architecture_names("zoo")), *names[::120]]


@pytest.mark.slow
def test_the_index_is_that_of_the_installed_libraries() -> None:
    installed = {name: version(name).partition("+")[0] for name in indexed_versions()}
    if installed != indexed_versions():
        pytest.skip(f"the index is of {indexed_versions()}, installed are {installed}")
    indexed = {arch: one.fingerprint for one in load_index() for arch in one.archs}
    assert indexed.keys() == {f"{family}:{name}" for family in ARCHITECTURES for name in architecture_names(family)}
    assert len({one.fingerprint for one in load_index()}) == len(load_index())
    # What robench cannot build at all: portraits, and pictures that are cropped larger than they are resized.
    assert all("sapiens2" in arch or "volo_d" in arch for arch in indexed if indexed[arch] == fingerprint({}))
    for arch in _sample():
        assert fingerprint(shapes(arch)) == indexed[arch], arch
