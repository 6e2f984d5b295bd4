"""Files beside the images, and pictures of odd shapes: only as much is read or made as makes sense."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from robench.datasets import decode_one, open_dataset, select
from robench.datasets.io.npy import open_array, read_labels
from robench.errors import DatasetError, OptionError
from robench.suites.geometry import Geometry


@pytest.mark.parametrize("size", [(1, 30_000), (30_000, 1)])
def test_a_strip_does_not_become_gigabytes(tmp_path: Path, size: tuple[int, int]) -> None:
    Image.new("RGB", size).save(tmp_path / "strip.png")
    with pytest.raises(DatasetError, match="too long; resized it would be"):
        decode_one((tmp_path / "strip.png").read_bytes(), Geometry(resize=256, crop=224))
    Image.new("RGB", (3, 2_000)).save(tmp_path / "strip.png")
    assert decode_one((tmp_path / "strip.png").read_bytes(), Geometry(resize=256, crop=224)).shape == (3, 224, 224)


@pytest.mark.parametrize("kind", ["pipe", "sparse"])
def test_lists_of_samples_and_classes_are_bounded(picture_folder: Path, tmp_path: Path, kind: str) -> None:
    file = tmp_path / "list.txt"
    if kind == "pipe":
        os.mkfifo(file)
    else:
        with file.open("wb") as sparse:
            sparse.truncate(100 * 2**30)
    with pytest.raises(DatasetError, match=r"--subset: .*list\.txt"):
        select(open_dataset(picture_folder), subset=file)
    with pytest.raises((DatasetError, OptionError), match=r"--class-map: .*list\.txt"):
        open_dataset(picture_folder, file)


def test_arrays_are_read_by_rows(tmp_path: Path) -> None:
    whole = np.random.default_rng(0).integers(0, 256, (5, 4, 3, 3), dtype=np.uint8)
    np.save(tmp_path / "x.npy", whole)
    array = open_array(tmp_path / "x.npy")
    assert array.shape == whole.shape
    assert array.dtype == np.uint8
    assert np.array_equal(np.stack([array.row(number) for number in range(5)]), whole)
    np.save(tmp_path / "labels.npy", np.arange(7, dtype=">i2"))
    assert read_labels(open_array(tmp_path / "labels.npy"), "")[0].tolist() == list(range(7))


@pytest.mark.filterwarnings("ignore")
def test_arrays_of_another_kind_are_one_line(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.array([pickle.dumps], dtype=object), allow_pickle=True)
    with pytest.raises(DatasetError, match="could run code"):
        open_array(tmp_path / "x.npy")
    os.mkfifo(tmp_path / "pipe.npy")
    with pytest.raises(DatasetError, match="cannot read"):
        open_array(tmp_path / "pipe.npy")
    np.save(tmp_path / "cut.npy", np.zeros((50, 50)))
    content = (tmp_path / "cut.npy").read_bytes()
    (tmp_path / "cut.npy").write_bytes(content[:-1])
    with pytest.raises(DatasetError, match="does not have the length"):
        open_array(tmp_path / "cut.npy")
