"""One small set of images in every layout that a reader takes, written by the libraries that users write them with."""

from __future__ import annotations

import io
import json
import pickle
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image
from scipy.io import savemat

LABELS = (2, 0, 1, 0, 2, 1)
NAMES = ("ant", "bee", "cow")
PIXELS: NDArray[np.uint8] = np.random.default_rng(0).integers(0, 256, (6, 32, 32, 3), dtype=np.uint8)


def png(pixels: NDArray[np.uint8]) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "png")
    return file.getvalue()


PNGS = [png(pixels) for pixels in PIXELS]


class _Python2:
    """Writes what Python 2 wrote: its str as a BINSTRING, numpy's functions where they were."""

    def __init__(self) -> None:
        self.out = bytearray(b"\x80\x02")

    def put(self, value: object) -> None:
        match value:
            case np.ndarray():
                self.out += (
                    b"cnumpy.core.multiarray\n_reconstruct\nq\x00cnumpy\nndarray\nq\x01K\x00\x85q\x02U\x01bq\x03"
                )
                self.out += b"\x87q\x04Rq\x05(K\x01"
                self.put(tuple(value.shape))
                self.out += b"cnumpy\ndtype\nq\x06U\x02u1q\x07K\x00K\x01\x87q\x08Rq\x09(K\x03U\x01|q\x0aNNN"
                self.out += b"J\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89"
                self.put(value.tobytes())
                self.out += b"tb"
            case bytes() if len(value) < 256:
                self.out += b"U" + bytes([len(value)]) + value
            case bytes():
                self.out += b"T" + len(value).to_bytes(4, "little") + value
            case int():
                self.out += b"J" + value.to_bytes(4, "little")
            case tuple():
                for one in value:
                    self.put(one)
                self.out += {1: b"\x85", 2: b"\x86"}[len(value)]
            case list():
                self.out += b"]("
                for one in value:
                    self.put(one)
                self.out += b"e"
            case dict():
                self.out += b"}("
                for key, one in value.items():
                    self.put(key)
                    self.put(one)
                self.out += b"u"
            case _:
                raise TypeError(value)


def python2_pickle(value: object) -> bytes:
    writer = _Python2()
    writer.put(value)
    return bytes(writer.out + b".")


def rows() -> NDArray[np.uint8]:
    """The images as CIFAR's rows: planes one after the other."""
    return PIXELS.transpose(0, 3, 1, 2).reshape(len(PIXELS), 3072).copy()


def cifar10(root: Path, dump: Callable[[object], bytes] = python2_pickle) -> Path:
    folder = root / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    batch = {b"batch_label": b"testing batch 1 of 1", b"labels": list(LABELS), b"data": rows()}
    (folder / "test_batch").write_bytes(dump({**batch, b"filenames": [b"x.png"] * len(LABELS)}))
    names = [*(name.encode() for name in NAMES), *(b"class %d" % number for number in range(3, 10))]
    (folder / "batches.meta").write_bytes(dump({b"label_names": names, b"num_vis": 3072}))
    return folder


def cifar100(root: Path) -> Path:
    folder = root / "cifar-100-python"
    folder.mkdir(parents=True)
    batch = {b"fine_labels": [*LABELS[:5], 99], b"coarse_labels": [0] * len(LABELS), b"data": rows()}
    (folder / "test").write_bytes(python2_pickle(batch))
    fine = [b"fine %02d" % number for number in range(100)]
    (folder / "meta").write_bytes(python2_pickle({b"fine_label_names": fine, b"coarse_label_names": [b"x"] * 20}))
    return folder


def arrays(root: Path) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    np.save(root / "small_data.npy", PIXELS)
    np.save(root / "small_labels.npy", np.array(LABELS))
    return root / "small_data.npy"


def archive(root: Path, compressed: bool = False) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    save = np.savez_compressed if compressed else np.savez
    save(root / "small.npz", test_images=PIXELS, test_labels=np.array(LABELS)[:, None])
    return root / "small.npz"


def table(root: Path, name: str = "labels.csv") -> Path:
    root.mkdir(parents=True, exist_ok=True)
    for number, encoded in enumerate(PNGS):
        (root / f"{number}.png").write_bytes(encoded)
    named = [(f"{number}.png", NAMES[label]) for number, label in enumerate(LABELS)]
    if name.endswith("json"):
        lines = [json.dumps({path: [label, NAMES[0]] for path, label in named})]
    elif name.endswith("jsonl"):
        lines = [json.dumps({"file_name": path, "label": label}) for path, label in named]
    else:
        lines = ["\t".join(row) if name.endswith("tsv") else ",".join(row) for row in [("file_name", "label"), *named]]
    (root / name).write_text("\n".join(lines) + "\n")
    return root


def tiny_imagenet(root: Path) -> Path:
    images = root / "tiny-imagenet-200" / "val" / "images"
    images.mkdir(parents=True)
    lines = []
    for number, encoded in enumerate(PNGS):
        (images / f"val_{number}.JPEG").write_bytes(encoded)
        lines.append(f"val_{number}.JPEG\t{NAMES[LABELS[number]]}\t0\t0\t31\t31\n")
    (images.parent / "val_annotations.txt").write_text("".join(lines))
    return root / "tiny-imagenet-200"


