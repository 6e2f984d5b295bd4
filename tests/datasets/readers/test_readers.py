"""Every layout of a small known set; the oracles are the libraries that write or usually read the layout."""

from __future__ import annotations

import io
import json
import pickle
import tarfile
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray
from PIL import Image
from scipy.io import loadmat
from torchvision import datasets

from robench.cli.entry import run_cli
from robench.datasets import READERS, ImageDataset, decode_one, open_dataset
from robench.errors import DatasetError
from robench.evaluation.export import export
from robench.suites.geometry import Geometry
from tests.builders import each
from tests.datasets import layouts
from tests.datasets.layouts import LABELS, NAMES, PIXELS, PNGS


def pictures(images: ImageDataset) -> NDArray[np.uint8]:
    """All images of a set, (n, h, w, 3)."""
    return np.stack([decode_one(images.read(n), Geometry()).transpose(1, 2, 0) for n in range(len(images))])


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (layouts.cifar10, "cifar"),
        (layouts.cifar100, "cifar"),
        (lambda root: layouts.cifar10(root).parent, "cifar"),
        (lambda root: layouts.cifar10(root) / "test_batch", "cifar"),
        (layouts.arrays, "arrays"),
        (layouts.table, "table"),
        (lambda root: layouts.table(root) / "labels.csv", "table"),
        (lambda root: layouts.table(root, "metadata.jsonl"), "table"),
        (lambda root: layouts.table(root, "labels.tsv") / "labels.tsv", "table"),
        (layouts.parquet, "parquet"),
        (lambda root: layouts.parquet(root / "data").parent.parent, "parquet"),
        (layouts.arrow, "arrow"),
        (lambda root: layouts.arrow(root) / "data-00000-of-00001.arrow", "arrow"),
        (layouts.archive, "arrays"),
        (lambda root: layouts.shard(root / "a.tar"), "webdataset"),
        (lambda root: layouts.shard(root / "a.tar").parent, "webdataset"),
        (layouts.folder, "folder"),
    ],
)
def test_one_reader_knows_each_layout_and_all_read_the_same(
    tmp_path: Path, make: Callable[[Path], Path], name: str
) -> None:
    path = make(tmp_path / "set")
    assert next(reader.name for reader in READERS if reader.matches(path)) == name
    images = open_dataset(str(path))
    assert list(images.paths) == sorted(set(images.paths))
    order = np.argsort(LABELS, kind="stable") if name == "folder" else np.arange(len(LABELS))
    assert np.array_equal(pictures(images), PIXELS[order])
    if make is not layouts.cifar100:
        assert images.labels.tolist() == [LABELS[number] for number in order]
    if name in ("table", "parquet", "arrow", "folder"):
        assert images.classes == NAMES


@pytest.mark.parametrize("kind", ["10", "100"])
def test_cifar_as_torchvision_reads_it(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torchvision.datasets.cifar.check_integrity", lambda *_: True)
    folder = (layouts.cifar10 if kind == "10" else layouts.cifar100)(tmp_path)
    oracle = (datasets.CIFAR10 if kind == "10" else datasets.CIFAR100)(str(tmp_path), train=False)
    images = open_dataset(folder)
    assert np.array_equal(pictures(images), oracle.data)
    assert images.labels.tolist() == oracle.targets
    assert list(images.classes) == oracle.classes
    assert images.name.startswith(f"cifar{kind}-")


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_cifar_pickled_again(tmp_path: Path, protocol: int) -> None:
    folder = layouts.cifar10(tmp_path, lambda value: pickle.dumps(value, protocol))
    assert np.array_equal(pictures(open_dataset(folder)), PIXELS)
    (folder / "data_batch_1").write_bytes(
        pickle.dumps({"labels": [1], "data": np.asfortranarray(layouts.rows()[:1])}, 4)
    )
    (folder / "batches.meta").unlink()
    images = open_dataset(folder / "data_batch_1")
    assert np.array_equal(pictures(images), PIXELS[:1])
    assert images.classes == tuple("0123456789")


def test_cifar_by_columns(tmp_path: Path) -> None:
    value = {b"labels": list(LABELS), b"data": np.asfortranarray(layouts.rows())}
    (tmp_path / "test_batch").write_bytes(pickle.dumps(value, 4))
    assert np.array_equal(pictures(open_dataset(tmp_path / "test_batch")), PIXELS)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({b"labels": [1]}, "has 6 images, but 1 labels"),
        ({b"labels": [10] * 6}, "row 0 has the label 10, but the classes are 0 to 9"),
        ({b"labels": b"012345"}, "not a list of whole numbers"),
        ({b"labels": [True] * 6}, "not a list of whole numbers"),
        ({b"data": b"x"}, "not a uint8 array with 3072 columns"),
        ({b"data": layouts.rows()[:, :100]}, "not a uint8 array with 3072 columns"),
    ],
)
def test_cifar_batches_that_do_not_fit(tmp_path: Path, change: dict[bytes, object], match: str) -> None:
    folder = layouts.cifar10(tmp_path)
    whole = {b"labels": list(LABELS), b"data": layouts.rows()} | change
    (folder / "test_batch").write_bytes(pickle.dumps(whole, 4))
    with pytest.raises(DatasetError, match=match):
        open_dataset(folder)
    (folder / "batches.meta").write_bytes(pickle.dumps({b"label_names": [b"x"] * 10}, 4))
    (folder / "test_batch").write_bytes(layouts.python2_pickle({b"labels": list(LABELS), b"data": layouts.rows()}))
    with pytest.raises(DatasetError, match="does not name 10 classes"):
        open_dataset(folder)


