"""Mutated files of every layout, and of images, through the readers: `python -m tests.datasets.fuzz [INPUTS]`.

Prints how many inputs there were and how many crashed, hung (more than 5 s) or ran a payload; exits with 1 if any did.
"""

from __future__ import annotations

import io
import json
import multiprocessing
import pickle
import random
import sys
import tarfile
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from PIL import Image

from robench.datasets import decode_one, open_dataset
from robench.errors import DatasetError, RobenchError
from robench.suites.geometry import RGB, Geometry, PixelFormat
from tests.datasets import layouts

HANG = 5.0
"""Seconds after which an input counts as a hang."""


@dataclass(frozen=True)
class Seed:
    """A valid dataset. `make` writes it below a folder and returns what to open and which file of it to mutate.

    mend: makes mutated bytes pass a checksum that would otherwise hide what lies behind it.
    has_labels: the file holds the labels of the images to open.
    """

    name: str
    make: Callable[[Path], tuple[Path, Path]]
    mend: Callable[[bytes], bytes] = bytes
    has_labels: bool = False
    pixels: PixelFormat = RGB


def _alone(name: str, make: Callable[[Path], Path]) -> Seed:
    def written(root: Path) -> tuple[Path, Path]:
        file = make(root)
        return file, file

    return Seed(name, written)


def _within(name: str, file: str, make: Callable[[Path], Path]) -> Seed:
    def written(root: Path) -> tuple[Path, Path]:
        data = make(root)
        return data, (data if data.is_dir() else data.parent) / file

    return Seed(name, written)


def _image(kind: str) -> Seed:
    def make(root: Path) -> Path:
        folder = root / "set" / "a"
        folder.mkdir(parents=True)
        content = io.BytesIO()
        image = Image.fromarray(layouts.PIXELS[0])
        image.save(content, kind)
        (folder / f"0.{'jpg' if kind == 'jpeg' else kind}").write_bytes(content.getvalue())
        return root / "set"

    return _within(f"image.{kind}", f"a/0.{'jpg' if kind == 'jpeg' else kind}", make)


def _bands(name: str, **options: Any) -> Seed:
    """An image of 13 bands of 16 bits, a TIFF file with options of tifffile or an array."""

    def make(root: Path) -> Path:
        (root / "set" / "a").mkdir(parents=True)
        cube = np.arange(9 * 8 * 13, dtype=np.uint16).reshape(9, 8, 13)
        file = root / "set" / "a" / name
        if name.endswith(".npy"):
            np.save(file, cube)
        else:
            tifffile.imwrite(file, cube, photometric="minisblack", **options)
        return root / "set"

    seed = _within(f"bands {name} {options}", f"a/{name}", make)
    return replace(seed, pixels=PixelFormat(13, (0, 1000)))


def _written(name: str, content: Callable[[Path], bytes]) -> Seed:
    def make(root: Path) -> Path:
        root.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content(root / "ran"))
        return root / name

    return _alone(f"payload in {name}", make)


def _objects(ran: Path) -> bytes:
    file = io.BytesIO()
    np.save(file, np.array([layouts.Payload(ran)] * 6, dtype=object), allow_pickle=True)
    return file.getvalue()


def _object_archive(ran: Path) -> bytes:
    file = io.BytesIO()
    np.savez(file, images=layouts.PIXELS, labels=np.array([layouts.Payload(ran)] * 6, dtype=object))
    return file.getvalue()


def _batch(protocol: int) -> Callable[[Path], bytes]:
    def content(ran: Path) -> bytes:
        batch = {b"labels": list(layouts.LABELS), b"data": layouts.rows(), b"more": layouts.Payload(ran)}
        return pickle.dumps(batch, protocol)

    return content


def _with_sums(content: bytes) -> bytes:
    """A tar archive with right sums in all its headers."""
    mended = bytearray(content)
    for place in range(0, len(mended) - 511, 512):
        if mended[place + 257 : place + 262] == b"ustar":
            mended[place + 148 : place + 156] = b" " * 8
            mended[place + 148 : place + 156] = b"%06o\0 " % sum(mended[place : place + 512])
    return bytes(mended)


def _pax(root: Path) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    with tarfile.open(root / "x.tar", "w", format=tarfile.PAX_FORMAT) as archive:
        for number, encoded in enumerate(layouts.PNGS):
            layouts.add(archive, f"{'ł' * 150}{number}.png", encoded)
            layouts.add(archive, f"{'ł' * 150}{number}.cls", b"%d" % layouts.LABELS[number])
    return root / "x.tar"


