"""The page of a report: complete, harmless, and equal to the results. Oracles: Python's own HTML parser, and results.csv."""

from __future__ import annotations

import base64
import io
import json
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import robench
from robench import report
from robench.analysis.comparison.compare import CORRUPTION, compare
from robench.analysis.formatting import format_value
from robench.analysis.report.calibration import calibration
from robench.analysis.report.class_names import class_names
from robench.analysis.report.images import confident_errors, disagreements, varied
from robench.analysis.report.words import WORDS
from robench.analysis.scoring import score_and_store
from robench.analysis.verdict import pair_verdict
from robench.cli.entry import run_cli
from robench.errors import OptionError, RobenchError
from robench.runs.directory import RunDirectory
from tests.analysis.gate.invented import first, write_run
from tests.builders import mistake

EVIL = "x</script><script>alert(1)</script><img src=x onerror=alert(2)>\"'{{7*7}}<!--"


class Page(HTMLParser):
    """Elements with their attributes, the text of the page, and the text of its scripts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text, self.scripts, self.open = "", [""], ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self.open = tag
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        self.open = ""

    def handle_data(self, data: str) -> None:
        if self.open == "script":
            self.scripts[-1] += data
        elif self.open != "style":
            self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo under a suite of every family."""
    options = robench.Options(
        limit=30,
        corruption=(
            "gaussian_noise",
            "fog",
            "translate",
            "crop",
            "map",
            "gaussian",
            "network",
            "information",
            "best_of_k",
        ),
    )
    suites = ["cifar-c", "cifar-p", "shift", "noise", "resolution"]
    classifier = robench.load_classifier("demo", device="cpu")
    out = tmp_path_factory.mktemp("report") / "run"
    return robench.evaluate(classifier, "demo", suite=suites, out=out, options=options).path


@pytest.fixture(scope="module")
def page(demo: Path) -> Page:
    return Page(report([demo], demo.parent / "page.html", examples=3).read_text())


def charts(page: Page) -> list[dict[str, Any]]:
    """The specifications and rows of all charts."""
    return [chart for group in json.loads(page.scripts[1]) for chart in group["charts"]]


def rows_of(page: Page, description: str) -> list[dict[str, Any]]:
    (found,) = [chart["rows"] for chart in charts(page) if chart["spec"]["description"].startswith(description)]
    rows: list[dict[str, Any]] = found
    return rows