def ilsvrc(root: Path, compressed: bool = True) -> Path:
    """Images of the classes 3, 1, 2 of a challenge whose number k is the id 1000 - k: sorted, they are the last three."""
    images, kit = root / "val", root / "ILSVRC2012_devkit_t12" / "data"
    images.mkdir(parents=True)
    kit.mkdir(parents=True)
    for number, encoded in enumerate(PNGS, 1):
        (images / f"ILSVRC2012_val_{number:08d}.png").write_bytes(encoded)
    (kit / "ILSVRC2012_validation_ground_truth.txt").write_text("".join(f"{label + 1}\n" for label in LABELS))
    fields = [("ILSVRC2012_ID", "O"), ("WNID", "O"), ("words", "O"), ("children", "O")]
    synsets = [(float(number), f"n{10_000 - number:08d}", "a, b", np.arange(3.0)) for number in range(1, 1011)]
    savemat(kit / "meta.mat", {"synsets": np.array(synsets, dtype=fields)[:, None]}, do_compression=compressed)
    return images


def flat_list(root: Path) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    for number, encoded in enumerate(PNGS):
        (root / f"{number}.png").write_bytes(encoded)
    (root / "val.txt").write_text("".join(f"{number}.png {label}\n" for number, label in enumerate(LABELS)))
    return root


def hugging_face_schema(names: Sequence[str] = NAMES) -> pa.Schema:
    features = {"image": {"_type": "Image"}, "label": {"names": list(names), "_type": "ClassLabel"}}
    image = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    info = {b"huggingface": json.dumps({"info": {"features": features}}).encode()}
    return pa.schema([("image", image), ("label", pa.int64())], metadata=info)


def parquet(root: Path, name: str = "test-00000-of-00001.parquet", part: slice = slice(None)) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    images = [{"bytes": encoded, "path": f"{number}.png"} for number, encoded in enumerate(PNGS)]
    columns = {"image": images[part], "label": list(LABELS)[part]}
    pq.write_table(pa.table(columns, schema=hugging_face_schema()), root / name, row_group_size=2)
    return root / name


def labels_apart(root: Path, name: str) -> tuple[Path, Path]:
    """A flat folder, and a file with several classes an image."""
    (root / "flat").mkdir(parents=True)
    for number, encoded in enumerate(PNGS):
        (root / "flat" / f"{number}.png").write_bytes(encoded)
    sets = [[label, 0] for label in LABELS]
    if name.endswith("json"):
        (root / name).write_text(json.dumps(sets))
    else:
        pq.write_table(pa.table({"path": [f"{number}.png" for number in range(len(sets))], "label": sets}), root / name)
    return root / "flat", root / name


def arrow(root: Path, part: slice = slice(None)) -> Path:
    """Write the files of `datasets.Dataset.save_to_disk`, with the library that it uses."""
    root.mkdir(parents=True, exist_ok=True)
    images = [{"bytes": encoded, "path": f"{number}.png"} for number, encoded in enumerate(PNGS)]
    table = pa.table({"image": images[part], "label": list(LABELS)[part]}, schema=hugging_face_schema())
    with (
        pa.OSFile(str(root / "data-00000-of-00001.arrow"), "wb") as sink,
        pa.ipc.new_stream(sink, table.schema) as writer,
    ):
        writer.write_table(table, max_chunksize=2)
    features = json.loads(hugging_face_schema().metadata[b"huggingface"])["info"]["features"]
    (root / "dataset_info.json").write_text(json.dumps({"features": features}))
    (root / "state.json").write_text(
        json.dumps({"_data_files": [{"filename": "data-00000-of-00001.arrow"}], "_split": "test"})
    )
    return root


def shard(
    file: Path,
    numbers: Sequence[int] = range(len(LABELS)),
    label: Callable[[int], tuple[str, bytes]] = lambda number: ("cls", str(LABELS[number]).encode()),
) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(file, "w") as archive:
        for number in numbers:
            for suffix, content in (("png", PNGS[number]), label(number)):
                add(archive, f"{number:04d}.{suffix}", content)
    return file


def add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    archive.addfile(member, io.BytesIO(content))


def folder(root: Path) -> Path:
    for number, label in enumerate(LABELS):
        (root / NAMES[label]).mkdir(parents=True, exist_ok=True)
        (root / NAMES[label] / f"{number}.png").write_bytes(PNGS[number])
    return root


class Payload:
    """A pickle of this makes a file, `os.system("touch FILE")`, wherever it is unpickled."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[object, tuple[str]]:
        import os

        return os.system, (f"touch {self.file}",)


def payloads(file: Path) -> list[bytes]:
    return [pickle.dumps(Payload(file), protocol) for protocol in range(pickle.HIGHEST_PROTOCOL + 1)]
