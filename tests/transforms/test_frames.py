"""Frames of perturbations: laws, and what the metrics of a small run are by definition."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

import robench
from robench.analysis.metrics.intervals import wilson_interval
from robench.analysis.scoring import notes
from robench.cli.entry import run_cli
from robench.datasets import ImageStack
from robench.errors import DeviceError, OptionError, RunError
from robench.evaluation.loop import _ConditionBatches, evaluate_condition
from robench.evaluation.options import Options
from robench.evaluation.plan import make_plan
from robench.evaluation.samples import Samples
from robench.models import Classifier, Preprocessing
from robench.suites import find_suite, suites_for
from robench.suites.sweeps import NOISE, OCCLUSION
from robench.transforms.apply import frame_positions, frames_of
from robench.transforms.draws import KeyedDraws, philox
from robench.transforms.perturbations import PERTURBATIONS, find_perturbation
from robench.transforms.warps import PaddedBatch
from robench.types import Images
from tests.builders import among_1000
from tests.transforms.on_device import fake_cuda, where_cuda

every_perturbation = pytest.mark.parametrize("name", PERTURBATIONS)
SIDES = {"224": 56, "64": 64, "32": 32}
MARGIN = {"224": 88, "64": 73, "32": 36}
"""Side of the pictures, larger than the frames by as much as the offsets of the constants reach."""
SHIFTS = ("crop", "circular", "diagonal", "map")


def pictures(constants: str, shapes: list[tuple[int, int]]) -> PaddedBatch:
    rng = np.random.default_rng(1)
    height, width = max(h for h, _ in shapes), max(w for _, w in shapes)
    pixels = torch.zeros((len(shapes), 3, height, width), dtype=torch.uint8)
    for row, (h, w) in enumerate(shapes):
        small = rng.integers(0, 256, (5, 5, 3), dtype=np.uint8)
        picture = np.array(Image.fromarray(small).resize((w, h), Image.Resampling.BICUBIC))
        pixels[row, :, :h, :w] = torch.from_numpy(picture).permute(2, 0, 1)
    return PaddedBatch(pixels, tuple(shapes))


def shapes(name: str, constants: str) -> list[tuple[int, int]]:
    side = MARGIN[constants]
    return [(side, side)] * 3 if name in SHIFTS else [(side, side), (side + 9, side), (side, 2 * side + 1)]


def frames(name: str, constants: str, batch: PaddedBatch, index: tuple[int, ...], seed: int = 0) -> Images:
    perturbation = find_perturbation(name, constants)
    draws = KeyedDraws(seed, torch.tensor(index), name)
    return torch.stack(list(perturbation(batch, SIDES[constants], draws, perturbation.params(constants))))


RANDOM = {
    *("gaussian_noise", "shot_noise", "speckle_noise", "snow", "spatter", "crop", "circular"),
    *("gaussian", "uniform", "salt_and_pepper", "speckle", "poisson"),
    *(*NOISE.extra, *OCCLUSION.corruptions, *OCCLUSION.extra),
}


def constants_of(name: str) -> list[str]:
    """The sets of constants that a perturbation has, among those with a side here."""
    return [constants for constants in SIDES if constants in find_perturbation(name, constants).levels]


def broken_laws(name: str, constants: str) -> Iterator[str]:
    given, index = shapes(name, constants), (4, 0, 17)
    whole = pictures(constants, given)
    before = whole.pixels.clone()
    together = frames(name, constants, whole, index)
    side, count = SIDES[constants], len(find_perturbation(name, constants).params(constants)["frames"])
    if (together.shape, together.dtype) != ((count, 3, 3, side, side), torch.uint8):
        yield "the frames have another number, shape or type"
    for row, position in enumerate(index):
        height, width = given[row]
        alone = PaddedBatch(whole.pixels[row : row + 1, :, :height, :width].contiguous(), (given[row],))
        if not torch.equal(frames(name, constants, alone, (position,))[:, 0], together[:, row]):
            yield f"picture {row} alone has other frames"
    if not torch.equal(whole.pixels, before):
        yield "the input changes"
    if torch.equal(frames(name, constants, whole, index, seed=1), together) == (name in RANDOM):
        yield f"random is {name in RANDOM}, but another seed says otherwise"


@every_perturbation
def test_frames_depend_on_image_index_and_seed_alone(name: str) -> None:
    """A batch equals its images one by one, a second run is equal, and the input is unchanged."""
    assert not list(broken_laws(name, "32"))


@pytest.mark.nightly
@every_perturbation
def test_frames_of_all_constants_depend_on_image_index_and_seed_alone(name: str) -> None:
    broken = [f"constants {one}: {law}" for one in constants_of(name) for law in broken_laws(name, one)]
    assert not broken, "\n".join(broken)


def run_on_fake_cuda(name: str, constants: str, whole: bool) -> None:
    """Make all frames of black pictures on a fake CUDA device, or only the first two and the last."""
    perturbation = find_perturbation(name, constants)
    level = perturbation.params(constants)
    chosen = level["frames"] if whole else [*level["frames"][:2], *level["frames"][2:][-1:]]
    with fake_cuda():
        given = shapes(name, constants)
        height, width = max(h for h, _ in given), max(w for _, w in given)
        batch = PaddedBatch(torch.zeros((3, 3, height, width), dtype=torch.uint8, device="cuda"), tuple(given))
        draws = KeyedDraws(0, torch.arange(3, device="cuda"), name)
        made = list(perturbation(batch, SIDES[constants], draws, {**level, "frames": chosen}))
    assert len(made) == len(chosen)
    assert {frame.device.type for frame in made} == {"cuda"}


@pytest.mark.parametrize(("name", "constants"), [*((name, "32") for name in PERTURBATIONS), ("motion_blur", "64")])
def test_a_cuda_device_works_without_asking_the_host(name: str, constants: str) -> None:
    """Each kernel once; `motion_blur` has another one at 64 pixels."""
    run_on_fake_cuda(name, constants, whole=False)


@pytest.mark.nightly
@every_perturbation
def test_every_frame_is_made_on_a_cuda_device_without_asking_the_host(name: str) -> None:
    for constants in constants_of(name):
        run_on_fake_cuda(name, constants, whole=True)


@where_cuda
@every_perturbation
def test_cuda_equals_cpu(name: str, cuda: torch.device) -> None:
    for constants in constants_of(name):
        batch = pictures(constants, shapes(name, constants))
        perturbation = find_perturbation(name, constants)
        level = perturbation.params(constants)
        there = PaddedBatch(batch.pixels.to(cuda), batch.sizes)
        draws = KeyedDraws(0, torch.arange(3, device=cuda), name)
        ours = torch.stack([frame.cpu() for frame in perturbation(there, SIDES[constants], draws, level)])
        difference = (ours.int() - frames(name, constants, batch, (0, 1, 2)).int()).abs()
        assert difference.max() <= 1, f"constants {constants}"
        assert (difference > 0).double().mean() <= 0.001, f"constants {constants}"


@pytest.mark.parametrize(("crop", "whole"), [(32, 36), (64, 73), (96, 105), (200, 232), (224, 256), (299, 341)])
def test_crops_of_every_side_stay_within_the_picture(crop: int, whole: int) -> None:
    preprocessing = Preprocessing(crop, crop, "bilinear", (0.5,) * 3, (0.5,) * 3)
    shifts = [one for one in make_plan(["shift"], Options(), preprocessing).conditions if one.suite == "shift"]
    assert {one.geometry.side for one in shifts} == {whole}
    offsets = [PERTURBATIONS["map"].params(one.constants)["frames"][-1] for one in shifts]
    assert all(max(offset) <= whole - crop for offset in offsets)


@pytest.mark.parametrize("suite", ["shift", "scale", "noise", "occlusion", "resolution"])
def test_sweeps_say_what_side_they_need(suite: str) -> None:
    """The smallest that a plan takes runs; below it the kernels themselves refuse."""
    chosen = find_suite(suite)
    for name in (*chosen.corruptions, *chosen.extra):
        perturbation = find_perturbation(name, "32")
        for side in {chosen.smallest, chosen.smallest - 1} - {0}:
            batch = PaddedBatch.of(torch.zeros((2, 3, side + 4, side + 4), dtype=torch.uint8))
            draws = KeyedDraws(0, torch.arange(2), name)
            with pytest.raises(OptionError, match="at least") if side < chosen.smallest else nullcontext():
                list(perturbation(batch, side, draws, perturbation.params("32")))
    assert NOISE not in suites_for(["all"], 28)
    assert NOISE in suites_for(["all"], 32)


@pytest.mark.parametrize(("suite", "frame"), [("cifar-p", "rotate"), ("tiny-imagenet-p", "rotate"), ("scale", "scale")])
def test_clean_images_have_the_geometry_of_the_frames(suite: str, frame: str) -> None:
    """Of a picture twice as wide as high: the frame that is not turned or scaled is the clean image."""
    plan = make_plan([suite], Options(corruption=[frame]), Preprocessing(32, 32, "bilinear", (0.5,) * 3, (0.5,) * 3))
    clean, frames = plan.conditions
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (70, 140, 3), dtype=np.uint8))
    rectangle, image = (
        torch.from_numpy(np.array(one.geometry.apply(picture))).permute(2, 0, 1) for one in (frames, clean)
    )
    made = frames_of(PaddedBatch.of(rectangle[None]), frames, torch.arange(1), 0)
    same = next(one for one in made if one.position.value == (1 if frame == "scale" else 0))
    assert torch.equal(same.images[0], image)


@pytest.mark.parametrize(
    ("crop", "given", "network", "information"),
    [
        (32, None, [16, 20, 24, 28, 32, 40, 48], [16, 20, 24, 28, 32]),
        (64, None, [16, 20, 24, 28, 32, 40, 48, 64], [16, 20, 24, 28, 32, 40, 48, 64]),
        (128, None, [64, 96, 128, 160, 192, 224, 256, 288, 320], [64, 96, 128]),
        (299, None, [64, 96, 128, 160, 192, 224, 256, 288, 299, 320], [64, 96, 128, 160, 192, 224, 256, 288, 299]),
        (224, [320, 40, 224], [40, 224, 320], [40, 224]),
        (32, [48], [48], []),
    ],
)
def test_sizes(crop: int, given: list[int] | None, network: list[int], information: list[int]) -> None:
    """Both protocols run over the sizes; information has none beyond the input (PROTOCOLS, section 4)."""
    preprocessing = Preprocessing(crop, crop, "bilinear", (0.5,) * 3, (0.5,) * 3)
    plan = make_plan(["resolution"], Options(resolution=given), preprocessing)
    assert [one.resolution for one in plan.conditions if one.corruption == "network"] == network
    assert [
        p.value for one in plan.conditions if one.corruption == "information" for p in frame_positions(one)
    ] == information
    assert any("information needs a size of at most" in note for note in plan.notes) == (not information)


def test_sizes_of_small_and_of_large_models_are_two_protocols() -> None:
    """Small ones see the whole picture squeezed, large ones a crop; the sizes of one model belong together."""
    protocols = []
    for side in (32, 224):
        preprocessing = Preprocessing(side, side, "bilinear", (0.5,) * 3, (0.5,) * 3)
        listed = make_plan(["resolution"], Options(resolution=[64, 96]), preprocessing).listed
        protocols.append({one.protocol for one in listed if one.corruption == "network"})
    assert [len(one) for one in protocols] == [1, 1]
    small, large = (one.pop() for one in protocols)
    assert small.split("#")[0] != large.split("#")[0]
    assert small.split("#")[1] != large.split("#")[1]


def test_single_rates_of_zero_and_one_have_a_width(demo: Classifier, tmp_path: Path) -> None:
    """The oracle is Wilson's interval; a mean over several frames of an image is no single rate."""
    constant = replace(demo, module=_Constant().eval(), sha256="0" * 64)
    options = Options(limit=2, resolution=[16])
    done = robench.evaluate(
        constant, "demo", ["scale", "shift", "noise", "resolution"], tmp_path / "run", options=options
    ).results
    neighbours = done[(done["metric"] == "consistency") & (done["axis"] == "scale")]
    assert len(neighbours) == 30
    assert set(neighbours["value"]) == {1}
    assert set(zip(neighbours["ci_low"], neighbours["ci_high"], strict=True)) == {wilson_interval(2, 2)}
    pairs = done[(done["metric"] == "consistency") & done["axis"].isna()]
    assert set(pairs["ci_low"]) == {1}
    reached = done[done["metric"] == "oracle_accuracy"].iloc[0]
    assert reached["value"] == 0, "neither image is of the constant's class"
    assert (reached["ci_low"], reached["ci_high"]) == wilson_interval(0, 2)


