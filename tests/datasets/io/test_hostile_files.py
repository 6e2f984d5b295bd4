"""Files that were made to do harm: one line, at once, and nothing in them is run. Each payload works where it is unpickled."""

from __future__ import annotations

import io
import os
import pickle
import struct
import subprocess
import sys
import tarfile
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from robench.datasets import decode_one, open_dataset
from robench.datasets.io.image_formats import image_formats
from robench.datasets.io.safe_pickle import Call, read_pickle
from robench.errors import DatasetError
from robench.suites.geometry import Geometry
from tests.builders import each
from tests.datasets import layouts

HUGE = 100 * 2**30


@contextmanager
def one_line_at_once(match: str | None = None) -> Iterator[None]:
    began = time.process_time()
    with pytest.raises(DatasetError, match=match) as caught:
        yield
    assert "\n" not in str(caught.value)
    assert time.process_time() - began < 5, "it ends by itself"


def sparse(file: Path, start: bytes = b"", end: bytes = b"") -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(start)
    try:
        os.truncate(file, HUGE - len(end))
    except OSError as error:
        pytest.skip(f"this file system has no sparse files of 100 GB: {error}")
    with file.open("ab") as handle:
        handle.write(end)
    return file


def test_the_payload_works(tmp_path: Path) -> None:
    for payload in layouts.payloads(tmp_path / "ran"):
        pickle.loads(payload)
        (tmp_path / "ran").unlink()


