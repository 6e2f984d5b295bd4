"""Choosing an input size for every image, from the records of a run. The oracle is the same written out over its Parquet files."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import robench
from robench.analysis.comparison import load_results
from robench.analysis.gate.gate import gate
from robench.analysis.gate.rules import Rule
from robench.analysis.metrics.intervals import split_half
from robench.analysis.scoring import notes, pool, score
from robench.analysis.scoring.curves import Curve, resampled
from robench.analysis.scoring.size_selection import choice_rows
from robench.errors import OptionError
from robench.evaluation.options import Options
from robench.models import Classifier
from robench.runs.conditions import ConditionEntry
from robench.transforms.draws import KeyedDraws
from robench.transforms.perturbations import PERTURBATIONS
from robench.transforms.warps import PaddedBatch
from robench.types import Images

SIZES = [16, 24, 32, 40]
SOME = Options(limit=60, resolution=SIZES, corruption=["network", "best_of_k"])


@pytest.fixture(scope="module")
def demo() -> Classifier:
    return robench.load_classifier("demo", device="cpu")


@pytest.fixture(scope="module")
def run(demo: Classifier, tmp_path_factory: pytest.TempPathFactory) -> robench.Run:
    return robench.evaluate(demo, "demo", ["resolution"], tmp_path_factory.mktemp("choices") / "run", options=SOME)


def by_size(run: robench.Run) -> list[pd.DataFrame]:
    return [run.directory.read_records(f"resolution-network-1-{size}px") for size in SIZES]


def figures(run: robench.Run, metric: str, up_to: int | None = None) -> list[float]:
    rows = run.results[run.results["metric"] == metric]
    return list(rows["value"] if up_to is None else rows.loc[rows["resolution"] == up_to, "value"])


def one_by_one(run: robench.Run, late: float, sizes: int) -> tuple[float, float]:
    """Accuracy and mean cost of a cascade: every image with the thresholds of the half that it is not of."""
    records, cost = by_size(run)[:sizes], figures(run, "gflops")
    first = split_half(records[0]["sample"].to_numpy(), 0)
    right, paid = [], []
    for image in range(len(first)):
        others = [one["confidence"].to_numpy()[first != first[image]] for one in records]
        weights = [late**place * (1 - late) ** (sizes - 1 - place) for place in range(sizes)]
        left, spent, at = np.arange(len(others[0])), cost[0], 0
        while at < sizes - 1:
            go_on = round(len(others[0]) * sum(weights[at + 1 :]) / sum(weights))
            ranked = sorted((float(others[at][one]) for one in left), reverse=True)
            stopping = len(left) - go_on
            limit = 0.0 if stopping >= len(left) else np.inf if stopping <= 0 else ranked[stopping - 1]
            if records[at]["confidence"][image] >= limit:
                break
            left = np.array([one for one in left if others[at][one] < limit], int)
            at += 1
            spent += cost[at]
        right.append(records[at]["pred"][image] == records[at]["label"][image])
        paid.append(spent)
    return float(np.mean(right)), float(np.mean(paid))


@pytest.mark.parametrize("sizes", [3, 4])
def test_the_cascade_image_by_image(run: robench.Run, sizes: int) -> None:
    rows = run.results[run.results["axis"].eq("exit_ratio") & (run.results["resolution"] == SIZES[sizes - 1])]
    found = {name: of.set_index("axis_value")["value"] for name, of in rows.groupby("metric")}
    assert len(found["cascade_accuracy"]) == 21
    for late in (0.0, 0.15, 0.35, 0.5, 0.7, 1.0):
        accuracy, cost = one_by_one(run, late, sizes)
        assert found["cascade_accuracy"][late] == pytest.approx(accuracy, abs=1e-12)
        assert found["cascade_gflops"][late] == pytest.approx(cost)
    alone = [(one["pred"] == one["label"]).mean() for one in by_size(run)]
    assert found["cascade_accuracy"][0.0] == pytest.approx(alone[0])
    assert found["cascade_accuracy"][1.0] == pytest.approx(alone[sizes - 1])
    assert found["cascade_gflops"][1.0] == pytest.approx(sum(figures(run, "gflops")[:sizes])), "of all sizes tried"
    texts = set(rows["protocol"].str.split("#").str[0])
    assert texts == {f"resize1x1+fp32+{'-'.join(map(str, SIZES[:sizes]))}px"}


def test_the_oracle_chance_and_the_figures_beside_one_size(run: robench.Run) -> None:
    """By the formulas of arXiv:1703.09844 and arXiv:2106.02898 over shares that are counted."""
    right = np.array([one["pred"] == one["label"] for one in by_size(run)])
    cost = np.array(figures(run, "gflops"))
    share = np.array([(right[at] & ~right[:at].any(axis=0)).mean() for at in range(4)])
    alone = right.mean(axis=1)
    for last, size in enumerate(SIZES):
        (accuracy,) = figures(run, "oracle_accuracy", size)
        (paid,) = figures(run, "oracle_gflops", size)
        (chance,) = figures(run, "random_accuracy", size)
        assert accuracy == pytest.approx(share[: last + 1].sum())
        assert paid == pytest.approx(cost[0] + sum(share[at] * (cost[at] - cost[0]) for at in range(1, last + 1)))
        shares = [1 - share[1 : last + 1].sum(), *share[1 : last + 1]]
        assert chance == pytest.approx(sum(p * a for p, a in zip(shares, alone, strict=False)))
    assert figures(run, "oracle_accuracy", 16)[0] == pytest.approx(alone[0])
    assert figures(run, "oracle_gflops", 16)[0] == pytest.approx(cost[0])
    assert figures(run, "oracle_accuracy", 40)[0] == pytest.approx(right.any(axis=0).mean())
    for up_to, count in ((32, 3), (40, 4)):
        reached = [figures(run, "oracle_accuracy", size)[0] for size in SIZES[:count]]
        paid_at = [figures(run, "oracle_gflops", size)[0] for size in SIZES[:count]]
        assert figures(run, "oracle_accuracy_at_static", up_to)[0] == pytest.approx(
            np.interp(cost[2], paid_at, reached)
        )
        rising = np.array(reached) + 1e-12 * np.arange(count)
        assert figures(run, "oracle_gflops_at_static", up_to)[0] == pytest.approx(np.interp(alone[2], rising, paid_at))
        late = run.results[run.results["axis"].eq("exit_ratio") & (run.results["resolution"] == up_to)]
        wide = late.pivot(index="axis_value", columns="metric", values="value").sort_values("cascade_gflops")
        expected = np.interp(cost[2], wide["cascade_gflops"], wide["cascade_accuracy"])
        assert figures(run, "cascade_accuracy_at_static", up_to)[0] == pytest.approx(expected)
    rows = run.results[run.results["metric"].str.endswith("_at_static")]
    assert rows["ci_low"].notna().all()
    assert (rows["ci_low"] <= rows["value"]).all()
    assert not (rows["value"] > rows["ci_high"]).any()


@pytest.mark.parametrize("right", [0.0, 1.0])
def test_a_rate_of_0_or_1_has_a_width(right: float) -> None:
    """Of twenty images that are all right, or all wrong, at every size; by hand, Wilson's bound is n / (n + z^2) there."""
    conditions = [
        ConditionEntry(f"at-{size}", "resolution", "network", 1, size, "model#1", "computed", "clean", gflops=cost)
        for size, cost in ((16, 1.0), (32, 4.0))
    ]
    oracle = {"accuracy": right, "oracle_accuracy": right, "oracle_gflops": 1.0}
    curves = [
        Curve(one, metric, "", np.zeros(1), np.full((1, 20), value), metric != "oracle_gflops")
        for one in conditions
        for metric, value in oracle.items()
    ]
    curves += [
        Curve(conditions[1], "cascade_accuracy", "exit_ratio", np.array([0, 1.0]), np.full((2, 20), right), True),
        Curve(conditions[1], "cascade_gflops", "exit_ratio", np.array([0, 1.0]), np.array([[1.0] * 20, [5.0] * 20])),
    ]
    rows = [one for one in choice_rows(resampled(curves, 20, 0), 32, 20) if one["unit"] == "fraction"]
    assert {one["metric"] for one in rows} == {
        "random_accuracy", "oracle_accuracy_at_static", "random_accuracy_at_static", "cascade_accuracy_at_static",
    }  # fmt: skip
    within = 20 / (20 + 1.959964**2)
    ends = (within, 1.0) if right else (0.0, 1 - within)
    for one in rows:
        assert one["value"] == right
        assert (one["ci_low"], one["ci_high"]) == pytest.approx(ends, abs=1e-6), one["metric"]


