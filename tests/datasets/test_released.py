"""Released files in place of computed images. The oracle is the computed run whose pixels the files hold, without loss."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import robench
from robench.analysis.scoring import notes
from robench.datasets import ImageDataset, check_released, decode_few, find_released, open_dataset, read_released
from robench.errors import DatasetError, OptionError, RobenchError, RunError
from robench.evaluation import evaluator, loop
from robench.evaluation.estimate import estimate
from robench.evaluation.options import Options
from robench.evaluation.plan import make_plan
from robench.models import Classifier
from robench.runs.directory import RunDirectory
from robench.suites import Condition, ReleasedFiles, find_suite
from robench.suites.geometry import Geometry
from robench.transforms.apply import frames_of
from robench.transforms.warps import PaddedBatch
from tests.builders import among_1000

SOME = Options(corruption=["gaussian_noise", "contrast"], batch_size=7)
MOVED = Options(corruption=["gaussian_noise", "rotate"], difficulty=(1, 2), batch_size=7)


def frames(classifier: Classifier, images: ImageDataset, condition: Condition) -> np.ndarray:
    """(n, frames, side, side, 3) as robench computes them."""
    positions = np.arange(len(images))
    pictures = PaddedBatch.of(torch.from_numpy(decode_few(images, positions, condition.geometry)))
    made = [frame.images for frame in frames_of(pictures, condition, torch.from_numpy(positions), 0)]
    return torch.stack(made, dim=1).permute(0, 1, 3, 4, 2).numpy()


def computed(classifier: Classifier, suite: str, options: Options) -> list[Condition]:
    plan = make_plan([suite], replace(options, no_release_jpeg=True), classifier.preprocessing)
    return [condition for condition in plan.conditions if condition.suite == suite]


def write_tree(root: Path, classifier: Classifier, images: ImageDataset, conditions: Sequence[Condition]) -> Path:
    for condition in conditions:
        for position, (image,) in enumerate(frames(classifier, images, condition)):
            folder = root / condition.corruption / str(condition.severity) / images.classes[images.labels[position]]
            folder.mkdir(parents=True, exist_ok=True)
            # PNG inside, because JPEG would lose something; what a file is, its first bytes say.
            Image.fromarray(image).save(folder / f"{Path(images.paths[position]).stem}.JPEG", "png")
    return root


def write_videos(root: Path, classifier: Classifier, images: ImageDataset, conditions: Sequence[Condition]) -> Path:
    for condition in conditions:
        label = condition.corruption + ("" if condition.severity == 1 else f"_{condition.severity}")
        for position, shown in enumerate(frames(classifier, images, condition)):
            folder = root / label / images.classes[images.labels[position]]
            folder.mkdir(parents=True, exist_ok=True)
            write_video(folder / f"{Path(images.paths[position]).stem}.mp4", shown)
    return root


def write_video(file: Path, shown: np.ndarray, codec: str = "libx264rgb", pixels: str = "rgb24", crf: int = 0) -> None:
    av: Any = pytest.importorskip("av")
    if codec not in av.codecs_available:
        pytest.skip(f"this PyAV has no {codec}")
    with av.open(str(file), "w") as container:
        stream = container.add_stream(codec, rate=1, options={"crf": str(crf)})
        stream.height, stream.width, stream.pix_fmt = *shown.shape[1:3], pixels
        for image in shown:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())


def write_arrays(root: Path, classifier: Classifier, images: ImageDataset, conditions: Sequence[Condition]) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    for name in dict.fromkeys(condition.corruption for condition in conditions):
        cells = [condition for condition in conditions if condition.corruption == name]
        stacked = [frames(classifier, images, condition) for condition in cells]
        if cells[0].suite.endswith("-p"):
            for condition, made in zip(cells, stacked, strict=True):
                np.save(root / f"{name}{'' if condition.severity == 1 else f'_{condition.severity}'}.npy", made)
        else:
            np.save(root / f"{name}.npy", np.concatenate(stacked)[:, 0])
    np.save(root / "labels.npy", np.tile(images.labels, 1 if conditions[0].suite.endswith("-p") else 5))
    return root


def same(released: RunDirectory, other: RunDirectory) -> None:
    """Equal records, byte for byte, and equal results but for what says where the images came from."""
    names = [condition.name for condition in other.conditions]
    assert [condition.name for condition in released.conditions] == names
    for name in names:
        assert released.records_path(name).read_bytes() == other.records_path(name).read_bytes()
    ours, theirs = released.read_results(), other.read_results()
    differing = ["source", "protocol"]
    assert ours.drop(columns=differing).equals(theirs.drop(columns=differing))
    clean = ours["suite"] == "clean"
    assert set(ours.loc[clean, "source"]) == {"computed"}
    assert set(ours.loc[~clean, "source"]) == {"released"}
    assert ours.loc[~clean, "protocol"].str.fullmatch(r"as-released\+fp32#[0-9a-f]{8}").all()
    assert not set(ours.loc[~clean, "protocol"]) & set(theirs["protocol"])


@pytest.fixture(scope="module")
def pictures(picture_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four pictures of each class."""
    root = tmp_path_factory.mktemp("few") / "pictures"
    for file in sorted(picture_folder.glob("*/[0-3].png")):
        (root / file.parent.name).mkdir(parents=True, exist_ok=True)
        shutil.copy(file, root / file.parent.name)
    return root


