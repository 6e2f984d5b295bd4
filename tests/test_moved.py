"""What moved between versions: the list against the CHANGELOG, and baselines of an older robench.

Oracles: CHANGELOG.md; results that were written by hand as an older version would have written them.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from gate.invented import write_run
from robench.analysis.comparison.changes import MOVED, Moved, between, protocol_difference, quoted
from robench.analysis.gate import gate, update_baseline
from robench.analysis.gate.rules import Rule
from robench.errors import OptionError, TableError

ROOT = Path(__file__).parents[1]
OLD = "0.0.9"


def changelog() -> list[tuple[str, str]]:
    """Version and text, on one line, of every entry under a heading `Numbers`; what is unreleased is the next version's."""
    found = []
    current = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    for section in re.split(r"^## ", (ROOT / "CHANGELOG.md").read_text(), flags=re.M)[1:]:
        name = section.split(maxsplit=1)[0].strip("[]")
        for numbers in re.findall(r"^### Numbers\n(.*?)(?=^###|\Z)", section, flags=re.M | re.S):
            entries = re.findall(r"^- (.*(?:\n  .*)*)", numbers, flags=re.M)
            found += [(current if name == "Unreleased" else name, " ".join(entry.split())) for entry in entries]
    return found


def test_the_list_is_the_changelogs() -> None:
    listed = [(one.version, one.text) for one in MOVED]
    written = changelog()
    assert len(written) >= 11
    assert [one for one in written if one not in listed] == [], (
        "under Numbers, and not in robench.analysis.comparison.changes"
    )
    assert [one for one in listed if one not in written] == [], (
        "in robench.analysis.comparison.changes, and not under Numbers"
    )


@pytest.fixture
def run(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    cells = {("clean", 0): rng.random(200) < 0.1, ("fog", 1): rng.random(200) < 0.2}
    return write_run(tmp_path / "run", cells)


def older(run: Path, **cells: object) -> Path:
    """The run's results as an older version's baseline, with other cells in some columns."""
    results = pd.read_csv(run / "results.csv", dtype=str, keep_default_na=False)
    file = run.parent / "baseline.csv"
    results.assign(**{"robench_version": OLD, **cells}).to_csv(file, index=False)
    return file


def test_an_old_baseline_whose_figures_did_not_move_still_compares(run: Path) -> None:
    verdict = gate(run, older(run))
    assert not verdict.failed
    assert any(one.startswith(f"since robench {OLD} some models moved: EfficientNet's") for one in verdict.notes)
    assert not gate(run, older(run), [Rule("error_rate", suite=("cifar-c",))]).failed


def test_a_figure_that_moved_without_its_protocol_is_refused(run: Path) -> None:
    with pytest.raises(OptionError, match="Softmax and sigmoid at the end of a model are undone") as caught:
        gate(run, older(run), [Rule("ece", suite=("clean",))])
    text = str(caught.value)
    assert f"ece of clean at 32 px moved between robench {OLD} ({run.parent / 'baseline.csv'}) and 0.1.0" in text
    assert text.endswith("robench gate RUN --baseline CSV --update-baseline")
    assert "\n" not in text
    update_baseline(run, run.parent / "baseline.csv")
    assert not gate(run, run.parent / "baseline.csv", [Rule("ece", suite=("clean",))]).failed


@pytest.mark.parametrize(
    ("protocol", "difference"),
    [
        ("as-released+jpeg85+fp32#2", "the geometry (resize32x32-bilinear and as-released)"),
        ("resize36x36-bilinear+jpeg85+fp32#2", "the geometry (resize32x32-bilinear and resize36x36-bilinear)"),
        ("resize32x32-bilinear+fp32#2", "the release JPEG (jpeg85 and none)"),
        ("resize32x32-bilinear+jpeg85+bf16#2", "the precision (fp32 and bf16)"),
        ("resize32x32-bilinear+jpeg85+fp32+reference#2", "the backend (none and reference)"),
        (
            "resize36x36-bilinear+jpeg85+tf32#2",
            "the geometry (resize32x32-bilinear and resize36x36-bilinear) and the precision (fp32 and tf32)",
        ),
        ("resize32x32-bilinear+jpeg85+fp32#3", "the constants or the draws"),
    ],
)
def test_the_part_of_the_protocol_that_differs_is_named(protocol: str, difference: str) -> None:
    assert protocol_difference("resize32x32-bilinear+jpeg85+fp32#2", protocol).startswith(difference)


def test_another_protocol_is_refused_with_what_moved_it(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    baseline = older(run, protocol="cifar#2")
    with pytest.raises(
        OptionError, match=r"differ in the constants or the draws \(cifar#1 and cifar#2\); nothing of it"
    ):
        gate(run, baseline, [Rule("mean_error", suite=("cifar-c",))])
    entry = Moved("0.0.12", "Fog is thicker: 3 points of error.", "protocol", ("cifar-c",), ("*",))
    monkeypatch.setattr("robench.analysis.comparison.changes.MOVED", (entry, *MOVED))
    with pytest.raises(OptionError, match=r"Between robench 0\.0\.9 and 0\.1\.0: Fog is thicker") as caught:
        gate(run, baseline, [Rule("mean_error", suite=("cifar-c",))])
    assert "--update-baseline" in str(caught.value)


def test_an_older_schema_is_refused_with_what_moved(run: Path) -> None:
    """Its columns are others too, and that is not what is complained of."""
    baseline = older(run, schema="0")
    pd.read_csv(baseline, dtype=str).drop(columns=["unit", "source"]).to_csv(baseline, index=False)
    latest = re.escape(between(OLD, "0.1.0")[0].text)
    with pytest.raises(
        TableError, match=rf"has schema 0, of robench 0\.0\.9, and this robench reads 1\. {latest}"
    ) as caught:
        gate(run, baseline)
    assert "more under Numbers in CHANGELOG.md" in str(caught.value)
    assert "--update-baseline" in str(caught.value)
    with pytest.raises(TableError, match=r"has schema 9, .*: install the newer robench that wrote it"):
        gate(run, older(run, schema="9", robench_version="7.0"))


def test_figures_that_moved_to_other_places_of_the_table_are_explained(run: Path) -> None:
    baseline = older(run)
    results = pd.read_csv(baseline, dtype=str, keep_default_na=False)
    gone = results[results["metric"] == "accuracy"].assign(suite="shift", axis="right at down=0", axis_value="1")
    pd.concat([results, gone]).to_csv(baseline, index=False)
    with pytest.raises(
        OptionError, match=r"lacks 1 of the 1 figures .* since robench 0\.0\.9 `severity` of `flip_rate`"
    ):
        gate(run, baseline, [Rule("accuracy", suite=("shift",))])


def test_versions_are_ordered_as_numbers() -> None:
    assert between("0.0.9", "0.0.10") == []
    assert between("0.1.0", "0.2.0") == between("0.1.0", "0.1.0") == []
    assert between("0.0.10", "0.1.0") == between("0.1.0", "0.0.10") != []
    assert quoted(MOVED[:5]).endswith("And 2 more under Numbers in CHANGELOG.md. ")
