"""Statistics from calibration images. The oracles: torchvision's own transforms, and NumPy over all activations."""

from __future__ import annotations

import copy
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torchvision.transforms import InterpolationMode, RandAugment, autoaugment
from torchvision.transforms import functional as operations

import robench
from robench.datasets import decode_few, open_dataset, select
from robench.errors import DatasetError, OptionError, RunError
from robench.evaluation.options import Options
from robench.models import Classifier, Preprocessing
from robench.suites.geometry import Geometry
from robench.transforms.draws import KeyedDraws
from robench.transforms.resize import to_pil
from robench.treatments import adapt, parse_treatments
from robench.treatments.augmentation import POLICIES
from robench.treatments.batch_norm import batch_norms
from robench.treatments.calibration import open_calibration
from robench.treatments.randaugment import OPERATIONS, randaugment
from tests.treatments.networks import CLEAN, randomised, with_module

SMALL = Preprocessing(36, 32, "bilinear", (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
LARGE = Preprocessing(80, 72, "bicubic", (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))


def pixels(count: int, height: int, width: int) -> Tensor:
    return torch.randint(
        0, 256, (count, 3, height, width), generator=torch.Generator().manual_seed(0), dtype=torch.uint8
    )


def test_every_operation_is_torchvision_s() -> None:
    space = RandAugment()._augmentation_space(31, (40, 52))
    assert list(OPERATIONS) == list(space)
    (picture,) = to_pil(pixels(1, 40, 52))
    for name, (apply, signed) in OPERATIONS.items():
        magnitudes, has_sign = space[name]
        assert signed == has_sign
        for sign in (1, -1) if signed else (1,):
            magnitude = sign * (float(magnitudes[9]) if magnitudes.ndim else 0.0)
            expected = autoaugment._apply_op(picture, name, magnitude, InterpolationMode.NEAREST, None)
            assert np.array_equal(np.asarray(apply(picture, sign * 9 / 30)), np.asarray(expected)), name


def test_each_image_draws_its_own_two_operations() -> None:
    images = pixels(200, 32, 32)
    draws = KeyedDraws(0, torch.arange(200), "calibration")
    numbers = draws.integers("operation", 0, 14, (2,))
    assert len(numbers.unique()) == 14
    signs = draws.integers("sign", 0, 2, (2,))
    changed = randaugment(images, draws)
    for at in (0, 7, 150):
        (picture,) = to_pil(images[at : at + 1])
        for number, sign in zip(numbers[at].tolist(), signs[at].tolist(), strict=True):
            apply, signed = list(OPERATIONS.values())[number]
            picture = apply(picture, -0.3 if sign and signed else 0.3)
        assert np.array_equal(np.asarray(picture).transpose(2, 0, 1), changed[at].numpy())
    some = torch.tensor([150, 7])
    assert torch.equal(randaugment(images[some], KeyedDraws(0, some, "calibration")), changed[some])


def test_small_images_are_shifted_and_mirrored() -> None:
    images = pixels(400, 32, 32)
    index = torch.arange(400)
    changed = POLICIES["weak"](images, [(32, 32)] * 400, SMALL, index, 0)
    draws = KeyedDraws(0, index, "calibration")
    places, flips = draws.integers("crop", 0, 9, (2,)), draws.integers("flip", 0, 2, ())
    assert set(places.flatten().tolist()) == set(range(9))
    assert 0.4 < flips.float().mean() < 0.6
    for image, result, (y, x), flip in zip(images, changed, places.tolist(), flips.flatten().tolist(), strict=True):
        expected = operations.crop(operations.pad(image, [4]), y, x, 32, 32)
        assert torch.equal(result, operations.hflip(expected) if flip else expected)


def test_larger_ones_are_cut_as_randomresizedcrop_cuts() -> None:
    sizes = [(80, 120), (110, 80), (80, 80), (80, 400)] * 40
    images = pixels(len(sizes), 110, 400)
    index = torch.arange(len(sizes))
    changed = POLICIES["weak"](images, sizes, LARGE, index, 3)
    assert changed.shape == (len(sizes), 3, 72, 72)
    draws = KeyedDraws(3, index, "calibration")
    shapes, places = draws.uniform("shape", (10, 2)).double(), draws.uniform("place", (2,)).double()
    flips = draws.integers("flip", 0, 2, ()).flatten().tolist()
    shares, ratios = [], []
    for at, (height, width) in enumerate(sizes):
        # torchvision's algorithm (RandomResizedCrop.get_params) with these numbers in place of its own.
        for share, shape in shapes[at].tolist():
            area = height * width * (0.08 + 0.92 * share)
            ratio = np.exp(np.log(3 / 4) + (np.log(4 / 3) - np.log(3 / 4)) * shape)
            w, h = round(np.sqrt(area * ratio)), round(np.sqrt(area / ratio))
            if 0 < w <= width and 0 < h <= height:
                break
        else:
            w, h = min(width, round(height * 4 / 3)), min(height, round(width / (3 / 4)))
        y, x = int(places[at, 0] * (height - h + 1)), int(places[at, 1] * (width - w + 1))
        shares.append(h * w / (height * width))
        ratios.append(w / h)
        (picture,) = to_pil(images[at : at + 1])
        expected = operations.resized_crop(picture, y, x, h, w, [72, 72], InterpolationMode.BICUBIC)
        expected = operations.hflip(expected) if flips[at] else expected
        assert np.array_equal(np.asarray(expected).transpose(2, 0, 1), changed[at].numpy())
    assert min(shares) < 0.2
    assert max(shares) > 0.9
    assert min(ratios) < 0.85
    assert max(ratios) > 1.2


def test_the_images_are_evenly_thinned(picture_folder: Path) -> None:
    calibration = open_calibration(picture_folder, 0)
    assert sum(map(len, calibration.batches("clean", SMALL, 10_000))) == 30
    few = torch.cat(list(calibration.batches("clean", SMALL, 6)))
    with_order = torch.cat(list(calibration.batches("clean", SMALL, 30)))
    assert len(few) == 6
    assert all(any(torch.equal(one, other) for other in with_order) for one in few)
    for policy in ("weak", "strong"):
        assert torch.cat(list(calibration.batches(policy, LARGE, 6))).shape == (6, 3, 72, 72)


@pytest.mark.parametrize("policy", ["clean", "weak", "strong"])
def test_the_statistics_are_those_of_the_images(normalised: Classifier, picture_folder: Path, policy: str) -> None:
    adaptation = adapt(normalised, [f"bn-calib:{policy}"], picture_folder, 0)
    assert adaptation.classifier.label == f"normed+bn-calib:{policy},M=10000@pictures"
    treated, session = adaptation.start()
    assert session is None
    images = torch.cat(list(open_calibration(picture_folder, 0).batches(policy, SMALL, 10_000)))
    x = normalised.module.get_submodule("0")(images.float() / 255 * 4 - 2).double().numpy()
    first = next(iter(batch_norms(treated.module).values()))
    assert first.running_mean is not None
    assert first.running_var is not None
    assert np.allclose(first.running_mean.numpy(), x.mean((0, 2, 3)), atol=1e-5, rtol=1e-5)
    assert np.allclose(first.running_var.numpy(), x.var((0, 2, 3)), atol=1e-5, rtol=1e-5)


def test_it_starts_from_calibrated_statistics(normalised: Classifier, picture_folder: Path, images: Tensor) -> None:
    texts = ["bn-calib:clean", "bn-prior:N=inf"]
    treated, session = adapt(normalised, texts, picture_folder, 0).start()
    assert session is not None
    session.start_condition(CLEAN, lambda _: iter(()))
    calibrated, _ = adapt(normalised, texts[:1], picture_folder, 0).start()
    assert torch.allclose(treated.logits(images), calibrated.logits(images), atol=1e-5)
    assert not torch.allclose(treated.logits(images), normalised.logits(images), atol=0.1)


def test_without_images_it_says_what_to_give(normalised: Classifier, tmp_path: Path) -> None:
    for text in ("bn-calib:weak", "bn-resolution"):
        with pytest.raises(OptionError, match="estimates its statistics on calibration images; give --calibration DIR"):
            adapt(normalised, [text], None, 0)
    with pytest.raises(DatasetError, match="--calibration: there is no dataset"):
        adapt(normalised, ["bn-calib"], tmp_path / "none", 0)


def test_a_picture_that_cannot_be_read_names_the_option(
    normalised: Classifier, picture_folder: Path, tmp_path: Path
) -> None:
    """And never advises --skip-unreadable, which is for the samples."""
    (tmp_path / "own" / "ant").mkdir(parents=True)
    (tmp_path / "own" / "ant" / "0.png").write_bytes(b"no picture")
    options = Options(treatment=["bn-calib"], calibration=tmp_path / "own")
    said = "--calibration: cannot read the image ant/0.png: it is not an image that Pillow knows; repair or remove it"
    with pytest.raises(DatasetError) as caught:
        robench.evaluate(normalised, picture_folder, ["clean"], tmp_path / "run", options=options)
    assert str(caught.value) == said


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        (["bn-calib:medium"], "bn-calib takes clean | weak | strong as policy, not 'medium'"),
        (["bn-prior", "bn-calib"], "bn-calib changes the statistics that bn-prior starts from; give bn-calib first"),
        (["bn-calib", "bn-test"], "bn-test discards the statistics of bn-calib; omit one of them"),
        (["bn-resolution", "bn-frozen"], "bn-resolution and bn-frozen both replace"),
    ],
)
def test_what_does_not_go_together(texts: list[str], said: str) -> None:
    with pytest.raises(OptionError, match=said.replace("|", r"\|")):
        parse_treatments(texts)