def _headers(number: int) -> Seed:
    """An archive of small members, so that most mutations hit a header."""
    kind = (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)[number]

    def make(root: Path) -> tuple[Path, Path]:
        root.mkdir(parents=True, exist_ok=True)
        with tarfile.open(root / "x.tar", "w", format=kind) as archive:
            for key in "ab":
                layouts.add(archive, f"{'d' * 60}/{key * 60}.ppm", b"P6 1 1 255\nabc")
                layouts.add(archive, f"{'d' * 60}/{key * 60}.cls", b"1")
        return root / "x.tar", root / "x.tar"

    return Seed(f"tar headers {number}", make, _with_sums)


def _json(number: int) -> tuple[str, bytes]:
    return "json", json.dumps({"label": layouts.NAMES[layouts.LABELS[number]]}).encode()


SEEDS: tuple[Seed, ...] = (
    _within("cifar10 batch", "test_batch", layouts.cifar10),
    _within("cifar10 meta", "batches.meta", layouts.cifar10),
    _within("cifar100 batch", "test", layouts.cifar100),
    _within("cifar again", "test_batch", lambda root: layouts.cifar10(root, lambda value: pickle.dumps(value, 4))),
    _alone("arrays", layouts.arrays),
    _within("array labels", "small_labels.npy", layouts.arrays),
    _alone("npz", layouts.archive),
    _alone("npz, compressed", lambda root: layouts.archive(root, compressed=True)),
    _within("labels.csv", "labels.csv", layouts.table),
    _within("labels.tsv", "labels.tsv", lambda root: layouts.table(root, "labels.tsv")),
    _within("metadata.jsonl", "metadata.jsonl", lambda root: layouts.table(root, "metadata.jsonl")),
    _within("labels.json", "labels.json", lambda root: layouts.table(root, "labels.json")),
    Seed("real.json", lambda root: layouts.labels_apart(root, "real.json"), has_labels=True),
    Seed("labels.parquet", lambda root: layouts.labels_apart(root, "labels.parquet"), has_labels=True),
    _within("val.txt", "val.txt", layouts.flat_list),
    _within("Tiny ImageNet", "val/val_annotations.txt", layouts.tiny_imagenet),
    _within("meta.mat", "../ILSVRC2012_devkit_t12/data/meta.mat", lambda root: layouts.ilsvrc(root, compressed=False)),
    _alone("parquet", layouts.parquet),
    _within("arrow", "data-00000-of-00001.arrow", layouts.arrow),
    _within("state.json", "state.json", layouts.arrow),
    _alone("tar, cls", lambda root: layouts.shard(root / "x.tar")),
    _alone("tar, json", lambda root: layouts.shard(root / "x.tar", label=_json)),
    _alone("tar, pax", _pax),
    *(_headers(number) for number in range(3)),
    *(_image(kind) for kind in ("png", "jpeg", "gif", "bmp", "webp", "tiff", "ppm")),
    _bands("0.npy"),
    _bands("0.tif", planarconfig="contig"),
    _bands("0.tif", planarconfig="contig", compression="zlib"),
    _bands("0.tif", bigtiff=True),
    *(_written(f"{protocol}.pkl", _batch(protocol)) for protocol in range(pickle.HIGHEST_PROTOCOL + 1)),
    _written("objects.npy", _objects),
    _written("objects.npz", _object_archive),
    *(
        _written(f"x.{suffix}", lambda ran: layouts.payloads(ran)[0])
        for suffix in ("pkl", "npy", "csv", "tar", "parquet")
    ),
)

Operation = tuple[str, float, int, bytes]
"""Operation, position as a share of the length, number of bytes, and the bytes."""

KINDS = ("flip", "truncate", "splice", "insert", "replace")


def mutate(content: bytes, operations: Sequence[Operation]) -> bytes:
    """Apply operations to a file's bytes, one after the other."""
    for kind, share, length, data in operations:
        at = int(share * len(content))
        match kind:
            case "flip" if content:
                at = min(at, len(content) - 1)
                content = content[:at] + bytes([content[at] ^ (1 << length % 8)]) + content[at + 1 :]
            case "truncate":
                content = content[:at]
            case "splice":
                content = content[:at] + content[at + length :]
            case "insert":
                content = content[:at] + data + content[at:]
            case "replace":
                content = content[:at] + data + content[at + len(data) :]
    return content