def test_it_stands_alone(demo: Path, page: Page) -> None:
    assert (demo.parent / "page.html").stat().st_size < 3e6
    assert not page.all("link")
    for tag in ("script", "img", "iframe"):
        for attributes in page.all(tag):
            assert (attributes.get("src") or "data:").startswith("data:")
    policy = next(one["content"] for one in page.all("meta") if one.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None
    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy
    assert not [one for _, one in page.elements if "style" in one or any(name.startswith("on") for name in one)]
    assert not re.search(r"url\(|@import", (demo.parent / "page.html").read_text().split("</style>")[0])


def test_every_part_is_there(page: Page) -> None:
    for title in ("CIFAR-C", "CIFAR-P", "Shift", "Noise", "Resolution", "Calibration", "Images", "Provenance"):
        assert title in page.text
    assert len(charts(page)) == sum("data-chart" in one for one in page.all("div"))
    assert len(json.loads(page.scripts[1])) == sum("data-csv" in one for one in page.all("button"))
    assert all(chart["spec"]["description"] for chart in charts(page))
    assert all(one.get("alt") for one in page.all("img"))
    assert "only 30 images" in page.text
    headings = [int(name[1]) for name, _ in page.elements if re.fullmatch(r"h\d", name)]
    assert all(after <= before + 1 for before, after in pairwise(headings))
    targets = {one.get("id") for _, one in page.elements}
    assert all(str(one["href"]).removeprefix("#") in targets for one in page.all("a"))


def test_values_are_those_of_the_results(demo: Path, page: Page) -> None:
    results = pd.read_csv(demo / "results.csv")
    mean = results[results["metric"] == "mean_error"].iloc[0]
    assert format_value(mean["value"], "fraction", digits=1).replace(" ", "\xa0") in page.text
    cells = results[(results["suite"] == "cifar-c") & (results["metric"] == "error_rate")]
    names = {"gaussian_noise": "Gaussian noise", "fog": "Fog"}
    expected = {(names[one["corruption"]], one["severity"]): 100 * one["value"] for one in cells.to_dict("records")}
    rows = rows_of(page, "top-1 error by corruption and severity")
    assert {(row["name"], row["position"]): row["value"] for row in rows} == pytest.approx(expected)


def test_verdict_is_that_of_compare(tmp_path: Path) -> None:
    """Oracle: `robench compare` in the terminal and in Python."""
    cells = {("clean", 0): first(5, 120), ("fog", 1): first(20, 120), ("snow", 1): first(30, 120)}
    one = write_run(tmp_path / "one", cells)
    two = write_run(tmp_path / "two", cells | {("fog", 1): first(60, 120), ("snow", 1): first(27, 120)})
    three = write_run(tmp_path / "three", cells | {("fog", 1): first(10, 120)})
    page = Page(report([one, two, three], tmp_path / "page.html", examples=0).read_text())
    overall = rows_of(page, "Mean error on CIFAR-C: change from one")
    assert [(row["name"], row["verdict"]) for row in overall] == [("three", "better"), ("two", "worse")]
    page = Page(report([one, two], tmp_path / "page.html", examples=0).read_text())
    differences = compare([one, two])
    sentences = pair_verdict(differences, WORDS)
    assert len(sentences) == 2
    assert all(sentence in page.text.replace("\xa0", " ") for sentence in sentences)
    assert "only" not in page.text.split("Headline metrics")[0]
    rows = rows_of(page, "Change of the mean error on CIFAR-C")
    tested = {one.paired.run.key.corruption: one for one in differences if one.level == CORRUPTION}
    for name, verdict in (("fog", "worse"), ("snow", "not significant")):
        (row,) = [row for row in rows if row["name"] == name.capitalize()]
        ends = (100 * value for value in (tested[name].paired.change, tested[name].paired.ci_low))
        assert (row["value"], row["low"], row["verdict"]) == (*map(pytest.approx, ends), verdict)
    changes = rows_of(page, "change of the top-1 error")
    assert {(row["name"], row["text"]) for row in changes} == {("Fog", "+33*"), ("Snow", "−2")}


def test_one_run_says_where_it_breaks(tmp_path: Path) -> None:
    """Expected: 5 of 40 wrong is 87.5 % right, of which half is left below 43.75 %, more than 22 wrong."""
    wrong = {("fog", 1): 22, ("fog", 2): 23, ("fog", 3): 30, ("snow", 1): 5, ("snow", 2): 8, ("snow", 3): 9}
    run = write_run(tmp_path / "one", {("clean", 0): first(5, 40), **{key: first(n, 40) for key, n in wrong.items()}})
    rows = rows_of(Page(report([run], tmp_path / "page.html", examples=0).read_text()), "Mean error on CIFAR-C")
    assert [(row["name"], row["note"], row["verdict"]) for row in rows] == [
        ("Fog", "from severity 2", "broken"),
        ("Snow", "", "not broken"),
    ]


def test_provenance_names_no_folder(tmp_path: Path) -> None:
    run = write_run(
        tmp_path / "one",
        {("clean", 0): first(5, 40), ("fog", 1): first(8, 40)},
        environment={"command": ["evaluate", "/home/me/nets/a.pth", "--data=/data/set"], "commit": "abcdef0123456789"},
        notes=["/home/me/nets/a.pth: detected architecture x", "see https://example.org/a/b"],
        warnings=[r"C:\Users\me\b.pth looks wrong"],
    )
    text = report([run], tmp_path / "page.html", examples=0).read_text().split("<script")[0]
    for kept in (
        "robench evaluate a.pth --data=set",
        "a.pth: detected",
        "https://example.org/a/b",
        "b.pth looks",
        "abcdef0123",
    ):
        assert kept in text
    assert not re.search(r"/home|/data|Users|" + re.escape(str(tmp_path)), text)


def test_bins_of_calibration_have_equally_many_predictions() -> None:
    """Expected: 100 predictions of 50 images are five bins of 20, each of 10 images, thus grey."""
    records = pd.DataFrame(
        {
            "sample": np.arange(100) // 2,
            "label": 0,
            "pred": [0, 1] * 50,
            "confidence": np.linspace(0.5, 1, 100),
        }
    )
    none = pd.DataFrame({"suite": [], "metric": [], "corruption": [], "model": [], "value": []})
    section = calibration([("cifar-c", none, [("net", records)])], ["net"])
    assert section is not None
    bins = [row for row in section.groups[0].charts[0].rows if "samples" in row]
    assert [(row["samples"], row["images"], row["few"]) for row in bins] == [(20, 10, True)] * 5
    assert [row["value"] for row in bins] == [50] * 5
    assert bins[0]["position"] == pytest.approx(100 * records["confidence"][:20].mean())


def test_images_are_those_of_confident_disagreement() -> None:
    """Expected by hand: sample 2 in `b` (.9 + .8) before sample 0 in `a` (.9 + .7); both runs agree on sample 1."""

    def run(a: list[int], b: list[int], confidence: list[float]) -> dict[str, pd.DataFrame]:
        frame = pd.DataFrame({"sample": [0, 1, 2], "label": 0, "confidence": confidence})
        return {"a": frame.assign(pred=a), "b": frame.assign(pred=b)}

    one, two = run([0, 1, 0], [0, 1, 0], [0.9, 1, 0.8]), run([1, 1, 0], [0, 2, 1], [0.7, 1, 0.9])
    found = varied([disagreements(name, [one[name], two[name]], 3) for name in one], 3)
    assert list(zip(found["condition"], found["sample"], strict=True)) == [("b", 2), ("a", 0)]
    wrong = varied([confident_errors(name, two[name], 3) for name in two], 3)
    assert list(zip(wrong["condition"], wrong["sample"], strict=True)) == [("a", 1), ("b", 2), ("a", 0)]
    assert not len(disagreements("a", [one["a"], one["a"]], 3))


def test_gallery_shows_the_pixels_of_the_run(demo: Path, page: Page) -> None:
    found = page.all("img")
    assert found
    shown = found[1]["src"]
    assert shown is not None
    picture = np.asarray(Image.open(io.BytesIO(base64.b64decode(shown.split(",")[1]))))
    told = re.search(r"under (\w+), severity (\d)", str(found[1]["alt"]))
    assert told is not None
    images = robench.open_dataset("demo")
    run = robench.RunDirectory.open(demo)
    index = run.read_samples()["index"].to_numpy()
    clean = np.asarray(Image.open(io.BytesIO(base64.b64decode(str(found[0]["src"]).split(",")[1]))))
    from robench.datasets import decode_few
    from robench.suites.geometry import Geometry

    of_run = decode_few(images, index, Geometry(resize=(32, 32)))
    (sample,) = np.flatnonzero((of_run == clean.transpose(2, 0, 1)).all(axis=(1, 2, 3)))[:1]
    import torch

    again = robench.corrupt(
        torch.from_numpy(of_run[[sample]]), told[1], int(told[2]), "cifar-c", seed=0, index=index[[sample]]
    )
    assert np.array_equal(again[0].permute(1, 2, 0).numpy(), picture)


def test_hostile_names_are_text(tmp_path: Path, demo: Path) -> None:
    run = tmp_path / "evil"
    shutil.copytree(demo, run)
    manifest = json.loads((run / "manifest.json").read_text())
    manifest["model"]["label"] = EVIL
    manifest["data"]["classes"] = [f"{EVIL}{number}" for number in range(10)]
    manifest["notes"] = [EVIL]
    (run / "manifest.json").write_text(json.dumps(manifest))
    results = pd.read_csv(run / "results.csv", dtype=str, keep_default_na=False)
    results["model"] = EVIL
    results.to_csv(run / "results.csv", index=False, lineterminator="\n")
    found = Page(report([run], tmp_path / "page.html", examples=1, title=EVIL).read_text())
    assert len(found.all("script")) == 2
    assert not [one for one in found.all("img") if "onerror" in one]
    assert EVIL in found.text
    assert any(row.get("model") == EVIL for chart in charts(found) for row in chart["rows"])


def test_runs_side_by_side(tmp_path: Path) -> None:
    cells = {("clean", 0): first(5, 40), ("fog", 1): first(8, 40), ("fog", 3): first(20, 40)}
    one = write_run(tmp_path / "one", cells)
    two = write_run(tmp_path / "two", cells, data="xyz")
    found = Page(report([one, two], tmp_path / "page.html", examples=2).read_text())
    assert (
        "cifar-c: two and one are not comparable and have separate charts, because their samples differ" in found.text
    )
    plotted = [{row["model"] for row in chart["rows"] if "model" in row} for chart in charts(found)]
    assert {"one"} in plotted
    assert {"two"} in plotted
    assert {"one", "two"} not in plotted
    assert "no images" in found.text  # Invented runs have none.
    table = Page(report([one / "results.csv"], tmp_path / "csv.html").read_text())
    assert "Images" not in table.text
    same = Page(report([one, shutil.copytree(one, tmp_path / "copy")], tmp_path / "same.html", examples=0).read_text())
    assert "one (one)" in same.text
    with pytest.raises(OptionError, match="named twice"):
        report([one, one], tmp_path / "twice.html")


def test_without_intervals_nothing_is_drawn_for_them(tmp_path: Path) -> None:
    """Vega warns in the console about the extent of a field without values."""
    run = write_run(tmp_path / "run", {("clean", 0): first(5, 40), ("fog", 1): first(8, 40), ("fog", 3): first(20, 40)})
    table = pd.read_csv(run / "results.csv", dtype=str, keep_default_na=False)
    table.assign(ci_low="", ci_high="").to_csv(tmp_path / "bare.csv", index=False)
    drawn = [
        {
            name
            for chart in charts(Page(report([source], tmp_path / f"{source.stem}.html", examples=0).read_text()))
            for layer in chart["spec"].get("layer", [])
            for name in layer["encoding"]
        }
        for source in (run / "results.csv", tmp_path / "bare.csv")
    ]
    assert [bool({"x2", "y2"} & names) for names in drawn] == [True, False]


def test_an_unfinished_run_says_what_is_missing(tmp_path: Path) -> None:
    run = write_run(tmp_path / "one", {("clean", 0): first(5, 40), ("fog", 1): first(8, 40)})
    next((run / "records").glob("*fog*")).unlink()
    score_and_store(RunDirectory.open(run))
    found = Page(report([run], tmp_path / "page.html", examples=0).read_text())
    assert "1 of 2 conditions are finished" in found.text


def test_curves_begin_at_the_clean_images_and_every_way_to_choose_a_size_has_one(demo: Path, page: Page) -> None:
    """Expected: the clean row of results.csv at severity 0; its rows of every way."""
    results = pd.read_csv(demo / "results.csv")
    clean = results[(results["suite"] == "clean") & (results["metric"] == "error_rate")]["value"].iloc[0]
    start = rows_of(page, "Top-1 error by severity; severity 0 is clean: Fog")[0]
    assert (start["position"], start["value"]) == pytest.approx((0, 100 * clean))
    rows = rows_of(page, "Accuracy by cost, an input size for each image")
    points = {
        way: [(row["position"], row["value"]) for row in rows if row["model"] == way]
        for way in {r["model"] for r in rows}
    }
    of = {
        name: 100 * rows["value"].to_numpy()
        for name, rows in results[results["suite"] == "resolution"].groupby("metric")
    }
    paid = of["oracle_gflops"] / 100
    (alone,) = results[(results["metric"] == "gflops") & (results["resolution"] == 32)]["value"]
    expected = {
        "oracle (a bound, it looks at labels)": (paid, of["oracle_accuracy"]),
        "chance, in the oracle's shares": (paid, of["random_accuracy"]),
        "best of k: copies of one size (a bound, it looks at labels)": (np.full(7, alone), of["best_of_k_accuracy"]),
        "cascade, without labels, up to 32 px": (of["cascade_gflops"][:21] / 100, of["cascade_accuracy"][:21]),
        "cascade, without labels, up to 48 px": (of["cascade_gflops"][21:] / 100, of["cascade_accuracy"][21:]),
    }
    assert set(points) == {*expected, "one size for all"}
    for way, found in expected.items():
        np.testing.assert_allclose(points[way], np.stack(found, axis=1))
    told = results[results["metric"] == "cascade_accuracy_at_static"]["value"].iloc[0]
    assert f"{100 * told:.2f} [" in page.text


def test_another_file_is_not_replaced(tmp_path: Path) -> None:
    run = write_run(tmp_path / "one", {("clean", 0): first(5, 40)})
    (tmp_path / "page.html").write_text("mine")
    with pytest.raises(OptionError, match="is a file of another kind"):
        report([run], tmp_path / "page.html", examples=0)
    assert (tmp_path / "page.html").read_text() == "mine"
    report([run], tmp_path / "page.html", examples=0, force=True)
    assert "robench report" in (tmp_path / "page.html").read_text()
    for _ in range(2):
        report([run], tmp_path / "report.html", examples=0)


def test_classes_of_imagenet_are_words() -> None:
    """n01440764 is the tench, ImageNet's first class; what is no WordNet id stays as it is."""
    assert class_names(["n01440764", "cat", "n00000000"]) == ["tench", "cat", "n00000000"]


def test_mistakes_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = write_run(tmp_path / "one", {("clean", 0): first(5, 40)})
    for arguments, says in (
        ([str(tmp_path / "none")], "not a run directory"),
        ([str(run), "--out", str(tmp_path)], "is a directory"),
        ([str(run), "--out", str(tmp_path / "no" / "page.html")], "a directory that does not exist"),
        ([str(run), "--examples", "-1"], "at least 0"),
    ):
        assert run_cli(["report", *arguments]) == 2
        assert says in mistake(capsys.readouterr().err)
    assert not list(tmp_path.glob("*.html"))
    assert run_cli(["report", str(run), "--out", str(tmp_path / "page.html"), "--examples", "0"]) == 0
    with pytest.raises(RobenchError):
        report([], tmp_path / "page.html")


def test_another_place_of_the_images_is_refused(demo: Path, tmp_path: Path) -> None:
    (tmp_path / "data" / "a").mkdir(parents=True)
    Image.new("RGB", (32, 32)).save(tmp_path / "data" / "a" / "x.png")
    found = Page(report([demo], tmp_path / "page.html", data=tmp_path / "data").read_text())
    assert "has other images than the run evaluated" in found.text
    assert not found.all("img")


def test_without_the_gallery_no_torch(demo: Path, tmp_path: Path) -> None:
    code = (
        f"import sys; from robench import report; report([{str(demo)!r}], {str(tmp_path / 'page.html')!r}, examples=0); "
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.slow(minutes=0.3)
def test_a_browser_draws_it_prints_it_and_gives_its_data(demo: Path, tmp_path: Path, tab: Any) -> None:
    file = report([demo], tmp_path / "page.html", examples=2)
    told = Page(file.read_text())
    (chart, *_), expected = charts(told), sum("data-chart" in attributes for _, attributes in told.elements)
    for width in (1280, 390):
        tab.set_viewport_size({"width": width, "height": 900})
        tab.goto(file.as_uri())
        tab.wait_for_selector("html[data-drawn]")
        assert tab.locator(".plot > svg").count() == expected
        assert tab.evaluate("document.documentElement.scrollWidth") <= width
    tab.locator("details.data summary").first.press("Enter")
    table = tab.locator("details.data table").first
    table.wait_for()
    cells = table.locator("tbody th").all_inner_texts()
    assert cells == [row["name"] for row in chart["rows"]]
    with tab.expect_download() as download:
        tab.locator("[data-csv]").first.click()
    rows = pd.read_csv(download.value.path())
    assert rows["of"].tolist() == cells
    assert rows["mean error, %"].tolist() == pytest.approx([row["value"] for row in chart["rows"]])
    # A print that begins while the page opens.
    tab.add_init_script("addEventListener('DOMContentLoaded', () => dispatchEvent(new Event('beforeprint')))")
    tab.goto(file.as_uri())
    assert tab.locator(".plot > svg").count() == expected
