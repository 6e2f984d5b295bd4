"""Parts of an unfinished condition: joined, resumed, swept. Oracle: the records of the whole condition written at once."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robench.errors import RunError, TableError
from robench.runs import parquet
from robench.runs.directory import RunDirectory
from robench.runs.parquet import encode_parquet, read_parquet, rows_of_groups, write_parquet
from robench.runs.schema import RECORDS

Shards = list[tuple[int, int]]
NAME, OTHER = "cifar-p-tilt-1-32px", "cifar-p-snow-1-32px"
GROUP = 16
"""Rows of a row group in these tests: few, so that small tables have several."""


@pytest.fixture(autouse=True)
def _small_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "_GROUP", GROUP)


def records(samples: int, frames: int, corruption: str = "tilt") -> pd.DataFrame:
    rng = np.random.default_rng(samples)
    top5 = rng.integers(-1, 10, (frames * samples, 5)).astype(np.int32)
    return pd.DataFrame(
        {
            "suite": "cifar-p",
            "corruption": corruption,
            "severity": np.int16(1),
            "axis_value": np.repeat(np.where(np.arange(frames) == 1, np.nan, np.arange(frames) / 3), samples),
            "dx": np.nan,
            "dy": np.nan,
            "frame": np.repeat(np.arange(frames, dtype=np.int32), samples),
            "resolution": np.int32(32),
            "sample": np.tile(np.arange(samples) * 7, frames),
            "label": np.tile(rng.integers(0, 10, samples).astype(np.int32), frames),
            "pred": top5[:, 0],
            "top5": list(top5),
            "confidence": rng.random(frames * samples, np.float32),
            "prob_label": rng.random(frames * samples, np.float32),
            **{name: rng.random(frames * samples, np.float32) for name in ("max_logit", "entropy", "sum_p2", "gen")},
        }
    )


def part(whole: pd.DataFrame, frames: int, start: int, stop: int) -> bytes:
    """The rows of the samples at places start..stop, frame by frame, as a file."""
    places = np.arange(len(whole)).reshape(frames, -1)[:, start:stop].ravel()
    return encode_parquet(RECORDS, whole.iloc[places].reset_index(drop=True), stop - start)


def run_at(path: Path, **identity: Any) -> RunDirectory:
    common = {"suite": "cifar-p", "severity": 1, "resolution": 32, "protocol": "p#1", "source": "computed", "clean": ""}
    planned = [{**common, "name": name, "corruption": name.split("-")[2], "frames": 3} for name in (NAME, OTHER)]
    (path / "records").mkdir(parents=True)
    return RunDirectory(path, {"identity": {"seed": 0, **identity}, "conditions": planned})


def files(path: Path) -> list[str]:
    return sorted(file.relative_to(path).as_posix() for file in path.rglob("*") if file.is_file())


@st.composite
def cuts(draw: st.DrawFn) -> tuple[int, int, Shards]:
    """A number of frames and of samples, and these cut into shards that arrive in any order."""
    samples, frames = draw(st.integers(1, 40)), draw(st.integers(1, 5))
    inner = draw(st.sets(st.integers(1, samples - 1), max_size=5)) if samples > 1 else set()
    edges = [0, *sorted(inner), samples]
    return frames, samples, draw(st.permutations(list(pairwise(edges))))


@settings(max_examples=15, deadline=None)
@given(cuts())
def test_however_it_is_cut_the_file_is_the_same(
    tmp_path_factory: pytest.TempPathFactory, cut: tuple[int, int, Shards]
) -> None:
    frames, samples, shards = cut
    run, whole = run_at(tmp_path_factory.mktemp("cut") / "run"), records(samples, frames)
    for shard in shards:
        run.write_shard(NAME, *shard, part(whole, frames, *shard))
    assert run.valid_shards(NAME, shards, frames) == sorted(shards)
    run.merge_shards(NAME, shards)
    joined = run.records_path(NAME).read_bytes()
    assert files(run.path) == [f"records/{NAME}.parquet"], "parts are gone"
    assert [path.name for path in (run.path / "records").iterdir()] == [f"{NAME}.parquet"]
    run.write_records(NAME, whole)
    assert joined == run.records_path(NAME).read_bytes()
    groups = rows_of_groups(RECORDS, run.records_path(NAME))
    assert all(rows == GROUP for rows in groups[:-1])
    read = run.read_records(NAME)
    pd.testing.assert_frame_equal(read.drop(columns="top5"), whole.drop(columns="top5"), check_dtype=False)
    assert np.array_equal(np.stack(read["top5"].tolist()), np.stack(whole["top5"].tolist()))


def test_pages_end_where_they_do_in_a_whole_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Enough rows for several pages a column, in shards that end in the middle of what is encoded at once."""
    monkeypatch.setattr(parquet, "_GROUP", 25_000)
    run, whole = run_at(tmp_path / "run"), records(20_000, 2)
    shards = [(0, 301), (301, 7777), (7777, 20_000)]
    for shard in shards:
        run.write_shard(NAME, *shard, part(whole, 2, *shard))
    run.merge_shards(NAME, shards)
    run.write_records(OTHER, whole)
    assert run.records_path(NAME).read_bytes() == run.records_path(OTHER).read_bytes()