def test_cifar_folders_that_are_not_clear(tmp_path: Path) -> None:
    layouts.cifar10(tmp_path)
    layouts.cifar100(tmp_path)
    with pytest.raises(DatasetError, match="holds both CIFAR-10 and CIFAR-100"):
        open_dataset(tmp_path)
    (tmp_path / "cifar-10-batches-py" / "test_batch").unlink()
    with pytest.raises(DatasetError, match="lacks the test batch"):
        open_dataset(tmp_path / "cifar-10-batches-py")


def test_arrays(tmp_path: Path) -> None:
    file = layouts.arrays(tmp_path)
    images = open_dataset(file)
    assert (images.classes, images.labels.tolist()) == (("0", "1", "2"), list(LABELS))
    (tmp_path / "small_labels.npy").rename(tmp_path / "labels.npy")
    assert open_dataset(file).labels.tolist() == list(LABELS)
    np.save(tmp_path / "labels.npy", np.array([0, 1, 2, 3, 4, 2**64 - 1], dtype=np.uint64))
    with pytest.raises(DatasetError, match="row 5 has the label -1"):
        open_dataset(file)
    np.save(tmp_path / "labels.npy", np.arange(5))
    with pytest.raises(DatasetError, match=r"has 6 images, but .* has 5 labels"):
        open_dataset(file)
    np.save(tmp_path / "labels.npy", np.arange(6.0))
    with pytest.raises(DatasetError, match="holds float64 of shape"):
        open_dataset(file)
    np.save(tmp_path / "labels.npy", np.array([NAMES[label] for label in LABELS]))
    named = open_dataset(file)
    assert (named.classes, named.labels.tolist()) == (NAMES, list(LABELS))
    np.save(tmp_path / "X_test.npy", PIXELS)
    np.save(tmp_path / "Y_test.npy", np.array(LABELS)[::-1])
    assert open_dataset(tmp_path / "X_test.npy").labels.tolist() == list(LABELS)[::-1]
    (tmp_path / "labels.npy").unlink()
    with pytest.raises(DatasetError, match=r"has no file of labels; write .*small_labels\.npy"):
        open_dataset(file)


def test_arrays_that_python_2_saved(tmp_path: Path) -> None:
    file = layouts.arrays(tmp_path)
    content = file.read_bytes()
    file.write_bytes(content.replace(b"(6, 32, 32, 3), }    ", b"(6L, 32L, 32L, 3L), }"))
    assert len(file.read_bytes()) == len(content)
    with pytest.warns(UserWarning, match="created on Python 2"):
        oracle = np.load(file)
    assert np.array_equal(pictures(open_dataset(file)), oracle)


@pytest.mark.parametrize(
    ("array", "match"),
    [
        (PIXELS.astype(complex), "holds complex128 of shape"),
        (PIXELS[..., None], r"holds uint8 of shape"),
        (PIXELS[:0], r"holds uint8 of shape"),
        (np.asfortranarray(PIXELS), "stored column by column"),
        (np.array(LABELS), "give images of shape"),
    ],
)
def test_arrays_of_something_else(tmp_path: Path, array: NDArray[np.generic], match: str) -> None:
    layouts.arrays(tmp_path)
    # A transposed view is stored by columns only if it happens to be laid out so.
    np.save(tmp_path / "small_data.npy", array if match.startswith("stored") else np.ascontiguousarray(array))
    with pytest.raises(DatasetError, match=match):
        open_dataset(tmp_path / "small_data.npy")


def _npz(file: Path, arrays: dict[str, Any], compressed: bool = False) -> Path:
    (np.savez_compressed if compressed else np.savez)(file, **arrays)
    return file


@each("compressed", [False, True])
@each(
    ("images", "labels"),
    [
        ("images", "labels"),
        ("data", "labels"),
        ("X", "y"),
        ("x_test", "y_test"),
        ("test_images", "test_labels"),
        ("arr_0", "arr_1"),
    ],
)
def test_archives_of_arrays(tmp_path: Path, images: str, labels: str, compressed: bool) -> None:
    """The arrays that numpy writes are the oracle; another split and further arrays change nothing."""
    arrays = {images: PIXELS, labels: np.array(LABELS), "names": np.array(["x"])}
    for name in (images, labels):
        if "test" in name:
            arrays[name.replace("test", "train")] = arrays[name][::-1]
    found = open_dataset(_npz(tmp_path / "x.npz", arrays, compressed))
    assert np.array_equal(pictures(found), PIXELS)
    assert (found.labels.tolist(), found.classes) == (list(LABELS), ("0", "1", "2"))
    assert found.notes[0] == f"images from the array {images}, labels from {labels}"
    assert ("only the test images" in found.notes[-1]) == ("test" in images)


@each(
    ("pixels", "expected"),
    [
        (PIXELS.transpose(0, 3, 1, 2).copy(), PIXELS),
        (PIXELS[..., 0].copy(), PIXELS[..., :1].repeat(3, 3)),
        (PIXELS[..., :1].copy(), PIXELS[..., :1].repeat(3, 3)),
        (PIXELS[:, None, :, :, 0].copy(), PIXELS[..., :1].repeat(3, 3)),
    ],
)
@each("labels", [np.array(LABELS)[:, None], np.eye(3)[list(LABELS)], np.eye(3, dtype=bool)[list(LABELS)]])
def test_shapes_of_arrays(
    tmp_path: Path, pixels: NDArray[np.uint8], expected: NDArray[np.uint8], labels: NDArray[np.generic]
) -> None:
    _npz(tmp_path / "x.npz", {"images": pixels, "labels": labels})
    np.save(tmp_path / "images.npy", pixels)
    np.save(tmp_path / "labels.npy", labels)
    for name in ("x.npz", "images.npy"):
        images = open_dataset(tmp_path / name)
        assert np.array_equal(pictures(images), expected)
        assert images.labels.tolist() == list(LABELS)
        assert len(images.notes) == 2