def test_luck_is_the_oracle_over_copies_of_one_size(run: robench.Run) -> None:
    copies = run.directory.read_records("resolution-best_of_k-1-32px")
    right = (copies["pred"] == copies["label"]).to_numpy().reshape(len(SIZES), 60)
    rows = run.results[run.results["metric"] == "best_of_k_accuracy"]
    assert rows["axis_value"].tolist() == [1, 2, 3, 4], "as many copies as sizes"
    assert rows["value"].tolist() == pytest.approx([right[: at + 1].any(axis=0).mean() for at in range(4)])
    static = by_size(run)[2]
    unmoved = copies[copies["frame"] == 0].reset_index(drop=True)
    assert unmoved["confidence"].equals(static["confidence"]), "one copy is the network at its own input"
    assert rows["value"].iloc[0] == (static["pred"] == static["label"]).mean()


def test_copies_are_moved_by_one_pixel_each_in_another_direction() -> None:
    """The place of a coordinate gives the shift of the image; the oracle is numpy's edge padding."""
    side = 6
    places = torch.arange(side, dtype=torch.uint8)
    picture = torch.stack(
        [places[:, None].expand(side, side), places.expand(side, side), 0 * places.expand(side, side)]
    )
    level = {"frames": tuple(range(25))}
    batch = PaddedBatch.of(picture[None])
    frames: list[Images] = list(
        PERTURBATIONS["best_of_k"](batch, side, KeyedDraws(0, torch.arange(1), "best_of_k"), level)
    )
    moved = [(3 - int(frame[0, 0, 3, 3]), 3 - int(frame[0, 1, 3, 3])) for frame in frames]
    assert moved[0] == (0, 0)
    assert torch.equal(frames[0][0], picture)
    assert len(set(moved)) == 25
    assert {max(abs(down), abs(right)) for down, right in moved[1:9]} == {1}
    assert [abs(down) + abs(right) for down, right in moved[1:9]] == [1, 1, 1, 1, 2, 2, 2, 2]
    assert {max(abs(down), abs(right)) for down, right in moved[9:]} == {2}
    for frame, (down, right) in zip(frames, moved, strict=True):
        padded = np.pad(picture.numpy(), ((0, 0), (2, 2), (2, 2)), mode="edge")
        assert np.array_equal(frame[0].numpy(), padded[:, 2 - down : 8 - down, 2 - right : 8 - right])