RESOLUTION = Options(resolution=[24, 32], corruption=["network"], treatment=["bn-resolution:M=20"])


def test_every_size_has_its_own_statistics(normalised: Classifier, picture_folder: Path, tmp_path: Path) -> None:
    options = replace(RESOLUTION, calibration=picture_folder)
    done = robench.evaluate(normalised, picture_folder, ["resolution"], tmp_path / "run", options=options)
    plain = robench.evaluate(
        normalised, picture_folder, ["resolution"], tmp_path / "plain", options=replace(RESOLUTION, treatment=[])
    )
    names = [one.name for one in done.directory.conditions]
    assert names == [
        "clean-32px",
        *(f"resolution-{name}-1-{side}px" for side in (24, 32) for name in ("network", "untreated")),
    ]
    for side in (24, 32):
        own = done.directory.read_records(f"resolution-untreated-1-{side}px")
        without = plain.directory.read_records(f"resolution-network-1-{side}px")
        assert own["confidence"].tolist() == without["confidence"].tolist()
        treated = done.directory.read_records(f"resolution-network-1-{side}px")
        assert not np.allclose(treated["confidence"], without["confidence"], atol=1e-2)
    rows = done.results[done.results["metric"] == "accuracy"]
    assert set(rows.loc[rows["suite"] == "resolution", "corruption"]) == {"network", "untreated"}
    gflops = done.results[done.results["metric"] == "gflops"]
    assert set(gflops["corruption"]) == {"network"}
    oracle = done.results[done.results["metric"] == "oracle_accuracy"]
    assert set(oracle["corruption"]) == {"network"}