def test_other_sizes_of_information_are_another_run(demo: Classifier, tmp_path: Path) -> None:
    options = Options(limit=4, corruption=["information"], resolution=[16, 24])
    done = robench.evaluate(demo, "demo", ["resolution"], tmp_path / "run", options=options)
    assert done.results[done.results["axis"] == "information"]["axis_value"].tolist() == [16, 24]
    with pytest.raises(RunError, match=r"another run: --resolution was 16,24, is 16"):
        robench.evaluate(demo, "demo", ["resolution"], tmp_path / "run", options=replace(options, resolution=[16]))


def stack(shapes: list[tuple[int, int]]) -> ImageStack:
    rng = np.random.default_rng(3)
    pixels = [rng.integers(0, 256, (3, *shape), dtype=np.uint8) for shape in shapes]
    return ImageStack(np.concatenate([one.reshape(-1) for one in pixels]), np.array(shapes, np.int64))


def test_one_long_picture_does_not_widen_its_batch() -> None:
    images = stack([(32, 40), (32, 32), (32, 40_000), (48, 32), (9000, 32), (32, 36)])
    groups = images.groups(np.array([1, 2, 3, 4, 5]))
    assert sorted(np.concatenate(groups).tolist()) == [0, 1, 2, 3, 4]
    assert [group.tolist() for group in groups] == [[0, 2, 4], [1], [3]]
    taken = sum(images.take(np.array([1, 2, 3, 4, 5])[group])[0].size for group in groups)
    assert taken < 1.1 * images.pixels.size
    assert len(images.groups(np.array([2]))) == len(images.groups(np.array([2, 4]))) - 1 == 1


