"""Folders of class folders: torchvision's ImageFolder is the oracle for what is listed and how it is labelled."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from torchvision.datasets import ImageFolder

from robench.datasets import open_dataset, select
from robench.errors import DatasetError, OptionError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "set"
    for label, name in enumerate(["b cat", "a dog", "Zebra"]):
        for number in range(4):
            file = root / name / ("deep" if number == 3 else "") / f"{number}.{['png', 'jpg', 'BMP', 'webp'][number]}"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (40, 33), (label * 40, number * 40, 7)).save(file)
    return root


def test_listing_as_imagefolder(folder: Path) -> None:
    images = open_dataset(folder)
    oracle = ImageFolder(str(folder))
    assert list(images.classes) == oracle.classes
    assert {
        (folder / path).as_posix(): int(label) for path, label in zip(images.paths, images.labels, strict=True)
    } == {Path(path).as_posix(): label for path, label in oracle.samples}
    assert images.read(0) == (folder / images.paths[0]).read_bytes()
    assert images.notes == ()


def test_other_files_are_passed_over_and_named(folder: Path) -> None:
    (folder / "b cat" / "notes.txt").write_text("no image")
    (folder / "b cat" / ".hidden.png").write_text("no image")
    (folder / "readme.md").write_text("not in a class")
    (folder / "empty").mkdir()
    images = open_dataset(folder)
    assert len(images) == 12
    assert "b cat/notes.txt" in images.notes[0]
    assert "empty" in images.notes[1]
    assert images.classes == ("Zebra", "a dog", "b cat", "empty")


def test_a_class_folder_that_leads_nowhere_is_noted(folder: Path) -> None:
    (folder / "wolf").symlink_to(folder / "absent")
    images = open_dataset(folder)
    assert images.classes == ("Zebra", "a dog", "b cat")
    assert images.notes == ("skipped 1 broken links, for example wolf",)


def test_a_folder_that_cannot_be_listed_is_no_empty_one(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever runs the tests may be allowed to read everything."""
    scandir = os.scandir

    def refusing(path: Any) -> Any:
        if str(path).endswith("deep"):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    with pytest.raises(DatasetError, match=r"^cannot list .*/Zebra/deep: Permission denied; check its permissions$"):
        open_dataset(folder)


@pytest.mark.parametrize(
    ("link", "target"),
    [("Zebra/loop", "."), ("Zebra/up", ".."), ("zz", "."), ("Zebra/top", "../.."), ("far/up", "SET")],
)
def test_links_to_a_folder_that_they_lie_in(folder: Path, tmp_path: Path, link: str, target: str) -> None:
    """Followed, such a link gives the images of all classes to one."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (folder / "far").symlink_to(outside)
    assert len(open_dataset(folder)) == 12
    (folder / link).symlink_to(folder if target == "SET" else target, target_is_directory=True)
    with pytest.raises(DatasetError, match="is a link to a folder that contains it") as caught:
        open_dataset(folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda path: None, "there is no dataset"),
        (lambda path: path.write_text("x"), "is a file"),
        (lambda path: path.mkdir(), "has no class folders"),
        (lambda path: (path / "a").mkdir(parents=True), "no file with the extension of an image"),
    ],
)
def test_bad_folders(tmp_path: Path, make: object, match: str) -> None:
    assert callable(make)
    make(tmp_path / "x")
    with pytest.raises(DatasetError, match=match):
        open_dataset(tmp_path / "x")


def test_class_map(folder: Path, tmp_path: Path) -> None:
    mapping = tmp_path / "map.txt"
    mapping.write_text("\ufeffother\r\nb cat\r\nZebra\r\na dog\r\n\r\n")
    images = open_dataset(folder, mapping)
    assert images.classes == ("other", "b cat", "Zebra", "a dog")
    for path, label in zip(images.paths, images.labels, strict=True):
        assert images.classes[label] == path.split("/")[0]
    mapping.write_text("b cat\nZebra\n")
    with pytest.raises(OptionError, match="lacks 1 of the dataset's classes, for example 'a dog'"):
        open_dataset(folder, mapping)
    mapping.write_text("b cat\nZebra\na dog\nb cat\n")
    with pytest.raises(OptionError, match="'b cat' more than once"):
        open_dataset(folder, mapping)
    mapping.write_text("b cat\n\nZebra\na dog\n")
    with pytest.raises(OptionError, match="line 2 is blank"):
        open_dataset(folder, mapping)
    mapping.write_text("b cat", encoding="utf-16")
    with pytest.raises(DatasetError, match="is not UTF-8 text"):
        open_dataset(folder, mapping)
    with pytest.raises(DatasetError, match="--class-map: cannot read"):
        open_dataset(folder, tmp_path / "none.txt")


def test_selection(folder: Path, tmp_path: Path) -> None:
    images = open_dataset(folder)
    assert select(images).tolist() == list(range(12))
    assert select(images, limit=5).tolist() == [k * 12 // 5 for k in range(5)]
    assert select(images, limit=99).tolist() == list(range(12))
    assert select(images, per_class=2).tolist() == [0, 1, 4, 5, 8, 9]
    subset = tmp_path / "subset.txt"
    subset.write_text(f"{images.paths[7]}\n./{images.paths[2]}\n{images.paths[7]}\n")
    assert select(images, subset=subset).tolist() == [2, 7]
    assert select(images, subset=subset, limit=1).tolist() == [2]
    subset.write_text("nowhere.png\n")
    with pytest.raises(OptionError, match=r"for example 'nowhere\.png'"):
        select(images, subset=subset)
    for limit, per_class in ((0, None), (None, -1)):
        with pytest.raises(OptionError, match="must be at least 1"):
            select(images, limit=limit, per_class=per_class)


def test_demo_is_the_odd_half_of_the_digits() -> None:
    from sklearn.datasets import load_digits

    oracle = load_digits()
    images = open_dataset("demo")
    assert len(images) == len(oracle.target) // 2
    assert sorted(images.paths) == list(images.paths)
    for position in (0, 100, 897):
        source = int(images.paths[position].split("/")[1].removesuffix(".pgm"))
        assert source % 2 == 1
        assert oracle.target[source] == images.labels[position]
        grey = np.frombuffer(images.read(position)[-64:], dtype=np.uint8).reshape(8, 8)
        assert np.array_equal(grey, np.minimum(oracle.images[source] * 16, 255).astype(np.uint8))