@pytest.fixture(scope="module")
def images(pictures: Path) -> ImageDataset:
    return open_dataset(pictures)


@pytest.fixture(scope="module")
def tree(classifier: Classifier, images: ImageDataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("released") / "tree"
    return write_tree(root, classifier, images, computed(classifier, "cifar-c", SOME))


@pytest.fixture(scope="module")
def arrays(classifier: Classifier, images: ImageDataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("released") / "arrays"
    return write_arrays(root, classifier, images, computed(classifier, "cifar-c", SOME))


@pytest.fixture(scope="module")
def whole(classifier: Classifier, pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    """The computed run."""
    place = tmp_path_factory.mktemp("computed") / "run"
    return robench.evaluate(classifier, pictures, ["cifar-c"], place, options=SOME).directory


@pytest.mark.parametrize("kind", ["tree", "groups", "arrays"])
def test_files_of_computed_pixels_give_the_computed_results(
    kind: str,
    request: pytest.FixtureRequest,
    classifier: Classifier,
    pictures: Path,
    whole: RunDirectory,
    tmp_path: Path,
) -> None:
    root: Path = request.getfixturevalue("arrays" if kind == "arrays" else "tree")
    if kind == "groups":
        # As the downloads have it, with a folder around them.
        for group, name in (("noise", "gaussian_noise"), ("digital", "contrast")):
            shutil.copytree(root / name, tmp_path / "files" / "ImageNet-C" / group / name)
        root = tmp_path / "files"
    done = robench.evaluate(classifier, pictures, ["cifar-c"], tmp_path / "run", options=replace(SOME, released=root))
    same(done.directory, whole)
    few = replace(SOME, per_class=2, severity=[2])
    runs = [
        robench.evaluate(classifier, pictures, ["cifar-c"], tmp_path / name, options=options).directory
        for name, options in (("few", few), ("released", replace(few, released=root)))
    ]
    same(runs[1], runs[0])


@pytest.mark.parametrize("kind", ["tree", "arrays"])
def test_a_class_map_goes_with_released_files(
    kind: str, request: pytest.FixtureRequest, classifier: Classifier, pictures: Path, tmp_path: Path
) -> None:
    """The labels of the files are those of the data, whatever order of classes the model has."""
    (tmp_path / "map.txt").write_text("cow\nant\nbee\n")
    mapped = open_dataset(pictures, tmp_path / "map.txt")
    assert not np.array_equal(mapped.labels, open_dataset(pictures).labels)
    released = replace(SOME, released=request.getfixturevalue(kind))
    runs = [
        robench.evaluate(classifier, mapped, ["cifar-c"], tmp_path / name, options=options).directory
        for name, options in (("computed", SOME), ("released", released))
    ]
    same(runs[1], runs[0])


@pytest.mark.parametrize("write", [write_videos, write_arrays])
def test_frames_of_computed_pixels_give_the_computed_results(
    write: Any, classifier: Classifier, images: ImageDataset, pictures: Path, tmp_path: Path
) -> None:
    few = replace(MOVED, limit=5)
    root = write(tmp_path / "files", classifier, images, computed(classifier, "cifar-p", few))
    runs = [
        robench.evaluate(classifier, pictures, ["cifar-p"], tmp_path / name, options=options)
        for name, options in (("computed", few), ("released", replace(few, released=root)))
    ]
    same(runs[1].directory, runs[0].directory)
    assert {c.corruption: c.frames for c in runs[1].directory.conditions} == {
        "clean": 1,
        "gaussian_noise": 31,
        "rotate": 31,
    }


def test_alexnet_normalises_released_imagenet_c_without_a_word(
    classifier: Classifier, pictures: Path, tmp_path: Path
) -> None:
    options = Options(corruption=["contrast"], limit=3, no_release_jpeg=True)
    model = replace(among_1000(classifier), preprocessing=replace(classifier.preprocessing, resize=256, crop=224))
    images = open_dataset(pictures)
    root = write_tree(tmp_path / "files", model, images, computed(model, "imagenet-c", options))
    plain = robench.evaluate(model, pictures, ["imagenet-c"], tmp_path / "computed", options=options).directory
    released = replace(options, no_release_jpeg=False, released=root)
    done = robench.evaluate(model, pictures, ["imagenet-c"], tmp_path / "released", options=released).directory
    same(done, plain)
    assert (done.read_results()["metric"] == "ce").sum() == 1
    assert any(
        "the images here are computed, from" in note and "(release JPEG none, not jpeg85)" in note
        for note in notes(plain)
    )
    assert not any("computed" in note for note in notes(done))


def test_alexnet_normalises_released_imagenet_p_without_a_word(
    classifier: Classifier, pictures: Path, tmp_path: Path
) -> None:
    options = Options(corruption=["brightness"])
    model = replace(among_1000(classifier), preprocessing=replace(classifier.preprocessing, resize=256, crop=224))
    for folder in sorted(pictures.iterdir()):
        (tmp_path / "data" / folder.name).mkdir(parents=True)
        shutil.copy(folder / "0.png", tmp_path / "data" / folder.name)
    images = open_dataset(tmp_path / "data")
    root = write_videos(tmp_path / "files", model, images, computed(model, "imagenet-p", options))
    runs = [
        robench.evaluate(model, tmp_path / "data", ["imagenet-p"], tmp_path / name, options=one).directory
        for name, one in (("computed", options), ("released", replace(options, released=root)))
    ]
    same(runs[1], runs[0])
    assert any("frames here are computed" in note for note in notes(runs[0]))
    assert not any("computed" in note for note in notes(runs[1]))
    assert any("T5D are not published" in note for note in notes(runs[1]))


@pytest.mark.parametrize("pixels", ["yuv420p", "yuv444p"])
def test_videos_are_decoded_as_opencv_does(pixels: str, classifier: Classifier, pictures: Path, tmp_path: Path) -> None:
    """Published figures were made with OpenCV's frames; H.264 as the published script wrote it."""
    cv2: Any = pytest.importorskip("cv2")
    condition = computed(classifier, "imagenet-p", Options(corruption=["rotate"]))[0]
    small = np.random.default_rng(0).integers(0, 256, (31, 9, 9, 3), dtype=np.uint8)
    shown = np.stack([np.array(Image.fromarray(one).resize((224, 224), Image.Resampling.BICUBIC)) for one in small])
    (tmp_path / "ant").mkdir()
    write_video(tmp_path / "ant" / "0.mp4", shown, "libx264", pixels, 20)
    capture = cv2.VideoCapture(str(tmp_path / "ant" / "0.mp4"))
    expected = [capture.read()[1][:, :, ::-1] for _ in range(31)]
    with_files = replace(condition, files=ReleasedFiles(tmp_path, 31))
    found = [frame[0].transpose(1, 2, 0) for _, _, frame in read_released(with_files, [("ant", "0")], np.arange(1), 4)]
    assert np.array_equal(np.stack(found), np.stack(expected))


def test_what_is_not_there_is_left_out_unless_it_was_named(
    classifier: Classifier, pictures: Path, tree: Path, tmp_path: Path
) -> None:
    options = replace(SOME, corruption=None, severity=[2], limit=3, released=tree)
    done = robench.evaluate(classifier, pictures, ["cifar-c"], tmp_path / "run", options=options).directory
    assert {c.corruption for c in done.conditions} == {"clean", "gaussian_noise", "contrast"}
    (note,) = [note for note in done.manifest["notes"] if "skipped" in note]
    assert note.startswith("cifar-c: skipped shot_noise, impulse_noise, ")
    assert "contrast" not in note
    named = replace(options, corruption=["contrast", "snow"])
    with pytest.raises(DatasetError, match=r"has no snow of cifar-c"):
        robench.evaluate(classifier, pictures, ["cifar-c"], tmp_path / "named", options=named)


@pytest.mark.parametrize(
    ("suites", "change", "match"),
    [
        (["cifar-c"], {"released": "nowhere"}, "is not a folder"),
        (["cifar-c"], {"released": "empty"}, r"gaussian_noise/1/CLASS/\*\.JPEG or gaussian_noise\.npy"),
        (
            ["cifar-p"],
            {"released": "empty", "corruption": None},
            r"gaussian_noise/CLASS/\*\.mp4 or gaussian_noise\.npy",
        ),
        (["noise"], {"released": "empty", "corruption": None}, "suites of published files"),
        (["imagecorruptions"], {"released": "empty"}, "suites of published files"),
        (["imagenet-c"], {}, r"is 32x32 px, but those of imagenet-c are 224x224; give --suite cifar-c"),
        (["tiny-imagenet-c"], {}, r"is 32x32 px, but those of tiny-imagenet-c are 64x64; give --suite cifar-c"),
    ],
)
def test_folders_of_other_suites(
    suites: list[str],
    change: dict[str, Any],
    match: str,
    classifier: Classifier,
    pictures: Path,
    tree: Path,
    tmp_path: Path,
) -> None:
    (tmp_path / "empty").mkdir()
    if "released" in change:
        change = change | {"released": tmp_path / change["released"]}
    options = replace(SOME, **({"released": tree} | change))
    with pytest.raises(RobenchError, match=match) as error:
        robench.evaluate(classifier, pictures, suites, tmp_path / "run", options=options)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("change", [{"geometry": "model"}, {"backend": "reference"}, {"no_release_jpeg": True}])
def test_options_without_a_meaning(change: dict[str, Any], tree: Path) -> None:
    with pytest.raises(OptionError, match="has no effect on released files"):
        replace(SOME, released=tree, **change)


def test_two_folders_of_the_same(classifier: Classifier, pictures: Path, tree: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        shutil.copytree(tree / "contrast", tmp_path / "files" / name / "contrast")
    options = replace(SOME, corruption=["contrast"], released=tmp_path / "files")
    with pytest.raises(DatasetError, match="has contrast 1 of cifar-c twice"):
        robench.evaluate(classifier, pictures, ["cifar-c"], tmp_path / "run", options=options)


def test_all_takes_files_where_any_were_published(
    classifier: Classifier, images: ImageDataset, pictures: Path, tmp_path: Path
) -> None:
    options = Options(corruption=["contrast", "rotate", "gain"], severity=[1], limit=2, released=tmp_path, batch_size=7)
    cells = computed(classifier, "cifar-c", Options(corruption=["contrast"]))
    write_arrays(tmp_path / "CIFAR-10-C", classifier, images, cells)
    write_arrays(
        tmp_path / "CIFAR-10-P", classifier, images, computed(classifier, "cifar-p", Options(corruption=["rotate"]))
    )
    (tmp_path / "CIFAR-10-P" / "labels.npy").unlink()
    done = robench.evaluate(classifier, pictures, ["all"], tmp_path / "run", options=options).directory
    sources = {(c.suite, c.corruption): c.source for c in done.conditions}
    assert sources == {
        ("clean", "clean"): "computed",
        ("cifar-c", "contrast"): "released",
        ("cifar-p", "rotate"): "released",
        ("noise", "gain"): "computed",
    }
    assert any("is assumed to be" in note for note in done.manifest["notes"])


def test_a_sample_without_a_file(classifier: Classifier, pictures: Path, tree: Path, tmp_path: Path) -> None:
    files, some = tmp_path / "files", tmp_path / "some.txt"
    shutil.copytree(tree, files)
    (files / "contrast" / "3" / "bee" / "2.JPEG").unlink()
    options = replace(SOME, released=files)
    with pytest.raises(
        DatasetError, match=r"bee/2\.png has no released file: .*contrast/3/bee/2\.JPEG is missing; download"
    ):
        robench.evaluate(classifier, pictures, ["cifar-c"], tmp_path / "run", options=options)
    skipping = replace(options, subset=some, skip_unreadable=True)
    some.write_text("ant/1.png\nbee/3.png\nant/2.png\nbee/2.png\n")
    done = robench.evaluate(classifier, pictures, ["cifar-c"], tmp_path / "skipped", options=skipping).directory
    assert done.read_samples()["path"].tolist() == ["ant/1.png", "ant/2.png", "bee/3.png"]
    assert [one["path"] for one in done.manifest["skipped"]] == ["bee/2.png"]
    some.write_text("ant/1.png\nbee/3.png\nant/2.png\n")
    fewer = robench.evaluate(
        classifier, pictures, ["cifar-c"], tmp_path / "fewer", options=replace(options, subset=some)
    )
    assert (fewer.path / "results.csv").read_bytes() == (done.path / "results.csv").read_bytes()
    shutil.rmtree(files / "contrast" / "2" / "cow")
    with pytest.raises(
        DatasetError, match=r"cow/0\.png has no released file: .*contrast/2/cow/0.* \(and 3 more samples"
    ):
        robench.evaluate(classifier, pictures, ["cifar-c"], tmp_path / "run", options=options)


def damaged(file: Path, kind: str) -> None:
    if kind == "truncated":
        file.write_bytes(file.read_bytes()[:-60])
    elif kind == "other side":
        Image.new("RGB", (48, 32)).save(file, "png")
    elif kind == "no picture":
        file.write_bytes(b"not a picture")
    elif kind == "huge":
        with file.open("wb") as handle:
            handle.truncate(100 << 30)
    elif kind == "folder":
        file.unlink()
        file.mkdir()
    elif kind == "loop":
        file.unlink()
        file.symlink_to(file)


@pytest.mark.parametrize(
    ("kind", "match"),
    [
        ("truncated", r"cannot read the released file .*contrast/4/bee/3\.JPEG: .*truncated"),
        ("other side", r"contrast/4/bee/3\.JPEG is 48x32 px, but those of cifar-c are 32x32; give the published files"),
        ("no picture", "it is not an image that Pillow knows"),
        ("huge", "too large"),
        ("folder", "is not a file"),
        ("loop", "bee/3"),
    ],
)
def test_a_damaged_file_stops_the_run_and_a_mended_one_lets_it_go_on(
    kind: str,
    match: str,
    classifier: Classifier,
    pictures: Path,
    tree: Path,
    whole: RunDirectory,
    tmp_path: Path,
) -> None:
    files = tmp_path / "files"
    shutil.copytree(tree, files)
    damaged(files / "contrast" / "4" / "bee" / "3.JPEG", kind)
    options = replace(SOME, released=files)
    with pytest.raises(DatasetError, match=match) as error:
        robench.evaluate(classifier, pictures, ["cifar-c"], tmp_path / "run", options=options)
    assert "\n" not in str(error.value)
    if kind in ("huge", "folder", "loop"):
        assert not (tmp_path / "run").exists(), "seen before the work"
        return
    assert len(RunDirectory.open(tmp_path / "run").finished()) == 1 + 5 + 3
    shutil.rmtree(files / "contrast")
    shutil.copytree(tree / "contrast", files / "contrast")
    done = robench.evaluate(classifier, pictures, ["cifar-c"], tmp_path / "run", options=options)
    same(done.directory, whole)


def test_other_files_are_refused_and_a_resumed_run_is_equal(
    classifier: Classifier, pictures: Path, tree: Path, whole: RunDirectory, tmp_path: Path, monkeypatch: Any
) -> None:
    real, calls = loop.begin_condition, []

    def stops(*arguments: Any, **options: Any) -> Any:
        calls.append(1)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return real(*arguments, **options)

    options = replace(SOME, released=tree)
    monkeypatch.setattr(evaluator, "begin_condition", stops)
    with pytest.raises(KeyboardInterrupt):
        robench.evaluate(classifier, pictures, ["cifar-c"], tmp_path / "run", options=options)
    monkeypatch.setattr(evaluator, "begin_condition", real)
    assert len(RunDirectory.open(tmp_path / "run").finished()) == 4
    shutil.copytree(tree, tmp_path / "other")
    changed = tmp_path / "other" / "gaussian_noise" / "2" / "ant" / "0.JPEG"
    changed.write_bytes(changed.read_bytes() + b"\0")
    with pytest.raises(RunError, match="the released file of cifar-c-gaussian_noise-2-32px changed"):
        robench.evaluate(
            classifier, pictures, ["cifar-c"], tmp_path / "run", options=replace(SOME, released=tmp_path / "other")
        )
    with pytest.raises(RunError, match=r"--released was .*, is not set"):
        robench.evaluate(classifier, pictures, ["cifar-c"], tmp_path / "run", options=SOME)
    before = RunDirectory.open(tmp_path / "run").manifest
    same(robench.evaluate(classifier, pictures, ["cifar-c"], tmp_path / "run", options=options).directory, whole)
    assert {**RunDirectory.open(tmp_path / "run").manifest, "scored": None} == {**before, "scored": None}


def test_the_cache_holds_the_clean_images_alone(
    classifier: Classifier, pictures: Path, tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ROBENCH_CACHE", str(tmp_path / "cache"))
    robench.evaluate(classifier, pictures, ["cifar-c"], tmp_path / "run", options=replace(SOME, released=tree))
    assert len(list((tmp_path / "cache").rglob("images.npy"))) == 1


class Payload:
    """Writes a file when it is unpickled."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> Any:
        return Path.touch, (self.file,)


def break_array(root: Path, kind: str) -> None:
    file, labels = root / "contrast.npy", root / "labels.npy"
    if kind == "truncated":
        file.write_bytes(file.read_bytes()[:-1])
    elif kind == "empty":
        file.write_bytes(b"")
    elif kind == "object":
        np.save(file, np.array([Payload(root / "executed")], dtype=object), allow_pickle=True)
    elif kind == "pickle":
        file.write_bytes(pickle.dumps(Payload(root / "executed")))
    elif kind == "object labels":
        np.save(labels, np.array([Payload(root / "executed")], dtype=object), allow_pickle=True)
    elif kind == "float":
        np.save(file, np.load(file).astype(np.float32))
    elif kind == "flat":
        np.save(file, np.load(file).reshape(60, -1))
    elif kind == "fewer":
        np.save(file, np.load(file)[:-5])
    elif kind == "larger":
        np.save(file, np.zeros((60, 64, 64, 3), np.uint8))
    elif kind == "wrong labels":
        np.save(labels, np.concatenate([np.load(labels)[:-1], [0]]))
    elif kind == "long labels":
        np.save(labels, np.load(labels)[:-1])
    elif kind == "no labels":
        labels.unlink()
    elif kind == "nested":
        header = b"-" * 9000 + b"1\n"
        file.write_bytes(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)


@pytest.mark.parametrize(
    ("kind", "match"),
    [
        ("truncated", "contrast.npy does not have the length"),
        ("empty", "contrast.npy is not a NumPy array"),
        ("object", "contrast.npy holds Python objects"),
        ("pickle", "contrast.npy is not a NumPy array"),
        ("nested", "contrast.npy is not a NumPy array"),
        ("object labels", "labels.npy holds Python objects"),
        ("float", r"contrast.npy holds float32 .* give the published file, uint8 of shape \(5n, 32, 32, 3\)"),
        ("flat", "contrast.npy has 2 axes"),
        ("fewer", "holds 11 samples at each severity, but pictures has 12; give --data the CIFAR python batches"),
        (
            "larger",
            "contrast.npy is 64x64 px, but those of cifar-c are 32x32; give --suite tiny-imagenet-c or imagenet-64-c",
        ),
        ("wrong labels", r"has class 0 for cow/3\.png, but pictures has class 2; give --data the CIFAR python batches"),
        ("long labels", "not those of 12 samples; give --data the CIFAR python batches"),
        ("no labels", "has no labels.npy"),
    ],
)
def test_arrays_that_are_not_the_published_ones(
    kind: str, match: str, classifier: Classifier, pictures: Path, arrays: Path, tmp_path: Path
) -> None:
    shutil.copytree(arrays, tmp_path / "files")
    break_array(tmp_path / "files", kind)
    options = replace(SOME, corruption=["contrast"], released=tmp_path / "files")
    with pytest.raises(DatasetError, match=match) as error:
        robench.evaluate(classifier, pictures, ["cifar-c"], tmp_path / "run", options=options)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "files" / "executed").exists()
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("kind", "match"),
    [
        ("text", r"cannot read the released file .*rotate/ant/1\.mp4: Invalid data"),
        ("matroska", r"cannot read the released file .*rotate/ant/1\.mp4: Invalid data"),
        ("playlist", r"cannot read the released file .*rotate/ant/1\.mp4: Invalid data"),
        ("truncated", r"cannot read the released file .*rotate/ant/1\.mp4: Invalid data"),
        ("short", r"rotate/ant/1\.mp4 has 30 frames, but rotate of cifar-p has 31"),
        ("long", r"rotate/ant/1\.mp4 has more than 31 frames"),
        ("side", r"rotate/ant/1\.mp4 is 64x64 px, but those of cifar-p are 32x32; give --suite tiny-imagenet-p"),
        ("flipped", r"cannot read the released file .*rotate/ant/1\.mp4: Invalid data"),
    ],
)
def test_videos_that_are_not_the_published_ones(
    kind: str, match: str, classifier: Classifier, images: ImageDataset, pictures: Path, tmp_path: Path
) -> None:
    options = replace(MOVED, corruption=["rotate"])
    shown = frames(classifier, images, computed(classifier, "cifar-p", options)[0])[:1]
    for position, path in enumerate(images.paths):
        file = tmp_path / "files" / "rotate" / Path(path).with_suffix(".mp4")
        file.parent.mkdir(parents=True, exist_ok=True)
        if position == 0:
            write_video(file, shown[0])
        else:
            shutil.copy(tmp_path / "files" / "rotate" / "ant" / "0.mp4", file)
    bad = tmp_path / "files" / "rotate" / "ant" / "1.mp4"
    if kind == "text":
        bad.write_text("not a video")
    elif kind == "matroska":
        # Readable, but a guessed format could as well be one that opens further files.
        write_video(bad.with_suffix(".mkv"), shown[0])
        bad.with_suffix(".mkv").rename(bad)
    elif kind == "playlist":
        bad.write_text(f"#EXTM3U\n#EXTINF:1,\n{bad.with_name('0.mp4')}\n#EXT-X-ENDLIST\n")
    elif kind == "truncated":
        bad.write_bytes(bad.read_bytes()[:-200])
    elif kind in ("short", "long"):
        write_video(bad, shown[0][:30] if kind == "short" else np.concatenate([shown[0], shown[0]]))
    elif kind == "side":
        write_video(bad, np.zeros((31, 64, 64, 3), np.uint8))
    else:
        content = bytearray(bad.read_bytes())
        start = content.index(b"mdat") + 1000
        content[start : start + 200] = bytes(200)
        bad.write_bytes(bytes(content))
    options = replace(options, released=tmp_path / "files")
    with pytest.raises(DatasetError, match=match) as error:
        robench.evaluate(classifier, pictures, ["cifar-p"], tmp_path / "run", options=options)
    assert "\n" not in str(error.value)
    assert [condition.name for condition in RunDirectory.open(tmp_path / "run").finished()] == ["clean-32px"]


def test_two_samples_of_one_name(classifier: Classifier, pictures: Path, tree: Path, tmp_path: Path) -> None:
    shutil.copytree(pictures, tmp_path / "data")
    shutil.copy(tmp_path / "data" / "ant" / "0.png", tmp_path / "data" / "ant" / "0.bmp")
    options = replace(SOME, released=tree)
    with pytest.raises(DatasetError, match=r"ant/0\.bmp and ant/0\.png have the same released file ant/0"):
        robench.evaluate(classifier, tmp_path / "data", ["cifar-c"], tmp_path / "run", options=options)


def test_a_dry_run_reads_the_files(
    classifier: Classifier, images: ImageDataset, tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    costs = estimate(classifier, images, ["cifar-c"], replace(SOME, released=tree))
    assert (len(costs.seconds), costs.forwards) == (11, 11 * 12)
    assert json.dumps(costs.seconds)
    shutil.copytree(tree, tmp_path / "files")
    shutil.rmtree(tmp_path / "files" / "contrast" / "1" / "ant")
    with pytest.raises(DatasetError, match=r"ant/0\.png has no released file"):
        estimate(classifier, images, ["cifar-c"], replace(SOME, released=tmp_path / "files"))


@pytest.mark.parametrize("kind", ["0.mp4", "0.JPEG", "fog.npy"])
def test_random_bytes_are_refused_in_one_line_or_give_an_image(kind: str, tmp_path: Path) -> None:
    """Whatever a file holds, no other error than ours escapes."""
    rng = np.random.default_rng(0)
    sequence, array = kind.endswith(".mp4"), kind.endswith(".npy")
    file = tmp_path / kind if array else tmp_path / "ant" / kind
    suite, name, count = ("cifar-p", "rotate", 31) if sequence else ("cifar-c", "fog", 1)
    files = ReleasedFiles(file if array else tmp_path, count)
    conditions = [Condition(suite, name, 1, Geometry(resize=(32, 32)), "32", files=files)]
    one = ImageDataset("one", ("ant/0.png",), np.zeros(1, np.int64), ("ant",), lambda _: b"")
    shown = rng.integers(0, 256, (31, 1, 1, 3), dtype=np.uint8).repeat(32, axis=1).repeat(32, axis=2)
    file.parent.mkdir(exist_ok=True)
    if sequence:
        write_video(file, shown)
    elif array:
        np.save(file, shown[:5])
        np.save(tmp_path / "labels.npy", one.labels)
    else:
        Image.fromarray(shown[0]).save(file, "jpeg")
    check_released(one, np.arange(1), conditions, skip=False)
    content, refusals = file.read_bytes(), []
    for _ in range(100):
        changed = bytearray(content)
        for _ in range(int(rng.integers(1, 6))):
            # Most of what a reader looks at stands in the header, or in a video's index at the end.
            changed[int(rng.integers(0, len(content) if sequence else 128))] = int(rng.integers(0, 256))
        file.write_bytes(changed[: int(rng.integers(len(changed)))] if rng.random() < 0.1 else changed)
        try:
            check_released(one, np.arange(1), conditions, skip=False)
        except DatasetError as error:
            refusals.append(str(error))
    assert len(refusals) > 20
    assert not [text for text in refusals if "\n" in text]


def levels_found(root: Path, folders: dict[str, str], suite: str) -> dict[tuple[str, int], str]:
    for name, texts in folders.items():
        for text in texts.split():
            (root / name / text / "class").mkdir(parents=True)
    chosen = find_suite(suite)
    return {cell: path.name for cell, path in find_released(root, chosen, chosen.select()).items()}


def test_folders_of_c_bar_are_named_by_value_or_severity(tmp_path: Path) -> None:
    """Oracle: the published values. 1 to 5 may be either; the other folders of the corruption decide, then those of others."""
    values = {
        "caustic_refraction": "2.35 3.2 4.9 6.6 9.15",
        "inverse_sparkles": "1.0 2.0 4.0 9.0 10.0",
        "sparkles": "1 2 3 5 6",
        "checkerboard_cutout": "3 4",
    }
    found = levels_found(tmp_path / "values", values, "imagenet-c-bar")
    assert [found["caustic_refraction", one] for one in (1, 2, 3, 4, 5)] == values["caustic_refraction"].split()
    assert [found["inverse_sparkles", one] for one in (3, 5)] == ["4.0", "10.0"]
    assert [found["sparkles", one] for one in (4, 5)] == ["5", "6"]
    assert {cell: text for cell, text in found.items() if cell[0] == "checkerboard_cutout"} == {
        ("checkerboard_cutout", 2): "3",
        ("checkerboard_cutout", 3): "4",
    }
    severities = {"inverse_sparkles": "1 2 3 4 5", "checkerboard_cutout": "3 4"}
    found = levels_found(tmp_path / "severities", severities, "imagenet-c-bar")
    assert found == {(name, int(text)): text for name, texts in severities.items() for text in texts.split()}
    assert levels_found(tmp_path / "cifar", {"lines": "0.5 2.5"}, "cifar-c-bar") == {
        ("lines", 1): "0.5",
        ("lines", 5): "2.5",
    }
    with pytest.raises(DatasetError, match=r"names folders of sparkles by value and by severity: 4, 6"):
        levels_found(tmp_path / "both", {"sparkles": "4 6"}, "imagenet-c-bar")