@each("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@each("name", ["test_batch", "train", "x.pkl", "x", "batches.meta"])
def test_pickles_as_cifar_batches(tmp_path: Path, name: str, protocol: int) -> None:
    ran = tmp_path / "ran"
    folder = layouts.cifar10(tmp_path)
    (folder / name).write_bytes(layouts.payloads(ran)[protocol])
    with one_line_at_once():
        open_dataset(folder if name == "batches.meta" else folder / name)
    inner = {b"labels": [layouts.Payload(ran)] * 6, b"data": layouts.Payload(ran)}
    (folder / name).write_bytes(pickle.dumps(inner, protocol))
    with one_line_at_once():
        open_dataset(folder if name == "batches.meta" else folder / name)
    assert not ran.exists()


def test_a_call_stays_a_description(tmp_path: Path) -> None:
    """Python's own reader is the oracle for what an array's description means."""
    array = np.arange(6, dtype=np.uint8)
    described = read_pickle(pickle.dumps(array, 4))
    assert isinstance(described, Call)
    assert isinstance(described.state, tuple)
    assert described.name.endswith("._reconstruct")
    assert (described.state[1], described.state[4]) == (array.shape, array.tobytes())
    with pytest.raises(ValueError, match=r"it names 'posix\.system'"):
        read_pickle(layouts.payloads(tmp_path / "ran")[4])
    with pytest.raises(ValueError, match=r"it names 'numpy\.core\.x'"):
        read_pickle(b"\x80\x02cnumpy.core\nx\n.")
    with pytest.raises(ValueError, match="a state to a value that has none"):
        read_pickle(b"\x80\x02cnumpy\nndarray\nN)\x86b.")
    with pytest.raises(ValueError, match="the operation DUP"):
        read_pickle(b"\x80\x02)2\x86.")
    with pytest.raises(ValueError, match="more operations than"):
        read_pickle(b"\x80\x02" + b"N" * 2_000_000 + b".")


@pytest.mark.parametrize(
    "content",
    [
        b"\x80\x02}r\xff\xff\xff\x7f.",  # Python's reader makes a table of 2**31 places for this
        b"\x80\x04\x8e" + (2**40).to_bytes(8, "little") + b"x.",
        b"\x80\x05\x96" + (2**36).to_bytes(8, "little") + b"x.",
        b"\x80\x02" + b"}" * 3_000_000 + b".",
        b"\x80\x02)" + b"2\x86" * 60 + b"}" + b".",
        # A tuple of twice the last, sixty times: to hash it takes 2**60 steps.
        b"\x80\x02}(K\x01K\x01\x86" + b"q\x00h\x00\x86" * 60 + b"K\x01u.",
        # Such a tuple as the name of a module: to write it out takes as long.
        b"\x80\x04(K\x01K\x01\x86" + b"q\x00h\x00\x86" * 60 + b"\x8c\x01x\x93.",
        b"\x80\x04" + b")" + b"\x85" * 100_000 + b"\x8c\x01x\x93.",
        # One text, made bytes again and again.
        b"\x80\x02]q\x02c_codecs\nencode\nq\x00X"
        + struct.pack("<I", 10**6)
        + b"x" * 10**6
        + b"X\x06\0\0\0latin1\x86q\x01"
        + b"h\x00h\x01R" * 4000
        + b".",
        b"\x80\x02]q\x00h\x00a.",
        b"\x80\x02",
        b"\x80\x02.",
    ],
)
def test_pickles_that_fill_the_memory_or_never_end(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "test_batch").write_bytes(content)
    with one_line_at_once():
        open_dataset(tmp_path / "test_batch")


def test_a_text_is_made_bytes_no_more_often_than_there_are_bytes() -> None:
    text = b"X" + struct.pack("<I", 1000) + b"x" * 1000 + b"X\x06\0\0\0latin1\x86q\x01"
    once = b"\x80\x02c_codecs\nencode\nq\x00" + text + b"R"
    assert read_pickle(once + b".") == pickle.loads(once + b".") == b"x" * 1000
    with pytest.raises(ValueError, match="more bytes than it holds"):
        read_pickle(once + b"h\x00h\x01R.")


@pytest.mark.parametrize("inner", [b"K\x01K\x01\x86" + b"q\x00h\x00\x86" * 60, b")" + b"\x85" * 100_000])
def test_class_names_that_never_end(tmp_path: Path, inner: bytes) -> None:
    folder = layouts.cifar10(tmp_path)
    (folder / "batches.meta").write_bytes(b"\x80\x02}X\x0b\0\0\0label_names](" + inner + b"es.")
    with one_line_at_once("does not name 10 classes"):
        open_dataset(folder)


def test_arrays_of_objects(tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    file = layouts.arrays(tmp_path)
    for name in ("small_data.npy", "small_labels.npy"):
        before = (tmp_path / name).read_bytes()
        np.save(tmp_path / name, np.array([layouts.Payload(ran)], dtype=object), allow_pickle=True)
        with one_line_at_once("holds Python objects"):
            open_dataset(file)
        (tmp_path / name).write_bytes(layouts.payloads(ran)[0])
        with one_line_at_once():
            open_dataset(file)
        (tmp_path / name).write_bytes(before)
    assert not ran.exists()


@pytest.mark.parametrize("name", ["x.parquet", "x.tar", "x.csv", "x.tsv", "x.jsonl", "x.npy", "x.tar.gz"])
def test_pickles_under_other_names(tmp_path: Path, name: str) -> None:
    for payload in layouts.payloads(tmp_path / "ran"):
        (tmp_path / name).write_bytes(payload)
        with one_line_at_once():
            open_dataset(tmp_path / name)
    assert not (tmp_path / "ran").exists()


def test_pickles_in_a_parquet_schema(tmp_path: Path) -> None:
    """pyarrow before 14.0.1 unpickled the parameters of this type (CVE-2023-47248)."""
    for payload in layouts.payloads(tmp_path / "ran"):
        extension = {b"ARROW:extension:name": b"arrow.py_extension_type", b"ARROW:extension:metadata": payload}
        fields = [pa.field("image", pa.binary(), metadata=extension), pa.field("label", pa.int64(), metadata=extension)]
        pq.write_table(pa.table([[b"x"], [0]], schema=pa.schema(fields)), tmp_path / "x.parquet")
        images = open_dataset(tmp_path / "x.parquet")
        assert images.read(0) == b"x"
    assert not (tmp_path / "ran").exists()


@each("name", ["x.parquet", "x.csv", "x.tsv", "x.jsonl", "x.npy", "x.tar", "x.tar.gz", "x.pkl", "test_batch", "x"])
def test_sparse_files_of_100_gigabytes(tmp_path: Path, name: str) -> None:
    with one_line_at_once():
        open_dataset(sparse(tmp_path / name))


@pytest.mark.parametrize(
    ("name", "start", "end"),
    [
        ("x.parquet", b"PAR1", (2**31).to_bytes(4, "little") + b"PAR1"),
        ("x.pkl", b"\x80\x02", b""),
        ("x.csv", b"file_name,label\n", b""),
        ("x.tar", tarfile.TarInfo("a.cls").tobuf(), b""),
    ],
)
def test_sparse_files_that_begin_well(tmp_path: Path, name: str, start: bytes, end: bytes) -> None:
    with one_line_at_once():
        open_dataset(sparse(tmp_path / name, start, end))


def test_huge_headers_of_tar_members(tmp_path: Path) -> None:
    for kind in (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME):
        member = tarfile.TarInfo("a.png")
        member.type, member.size = kind, HUGE - 10240
        with one_line_at_once("is damaged"):
            open_dataset(sparse(tmp_path / "x.tar", member.tobuf(tarfile.GNU_FORMAT)))


def pax(kind: bytes, content: bytes) -> bytes:
    """A pax header with the given content."""
    header = tarfile.TarInfo("header")
    header.type, header.size = kind, len(content)
    return header.tobuf(tarfile.USTAR_FORMAT) + content.ljust(-(-len(content) // 512) * 512, b"\0")


FILE = tarfile.TarInfo("a.cls").tobuf()


@pytest.mark.parametrize(
    "start",
    [
        FILE + pax(tarfile.XHDTYPE, b"14 size=-1536\n") + FILE,  # tarfile goes back by that, for ever (CVE-2025-8194).
        (pax(tarfile.XHDTYPE, b"1" * 15_000) + FILE) * 200,  # Digits take quadratic time (CVE-2024-6232).
        b"".join(
            pax(tarfile.XGLTYPE, b"".join(b"11 %05d=x\n" % key for key in range(first, first + 1000))) + FILE
            for first in range(0, 100_000, 1000)
        ),
    ],
)
def test_pax_headers_that_take_for_ever(tmp_path: Path, start: bytes) -> None:
    with one_line_at_once("is damaged"):
        open_dataset(sparse(tmp_path / "x.tar", start))


def test_huge_images_are_unreadable(tmp_path: Path) -> None:
    sparse(tmp_path / "set" / "a" / "0.png", layouts.PNGS[0])
    with pytest.raises(OSError, match=r"it has 107\.4 GB, more than an encoded image may have \(1\.1 GB\)"):
        open_dataset(tmp_path / "set").read(0)
    (tmp_path / "set" / "labels.csv").write_text("file_name,label\na/0.png,0\n")
    with pytest.raises(OSError, match=r"it has 107\.4 GB"):
        open_dataset(tmp_path / "set" / "labels.csv").read(0)
    image, label = tarfile.TarInfo("a.png"), tarfile.TarInfo("a.cls")
    image.size, label.size = HUGE - 10240 - 1024, 1
    start = image.tobuf(tarfile.GNU_FORMAT)
    end = label.tobuf(tarfile.GNU_FORMAT) + b"0".ljust(512, b"\0")
    with sparse(tmp_path / "x.tar", start).open("r+b") as file:
        file.seek(512 + image.size)
        file.write(end)
    with pytest.raises(OSError, match=r"it has 107\.4 GB"):
        open_dataset(tmp_path / "x.tar").read(0)


def test_sparse_files_beside_good_ones(tmp_path: Path) -> None:
    file = layouts.arrays(tmp_path / "a")
    sparse(tmp_path / "a" / "small_labels.npy", (tmp_path / "a" / "small_labels.npy").read_bytes())
    with one_line_at_once():
        open_dataset(file)
    sparse(layouts.cifar10(tmp_path) / "batches.meta")
    with one_line_at_once():
        open_dataset(tmp_path)
    sparse(layouts.table(tmp_path / "t") / "labels.csv")
    with one_line_at_once():
        open_dataset(tmp_path / "t")


def test_an_array_that_claims_billions_of_images(tmp_path: Path) -> None:
    side = np.lib.format.header_data_from_array_1_0(np.zeros((1, 1, 1, 3), np.uint8))
    with (tmp_path / "x.npy").open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {**side, "shape": (2**30, 1, 1, 3)})
        os.truncate(file.fileno(), file.tell() + 3 * 2**30)
    with one_line_at_once("more than 20000000 images"):
        open_dataset(tmp_path / "x.npy")


def test_texts_that_make_patterns_slow(tmp_path: Path) -> None:
    (tmp_path / "x.npy").write_bytes(
        b"\x93NUMPY\x01\x00"
        + struct.pack("<H", 60_000)
        + b"{'descr': '|u1', 'fortran_order': False, 'shape': ("
        + b"1" * 60_000
    )
    with one_line_at_once():
        open_dataset(tmp_path / "x.npy")
    layouts.table(tmp_path)
    (tmp_path / "labels.csv").unlink()
    lines = [f'{{"file_name": "{number}.png", "label": "{"1" * 1_000_000}x"}}\n' for number in range(2)]
    (tmp_path / "labels.jsonl").write_text("".join(lines))
    began = time.process_time()
    assert len(open_dataset(tmp_path)) == 2
    assert time.process_time() - began < 5, "it ends by itself"


def test_link_loops(tmp_path: Path) -> None:
    root = layouts.folder(tmp_path / "set")
    (root / "self").symlink_to("self")
    (root / "ant" / "up").symlink_to(root, target_is_directory=True)
    (root / "ant" / "x.png").symlink_to("x.png")
    with one_line_at_once("is a link to a folder that contains it"):
        open_dataset(root)
    (root / "ant" / "up").unlink()
    for number in range(12):
        (root / "bee" / str(number)).symlink_to(root / "bee", target_is_directory=True)
    with one_line_at_once("is a link to a folder that contains it"):
        open_dataset(root)
    for number in range(12):
        (root / "bee" / str(number)).unlink()
    images = open_dataset(root)
    broken = images.paths.index("ant/x.png")
    with pytest.raises(OSError, match="symbolic links"):
        images.read(broken)
    (tmp_path / "loop").symlink_to("loop")
    for name in ("loop", "loop.csv", "loop.tar", "loop.npy", "loop.parquet", "test_batch"):
        (tmp_path / name).unlink(missing_ok=True)
        (tmp_path / name).symlink_to(name)
        with one_line_at_once():
            open_dataset(tmp_path / name)


def test_links_out_of_the_folder(tmp_path: Path) -> None:
    root = layouts.table(tmp_path / "set")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "secret.png").write_bytes(b"secret")
    for path, target in (("9.png", elsewhere / "secret.png"), ("out", elsewhere)):
        (root / path).symlink_to(target)
    (root / "fine.png").symlink_to("0.png")
    for path in ("9.png", "out/secret.png"):
        (root / "labels.csv").write_text(f"file_name,label\n{path},a\n")
        with one_line_at_once(rf"line 2: '{path}' is a link that leaves"):
            open_dataset(root)
    (root / "labels.csv").write_text("file_name,label\nfine.png,a\n")
    assert open_dataset(root).read(0) == layouts.PNGS[0]


def test_pipes_do_not_wait(tmp_path: Path) -> None:
    root = layouts.folder(tmp_path / "set")
    os.mkfifo(root / "ant" / "0.png")
    images = open_dataset(root)
    with pytest.raises(OSError, match="a pipe or a device"):
        images.read(images.paths.index("ant/0.png"))
    for name in ("x.csv", "x.tar", "x.npy", "x.parquet", "test_batch"):
        os.mkfifo(tmp_path / name)
        with one_line_at_once():
            open_dataset(tmp_path / name)


def png_of(width: int, height: int) -> bytes:
    """A PNG that claims a size; it has few pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    pixels = zlib.compress(b"\0" * 10_000)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


@pytest.mark.parametrize("side", [20_000, 2**31 - 1])
def test_decompression_bombs(side: int) -> None:
    with one_line_at_once():
        decode_one(png_of(side, side), Geometry(resize=36, crop=32))


@pytest.mark.parametrize("options", [[], ["-W", "error"]])
def test_a_large_picture_is_decoded_without_a_word(tmp_path: Path, options: list[str]) -> None:
    """Between once and twice Pillow's limit, made small here; Pillow's warning is the control."""
    (tmp_path / "x.png").write_bytes(layouts.PNGS[0])
    code = (
        "import sys, pathlib; from PIL import Image; Image.MAX_IMAGE_PIXELS = 600\n"
        "if sys.argv[2] == 'control': Image.open(sys.argv[1]); sys.exit()\n"
        "from robench.datasets import decode_one; from robench.suites.geometry import Geometry\n"
        "print(decode_one(pathlib.Path(sys.argv[1]).read_bytes(), Geometry()).shape)"
    )

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, *options, "-c", code, str(tmp_path / "x.png"), *arguments]
        return subprocess.run(command, check=False, capture_output=True, text=True)

    assert "DecompressionBombWarning" in run("control").stderr
    done = run("")
    assert (done.returncode, done.stdout, done.stderr) == (0, "(3, 32, 32)\n", "")


@each(
    "make",
    [
        lambda root: layouts.cifar10(root) / "test_batch",
        lambda root: layouts.cifar10(root) / "batches.meta",
        layouts.arrays,
        lambda root: layouts.arrays(root).with_name("small_labels.npy"),
        layouts.parquet,
        lambda root: layouts.shard(root / "x.tar"),
    ],
)
@each("share", [0, 0.1, 0.3, 0.5, 0.7])
def test_truncated_files(tmp_path: Path, make: Callable[[Path], Path], share: float) -> None:
    file = make(tmp_path)
    content = file.read_bytes()
    file.write_bytes(content[: int(share * len(content))])
    data = {"batches.meta": file.parent, "small_labels.npy": file.with_name("small_data.npy")}.get(file.name, file)
    with one_line_at_once():
        open_dataset(data)


def test_only_formats_that_pillow_decodes_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a PostScript picture Pillow makes pixels by starting Ghostscript; here that is a program that leaves a mark."""
    (tmp_path / "bin").mkdir()
    for name in ("gs", "gswin32c"):
        (tmp_path / "bin" / name).write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
        (tmp_path / "bin" / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setattr("PIL.EpsImagePlugin.gs_binary", None)
    picture = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n%%EOF\n"
    (tmp_path / "set" / "a").mkdir(parents=True)
    for suffix in (".png", ".eps", ".ps", ".mpg", ".h5", ".grib", ".bufr", ".wmf", ".iim"):
        (tmp_path / "set" / "a" / f"odd{suffix}").write_bytes(picture)
    images = open_dataset(tmp_path / "set")
    assert images.paths == ("a/odd.png",)
    with one_line_at_once("it is not an image that Pillow knows"):
        decode_one(images.read(0), Geometry())
    assert not (tmp_path / "ran").exists()


def test_formats_are_all_but_those_left_out() -> None:
    """Pillow's own registry is the oracle."""
    Image.init()
    others = {"EPS", "IPTC", "WMF", "BUFR", "GRIB", "HDF5", "MPEG"}
    assert set(image_formats()) == set(Image.OPEN) - others - {"FPX", "MIC"}


def test_a_jpeg_with_thousands_of_scans() -> None:
    """Each scan goes over 100 million pixels again. The last one is repeated: libjpeg takes that for more detail."""
    start, scan = progressive(2000)
    with one_line_at_once("more than 200 scans"):
        decode_one(start + scan * 3000 + b"\xff\xd9", Geometry())
    start, scan = progressive(16)
    assert decode_one(start + scan * 100 + b"\xff\xd9", Geometry()).shape == (3, 16, 16)


def test_what_only_looks_like_scans() -> None:
    """In metadata and behind the picture, as phones put films there, any bytes may stand."""
    start, scan = progressive(16)
    noise = b"\xff\xda" * 3000
    comment = b"\xff\xfe" + (len(noise) + 2).to_bytes(2, "big") + noise
    picture = start[:2] + comment + start[2:] + scan + b"\xff\xd9" + noise
    expected = decode_one(start + scan + b"\xff\xd9", Geometry())
    np.testing.assert_array_equal(decode_one(picture, Geometry()), expected)


def progressive(side: int) -> tuple[bytes, bytes]:
    """A progressive JPEG up to its last scan, and that scan with its tables."""
    file = io.BytesIO()
    Image.new("L", (side, side), 77).save(file, "JPEG", progressive=True)
    content = file.getvalue().removesuffix(b"\xff\xd9")
    place = content.rindex(b"\xff\xda")
    return content[:place], content[place:]


@pytest.mark.parametrize("kind", ["images", "labels", "lists"])
def test_parquet_that_grows_when_it_is_decoded(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One large value in a dictionary, and its number in every row: ten gigabytes in a file of some kilobytes."""
    for limit in ("_GROUP_BYTES", "_LABEL_BYTES"):
        monkeypatch.setattr(f"robench.datasets.readers.parquet.{limit}", 2**26)
    rows, large = 20_000, b"x" * 500_000
    many = pa.DictionaryArray.from_arrays(pa.array([0] * rows, pa.int32()), pa.array([large]))
    few = pa.array([b"x"] * rows)
    labels = pa.DictionaryArray.from_arrays(pa.array([0] * rows, pa.int32()), pa.array(["x" * 500_000]))
    lists = pa.StructArray.from_arrays([pa.array([[1, 2]] * rows, pa.list_(pa.uint8()))], ["bytes"])
    image = {"images": many, "labels": few, "lists": lists}[kind]
    table = pa.table({"image": image, "label": labels if kind == "labels" else [0] * rows})
    pq.write_table(table, tmp_path / "x.parquet", store_schema=False)
    assert (tmp_path / "x.parquet").stat().st_size < 2**20
    if kind == "images":
        images = open_dataset(tmp_path / "x.parquet")
        for row in range(2):  # the second time at once
            with pytest.raises(OSError, match=r"more than 67.1 MB of 'image'"):
                images.read(row)
    else:
        with one_line_at_once({"labels": "more than 67.1 MB of 'label'", "lists": "has no column of images"}[kind]):
            open_dataset(tmp_path / "x.parquet")


def test_parquet_with_two_fields_of_bytes(tmp_path: Path) -> None:
    image = pa.StructArray.from_arrays([pa.array([b"a"]), pa.array([b"b"])], ["bytes", "bytes"])
    pq.write_table(pa.table({"image": image, "label": [0]}), tmp_path / "x.parquet")
    with one_line_at_once("several fields named bytes"):
        open_dataset(tmp_path / "x.parquet")


def test_archives_of_arrays_that_fill_the_memory(tmp_path: Path) -> None:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": (2**21, 32, 32, 3)})
    bomb = tmp_path / "bomb.npz"
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        with archive.open("images.npy", "w", force_zip64=True) as member:
            member.write(header.getvalue())
        archive.writestr("labels.npy", b"")
    content = bomb.read_bytes()
    small = len(header.getvalue()).to_bytes(4, "little")
    bomb.write_bytes(content.replace(small, (2**32 - 2).to_bytes(4, "little")))
    with one_line_at_once("unpacks to 4.3 GB, more than the limit"):
        open_dataset(bomb)
    layouts.archive(tmp_path)
    end = (tmp_path / "small.npz").read_bytes()[-22:]
    far = end[:12] + (2**31).to_bytes(4, "little") + (2**32 - 2**16).to_bytes(4, "little") + end[20:]
    with one_line_at_once("list of arrays is too large|cannot be read as NumPy arrays"):
        open_dataset(sparse(tmp_path / "sparse.npz", b"", far))