def test_the_bytes_do_not_depend_on_the_types_of_the_frame(tmp_path: Path) -> None:
    """Workers of other versions of pandas make other frames of the same cells."""
    whole = records(20, 3)
    write_parquet(RECORDS, whole, tmp_path / "a.parquet")
    write_parquet(RECORDS, whole.astype({"suite": object, "severity": "int64"}), tmp_path / "b.parquet")
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()


def test_a_flipped_bit_is_found(tmp_path: Path) -> None:
    file = tmp_path / "r.parquet"
    write_parquet(RECORDS, records(30, 2), file)
    whole, kept = file.read_bytes(), read_parquet(RECORDS, file)
    footer = len(whole) - 8 - int.from_bytes(whole[-8:-4], "little")
    found = 0
    for place in range(4, footer, 61):
        file.write_bytes(whole[:place] + bytes([whole[place] ^ (1 << place % 8)]) + whole[place + 1 :])
        try:
            rows_of_groups(RECORDS, file)
        except TableError:
            found += 1
            with pytest.raises(TableError):
                read_parquet(RECORDS, file)
        else:  # A bit of a page's header that nobody needs, such as a statistic.
            assert read_parquet(RECORDS, file).astype(str).equals(kept.astype(str))
    assert found > 0.7 * (footer - 4) / 61


def _truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-20])


def _flip(file: Path) -> None:
    """In the last page's data, which end where the footer begins."""
    content = bytearray(file.read_bytes())
    content[len(content) - 8 - int.from_bytes(content[-8:-4], "little") - 3] ^= 1
    file.write_bytes(content)


def _other_rows(file: Path) -> None:
    file.write_bytes(encode_parquet(RECORDS, records(6, 3), 6))


def _no_file(file: Path) -> None:
    file.unlink()


