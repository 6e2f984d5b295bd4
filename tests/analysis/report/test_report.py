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
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import robench
from robench import report
from robench.analysis.formatting import format_value
from robench.analysis.report.class_names import class_names
from robench.analysis.scoring import score_and_store
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
    return robench.evaluate(classifier, "demo", suites, tmp_path_factory.mktemp("report") / "run", options=options).path


@pytest.fixture(scope="module")
def page(demo: Path) -> Page:
    return Page(report([demo], demo.parent / "page.html", examples=3).read_text())


def test_it_stands_alone(demo: Path, page: Page) -> None:
    assert (demo.parent / "page.html").stat().st_size < 5e6
    assert not page.all("link")
    for tag in ("script", "img", "iframe"):
        for attributes in page.all(tag):
            assert (attributes.get("src") or "data:").startswith("data:")
    policy = next(one["content"] for one in page.all("meta") if one.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None
    assert policy.startswith("default-src 'none'")
    assert not re.search(r"url\(|@import", (demo.parent / "page.html").read_text().split("</style>")[0])


def test_every_part_is_there(page: Page) -> None:
    for title in ("cifar-c", "cifar-p", "shift", "noise", "resolution", "calibration", "Confusions", "Provenance"):
        assert title in page.text
    specs = json.loads(page.scripts[1])
    assert len(specs) == sum("data-plot" in one for one in page.all("div")) == len(page.all("details"))
    assert all(spec["description"] for spec in specs)
    assert all(one.get("alt") for one in page.all("img"))


def test_figures_are_those_of_the_results(demo: Path, page: Page) -> None:
    results = pd.read_csv(demo / "results.csv")
    mean = results[results["metric"] == "mean_error"].iloc[0]
    assert format_value(mean["value"], "fraction") in page.text
    heat = next(spec for spec in json.loads(page.scripts[1]) if "by corruption and severity" in spec["description"])
    (rows,) = (one["data"]["values"] for one in [heat if "data" in heat else heat["layer"][0]])
    cells = results[(results["suite"] == "cifar-c") & (results["metric"] == "error_rate")]
    expected = {(one["corruption"], one["severity"]): 100 * one["value"] for one in cells.to_dict("records")}
    assert {(row["name"], row["position"]): row["value"] for row in rows} == pytest.approx(expected)


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
    assert any(
        EVIL in json.dumps(spec, ensure_ascii=False).replace('\\"', '"') for spec in json.loads(found.scripts[1])
    )


def test_runs_side_by_side(tmp_path: Path) -> None:
    cells = {("clean", 0): first(5, 40), ("fog", 1): first(8, 40), ("fog", 3): first(20, 40)}
    one = write_run(tmp_path / "one", cells)
    two = write_run(tmp_path / "two", cells, data="xyz")
    found = Page(report([one, two], tmp_path / "page.html", examples=2).read_text())
    assert (
        "cifar-c: two and one are not comparable and have separate charts, because their samples differ" in found.text
    )
    plotted = [
        set(re.findall(r'"model":"(\w+)"', json.dumps(spec, separators=(",", ":"))))
        for spec in json.loads(found.scripts[1])
    ]
    assert {"one"} in plotted
    assert {"two"} in plotted
    assert {"one", "two"} not in plotted
    assert "no images" in found.text  # Invented runs have none.
    table = Page(report([one / "results.csv"], tmp_path / "csv.html").read_text())
    assert "Confusions" not in table.text
    same = Page(report([one, shutil.copytree(one, tmp_path / "copy")], tmp_path / "same.html", examples=0).read_text())
    assert f"one ({one})" in same.text
    with pytest.raises(OptionError, match="named twice"):
        report([one, one], tmp_path / "twice.html")


def test_an_unfinished_run_says_what_is_missing(tmp_path: Path) -> None:
    run = write_run(tmp_path / "one", {("clean", 0): first(5, 40), ("fog", 1): first(8, 40)})
    next((run / "records").glob("*fog*")).unlink()
    score_and_store(RunDirectory.open(run))
    found = Page(report([run], tmp_path / "page.html", examples=0).read_text())
    assert "1 of 2 conditions are finished" in found.text


def test_curves_begin_at_the_clean_images_and_every_way_to_choose_a_size_has_one(demo: Path, page: Page) -> None:
    """Expected: the clean row of results.csv at severity 0; its rows of every way."""
    results = pd.read_csv(demo / "results.csv")
    specs = {spec["description"]: spec for spec in json.loads(page.scripts[1])}

    def drawn(description: str) -> list[tuple[float, float]]:
        rows = json.loads(
            re.findall(r'"values":(\[\{.*?\}\])', json.dumps(specs[description], separators=(",", ":")))[0]
        )
        return [(row["position"], row["value"]) for row in rows]

    clean = results[(results["suite"] == "clean") & (results["metric"] == "error_rate")]["value"].iloc[0]
    assert drawn("top-1 error by severity: fog")[0] == pytest.approx((0, 100 * clean))
    spec = specs["accuracy by cost, an input size for each image"]
    rows = json.loads(re.findall(r'"values":(\[\{.*?\}\])', json.dumps(spec, separators=(",", ":")))[0])
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


_CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")


@pytest.mark.slow
@pytest.mark.skipif(_CHROMIUM is None, reason="no chromium on this machine")
@pytest.mark.parametrize("width", [390, 1280])
def test_a_browser_draws_it_without_errors(demo: Path, tmp_path: Path, width: int) -> None:
    assert _CHROMIUM is not None
    file = report([demo], tmp_path / "page.html", examples=2)
    flags = (
        *("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"),
        *("--disable-component-update", "--disable-sync", "--enable-logging=stderr", "--virtual-time-budget=120000"),
        *(f"--user-data-dir={tmp_path / 'profile'}", f"--window-size={width},900", "--dump-dom"),
    )
    done = subprocess.run([_CHROMIUM, *flags, file.as_uri()], capture_output=True, text=True, check=True, timeout=300)
    assert "CONSOLE" not in done.stderr
    found = Page(done.stdout)
    (root,) = found.all("html")
    assert root.get("data-drawn") is not None
    svgs: list[Any] = found.all("svg")
    assert len(svgs) == sum("data-plot" in one for one in found.all("div"))
    assert "could not be drawn" not in found.text