def test_untreated_is_without_the_other_treatments_too(
    normalised: Classifier, picture_folder: Path, tmp_path: Path
) -> None:
    """The records of a run without any, to the bit."""
    module = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3, stride=2), nn.BatchNorm2d(8), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3),
    )  # fmt: skip
    strided = with_module(normalised, randomised(module))
    options = replace(RESOLUTION, treatment=["blurpool:filter=bin5", "bn-resolution:M=20"], calibration=picture_folder)
    done = robench.evaluate(strided, picture_folder, ["resolution"], tmp_path / "run", options=options)
    plain = robench.evaluate(
        strided, picture_folder, ["resolution"], tmp_path / "plain", options=replace(RESOLUTION, treatment=[])
    )
    for side in (24, 32):
        own = done.directory.read_records(f"resolution-untreated-1-{side}px")
        without = plain.directory.read_records(f"resolution-network-1-{side}px")
        assert own["confidence"].tolist() == without["confidence"].tolist()


def test_choices_of_a_size_are_of_the_treated_network(
    normalised: Classifier, picture_folder: Path, tmp_path: Path
) -> None:
    """The oracle is counted over the records of `network`; `untreated` has its accuracy by size."""
    options = replace(RESOLUTION, corruption=["network", "best_of_k"], calibration=picture_folder)
    done = robench.evaluate(normalised, picture_folder, ["resolution"], tmp_path / "run", options=options)
    treated = [done.directory.read_records(f"resolution-network-1-{side}px") for side in (24, 32)]
    copies = done.directory.read_records("resolution-best_of_k-1-32px")
    assert copies["confidence"].tolist()[:30] == treated[1]["confidence"].tolist()
    rows = done.results[done.results["suite"] == "resolution"]
    (reached,) = rows[(rows["metric"] == "oracle_accuracy") & (rows["resolution"] == 32)]["value"]
    assert reached == pytest.approx(
        np.mean([one["pred"] == one["label"] for one in treated], axis=0).astype(bool).mean()
    )
    chosen = rows[rows["metric"].str.contains("oracle|random|cascade")]
    assert set(chosen["corruption"]) == {"network"}
    by_size = rows[(rows["metric"] == "accuracy") & rows["axis"].isna()]
    assert by_size.groupby("corruption")["resolution"].apply(list).to_dict() == {
        "network": [24, 32],
        "untreated": [24, 32],
    }