@pytest.mark.parametrize("damage", [_truncate, _flip, _other_rows, _no_file, Path.touch])
def test_a_damaged_part_is_made_again(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    run, whole = run_at(tmp_path / "run"), records(20, 3)
    shards = [(0, 8), (8, 16), (16, 20)]
    for shard in shards:
        run.write_shard(NAME, *shard, part(whole, 3, *shard))
    file = run.shards_folder(NAME) / "8-16.parquet"
    file.unlink() if damage is Path.touch else None
    damage(file)
    assert run.valid_shards(NAME, shards, 3) == [(0, 8), (16, 20)]
    assert not file.exists()
    run.write_shard(NAME, 8, 16, part(whole, 3, 8, 16))
    run.merge_shards(NAME, shards)
    assert not run.is_damaged(NAME, 60)
    run.write_records(OTHER, whole)
    assert run.records_path(NAME).read_bytes() == run.records_path(OTHER).read_bytes()


@pytest.mark.parametrize("damage", [_truncate, _flip, _no_file])
def test_a_part_damaged_before_joining_stops_the_run(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    run, whole = run_at(tmp_path / "run"), records(20, 3)
    shards = [(0, 8), (8, 20)]
    for shard in shards:
        run.write_shard(NAME, *shard, part(whole, 3, *shard))
    damage(run.shards_folder(NAME) / "8-20.parquet")
    with pytest.raises(RunError, match=r"8-20\.parquet.*give the same `robench evaluate` command again"):
        run.merge_shards(NAME, shards)
    assert run.finished() == []
    assert run.valid_shards(NAME, shards, 3) == [(0, 8)]
    assert not list(run.path.rglob(".tmp-*"))


def test_what_no_resumed_run_needs_is_removed(tmp_path: Path) -> None:
    before, run, whole = run_at(tmp_path / "run", seed=1), RunDirectory(tmp_path / "run", {}), records(20, 3)
    run = RunDirectory(before.path, {**before.manifest, "identity": {"seed": 0}})
    before.write_shard(NAME, 0, 10, part(whole, 3, 0, 10))
    assert run.valid_shards(NAME, [(0, 10)], 3) == [], "another run's, which was here before"
    run.write_shard(NAME, 0, 8, part(whole, 3, 0, 8))
    run.write_shard(NAME, 0, 10, part(whole, 3, 0, 10))
    run.write_shard(OTHER, 0, 10, part(whole, 3, 0, 10))
    run.write_shard("unknown", 0, 10, part(whole, 3, 0, 10))
    (run.shards_folder(NAME) / ".tmp-x.parquet").write_bytes(b"PAR1")
    run.write_records(OTHER, whole)
    run.remove_leftovers()
    own = run.shards_folder(NAME).relative_to(run.path).as_posix()
    assert files(run.path) == [f"{own}/0-10.parquet", f"{own}/0-8.parquet", f"records/{OTHER}.parquet"]
    assert run.valid_shards(NAME, [(0, 10), (10, 20)], 3) == [(0, 10)]
    assert files(run.path) == [f"{own}/0-10.parquet", f"records/{OTHER}.parquet"], "and another sharding's"
    assert [one.name for one in run.finished()] == [OTHER]


def test_a_manifest_is_written_where_something_changes(tmp_path: Path) -> None:
    run, file = run_at(tmp_path / "run"), tmp_path / "run" / "manifest.json"
    changed = run.with_manifest_entries(notes=["one"], seed=1)
    assert changed.manifest == {**run.manifest, "notes": ["one"], "seed": 1} == json.loads(file.read_text())
    assert "notes" not in run.manifest
    file.unlink()
    assert changed.with_manifest_entries(seed=1) == changed
    assert not file.exists()


class _Killed(BaseException):
    """Stand for work that a killed process never starts."""


def test_killed_at_any_moment_it_resumes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is the last change of a file that happens, the next one finds the rest, and ends with the same bytes."""
    whole, shards = records(12, 3), [(0, 5), (5, 10), (10, 12)]
    expected = run_at(tmp_path / "expected")
    expected.write_records(NAME, whole)
    left = 0

    def counted(change: Callable[..., Any]) -> Callable[..., Any]:
        def changed(*args: Any, **keywords: Any) -> Any:
            nonlocal left
            left -= 1
            if left < 0:
                raise _Killed
            return change(*args, **keywords)

        return changed

    for name in ("replace", "mkdir", "rmdir", "chmod"):
        monkeypatch.setattr(Path, name, counted(getattr(Path, name)))
    # `atomic_write` removes its file after an error, which a killed process does not.
    monkeypatch.setattr(Path, "unlink", counted(Path.unlink))
    monkeypatch.setattr(shutil, "rmtree", counted(shutil.rmtree))

    def go_on(run: RunDirectory) -> Iterator[str]:
        run.remove_leftovers()
        if NAME not in {one.name for one in run.finished()} or run.is_damaged(NAME, 36):
            sound = run.valid_shards(NAME, shards, 3)
            yield f"{len(sound)} parts"
            for shard in shards:
                if shard not in sound:
                    run.write_shard(NAME, *shard, part(whole, 3, *shard))
            run.merge_shards(NAME, shards)
            yield "finished"

    seen = set()
    for lived in range(100):
        left = 1000
        run = run_at(tmp_path / f"run{lived}")
        left = lived
        killed = False
        try:
            list(go_on(run))
        except _Killed:
            killed = True
        left = 1000
        seen |= set(go_on(run))
        run.remove_leftovers()
        assert files(run.path) == [f"records/{NAME}.parquet"]
        assert run.records_path(NAME).read_bytes() == expected.records_path(NAME).read_bytes()
        if not killed:
            break
    assert lived > 10
    assert seen == {"0 parts", "1 parts", "2 parts", "3 parts", "finished"}