@each(
    ("arrays", "match"),
    [
        ({"images": PIXELS}, r"no arrays of images and labels by a known name \(its arrays: 'images'\)"),
        (
            {"train_images": PIXELS, "images": PIXELS, "labels": LABELS, "train_labels": LABELS},
            "holds several datasets",
        ),
        ({"images": PIXELS * 1j, "labels": LABELS}, "holds complex128 of shape .*give images of shape"),
        ({"images": PIXELS, "labels": np.ones((6, 3), int)}, r"holds int64 of shape \(6, 3\), but labels are"),
        ({"images": PIXELS, "labels": LABELS[:5]}, "has 6 images, but .*labels has 5 labels"),
        ({"images": np.array([None] * 6), "labels": LABELS}, "holds Python objects"),
    ],
)
def test_archives_with_mistakes(tmp_path: Path, arrays: dict[str, object], match: str) -> None:
    with pytest.raises(DatasetError, match=match):
        open_dataset(_npz(tmp_path / "x.npz", arrays))


@pytest.mark.parametrize(
    ("name", "text", "labels", "classes"),
    [
        ("labels.csv", "0.png,cow\n1.png,ant\n", [1, 0], ("ant", "cow")),
        ("labels.csv", '\ufeffImage,id,Class\r\n0.png,7,cow\r\n\r\n./1.png,8,"a, b"\r\n', [1, 0], ("a, b", "cow")),
        ("metadata.csv", "label,file_name\n3,1.png\n0,0.png\n", [0, 3], ("0", "1", "2", "3")),
        ("labels.csv", "file_name;label\r\n0.png;a, b\r\n1.png;a;;\r\n", [1, 0], ("a", "a, b")),
        ("labels.csv", '"sep=;"\nImage ID;Class Name\n0;b\n.\\1.png;a\n', [1, 0], ("a", "b")),
        ("labels.csv", "0.png\tcow\n1.png\tant\n", [1, 0], ("ant", "cow")),
        ("labels.csv", ",id,note,label\n0,0,x,cow\n1,1,y,ant\n", [1, 0], ("ant", "cow")),
        ("labels.txt", "0.png golden retriever\n\n1.png  ant\n", [1, 0], ("ant", "golden retriever")),
        ("labels.tsv", "path\twnid\n0.png\tn02\n1.png\tn01\n", [1, 0], ("n01", "n02")),
        (
            "metadata.jsonl",
            '{"file_name": "1.png", "label": 0}\n\n{"file_name": "0.png", "label": "2"}',
            [2, 0],
            ("0", "1", "2"),
        ),
        (
            "labels.jsonl",
            '{"image": "0.png", "category": "b", "x": []}\n{"image": "1.png", "category": "a"}\n',
            [1, 0],
            ("a", "b"),
        ),
    ],
)
def test_tables(tmp_path: Path, name: str, text: str, labels: list[int], classes: tuple[str, ...]) -> None:
    (layouts.table(tmp_path / "set") / "labels.csv").unlink()
    (tmp_path / "set" / name).write_text(text, encoding="utf-8", newline="")
    for path in (tmp_path / "set", tmp_path / "set" / name):
        images = open_dataset(path)
        assert (images.paths, images.labels.tolist(), images.classes) == (("0.png", "1.png"), labels, classes)
        assert images.read(1) == PNGS[1]
        assert images.name == "set"


@each(
    ("text", "match"),
    [
        ("file_name,label\n0.png,a\n9.png,b\n", r"labels\.csv, line 3: there is no file '9\.png'"),
        ("file_name,label\n0.png,a\n\n./0.png,b\n", r"labels\.csv, line 4: '0\.png' is already in line 2"),
        ("file_name,label\n0.png, \n", "line 2 has no label"),
        ("file_name,label\n0.png\n", "line 2 has no label"),
        ("file_name,label\n0.png,a,b\n", "line 2 has 3 columns, but the first line has 2"),
        ("0.png,a\n1.png,b,c\n", "line 2 has 3 columns, but the first line has 2"),
        ("0.png\n1.png\n", "line 1 has one column; write a path and a label in each line"),
        ("file_name;who\n0.png;a\n", "line 1 names no column of labels"),
        ("file_name;label\n9.png;a\n", r"line 2: there is no file '9\.png'"),
        ("file_name,label\n../0.png,a\n", "line 2: '../0.png' is not a path within the folder"),
        ("file_name,label\n/etc/passwd,a\n", "line 2: '/etc/passwd' is not a path within the folder"),
        ("file_name,label\n,a\n", "line 2: '' is not a path within the folder"),
        ("file_name,label\n0.png,1.0\n1.png,2\n", r"line 2 has the label '1\.0'; write classes as whole numbers"),
        ("file_name,label\n0.png,0\n1.png,-1\n", "line 3 has the label -1"),
        ("file_name,label\n0.png,99999999999\n", "line 2 has the label 99999999999, but the classes are 0 to 999999"),
        ("file_name,label\n", "labels no image"),
        ("", "labels no image"),
        ("file_name,who\n0.png,a\n", "line 1 names no column of labels; name it label"),
        ("a,b,c\n0.png,a,b\n", "line 1 names no column of paths; name it file_name"),
        ('file_name,label\n"a\nb.png",x\n', r"line 2: there is no file 'a\\nb\.png'"),
        (f"file_name,label\n{'x' * 200_000},a\n", "line 2 cannot be read"),
        ('file_name,label\n0.png,"a\n1.png,b\n', "line 2 cannot be read"),
        ('file_name,label\n0.png,"a\n1.png,"\n', "line 2 has a label of several lines"),
        ("file_name,label\na\0b.png,a\n", "line 2: there is no file"),
        (f"file_name,label\n{'x' * 5000},a\n", "line 2: there is no file"),
    ],
)
def test_tables_with_mistakes(tmp_path: Path, text: str, match: str) -> None:
    layouts.table(tmp_path)
    (tmp_path / "labels.csv").write_text(text, newline="")
    with pytest.raises(DatasetError, match=match):
        open_dataset(tmp_path)