def attempt(seed: Seed, operations: Sequence[Operation], root: Path) -> str:
    """Read a mutated dataset and every image of it: "images", "some images" or "refused"; whatever else happens is a bug."""
    data, file = seed.make(root)
    file.write_bytes(seed.mend(mutate(file.read_bytes(), operations)))
    try:
        # Labels that do not count may be damaged; then a list of paths or a flat folder remains.
        assert set(open_dataset(data, None, False).labels.tolist()) == {0}
    except RobenchError as error:
        if "\n" in str(error):
            raise AssertionError("more than one line") from error
    try:
        images = open_dataset(data, labels=file if seed.has_labels else None)
    except RobenchError as error:
        if "\n" in str(error):
            raise AssertionError("more than one line") from error
        return "refused"
    unreadable = 0
    assert len(set(images.paths)) == len(images.paths) == len(images.labels) > 0
    assert all(0 <= label < len(images.classes) for labels in images.label_sets or () for label in labels)
    assert 0 <= images.labels.min() <= images.labels.max() < len(images.classes)
    for position in range(min(len(images), 50)):
        try:
            pixels = decode_one(images.read(position), Geometry(resize=36, crop=32), pixels=seed.pixels)
            assert pixels.shape == (seed.pixels.bands, 32, 32)
        except (DatasetError, OSError):
            unreadable += 1
    return "some images" if unreadable else "images"


def draw(number: int) -> tuple[Seed, list[Operation]]:
    """Input of a run, the same for a number on every machine."""
    random_ = random.Random(number)
    extremes = (
        b"\xff" * 4,
        b"\xff" * 8,
        b"\x7f" + b"\xff" * 7,
        b"\0" * 8,
        b"\n",
        b",",
        b'"',
        b"..",
        b"/",
        b"99999999999",
    )
    operations = [
        (
            random_.choice(KINDS),
            random_.choice((random_.random(), random_.random() ** 4, 1 - random_.random() ** 4)),
            random_.choice((1, 2, 7, 512, random_.randrange(4000))),
            random_.choice((random_.randbytes(random_.randrange(1, 9)), random_.choice(extremes))),
        )
        for _ in range(random_.choice((1, 1, 1, 2, 4)))
    ]
    return SEEDS[number % len(SEEDS)], operations


def _work(connection: Connection, first: int, last: int, ran: str) -> None:
    for number in range(first, last):
        with tempfile.TemporaryDirectory() as folder:
            seed, operations = draw(number)
            try:
                outcome = attempt(seed, operations, Path(folder))
            except BaseException:  # noqa: BLE001 - whatever escapes from a reader is what is looked for
                outcome = f"crash\n{seed.name} {number}\n{traceback.format_exc()}"
            if (Path(folder) / "ran").exists():
                Path(ran).touch()
                outcome = f"payload\n{seed.name} {number}"
        connection.send(outcome)
    connection.close()


def run(
    inputs: int,
    first: int = 0,
    work: Callable[[Connection, int, int, str], None] = _work,
    name: Callable[[int], str] = lambda number: draw(number)[0].name,
    again: Callable[[int], str] = lambda _: "",
) -> Counter[str]:
    """Count the outcomes of many inputs, tried in another process so that one can crash or hang.

    work: tries the inputs from a number to another and sends the outcome of each.  name: of an input's seed.
    again: tries once more what crashed, died or hung; "stopped" is then its outcome, if that is what it returns.
    """
    context = multiprocessing.get_context("spawn")
    found: Counter[str] = Counter()
    number, last = first, first + inputs
    with tempfile.TemporaryDirectory() as folder:
        while number < last:
            ours, theirs = context.Pipe()
            worker = context.Process(target=work, args=(theirs, number, last, f"{folder}/ran"), daemon=True)
            worker.start()
            theirs.close()
            ready = 120.0  # the first answer of a process includes its imports, and the seeds of models
            while number < last:
                try:
                    outcome = ours.recv() if ours.poll(ready) else "hang"
                except EOFError:
                    outcome = "died"
                number, ready, has_ended = number + 1, HANG, outcome in ("hang", "died")
                if outcome.startswith(("crash", "hang", "died")) and again(number - 1) == "stopped":
                    outcome = "stopped"
                if outcome not in ("images", "some images", "model", "refused", "stopped"):
                    print(f"{outcome} at input {number - 1} ({name(number - 1)})", file=sys.stderr, flush=True)
                found[outcome.split("\n")[0]] += 1
                if has_ended:
                    break
            worker.kill()
            worker.join()
    return found


def main() -> int:
    """Run as many inputs as the first argument says."""
    inputs = int(sys.argv[1]) if len(sys.argv) > 1 else 5000
    began = time.monotonic()
    found = run(inputs, int(sys.argv[2]) if len(sys.argv) > 2 else 0)
    crashes, hangs, payloads = found["crash"] + found["died"], found["hang"], found["payload"]
    print(f"inputs {sum(found.values())}, seeds {len(SEEDS)}, {time.monotonic() - began:.0f} s")
    print(", ".join(f"{name} {found[name]}" for name in ("images", "some images", "refused")))
    print(f"crashes {crashes}, hangs {hangs}, executed payloads {payloads}")
    return 1 if crashes or hangs or payloads else 0


if __name__ == "__main__":
    sys.exit(main())
