"""Oracle: pandas groupby on the records."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from robench.analysis.comparison.compare import compare
from robench.analysis.gate.gate import gate
from robench.analysis.scoring import read_groups, score, score_and_store
from robench.errors import OptionError
from robench.runs.directory import RunDirectory
from tests.analysis.gate.invented import write_run
from tests.builders import each

N = 400


@pytest.fixture(scope="module")
def wrong() -> dict[tuple[str, int], np.ndarray]:
    rng = np.random.default_rng(0)
    cells = {("fog", severity): rng.random(N) < 0.1 * severity for severity in (1, 2, 3)}
    return {("clean", 0): rng.random(N) < 0.1, **cells}


@pytest.fixture(scope="module")
def groups(tmp_path_factory: pytest.TempPathFactory, wrong: dict[tuple[str, int], np.ndarray]) -> Path:
    """Two attributes of all images, one of them by names without folder, and one that only some have, twice in places."""
    run = RunDirectory.open(write_run(tmp_path_factory.mktemp("names") / "run", wrong))
    rng, paths = np.random.default_rng(1), run.read_samples()["path"]
    table = pd.DataFrame(
        {"file_name": paths, "label": "x", "site": rng.choice(["a", "b", "c"], N), "sex": rng.choice(["f", "m"], N)}
    )
    table["lens"] = np.where(rng.random(N) < 0.3, "wide", "")
    more = table.head(20).assign(lens="dirty", site="", sex="")
    file = tmp_path_factory.mktemp("groups") / "groups.csv"
    pd.concat([table, more, table.head(1).assign(file_name="no such image")]).to_csv(file, index=False)
    return file


@pytest.fixture(scope="module")
def run(
    tmp_path_factory: pytest.TempPathFactory, wrong: dict[tuple[str, int], np.ndarray], groups: Path
) -> RunDirectory:
    run = RunDirectory.open(write_run(tmp_path_factory.mktemp("groups") / "run", wrong))
    return score_and_store(run, "none", str(groups))[0]


def by_pandas(run: RunDirectory, groups: Path) -> pd.DataFrame:
    """Error of each group and condition."""
    table = pd.read_csv(groups, keep_default_na=False).merge(run.read_samples(), left_on="file_name", right_on="path")
    parts = []
    for condition in run.conditions:
        records = run.read_records(condition.name).merge(table, left_on="sample", right_on="index")
        records["error"] = (records["pred"] != records["label_y"]).astype(float)
        for column in ("site", "sex", "lens"):
            means = records[records[column] != ""].groupby(column)["error"].agg(["mean", "size"]).reset_index()
            means["subset"] = column + "=" + means[column]
            parts.append(means.assign(corruption=condition.corruption, severity=condition.severity))
    return pd.concat(parts)


def test_groups_equal_groupby(run: RunDirectory, groups: Path) -> None:
    results = run.read_results(groups=True)
    errors = results[(results["metric"] == "error_rate") & results["subset"].notna()]
    found = errors.set_index(["subset", "corruption", "severity"])
    expected = by_pandas(run, groups).set_index(["subset", "corruption", "severity"])
    assert len(found) == len(expected) == 7 * 4
    assert (found["value"] - expected["mean"]).abs().max() < 1e-12
    assert (found["n"] - expected["size"]).abs().max() == 0
    assert (errors["ci_low"] <= errors["value"]).all()
    assert (errors["value"] <= errors["ci_high"]).all()
    fog = expected.xs("fog", level="corruption").groupby("subset")["mean"].mean()
    means = results[(results["metric"] == "mean_error") & results["subset"].notna()].set_index("subset")["value"]
    assert len(means) == 7
    assert (means - fog).abs().max() < 1e-12
    sites = fog[["site=a", "site=b", "site=c"]]
    rows = results[(results["subset"] == "site") & results["corruption"].isna()].set_index("metric")["value"]
    assert rows["worst_group_error"] == pytest.approx(sites.max(), abs=1e-12)
    assert rows["group_gap"] == pytest.approx(sites.max() - sites.min(), abs=1e-12)


def test_other_results_are_as_without_groups(
    run: RunDirectory, wrong: dict[tuple[str, int], np.ndarray], tmp_path: Path
) -> None:
    alone = RunDirectory.open(write_run(tmp_path / "run", wrong))
    assert run.read_results().to_csv() == score(alone, "none").to_csv()
    removed = score_and_store(run, "none", "none")[0]
    assert removed.read_results(groups=True).to_csv() == run.read_results().to_csv()


def test_simpson(tmp_path: Path) -> None:
    # In each hospital, women have more errors. Most women are in the hospital with few errors.
    counts = {("f", "x"): (90, 9), ("m", "x"): (10, 0), ("f", "y"): (10, 6), ("m", "y"): (90, 45)}
    wrong = np.concatenate([np.arange(n) < errors for n, errors in counts.values()])
    run = RunDirectory.open(write_run(tmp_path / "run", {("clean", 0): wrong}))
    people = [person for person, (n, _) in counts.items() for _ in range(n)]
    table = pd.DataFrame(people, columns=["sex", "hospital"]).assign(path=run.read_samples()["path"])
    table["both"] = table["sex"] + " in " + table["hospital"]
    table.to_csv(tmp_path / "groups.csv", index=False)
    results = score_and_store(run, "none", f"{tmp_path / 'groups.csv'}:sex,both")[0].read_results(groups=True)
    error = results[results["metric"] == "error_rate"].set_index("subset")["value"]
    assert (error["sex=f"], error["sex=m"]) == (0.15, 0.45)
    assert error["both=f in x"] > error["both=m in x"]
    assert error["both=f in y"] > error["both=m in y"]
    assert "hospital=x" not in error


def test_gate_of_a_group(wrong: dict[tuple[str, int], np.ndarray], groups: Path, tmp_path: Path) -> None:
    base = RunDirectory.open(write_run(tmp_path / "base", wrong))
    base = score_and_store(base, "none", str(groups))[0]
    table = read_groups(base.read_samples(), f"{groups}:site")
    hurt = np.isin(np.arange(N), table.loc[table["group"] == "site=b", "sample"])
    worse = {cell: outcome | (hurt & (np.arange(N) % 2 == 0)) for cell, outcome in wrong.items()}
    run = RunDirectory.open(write_run(tmp_path / "worse", worse))
    score_and_store(run, "none", str(groups))
    rule = {"metric": "error_rate", "suite": "clean", "group": "site=*"}
    verdict = gate(run.path, base.path, [rule])
    assert [comparison.cell for comparison in verdict.failed] == ["clean / site=b"]
    # Holm's correction is over the three sites.
    (failed,) = verdict.failed
    assert failed.p is not None
    assert failed.p_holm == pytest.approx(min(1, 3 * failed.p))
    # Without `group`, a rule and the comparison are of all images, as before.
    assert len(gate(run.path, base.path, [{"metric": "error_rate", "suite": "clean"}]).comparisons) == 1
    assert all(one.paired.run.key.subset is None for one in compare([base.path, run.path]))


@each(
    "name, content, problem",
    [
        ("none.csv", "", "no column of paths"),
        ("a.csv", "x,y\n1,2\n", "no column of paths"),
        ("b.csv", "path,sex\nother.png,f\n", "no group of an image"),
        ("c.jsonl", "[1]\n", "no JSON object"),
        ("d.jsonl", "{\n", "is not JSON"),
        ("e.csv", 'path,sex\n"0/0.png,f\n', "not a table"),
        ("f.csv", "path,=sex\n0/0.png,<b>\n", "formula"),
    ],
)
def test_files_that_are_no_groups(name: str, content: str, problem: str, run: RunDirectory, tmp_path: Path) -> None:
    file = tmp_path / name
    file.write_text(content.replace("0/0.png", run.read_samples()["path"].iloc[0]))
    with pytest.raises(OptionError, match=problem):
        read_groups(run.read_samples(), str(file))


def test_tables_of_any_form(run: RunDirectory, tmp_path: Path) -> None:
    samples = run.read_samples()
    first, second = samples["path"].iloc[:2]
    texts = {
        "a.csv": f"sex,path,place\nf,{first},x\nm,./{second},\nm,{first},",
        "b.tsv": f"sex\tpath\nf\t{first}\nm\t{second}\nm\t{first}\n",
        "c.csv": f'"sex";"path"\r\nf;{first}\r\nm;{second}\r\nm;{first}\r\n',
        "d.jsonl": f'{{"path": "{first}", "sex": ["f", "m"]}}\n\n{{"path": "{second}", "sex": "m", "box": {{"x": 1}}}}\n',
        "e.csv": f"\ufeffpath,sex\n{first},f\n{second},m\n{first},m\n",
    }
    expected = [(samples["index"].iloc[place], f"sex={sex}") for place, sex in ((0, "f"), (0, "m"), (1, "m"))]
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
        table = read_groups(samples, f"{tmp_path / name}:sex")
        assert list(zip(table["sample"], table["group"], strict=True)) == expected, name


def test_a_column_that_is_missing(groups: Path, run: RunDirectory) -> None:
    with pytest.raises(OptionError, match="no column 'age'"):
        read_groups(run.read_samples(), f"{groups}:age")


def test_columns_of_parquet_and_arrow(tmp_path: Path) -> None:
    """Tables with paths, and the files of the images, of which a reader names each row."""
    sites, tags = ["a", "b", None, "a"], [["x"], [], ["x", "y"], None]
    images = pa.table({"image": [b"0", b"1", b"2", b"3"], "label": [0, 1, 0, 1], "site": sites, "tags": tags})
    pq.write_table(images.slice(0, 3), tmp_path / "one.parquet")
    pq.write_table(images.slice(3), tmp_path / "two.parquet")
    pq.write_table(pa.table({"path": ["d/3.png", "2.png"], "site": ["b", "a"]}), tmp_path / "paths.parquet")
    (tmp_path / "disk").mkdir()
    with (
        pa.OSFile(str(tmp_path / "disk" / "one.arrow"), "wb") as file,
        pa.ipc.new_stream(file, images.schema) as writer,
    ):
        writer.write_table(images, max_chunksize=3)
    (tmp_path / "table").mkdir()
    (tmp_path / "table" / "labels.csv").write_text("file_name,label,site\n0,0,a\n1,1,b\n3,1,a\n")
    rows = [f"one/{row:08d}" for row in range(3)]
    for paths, text, data, expected in (
        ([*rows, "two/00000000"], "site", tmp_path, [(0, "a"), (1, "b"), (3, "a")]),
        ([*rows, "one/00000003"], "site", tmp_path / "disk", [(0, "a"), (1, "b"), (3, "a")]),
        ([*rows, "one/00000003"], f"{tmp_path / 'disk'}:tags", None, [(0, "x"), (2, "x"), (2, "y")]),
        (["d/0.png", "d/1.png", "d/2.png", "d/3.png"], f"{tmp_path / 'paths.parquet'}", None, [(2, "a"), (3, "b")]),
        (["0.png", "1.png", "2.png", "3.png"], "site", tmp_path / "table", [(0, "a"), (1, "b"), (3, "a")]),
    ):
        samples = pd.DataFrame({"index": range(4), "path": paths})
        table = read_groups(samples, text, data)
        found = [(row.sample, row.group.split("=")[1]) for row in table.itertuples()]
        assert found == expected
    (tmp_path / "bad.parquet").write_bytes((tmp_path / "one.parquet").read_bytes()[:-20])
    for text, data, match in (
        (str(tmp_path / "bad.parquet"), None, "cannot be read"),
        ("age", tmp_path / "table", "has no column 'age'; its columns are label, site"),
        ("site", tmp_path / "table" / "labels.csv", "no group of an image"),
        ("site", None, "cannot read --groups site"),
    ):
        with pytest.raises(OptionError, match=match):
            read_groups(pd.DataFrame({"index": [0], "path": ["other"]}), text, data)