def test_the_statistics_of_a_size_are_those_of_the_images_at_that_size(
    normalised: Classifier, picture_folder: Path, tmp_path: Path
) -> None:
    """All images in one batch through torch's training mode of BatchNorm: the same images are evaluated and calibrated on."""
    options = replace(RESOLUTION, treatment=["bn-resolution:M=30"], calibration=picture_folder)
    done = robench.evaluate(normalised, picture_folder, ["resolution"], tmp_path / "run", options=options)
    module = copy.deepcopy(normalised.module)
    for one in module.modules():
        if isinstance(one, torch.nn.BatchNorm2d):
            one.train()
    images = open_dataset(picture_folder)
    for side in (24, 32):
        pixels = decode_few(images, select(images), Geometry(resize=(side, side)))
        trained = with_module(normalised, module).logits(torch.from_numpy(pixels), native=True)
        records = done.directory.read_records(f"resolution-network-1-{side}px")
        assert np.allclose(records["confidence"], trained.softmax(1).max(1).values, atol=1e-4)


def test_other_calibration_images_are_another_run(normalised: Classifier, picture_folder: Path, tmp_path: Path) -> None:
    options = Options(treatment=["bn-calib:clean,M=20"], calibration=picture_folder)
    done = robench.evaluate(normalised, picture_folder, ["clean"], tmp_path / "run", options=options)
    manifest = json.loads((done.path / "manifest.json").read_text())
    assert manifest["options"]["calibration"] == str(picture_folder)
    assert len(manifest["identity"]["calibration"]) == 64
    other = tmp_path / "pictures"
    for label in ("ant", "bee"):
        (other / label).mkdir(parents=True)
        Image.new("RGB", (40, 40), (9, 9, 9)).save(other / label / "0.png")
    said = f"is another run: --calibration was {picture_folder}, is {other}; the calibration images changed;"
    with pytest.raises(RunError, match=re.escape(said)):
        robench.evaluate(
            normalised, picture_folder, ["clean"], tmp_path / "run", options=replace(options, calibration=other)
        )
    # The same images from elsewhere are the same run.
    robench.evaluate(normalised, picture_folder, ["clean"], tmp_path / "run", options=options)