@each(
    ("text", "match"),
    [
        ("{", "line 1 is not JSON"),
        ("[" * 100_000, "line 1 is not JSON"),
        ("[1]", "line 1 is not a JSON object"),
        ('{"file_name": "0.png"}', "line 1 names no column of labels"),
        ('{"file_name": 3, "label": 0}', "line 1: the path in 'file_name' is not text"),
        ('{"file_name": "0.png", "label": true}', "line 1 has the label True"),
        ('{"file_name": "0.png", "label": 0.5}', r"line 1 has the label 0\.5"),
        ('{"file_name": "0.png", "label": null}', "line 1 has no label"),
        (
            '{"file_name": "0.png", "label": "a"}\n{"file_name": "1.png", "label": 3}',
            "line 2 has the number 3 as its label",
        ),
        ('{"file_name": "\\ud800", "label": 0}', "line 1: there is no file"),
        ('{"file_name": "0.png", "label": "\\ud800"}', "contains a name that is not UTF-8"),
    ],
)
def test_json_tables_with_mistakes(tmp_path: Path, text: str, match: str) -> None:
    layouts.table(tmp_path, "labels.jsonl")
    (tmp_path / "labels.jsonl").write_text(text)
    with pytest.raises(DatasetError, match=match):
        open_dataset(tmp_path)


def test_tables_that_are_not_clear(tmp_path: Path) -> None:
    layouts.table(tmp_path)
    layouts.table(tmp_path, "metadata.csv")
    with pytest.raises(DatasetError, match=r"holds labels\.csv and metadata\.csv; give one"):
        open_dataset(tmp_path)
    (tmp_path / "labels.csv").write_text("file_name,label\n0.png,\xe9", encoding="latin-1")
    with pytest.raises(DatasetError, match="is not UTF-8 text"):
        open_dataset(tmp_path / "labels.csv")


def test_class_folders_or_a_table(tmp_path: Path) -> None:
    layouts.folder(tmp_path / "set")
    table = tmp_path / "set" / "labels.csv"
    table.write_text("wnid,name\nn01,tench\n")
    images = open_dataset(tmp_path / "set")
    assert images.classes == NAMES
    assert images.notes == ("classes from folders; labels.csv was skipped because line 2 names no file, 'tench'",)
    table.write_text("file_name,label\ncow/0.png,pet\nant/1.png,wild\n")
    images = open_dataset(tmp_path / "set")
    assert (images.classes, images.paths) == (("pet", "wild"), ("ant/1.png", "cow/0.png"))
    assert "labels from labels.csv, not from folders" in images.notes[0]


def test_class_folders_that_are_numbers(tmp_path: Path) -> None:
    for number in (10, 2, 0):
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / "x.png").write_bytes(PNGS[0])
    images = open_dataset(tmp_path)
    assert (images.classes, images.paths) == (("0", "2", "10"), ("0/x.png", "2/x.png", "10/x.png"))
    assert "sorted as such" in images.notes[0]
    assert datasets.ImageFolder(str(tmp_path)).classes == ["0", "10", "2"], "the trap that the note is about"
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "x.png").write_bytes(PNGS[0])
    assert open_dataset(tmp_path).classes == ("0", "10", "2", "other")


@pytest.mark.parametrize("parent", ["", "blur"])
def test_released_trees_are_not_classes(tmp_path: Path, parent: str) -> None:
    for name in ("defocus_blur", "glass_blur", "motion_blur"):
        layouts.folder(tmp_path / parent / name / "1")
    with pytest.raises(DatasetError, match=r"looks like a released dataset .*defocus_blur.* --released DIR"):
        open_dataset(tmp_path)


def test_parquet_shards(tmp_path: Path) -> None:
    for part, name in ((slice(0, 4), "test-00000-of-00002"), (slice(4, 6), "test-00001-of-00002")):
        layouts.parquet(tmp_path / "data", f"{name}.parquet", part)
    layouts.parquet(tmp_path / "data", "train-00000-of-00001.parquet", slice(0, 1))
    images = open_dataset(tmp_path)
    assert np.array_equal(pictures(images), PIXELS)
    assert images.labels.tolist() == list(LABELS)
    assert images.notes == ("only the test files; give a file to evaluate another split (train)",)
    assert images.paths[3:5] == ("test-00000-of-00002/00000003", "test-00001-of-00002/00000000")
    (tmp_path / "data" / "test-00000-of-00002.parquet").unlink()
    with pytest.raises(DatasetError, match="has 1 of 2 files; number 0 is missing"):
        open_dataset(tmp_path)
    layouts.parquet(tmp_path / "data", "other.parquet")
    with pytest.raises(DatasetError, match="holds several datasets"):
        open_dataset(tmp_path)


@pytest.mark.parametrize(
    ("names", "chosen"),
    [
        (["validation-0", "train-0"], "validation-0"),
        (["a", "b"], "a"),
        (["val-0", "dev-0", "train-0"], None),
        (["0", "test-0"], None),
    ],
)
def test_splits(tmp_path: Path, names: list[str], chosen: str | None) -> None:
    for number, name in enumerate(names):
        layouts.parquet(tmp_path, f"{name}.parquet", slice(number, number + 1))
    if chosen is None:
        with pytest.raises(DatasetError, match="give one file"):
            open_dataset(tmp_path)
    else:
        images = open_dataset(tmp_path)
        assert images.paths[0] == f"{chosen}/00000000"
        assert len(images) == (1 if "train-0" in names else 2)


