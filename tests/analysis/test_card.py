"""`robench card`. Oracle: Hugging Face's own reader of model cards, YAML, an XML parser, and the bytes of the card before."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import yaml
from huggingface_hub import ModelCard
from PIL import ImageFont

from robench.analysis.badge import badge
from robench.analysis.card import read_card
from robench.cli.entry import run_cli
from tests.analysis.gate.invented import first, write_run
from tests.builders import each, mistake

Capture = pytest.CaptureFixture[str]
METRICS = ("accuracy", "error_rate", "corruption_error", "mean_error")
EARLIER = """\
model-index:
  # by hand
  - name: net
    results:
      - task: {type: image-classification}
        dataset: {type: pictures, name: Pictures}
        metrics: [{type: accuracy, value: 0.5}]
        mine: kept
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    cells = {("clean", 0): first(20, 200), ("fog", 1): first(60, 200), ("snow", 1): first(80, 200)}
    command = ["evaluate", "/home/me/nets/net.pth", "--data", "/data/pictures", "-n", "200"]
    facts: dict[str, Any] = {
        "model": {"label": "net", "classes": 2, "sha256": "ab" * 32},
        "environment": {"command": command},
    }
    return write_run(tmp_path_factory.mktemp("card") / "net", cells, metrics=METRICS, **facts)


def read(card: str) -> Any:
    """A card as Hugging Face reads it."""
    return ModelCard(card)


def test_a_new_card(run: Path) -> None:
    text = read_card(run).new("badge one.svg")
    card = read(text)
    assert card.data.model_name == "net"
    found = {(one.dataset_config, one.metric_type): one for one in card.data.eval_results or ()}
    assert {key: one.metric_value for key, one in found.items()} == {
        ("clean", "accuracy"): 90.0,
        ("cifar-c", "mean_error"): 35.0,
    }
    mean = found["cifar-c", "mean_error"]
    assert mean.metric_args["ci_low"] < 35 < mean.metric_args["ci_high"]
    assert mean.dataset_args["images"] == 200
    lines = card.text.splitlines()
    answer = next(line for line in lines if line.startswith("**"))
    assert answer.startswith("**cifar-c mean error (over 2 of 75 cells): 35.0 %** (95 % interval ")
    assert answer.endswith("; clean accuracy: 90.0 %. Measured on 200 images of pictures.")
    assert "![cifar-c mean error (over 2 of 75 cells): 35.0 %](badge%20one.svg)" in lines
    assert "| weather | fog | 30.0 | 30.0 |" in lines
    assert "robench evaluate net.pth --data pictures -n 200" in lines, "no folders of the machine"


@pytest.mark.slow
@each(
    "before",
    [
        "",
        "# Net\n\nno metadata, no line end",
        "---\n---\n# empty metadata\n",
        "---\nlicense: mit  # stays\ntags: [a,\n  b]\n---\n\n# Net\n",
        "---\r\nlicense: mit\r\n---\r\n\r\n# Windows\r\n",
        f"---\nlicense: mit\n{EARLIER}\n# about the tags\ntags:\n- a\n---\n# Net\n",
        f"---\n{EARLIER}---\n# Net\n",
        "---\nmodel-index: []  # none yet\nlicense: mit\n---\n# Net\n",
        "---\nmodel-index:\nlicense: mit\n---\n# Net\n",
        "---\ntitle: model-index\n---\n# Net\n\n---\nmodel-index: not metadata\n---\n",
        "\ufeff---\nlicense: mit\n---\n# Net\n",
        f"---\n{EARLIER}  - name: other\n    results: []\n---\n",
    ],
)
def test_all_else_of_a_card_stays(before: str, run: Path, tmp_path: Path) -> None:
    path = tmp_path / "README.md"
    path.write_bytes(before.encode())
    assert run_cli(["card", str(run), "--out", str(path)]) == 0
    once = path.read_bytes()
    assert run_cli(["card", str(run), "--out", str(path)]) == 0
    assert path.read_bytes() == once, "the same command again changes nothing"
    text = once.decode()
    start, stop = text.index("<!-- robench card: pictures -->"), text.index("<!-- end of robench card: pictures -->")
    assert ("\r\n" in text) == ("\r\n" in before)
    assert "\n" not in text.replace("\r\n", "") or "\r\n" not in text
    old, new = split(before), split(text[:start].rstrip("\r\n") + text[stop:].partition(" -->")[2])
    assert new[1].rstrip("\r\n") == old[1].rstrip("\r\n"), "the text"
    assert [line for line in old[0].splitlines() if line not in new[0].splitlines() and not indexed(line)] == []
    values = [yaml.safe_load(one) or {} for one in (old[0], new[0])]
    assert {**values[0], "model-index": 0} == {**values[1], "model-index": 0}
    results = {entry["name"]: entry["results"] for entry in values[1]["model-index"]}
    assert [one["dataset"]["config"] for one in results["net"] if "args" in one["dataset"]] == ["clean", "cifar-c"]
    if "mine: kept" in before:
        assert results["net"][0] == yaml.safe_load(EARLIER)["model-index"][0]["results"][0]
    assert len(read(text.lstrip("\ufeff")).data.eval_results or ()) >= 2