def test_what_has_no_size_to_choose_from_has_no_choice(demo: Classifier, run: robench.Run, tmp_path: Path) -> None:
    one = robench.evaluate(
        demo, "demo", ["resolution"], tmp_path / "one", options=replace(SOME, resolution=[32], limit=6)
    )
    assert not one.results["metric"].str.contains("cascade|at_static").any()
    assert figures(one, "oracle_accuracy") == figures(one, "random_accuracy") == figures(one, "best_of_k_accuracy")
    single = robench.evaluate(demo, "demo", ["resolution"], tmp_path / "single", options=replace(SOME, limit=1))
    assert not single.results["metric"].str.startswith("cascade").any(), "one image has no other half"
    other = robench.evaluate(
        demo, "demo", ["resolution"], tmp_path / "other", options=replace(SOME, resolution=[16, 24], limit=6)
    )
    assert not other.results["metric"].str.endswith("at_static").any(), "the model's own size is not among them"
    assert set(other.results.loc[other.results["axis"] == "exit_ratio", "resolution"]) == {24}
    assert any("bounds that look at the labels" in note for note in notes(run.directory))
    assert not any("bounds that look" in note for note in notes(one.directory))


def test_an_image_without_a_prediction_is_nobodys_choice(demo: Classifier, tmp_path: Path) -> None:
    """At 16 px the network gives NaN: the oracle has nothing there, the cascade goes on, the cost stays."""

    class Broken(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            logits: torch.Tensor = demo.module(images)
            return logits * (float("nan") if images.shape[2] == 16 else 1.0)

    options = replace(SOME, resolution=[16, 32], limit=20)
    broken = replace(demo, module=Broken().eval(), label="broken")
    done = robench.evaluate(broken, "demo", ["resolution"], tmp_path / "run", options=options)
    plain = robench.evaluate(demo, "demo", ["resolution"], tmp_path / "plain", options=options)
    assert figures(done, "nonfinite_rate", 16) == [1]
    assert figures(done, "oracle_accuracy", 16) == [0]
    (alone,) = [row["value"] for row in rows_of(plain, "accuracy", 32)]
    assert figures(done, "oracle_accuracy", 32) == [alone]
    assert len(figures(done, "gflops")) == 2
    assert load_results(done.path).rows, "no figure twice"


def rows_of(run: robench.Run, metric: str, resolution: int) -> list[dict[str, float]]:
    rows = run.results[(run.results["metric"] == metric) & (run.results["corruption"] == "network")]
    found: list[dict[str, float]] = rows[rows["resolution"] == resolution].to_dict("records")
    return found


def test_gate_and_pool_take_the_figures(demo: Classifier, run: robench.Run, tmp_path: Path) -> None:
    """The default rules judge what they did; a rule of its own judges a cascade, but not one over other sizes."""
    judged = gate(run.path, run.path)
    assert not judged.failed
    metrics = {one.rule.metric for one in judged.comparisons}
    assert metrics == {"accuracy"}
    rule = Rule("cascade_accuracy_at_static", resolution=("40",))
    assert not gate(run.path, run.path, [rule]).failed
    fewer = robench.evaluate(
        demo, "demo", ["resolution"], tmp_path / "few", options=replace(SOME, resolution=[16, 32, 40])
    )
    with pytest.raises(OptionError, match=r"the input sizes \(16-32-40px and 16-24-32-40px\)"):
        gate(fewer.path, run.path, [rule])
    second = robench.evaluate(demo, "demo", ["resolution"], tmp_path / "second", options=replace(SOME, seed=1))
    pooled = pool([run.directory, second.directory])[0]
    both = pooled[(pooled["metric"] == "cascade_accuracy") & (pooled["axis_value"] == 0.5)]
    each = [
        one.results[(one.results["metric"] == "cascade_accuracy") & (one.results["axis_value"] == 0.5)]
        for one in (run, second)
    ]
    assert both["value"].tolist() == pytest.approx(np.mean([one["value"] for one in each], axis=0).tolist())


def test_scoring_does_not_depend_on_the_order_of_the_conditions(run: robench.Run, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(run.path, tmp_path / "copy"))
    manifest = json.loads((copy / "manifest.json").read_text())
    manifest["conditions"] = [manifest["conditions"][0], *manifest["conditions"][:0:-1]]
    (copy / "manifest.json").write_text(json.dumps(manifest))
    again = score(robench.RunDirectory.open(copy))
    for metric in ("cascade_accuracy", "oracle_gflops_at_static", "random_accuracy"):
        ours, theirs = (
            one[one["metric"] == metric].sort_values(["resolution", "axis_value"])["value"].tolist()
            for one in (again, run.results)
        )
        assert ours == theirs