@pytest.mark.parametrize("name", ["rotate", "gaussian_noise", "spatter"])
def test_pictures_in_groups_are_the_pictures_together(
    name: str, demo: Classifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The oracle is one batch, padded to the longest picture."""
    images = stack([(32, 40), (32, 300), (40, 32), (600, 32), (32, 32)])
    samples = Samples(images, np.arange(5), np.arange(5), np.arange(5))
    plan = make_plan(["cifar-p"], Options(corruption=[name]), demo.preprocessing)
    seen: dict[str, list[torch.Tensor]] = {"groups": [], "together": []}
    for how, record in seen.items():
        if how == "together":
            monkeypatch.setattr(ImageStack, "groups", lambda _, rows: [np.arange(len(rows))])
        shown = _ConditionBatches(samples, plan.conditions[1], 0, torch.device("cpu"), philox).batches(4)
        record += [frame.images for _, frame in shown]
    assert all(map(torch.equal, *seen.values()))
    assert len(seen["groups"]) == len(seen["together"]) == 2 * plan.listed[1].frames


def test_too_little_memory_is_one_line(demo: Classifier, monkeypatch: pytest.MonkeyPatch) -> None:
    condition = make_plan(["cifar-p"], Options(corruption=["rotate"]), demo.preprocessing).conditions[1]
    samples = Samples(stack([(32, 32)]), np.arange(1), np.arange(1), np.arange(1))
    for fails in (lambda *_: np.zeros(1 << 55), lambda *_: torch.zeros(1 << 55)):
        monkeypatch.setattr(ImageStack, "take", fails)
        with pytest.raises(DeviceError, match="reduce --batch-size"):
            evaluate_condition(demo, samples, condition, seed=0, batch_size=4)


def test_noise_frames_start_with_the_picture() -> None:
    batch = pictures("32", [(36, 36)] * 2)
    made = frames("gaussian_noise", "32", batch, (0, 1))
    assert torch.equal(made[0], batch.pixels[:, :, 2:34, 2:34])
    assert len({frame.numpy().tobytes() for frame in made}) == 31


def test_shift_offsets_are_uniform_and_each_images_own() -> None:
    """Of pictures whose pixels say where they are."""
    places = torch.arange(36, dtype=torch.uint8)
    pixels = torch.stack([places[:, None].expand(36, 36), places.expand(36, 36), 0 * places.expand(36, 36)])[None]
    batch = PaddedBatch.of(pixels.repeat(400, 1, 1, 1))
    made = frames("crop", "32", batch, tuple(range(400)))[:, :, :2, 0, 0].flatten(0, 1)
    counts = torch.bincount((made[:, 0] * 4 + made[:, 1]).long(), minlength=16).double()
    assert made.max() == 3
    assert ((counts - 250).abs() < 4 * (250 * 15 / 16) ** 0.5).all()


SUITES = ["cifar-p", "shift", "scale", "noise", "resolution"]
SOME = Options(limit=12, batch_size=5, difficulty=(1, 2), resolution=[16, 32])


@pytest.fixture(scope="module")
def demo() -> Classifier:
    return robench.load_classifier("demo", device="cpu")


@pytest.fixture(scope="module")
def run(demo: Classifier, tmp_path_factory: pytest.TempPathFactory) -> robench.Run:
    place = tmp_path_factory.mktemp("frames") / "run"
    return robench.evaluate(demo, "demo", SUITES, place, options=SOME)


def records(run: robench.Run, name: str) -> pd.DataFrame:
    return run.directory.read_records(name)


def figure(run: robench.Run, metric: str, corruption: str | None = None, value: float | None = None) -> float:
    found = run.results[run.results["metric"] == metric]
    found = found[found["corruption"].isna()] if corruption is None else found[found["corruption"] == corruption]
    found = found[found["axis"].isna()] if value is None else found[found["axis_value"] == value]
    assert len(found) == 1, found
    return float(found["value"].iloc[0])


@pytest.mark.parametrize(("name", "step"), [("rotate", 1), ("rotate", 2), ("translate", 1), ("gaussian_noise", 1)])
def test_flips_by_brute_force(run: robench.Run, name: str, step: int) -> None:
    """Pair by pair, sample by sample, from the definition."""
    flips, distances = [], []
    for _, sequence in records(run, f"cifar-p-{name}-1-32px").groupby("sample"):
        rows = sequence.sort_values("frame").to_dict("records")
        noise = name.endswith("noise")
        pairs = [(0, k) for k in range(1, len(rows))] if noise else [(k, k + step) for k in range(len(rows) - step)]
        flips.append(np.mean([rows[a]["pred"] != rows[b]["pred"] for a, b in pairs]))
        apart = []
        for a, b in pairs:
            later = list(rows[b]["top5"])
            ranks = [later.index(c) + 1 if c in later else 99 for c in rows[a]["top5"]]
            apart.append(sum(abs((k - 1) - min(rank - 1, 5)) for k, rank in enumerate(ranks, start=1)))
        distances.append(np.mean(apart))
    assert figure(run, "flip_rate", name, step) == pytest.approx(np.mean(flips), abs=1e-12)
    assert figure(run, "t5d", name, step) == pytest.approx(np.mean(distances), abs=1e-12)


def test_the_severity_of_a_sequence_is_its_difficulty(run: robench.Run) -> None:
    of_one = run.results[(run.results["axis"] == "difficulty") & run.results["metric"].isin(["flip_rate", "t5d"])]
    assert (of_one["severity"] == of_one["axis_value"]).all()
    assert set(of_one.loc[of_one["corruption"] == "motion_blur", "severity"]) == {1, 2}


def test_the_map_of_offsets(run: robench.Run, capsys: pytest.CaptureFixture[str]) -> None:
    """From the records, by the columns dx and dy."""
    mapped = records(run, "shift-map-1-32px")
    right = (mapped["pred"] == mapped["label"]).groupby([mapped["dy"], mapped["dx"]]).mean()
    rows = run.results[(run.results["corruption"] == "map") & (run.results["metric"] == "accuracy")]
    assert set(rows["axis"]) == {"offset"}
    assert rows["axis_value"].isna().all()
    assert rows.set_index(["dy", "dx"])["value"].to_dict() == right.to_dict()
    assert sorted(right.index) == [(down, across) for down in range(5) for across in range(5)]
    assert run_cli(["show", str(run.path), "--verbose"]) == 0
    grid = capsys.readouterr().out.split("px down, px right")[1].splitlines()
    line = next(one for one in grid if one.startswith("│  3 │"))
    assert [float(cell) for cell in line.split("│")[2:-1]] == [round(100 * right[3, k], 1) for k in range(5)]


def test_means_over_the_ten(run: robench.Run) -> None:
    rates = run.results[(run.results["metric"] == "flip_rate") & (run.results["axis_value"] == 1)]
    assert len(rates) == 10
    mean = run.results[(run.results["metric"] == "mean_flip_rate") & (run.results["axis_value"] == 1)]
    assert mean["value"].item() == pytest.approx(rates["value"].mean())
    assert mean["ci_low"].item() < mean["value"].item() < mean["ci_high"].item()


def test_curves(run: robench.Run) -> None:
    clean = records(run, next(one.clean for one in run.directory.conditions if one.suite == "noise"))
    accuracy = (clean["pred"] == clean["label"]).mean()
    shifted = records(run, "shift-crop-1-32px").pivot(index="sample", columns="frame", values="pred").to_numpy()
    assert figure(run, "consistency", "crop") == pytest.approx((shifted[:, ::2] == shifted[:, 1::2]).mean())
    noisy = records(run, "noise-gaussian-1-32px")
    curve = (noisy["pred"] == noisy["label"]).groupby(noisy["axis_value"]).mean()
    strengths = [0.0, *curve.index]
    assert figure(run, "accuracy_auc", "gaussian") == pytest.approx(
        np.trapezoid([accuracy, *curve], strengths) / strengths[-1]
    )
    contrast = records(run, "noise-gain-1-32px")
    curve = (contrast["pred"] == contrast["label"]).groupby(contrast["axis_value"]).mean()
    gains = np.array([1, *curve.index[curve.index < 1][::-1]])
    reached = np.array([accuracy, *curve[curve.index < 1][::-1]])
    first = int(np.argmax(reached <= accuracy / 2))
    crossing = np.interp(accuracy / 2, reached[[first, first - 1]], gains[[first, first - 1]])
    half = run.results[(run.results["metric"] == "half_accuracy_strength") & (run.results["axis_value"] == -1)]
    half = half[half["corruption"] == "gain"].iloc[0]
    assert half["value"] == pytest.approx(1 - crossing), "the more contrast must go, the better"
    assert half["ci_low"] <= half["value"]
    assert pd.isna(half["ci_high"]) or half["value"] <= half["ci_high"]
    assert figure(run, "accuracy", "scale", 1.0) == pytest.approx(accuracy)
    sizes = {size: records(run, f"resolution-network-1-{size}px") for size in (16, 32)}
    right = {size: (one["pred"] == one["label"]).to_numpy() for size, one in sizes.items()}
    reached = run.results[(run.results["metric"] == "oracle_accuracy") & (run.results["resolution"] == 32)]
    assert reached["value"].item() == pytest.approx((right[16] | right[32]).mean())
    costs = run.results[run.results["metric"] == "gflops"].set_index("resolution")["value"]
    paid = run.results[(run.results["metric"] == "oracle_gflops") & (run.results["resolution"] == 32)]
    expected = np.where(~right[16] & right[32], costs[32], costs[16]).mean()
    assert paid["value"].item() == pytest.approx(expected)


def test_a_resumed_run_has_the_same_results(demo: Classifier, run: robench.Run, tmp_path: Path) -> None:
    """Three conditions and the results are missing, as after a kill."""
    shutil.copytree(run.path, tmp_path / "again")
    missing = [
        tmp_path / "again" / "records" / f"{name}.parquet"
        for name in ("cifar-p-rotate-1-32px", "shift-crop-1-32px", "noise-gain-1-32px")
    ]
    for path in (*missing, tmp_path / "again" / "results.csv"):
        path.unlink()
    robench.evaluate(demo, "demo", SUITES, tmp_path / "again", options=SOME)
    assert all(path.is_file() for path in missing)
    assert (tmp_path / "again" / "results.csv").read_bytes() == (run.path / "results.csv").read_bytes()


def test_other_difficulties_are_scored_again_where_the_records_serve_them(demo: Classifier, tmp_path: Path) -> None:
    """The oracle is a run that had them from the start."""
    options = Options(limit=9, corruption=["rotate"])
    place = tmp_path / "run"
    robench.evaluate(demo, "demo", ["cifar-p"], place, options=options)
    again = robench.evaluate(demo, "demo", ["cifar-p"], place, options=replace(options, difficulty=[2, 3]))
    robench.evaluate(demo, "demo", ["cifar-p"], tmp_path / "fresh", options=replace(options, difficulty=[3, 2, 3]))
    assert again.directory.manifest["options"]["difficulty"] == [2, 3]
    assert (place / "results.csv").read_bytes() == (tmp_path / "fresh" / "results.csv").read_bytes()
    assert robench.score(robench.RunDirectory.open(place)).equals(again.results)
    noise = replace(options, corruption=["gaussian_noise"])
    robench.evaluate(demo, "demo", ["cifar-p"], tmp_path / "noise", options=noise)
    with pytest.raises(RunError, match="another run: --difficulty was 1, is 2;"):
        robench.evaluate(demo, "demo", ["cifar-p"], tmp_path / "noise", options=replace(noise, difficulty=[2]))


@pytest.mark.parametrize(
    ("source", "target", "match"),
    [
        ("cifar-p-gaussian_noise-1-32px", "cifar-p-gaussian_noise-2-32px", "are of severity 1, not 2"),
        ("resolution-network-1-16px", "resolution-network-1-32px", "are of resolution 16, not 32"),
        ("cifar-p-rotate-1-32px", "cifar-p-tilt-1-32px", "are of corruption rotate, not tilt"),
        ("scale-scale-1-32px", "cifar-p-scale-1-32px", "are of suite scale, not cifar-p"),
        (None, "cifar-p-rotate-1-32px", "has other samples than samples.parquet"),
    ],
)
def test_records_of_another_condition_are_refused(
    source: str | None, target: str, match: str, run: robench.Run, demo: Classifier, tmp_path: Path
) -> None:
    shutil.copytree(run.path, tmp_path / "run")
    copied = robench.RunDirectory.open(tmp_path / "run")
    if source is None:
        frame = copied.read_records(target)
        frame["sample"] += 1
        copied.write_records(target, frame)
    else:
        shutil.copy(copied.records_path(source), copied.records_path(target))
    with pytest.raises(RunError, match=match):
        robench.score(copied)


def test_normalised_by_itself_every_fr_is_100(run: robench.Run) -> None:
    """A baseline that never flips leaves no flip rate and no mean over all."""
    results = robench.score(run.directory, str(run.path))
    rates = results[results["metric"] == "flip_rate"]
    found = results[results["metric"] == "fr"]
    assert found["value"].tolist() == pytest.approx([100] * (rates["value"] > 0).sum())
    assert set(found["baseline"]) == {"demo"}
    assert len(results[results["metric"] == "mfr"]) == 2 * (rates["value"] > 0).all()
    assert results[results["metric"] == "mt5d"]["value"].tolist() == pytest.approx([100, 100])


def test_notes_of_a_baseline_run(run: robench.Run, demo: Classifier, tmp_path: Path) -> None:
    """A run is no published baseline, whatever its model is called."""
    rates = run.results[run.results["metric"] == "flip_rate"]
    still = set(rates[rates["value"] == 0]["corruption"])
    said = [
        note for note in notes(run.directory, str(run.path)) if note.startswith("cifar-p: no fr and no mfr where demo")
    ]
    assert set(said[0].rpartition(": ")[2].split(", ") if said else []) == still
    options = Options(limit=2, corruption=["translate", "brightness"])
    named = replace(demo, label="alexnet")
    base = robench.evaluate(named, "demo", ["imagenet-p"], tmp_path / "base", options=options)
    for limit in (2, 3):
        other = replace(options, limit=limit, normalize_by=str(base.path))
        done = robench.evaluate(demo, "demo", ["imagenet-p"], tmp_path / str(limit), options=other)
        found = notes(done.directory)
        assert not any("released videos" in note for note in found)
        assert any("evaluated on other images" in note for note in found) == (limit == 3)


def test_a_baseline_that_never_flips_is_named(demo: Classifier, tmp_path: Path) -> None:
    options = Options(limit=3, corruption=["rotate", "shear"])
    constant = replace(demo, module=_Constant().eval(), sha256="0" * 64)
    base = robench.evaluate(constant, "demo", ["cifar-p"], tmp_path / "base", options=options).path
    done = robench.evaluate(
        demo, "demo", ["cifar-p"], tmp_path / "run", options=replace(options, normalize_by=str(base))
    )
    found = notes(done.directory)
    assert "cifar-p: no fr and no mfr where demo never flips: rotate, shear" in found
    assert "cifar-p: no mt5d where demo never changes its top five: rotate, shear" in found
    assert not (done.results["metric"] == "fr").any()


class _Constant(torch.nn.Module):
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.mean(dim=(2, 3)) @ torch.zeros(3, 10) + torch.arange(10.0)


def test_difficulties_that_a_baseline_lacks(demo: Classifier, tmp_path: Path) -> None:
    options = Options(limit=3, corruption=["translate"], difficulty=[1, 3])
    done = robench.evaluate(among_1000(demo), "demo", ["imagenet-p"], tmp_path / "both", options=options)
    assert "imagenet-p: alexnet's flip rates are of difficulty 1, so no fr and no mfr at 3" in notes(done.directory)
    assert done.results[done.results["metric"] == "fr"]["axis_value"].tolist() == [1]
    wanted = replace(options, difficulty=[3], normalize_by="alexnet")
    with pytest.raises(OptionError, match="alexnet's flip rates are of difficulty 1; give --difficulty 1 as well"):
        robench.evaluate(among_1000(demo), "demo", ["imagenet-p"], tmp_path / "three", options=wanted)
    base = robench.evaluate(
        demo, "demo", ["cifar-p"], tmp_path / "base", options=Options(limit=3, corruption=["shot_noise"])
    )
    two = Options(limit=3, corruption=["shot_noise"], difficulty=[2], normalize_by=str(base.path))
    with pytest.raises(OptionError, match="it lacks shot_noise at difficulty 2"):
        robench.evaluate(demo, "demo", ["cifar-p"], tmp_path / "two", options=two)


def test_what_is_no_baseline_of_frames(run: robench.Run) -> None:
    with pytest.raises(OptionError, match=r"no run directory either; did you mean 'alexnet'"):
        robench.score(run.directory, "alexnte")
    for choice in (None, "none"):
        assert not any("--normalize-by" in note for note in notes(run.directory, choice)), (
            "nothing was published for it"
        )


def test_a_size_that_the_model_cannot_run_at_is_left_out(
    demo: Classifier, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    class Picky(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            if images.shape[2] == 16:
                raise RuntimeError("needs 32 px")
            return images.mean(dim=(2, 3)).repeat(1, 4)[:, :10]

    picky = Classifier("picky", "x:y", Picky().eval(), demo.preprocessing, 10, "0" * 64, torch.device("cpu"))
    options = Options(limit=4, resolution=[16, 24])
    done = robench.evaluate(picky, "demo", ["resolution"], tmp_path / "run", options=options)
    assert any("picky cannot run at 16 px (needs 32 px)" in note for note in done.directory.manifest["notes"])
    assert run_cli(["show", str(done.path)]) == 0
    assert "picky cannot run at 16 px" in capsys.readouterr().out
    rows = done.results[(done.results["corruption"] == "network") & (done.results["metric"] == "accuracy")]
    assert rows["resolution"].tolist() == [24]


def test_a_baseline_that_cannot_divide_is_refused_before_the_work(demo: Classifier, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="alexnet has no flip rates for cifar-p"):
        robench.evaluate(demo, "demo", ["cifar-p"], tmp_path / "run", options=Options(limit=3, normalize_by="alexnet"))
    assert not (tmp_path / "run").exists()


def test_alexnet_normalises_imagenet_p(demo: Classifier, tmp_path: Path) -> None:
    options = Options(limit=3, corruption=["translate", "brightness"])
    done = robench.evaluate(among_1000(demo), "demo", ["imagenet-p"], tmp_path / "run", options=options)
    rates = done.results[done.results["metric"] == "flip_rate"].set_index("corruption")["value"]
    found = done.results[done.results["metric"] == "fr"].set_index("corruption")["value"]
    assert found["translate"] == pytest.approx(100 * rates["translate"] / 0.11007)
    assert found["brightness"] == pytest.approx(100 * rates["brightness"] / 0.04889)
    assert not (done.results["metric"] == "mfr").any()
    few = robench.evaluate(demo, "demo", ["imagenet-p"], tmp_path / "few", options=options)
    assert set(few.results["metric"]).isdisjoint({"fr", "mfr"}), "ten classes are easier than a thousand"
    assert any(
        note.startswith("imagenet-p: alexnet predicts among 1000 classes, this run among 10, so no mfr")
        for note in notes(few.directory)
    )