def split(text: str) -> tuple[str, str]:
    """The metadata of a card and its text."""
    bare = text.lstrip("\ufeff").replace("\r\n", "\n")
    if not bare.startswith("---\n"):
        return "", bare
    metadata, _, rest = bare.removeprefix("---\n").partition("---\n")
    return metadata, rest


def indexed(line: str) -> bool:
    return line in EARLIER.splitlines() or line.strip().startswith(("model-index", "- name: other", "results: []"))


def test_results_are_replaced_by_later_ones(run: Path, tmp_path: Path) -> None:
    """Those of another dataset stay, in metadata and text."""
    cells = {("clean", 0): first(10, 200), ("fog", 1): first(20, 200), ("snow", 1): first(20, 200)}
    better = write_run(tmp_path / "better", cells, metrics=METRICS, model={"label": "net", "classes": 2})
    drawn = write_run(
        tmp_path / "drawn", cells, metrics=METRICS, dataset="drawings", model={"label": "net", "classes": 2}
    )
    text = ""
    for one in (run, drawn, better):
        text = read_card(one).into(text)
    card = read(text)
    values = {
        (one.dataset_type, one.metric_type): one.metric_value for one in card.data.eval_results or () if one.metric_name
    }
    assert values == {
        ("pictures", "accuracy"): 95.0,
        ("pictures", "mean_error"): 10.0,
        ("drawings", "accuracy"): 95.0,
        ("drawings", "mean_error"): 10.0,
    }
    assert text.count("## Robustness") == 2
    assert "35.0 %" not in text


@each(
    ("card", "reason"),
    [
        ("---\na: [\n---\n", "is not YAML"),
        ("---\n- a\n---\n", "is not a table of keys and values; correct it"),
        ("---\n{a: 1}\n---\n", "is one line in braces; write a line for each key"),
        ("---\nmodel-index: 3\n---\n", "is not a list of results by model; correct it"),
        ("---\nmodel-index:\n- name: net\n  results:\n  - task: 1\n---\n", "Hugging Face does not accept the metadata"),
        ("<!-- robench card: pictures -->\n", "has damaged markers"),
    ],
)
def test_a_damaged_card_stays_as_it_is(card: str, reason: str, run: Path, tmp_path: Path, capsys: Capture) -> None:
    path = tmp_path / "README.md"
    path.write_text(card)
    assert run_cli(["card", str(run), "--out", str(path), "--badge", str(tmp_path / "b.svg")]) == 2
    assert reason in mistake(capsys.readouterr().err)
    assert path.read_text() == card
    assert [file.name for file in tmp_path.iterdir()] == ["README.md"]


def test_files_of_another_kind_stay(run: Path, tmp_path: Path, capsys: Capture) -> None:
    for option, name in (("--out", "notes.txt"), ("--badge", "drawing.svg")):
        (tmp_path / name).write_text("<svg/>")
        assert run_cli(["card", str(run), option, str(tmp_path / name)]) == 2
        assert "is a file of another kind" in mistake(capsys.readouterr().err)
        assert (tmp_path / name).read_text() == "<svg/>"
    (tmp_path / "latin.md").write_bytes("é".encode("latin-1"))
    assert run_cli(["card", str(run), "--out", str(tmp_path / "latin.md")]) == 2
    assert mistake(capsys.readouterr().err).endswith("latin.md is not UTF-8 text; save it in UTF-8")


def test_a_badge_is_wide_enough_for_its_text() -> None:
    """Oracle: the widths of DejaVu Sans, if the system has the font; otherwise only the structure is tested."""
    svg = ElementTree.fromstring(badge("<cifar-c> & mean error", "31.2 %"))
    space = "{http://www.w3.org/2000/svg}"
    assert (svg.get("role"), svg.get("aria-label")) == ("img", "<cifar-c> & mean error: 31.2 %")
    assert svg.findtext(f"{space}title") == "<cifar-c> & mean error: 31.2 %"
    texts = list(svg.iter(f"{space}text"))
    assert [text.text for text in texts] == ["<cifar-c> & mean error", "31.2 %"]
    assert int(svg.get("width", 0)) == sum(int(text.get("textLength", 0)) + 14 for text in texts)
    try:
        font = ImageFont.truetype("DejaVuSans.ttf", 1000)
    except OSError:
        return
    for text in texts:
        assert abs(int(text.get("textLength", 0)) - 0.011 * font.getlength(text.text or "")) < 2