def test_parquet_without_the_hubs_metadata(tmp_path: Path) -> None:
    file = tmp_path / "x.parquet"
    pq.write_table(pa.table({"jpg": PNGS, "target": pa.array(["b", "a"] * 3).dictionary_encode()}), file)
    images = open_dataset(file)
    assert np.array_equal(pictures(images), PIXELS)
    assert (images.classes, images.labels.tolist()) == (("a", "b"), [1, 0] * 3)
    pq.write_table(pa.table({"image": PNGS, "cls": pa.array([3] * 6, pa.int8())}), file)
    assert open_dataset(file).classes == ("0", "1", "2", "3")


@pytest.mark.parametrize(
    ("columns", "match"),
    [
        ({"image": PNGS}, "has no column of labels"),
        ({"label": [0]}, "has no column of images"),
        ({"a": [b"x"], "b": [b"y"], "label": [0]}, "several columns of images"),
        ({"image": [b"x", b"y"], "label": [0, None]}, "row 1 has no label"),
        ({"image": [b"x", b"y"], "label": [0, -1]}, "row 1 has the label -1"),
        ({"image": pa.array([], pa.binary()), "label": pa.array([], pa.int64())}, "has no rows"),
        ({"image": [b"x"], "label": [[[0]]]}, "has no column of labels"),
    ],
)
def test_parquet_with_mistakes(tmp_path: Path, columns: dict[str, object], match: str) -> None:
    pq.write_table(pa.table(columns), tmp_path / "x.parquet")
    with pytest.raises(DatasetError, match=match):
        open_dataset(tmp_path / "x.parquet")


def test_parquet_labels_beyond_its_names(tmp_path: Path) -> None:
    table = pa.table(
        {"image": [{"bytes": b"x", "path": None}] * 2, "label": [1, 3]}, schema=layouts.hugging_face_schema()
    )
    pq.write_table(table, tmp_path / "x.parquet")
    with pytest.raises(DatasetError, match="row 1 has the label 3, but the classes are 0 to 2"):
        open_dataset(tmp_path / "x.parquet")


def test_parquet_rows_with_a_path_only(tmp_path: Path) -> None:
    table = pa.table({"image": [{"bytes": None, "path": "a.png"}], "label": [1]}, schema=layouts.hugging_face_schema())
    pq.write_table(table, tmp_path / "x.parquet")
    with pytest.raises(OSError, match="holds no image"):
        open_dataset(tmp_path / "x.parquet").read(0)


def test_parquet_on_threads(tmp_path: Path) -> None:
    images = open_dataset(layouts.parquet(tmp_path))
    found: list[bool] = []

    def read(seed: int) -> None:
        order = np.random.default_rng(seed).permutation(np.arange(60) % 6)
        found.extend(images.read(position) == PNGS[position] for position in order.tolist())

    threads = [threading.Thread(target=read, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [True] * 360


@pytest.mark.parametrize("kind", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_tar_formats_with_long_names(tmp_path: Path, kind: int) -> None:
    long = "/".join(["a folder with a ł"] * 6) + "/" + "k" * 90
    file = tmp_path / "x.tar"
    with tarfile.open(file, "w", format=kind) as archive:
        archive.add(tmp_path, "a folder", recursive=False)
        for number, encoded in enumerate(PNGS):
            layouts.add(archive, f"./{long}{number}.seg.png", b"no image")
            layouts.add(archive, f"./{long}{number}.PNG", encoded)
            layouts.add(archive, f"./{long}{number}.json", json.dumps({"label": NAMES[LABELS[number]]}).encode())
    images = open_dataset(file)
    with tarfile.open(file) as archive:
        oracle = {member.name: archive.extractfile(member) for member in archive if member.name.endswith(".PNG")}
    assert [f"./{path.removeprefix('x/')}" for path in images.paths] == sorted(oracle)
    assert images.paths[0] == f"x/{long}0.PNG"
    assert np.array_equal(pictures(images), PIXELS)
    assert (images.classes, images.labels.tolist()) == (NAMES, list(LABELS))


def test_shards_by_folder_and_by_pattern(tmp_path: Path) -> None:
    for number in range(3):
        layouts.shard(tmp_path / "in" / f"s-{number:03d}.tar", [2 * number, 2 * number + 1])
    pattern = tmp_path / "in" / "s-{000..002}.tar"
    for path in (tmp_path / "in", pattern):
        images = open_dataset(path)
        assert np.array_equal(pictures(images), PIXELS)
        assert images.labels.tolist() == list(LABELS)
    assert len(open_dataset(tmp_path / "in" / "s-{001..002}.tar")) == 4
    assert open_dataset(pattern).name == "s"
    with pytest.raises(DatasetError, match=r"there is no shard .*s-003\.tar"):
        open_dataset(tmp_path / "in" / "s-{001..003}.tar")
    with pytest.raises(DatasetError, match="range"):
        open_dataset(tmp_path / "in" / "s-{000..999999999}.tar")


@each(
    ("files", "match"),
    [
        ({"a.png": b"x"}, "sample 'a' has no label"),
        ({"a.cls": b"1"}, "holds no images"),
        ({"a.png": b"x", "a.cls": b"one\ntwo"}, "a.cls of 'a' is not one line of text"),
        ({"a.png": b"x", "a.txt": b" \n"}, "a.txt of 'a' is not one line of text"),
        ({"a.png": b"x", "a.cls": b"\xff"}, "is not UTF-8 text"),
        ({"a.png": b"x", "a.cls": b"1" * 2000}, "has 2000 bytes, more than the limit"),
        ({"a.png": b"x", "a.json": b"{"}, "JSON of 'a' cannot be read"),
        ({"a.png": b"x", "a.json": b"[" * 100_000}, "JSON of 'a' cannot be read"),
        ({"a.png": b"x", "a.json": b"[]"}, "JSON of 'a' has no label"),
        ({"a.png": b"x", "a.jpg": b"x", "a.cls": b"1"}, "sample 'a' has several images"),
        ({"a.png": b"x", "./a.PNG": b"x", "a.cls": b"1"}, "twice"),
        ({"../a.png": b"x", "a.cls": b"1"}, "leaves its folder, '../a.png'"),
        ({"/a.png": b"x", "a.cls": b"1"}, "leaves its folder, '/a.png'"),
    ],
)
def test_shards_with_mistakes(tmp_path: Path, files: dict[str, bytes], match: str) -> None:
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        for name, content in files.items():
            layouts.add(archive, name, content)
    with pytest.raises(DatasetError, match=match):
        open_dataset(tmp_path / "x.tar")


@pytest.mark.parametrize(
    "kind",
    [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE, tarfile.GNUTYPE_SPARSE, b"Z"],
)
def test_members_that_are_no_files(tmp_path: Path, kind: bytes) -> None:
    with tarfile.open(layouts.shard(tmp_path / "x.tar"), "a") as archive:
        member = tarfile.TarInfo("a.png")
        member.type, member.linkname = kind, "/etc/passwd"
        archive.addfile(member)
    with pytest.raises(DatasetError, match="is not a regular file"):
        open_dataset(tmp_path / "x.tar")


def test_sparse_members_of_pax_archives(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "x.tar", "w", format=tarfile.PAX_FORMAT) as archive:
        member = tarfile.TarInfo("a.png")
        member.pax_headers = {"GNU.sparse.realsize": "100000000000"}
        archive.addfile(member)
    with pytest.raises(DatasetError, match="is not a regular file"):
        open_dataset(tmp_path / "x.tar")


@pytest.mark.parametrize(("mode", "tool"), [("gz", "gunzip"), ("bz2", "bunzip2"), ("xz", "unxz")])
def test_compressed_shards(tmp_path: Path, mode: str, tool: str) -> None:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode=f"w:{mode}") as archive:  # type: ignore[call-overload]
        layouts.add(archive, "a.png", PNGS[0])
    for name in ("x.tar", f"x.tar.{mode}"):
        (tmp_path / name).write_bytes(content.getvalue())
        with pytest.raises(DatasetError, match=f"is compressed.* with {tool}"):
            open_dataset(tmp_path / name)


def test_archives_beside_class_folders(tmp_path: Path) -> None:
    layouts.shard(layouts.folder(tmp_path) / "val.tar")
    assert open_dataset(tmp_path).classes == NAMES


def test_what_is_taken_is_listed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "x.log").write_text("x")
    with pytest.raises(DatasetError, match=r"no reader knows; give a folder .*\.parquet or \.tar file"):
        open_dataset(tmp_path / "x.log")
    with pytest.raises(DatasetError, match="cannot read"):
        open_dataset("x" * 5000)
    assert run_cli(["list", "datasets"]) == 0
    printed = capsys.readouterr().out
    for name in ("demo", *(reader.name for reader in READERS)):
        assert f"\n{name} " in printed


def test_evaluate_and_corrupt_take_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = layouts.parquet(tmp_path)
    assert run_cli(["evaluate", "demo", "--data", str(file), "--out", str(tmp_path / "run")]) == 2
    assert "has 3 classes" in capsys.readouterr().err
    arguments = ["--suite", "cifar-c", "--corruption", "fog", "--severity", "1", "--device", "cpu"]
    assert run_cli(["corrupt", str(file), *arguments, "--out", str(tmp_path / "out")]) == 0
    with Image.open(tmp_path / "out/fog/1" / NAMES[LABELS[5]] / "test-00000-of-00001/00000005.png") as image:
        assert image.size == (32, 32)


def test_corrupted_images_keep_their_class(tmp_path: Path) -> None:
    """The reader of class folders is the oracle; names of classes need not be names of folders."""
    table = layouts.table(tmp_path / "set")
    names = ["a/b", "a%2Fb", "..", "x" * 300, "a\\b", "."]
    (table / "labels.csv").write_text("".join(f"{n}.png,{name}\n" for n, name in enumerate(names)))
    export(table, tmp_path / "out", suite="cifar-c", corruptions=["fog"], severities=[1], device="cpu")
    again = open_dataset(tmp_path / "out/fog/1")
    assert len(again.classes) == len(again) == len(set(again.labels.tolist())) == len(names)
    assert {"a%2Fb", "a%252Fb", "%2E.", "%2E"} < set(again.classes)


@pytest.mark.parametrize(
    "header", ["image_path,class_name", "filepath,class_id", "img_path,y", "id,gt", "name,label_id"]
)
def test_columns_by_their_common_names(tmp_path: Path, header: str) -> None:
    table = layouts.table(tmp_path)
    (table / "labels.csv").write_text(f"{header}\n0.png,1\n1.png,0\n")
    assert open_dataset(table).labels.tolist() == [1, 0]


@pytest.mark.parametrize("extension", ["cls", "txt"])
def test_class_names_in_a_shard(extension: str, tmp_path: Path) -> None:
    names = ("dog", "cat", "dog")
    shard = layouts.shard(tmp_path / "a.tar", label=lambda number: (extension, names[number % 3].encode()))
    images = open_dataset(shard)
    assert images.classes == ("cat", "dog")
    assert images.labels.tolist()[:3] == [1, 0, 1]


@pytest.mark.parametrize("extension", ["cls", "json"])
def test_a_caption_in_a_shard_is_no_label(extension: str, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        layouts.add(archive, "0.png", PNGS[0])
        layouts.add(archive, "0.txt", b"a photo of a dog")
        layouts.add(archive, f"0.{extension}", b"cat" if extension == "cls" else b'{"label": "cat"}')
    assert open_dataset(tmp_path / "a.tar").classes == ("cat",)


def test_keys_of_json_lines_are_taken_in_any_case(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "0.png")
    (tmp_path / "labels.jsonl").write_text('{"File_Name": "0.png", " LABEL": "cat", "label": "dog"}')
    assert open_dataset(tmp_path).classes == ("cat",)  # the first of equal ones, as in headers


def test_keys_of_json_in_a_shard_are_taken_in_any_case(tmp_path: Path) -> None:
    shard = layouts.shard(tmp_path / "a.tar", label=lambda number: ("json", b'{"Caption": "x", " Class_Name": "cat"}'))
    assert open_dataset(shard).classes == ("cat",)


def _flat(root: Path, names: Sequence[str]) -> None:
    for name, encoded in zip(names, PNGS, strict=False):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(encoded)


@each(
    ("images", "file", "text", "given"),
    [
        ("set/", "set/val.txt", "0.png 2\n1.png 0\n", "set"),
        ("val/", "val.txt", "0.png 2\n1.png 0\n", "val"),
        ("val/", "val.txt", "0.png 2\n1.png 0\n", "val.txt"),
        ("val/", "val.txt", "0.png 2\n1.png 0\n", "."),
        ("val/", "val.txt", "ROOT/val/0.png 2\nROOT/val/1.png 0\n", "val"),
        ("val/", "val.txt", "2 0.png\n0 1.png\n", "val"),
        ("val/", "val.csv", "# path, label\n0.png,2\n1.png,0\n", "val"),
        ("val/", "val.txt", "val/0.png 2\nval/1.png 0\n", "val"),
        ("set/images/", "set/test_list.txt", "0.png\t2\n1.png\t0\n", "set"),
        ("set/images/", "set/test_list.txt", "images\\0.png,2\nimages\\1.png,0\n", "set/images"),
        ("val/", "meta/val.txt", "0.png 2\n1.png 0\n", "val"),
        ("images/val/", "meta/val.txt", "0.png 2\n1.png 0\n", "meta/val.txt"),
        ("test/", "testLabels.csv", "id,label\n0,2\n1,0\n", "testLabels.csv"),
        ("val/", "LOC_val_solution.csv", "ImageId,PredictionString\n0,2 1 2 3 4\n1,0 1 2 3 4 0 5 6 7 8 \n", "val"),
        (
            "ILSVRC/Data/CLS-LOC/val/",
            "LOC_val_solution.csv",
            "ImageId,PredictionString\n0,2 1 2 3 4\n1,0 1 2 3 4\n",
            "ILSVRC/Data/CLS-LOC/val",
        ),
    ],
)
def test_lists_in_and_above_the_folder_of_images(tmp_path: Path, images: str, file: str, text: str, given: str) -> None:
    """The layouts of Caffe, mmpretrain, Paddle and Kaggle; other files of such folders change nothing."""
    _flat(tmp_path, [f"{images}{number}.png" for number in range(3)])
    for other in ("classes.txt", "train.txt", "README.txt"):
        (tmp_path / other).write_text("0 ant\n1 bee\n")
    (tmp_path / file).parent.mkdir(exist_ok=True)
    text = text.replace("ROOT", str(tmp_path))
    (tmp_path / file).write_text(text, encoding="utf-16", newline="\r\n")
    found = open_dataset(tmp_path / given)
    assert found.labels.tolist() == [2, 0]
    assert [Path(path).name for path in found.paths] == ["0.png", "1.png"]
    assert found.read(1) == PNGS[1]
    assert Path(file).name in found.notes[0] or given == file == f"{images}{Path(file).name}"


def test_several_lists(tmp_path: Path) -> None:
    _flat(tmp_path, ["0.png", "1.png"])
    for name in ("val", "test", "train"):
        (tmp_path / f"{name}.txt").write_text("0.png 1\n1.png 0\n")
    with pytest.raises(DatasetError, match=r"holds test\.txt and val\.txt; give one of the files, such as .*test\.txt"):
        open_dataset(tmp_path)
    assert len(open_dataset(tmp_path / "val.txt")) == 2
    (tmp_path / "test.txt").unlink()
    assert open_dataset(tmp_path).notes == ("labels from val.txt",)
    (tmp_path / "val.txt").write_text("0.png\n")
    (tmp_path / "train.txt").unlink()
    with pytest.raises(DatasetError, match=r"val\.txt, line 1 has one column"):
        open_dataset(tmp_path)


def test_a_table_that_does_not_fit_one_folder_of_images(tmp_path: Path) -> None:
    _flat(tmp_path, ["images/0.png"])
    for text, match in (
        ("bild;klasse\nimages/0.png;a\n", "no file 'bild'"),
        ("id;label\n0.png;\xe9\n", "is not UTF-8"),
    ):
        (tmp_path / "labels.csv").write_text(text, encoding="latin-1")
        with pytest.raises(DatasetError, match=match):
            open_dataset(tmp_path)


def test_lists_and_class_folders(tmp_path: Path) -> None:
    layouts.folder(tmp_path / "set")
    (tmp_path / "set" / "train.txt").write_text("ant/1.png 0\n")
    (tmp_path / "val.txt").write_text("ant/1.png 0\n")
    images = open_dataset(tmp_path / "set")
    assert (images.classes, len(images)) == (NAMES, 6)
    assert images.notes == ("classes from folders; train.txt was skipped: give that file to use its labels",)


def test_tiny_imagenet(tmp_path: Path) -> None:
    """The class folders of the training images, as torchvision reads them, are the oracle of the labels."""
    root = layouts.tiny_imagenet(tmp_path)
    for name in (*NAMES, "dog"):
        (root / "train" / name / "images").mkdir(parents=True)
        (root / "train" / name / "images" / f"{name}_0.JPEG").write_bytes(PNGS[0])
    (root / "wnids.txt").write_text("\n".join(["dog", *NAMES[::-1]]))
    index = datasets.ImageFolder(str(root / "train")).class_to_idx
    for given in ("", "val", "val/images", "val/val_annotations.txt"):
        images = open_dataset(root / given)
        assert images.labels.tolist() == [index[NAMES[label]] for label in LABELS]
        assert (len(images.classes), images.read(1)) == (4, PNGS[1])
        assert ("only the validation images" in images.notes[-1]) == (given == "")
    (root / "wnids.txt").unlink()
    assert open_dataset(root / "val").classes == NAMES
    assert open_dataset(root / "train").classes == tuple(index)
    layouts.folder(root / "sorted")
    (root / "val" / "val_annotations.txt").rename(root / "sorted" / "val_annotations.txt")
    assert open_dataset(root / "sorted").classes == NAMES, "images that were moved to class folders"


@each("compressed", [False, True])
def test_numbers_of_the_ilsvrc_challenge(tmp_path: Path, compressed: bool) -> None:
    """scipy reads the mapping that scipy wrote; the sorted order of the ids is that of torchvision's class folders."""
    folder = layouts.ilsvrc(tmp_path, compressed)
    kit = tmp_path / "ILSVRC2012_devkit_t12" / "data"
    synsets = loadmat(kit / "meta.mat", squeeze_me=True)["synsets"]
    wnids = {int(synset["ILSVRC2012_ID"]): str(synset["WNID"]) for synset in synsets}
    order = sorted(wnids[number] for number in range(1, 1001))
    expected = [order.index(wnids[label + 1]) for label in LABELS]
    truth = kit / "ILSVRC2012_validation_ground_truth.txt"
    for given in (folder, truth, tmp_path):
        images = open_dataset(given)
        assert (images.labels.tolist(), list(images.classes)) == (expected, order)
        assert "mapped to the sorted order" in images.notes[0]
    assert expected == [997, 999, 998, 999, 997, 998]
    folder = folder.rename(tmp_path / "images")
    assert open_dataset(tmp_path).labels.tolist() == expected
    (folder / "ILSVRC2012_val_00000002.png").unlink()
    assert open_dataset(folder).labels.tolist() == [expected[0], *expected[2:]]
    (kit / "map_clsloc.txt").write_text("".join(f"{wnids[number]} {number} x_y\n" for number in range(1, 1001)))
    (kit / "meta.mat").unlink()
    assert open_dataset(folder).labels.tolist() == [expected[0], *expected[2:]]
    (kit / "map_clsloc.txt").unlink()
    with pytest.raises(DatasetError, match=r"the order of the ILSVRC challenge, .*; copy meta\.mat"):
        open_dataset(folder)
    (folder / "val.txt").write_text("ILSVRC2012_val_00000001.png 7\n")
    assert open_dataset(folder).labels.tolist() == [7]


def test_saved_datasets_of_several_splits(tmp_path: Path) -> None:
    for split in ("train", "test"):
        layouts.arrow(tmp_path / "set" / split, slice(0, 4) if split == "test" else slice(4, 6))
    (tmp_path / "set" / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    images = open_dataset(tmp_path / "set")
    assert np.array_equal(pictures(images), PIXELS[:4])
    assert (images.name, images.classes, images.notes[0]) == (
        "set",
        NAMES,
        "only the test images; give another folder to evaluate it (train)",
    )
    (tmp_path / "set" / "test").rename(tmp_path / "set" / "other")
    with pytest.raises(DatasetError, match=r"holds several datasets \(other, train\)"):
        open_dataset(tmp_path / "set")


def _arrow_file(file: Path, table: pa.Table, compression: str | None = None) -> Path:
    with pa.ipc.new_stream(str(file), table.schema, options=pa.ipc.IpcWriteOptions(compression=compression)) as writer:
        writer.write_table(table)
    return file


def test_saved_datasets_with_mistakes(tmp_path: Path) -> None:
    folder = layouts.arrow(tmp_path / "set")
    file = tmp_path / "x.arrow"
    schema = layouts.hugging_face_schema()
    table = pa.table({"image": [{"bytes": None, "path": "/x/0.png"}], "label": [0]}, schema=schema)
    images = open_dataset(_arrow_file(file, table))
    with pytest.raises(OSError, match="holds no image; if it holds a path"):
        images.read(0)
    for broken, match in (
        (pa.table({"image": [b"x"], "label": pa.array(["a"]).dictionary_encode()}), "has dictionaries of values"),
        (pa.table({"image": [b"x"], "who": [0]}), "has no column of labels"),
        (pa.table({"pixels": [[1]], "label": [0]}), "has no column of images"),
        (pa.table({"image": [b"x"], "label": [0]}).slice(1), "has no rows"),
    ):
        with pytest.raises(DatasetError, match=match):
            open_dataset(_arrow_file(file, broken))
    with pytest.raises(DatasetError, match="has compressed record batches"):
        open_dataset(_arrow_file(file, table, "zstd"))
    (folder / "state.json").write_text('{"_data_files": [{"filename": "data-0.arrow"}]}')
    with pytest.raises(DatasetError, match=r"lacks data-0\.arrow"):
        open_dataset(folder)
    (folder / "state.json").write_text('{"_indices_data_files": [{"filename": "indices.arrow"}]}')
    with pytest.raises(DatasetError, match="selects rows by index"):
        open_dataset(folder)
