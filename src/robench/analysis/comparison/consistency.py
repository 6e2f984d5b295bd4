"""Error consistency between runs, and between a run and decisions of people or of other networks."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import combinations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from robench.analysis.comparison.decisions import DecisionMaker
from robench.analysis.comparison.results_set import ResultsSet
from robench.analysis.metrics import METRICS
from robench.analysis.metrics.error_consistency import error_consistency
from robench.analysis.metrics.intervals import percentile_interval
from robench.analysis.metrics.shape_bias import Cues
from robench.analysis.scoring.records import read_columns
from robench.analysis.scoring.rows import DISTRIBUTION_SIZE, resample_weights
from robench.errors import OptionError, RunError
from robench.runs.conditions import ConditionEntry
from robench.runs.directory import RunDirectory
from robench.suites import cues_of, display_family

__all__ = ["METRIC", "PAIR", "Consistency", "consistency_rows", "of_decisions", "of_runs", "shared_cells"]

METRIC = "error_consistency"
PAIR = "pair"
"""Level of the error consistency among differences, whose row has both decision makers but no change."""

_PERSON = re.compile(r"(subject|participant|observer|person|human)[-_ ]?\d+", re.IGNORECASE)

Rights = NDArray[np.bool_]


@dataclass(frozen=True)
class Consistency:
    """Agreement of two decision makers on which images of a suite are right.

    Attributes:
        suite: Name of the suite.
        base: Name of the first one.
        run: Name of the second one.
        images: Number of images that both have decided on.
        conditions: Number of conditions, over which the other values are means.
        observed: Share of images on which both are right or both are wrong.
        expected: That share by chance. Close to 1, the kappa is unstable.
        kappa: Error consistency.
        ci_low: Lower end of its 95 % interval, a bootstrap over images; NaN for a mean over people.
        ci_high: Upper end of the same interval.
        shape_bias: Shape bias of `base` on cue-conflict images; NaN for other images.
    """

    suite: str
    base: str
    run: str
    images: int
    conditions: int
    observed: float
    expected: float
    kappa: float
    ci_low: float = float("nan")
    ci_high: float = float("nan")
    shape_bias: float = float("nan")


def shared_cells(base: ResultsSet, other: ResultsSet) -> Iterator[tuple[ConditionEntry, pd.DataFrame, pd.DataFrame]]:
    """Yield each condition with one image a sample that two runs share, with `sample`, `label` and `pred` of both.

    Raises:
        RunError: A run has no records, or records of other samples.
    """
    for results in (base, other):
        if not results.runs:
            raise RunError(f"{results.name} has no records of images", "name the run directory")
    known = {condition.name: condition for condition in base.runs[0].finished()}
    for condition in other.runs[0].finished():
        same = known.get(condition.name)
        if (
            same is None
            or (same.protocol, same.source) != (condition.protocol, condition.source)
            or condition.frames != 1
        ):
            continue
        before, after = (
            read_columns(results.runs[0], condition, ("sample", "label", "pred")) for results in (base, other)
        )
        same_columns = ["sample"] if base.runs[0].is_multi_label else ["sample", "label"]
        if not before[same_columns].equals(after[same_columns]):
            raise RunError(f"{other.name}: {condition.name} has other samples than in {base.name}", "evaluate again")
        yield condition, before, after


def of_runs(base: ResultsSet, other: ResultsSet, names: tuple[str, str]) -> list[Consistency]:
    """Return the error consistency of two runs for each suite, a mean over the conditions that both have.

    Raises:
        RunError: As `shared_cells`.
    """
    rights: dict[str, list[tuple[Rights, Rights]]] = {}
    for condition, before, after in shared_cells(base, other):
        pair = [np.asarray(records["pred"] == records["label"], np.bool_) for records in (before, after)]
        rights.setdefault(condition.suite, []).append((pair[0], pair[1]))
    seed = base.runs[0].manifest["seed"]
    return [_measured(suite, names, pairs, seed) for suite, pairs in rights.items()]


def of_decisions(results: ResultsSet, name: str, makers: Sequence[DecisionMaker]) -> list[Consistency]:
    """Return the error consistency of a run with each decision maker, on its unperturbed images.

    Decision makers called subject-01, subject-02, ... are people: the mean over them follows, then the mean over pairs of them.

    Raises:
        RunError: The run has no records.
        OptionError: The decisions are on other images, or name other classes.
    """
    if not results.runs:
        raise RunError(f"{results.name} has no records of images", "name the run directory")
    run = results.runs[0]
    condition = next((one for one in run.finished() if one.clean == one.name and one.frames == 1), None)
    if condition is None:
        raise RunError(f"{run.path} has no records of unperturbed images", "evaluate again")
    paths, classes = run.read_samples()["path"].tolist(), run.manifest["data"]["classes"]
    records = read_columns(run, condition, ("label", "pred"))
    truth = [classes[label] for label in records["label"].tolist()]
    right = np.asarray(records["pred"] == records["label"], np.bool_)
    decided = {maker.name: _decided(maker, run, paths, truth) for maker in makers}
    seed = run.manifest["seed"]
    found = []
    for maker, (places, chosen) in decided.items():
        is_right = np.array([decision == truth[place] for place, decision in zip(places, chosen, strict=True)])
        one = _measured(condition.suite, (maker, name), [(is_right, right[places])], seed)
        found.append(_with_bias(one, [paths[place] for place in places], chosen))
    people = [maker for maker in decided if _PERSON.fullmatch(maker)]
    if len(people) > 1:
        pairs = [_between(condition.suite, *pair, decided, truth, seed) for pair in combinations(people, 2)]
        found.append(_mean([one for one in found if one.base in people], f"mean of {len(people)} people", name))
        found.append(_mean(pairs, f"each other, mean of {len(people)}", "people"))
    return found


def _decided(
    maker: DecisionMaker, run: RunDirectory, paths: Sequence[str], truth: Sequence[str]
) -> tuple[NDArray[np.intp], list[str]]:
    """Return the places of the images that a decision maker has decided on, ascending, and the decisions."""
    on = dict(sorted(maker.on(paths).items()))
    if not on:
        raise OptionError(
            f"the decisions of {maker.name} are on no image of {run.path}",
            f"write the files as in the dataset, such as {paths[0]}",
        )
    if not set(on.values()) & set(run.manifest["data"]["classes"]):
        raise OptionError(
            f"the decisions of {maker.name} name no class of {run.path}, for example {next(iter(on.values()))!r}",
            f"write names of classes, such as {truth[0]}",
        )
    return np.array(list(on), np.intp), list(on.values())


def _between(
    suite: str,
    first: str,
    second: str,
    decided: Mapping[str, tuple[NDArray[np.intp], list[str]]],
    truth: Sequence[str],
    seed: int,
) -> Consistency:
    both = [dict(zip(places.tolist(), chosen, strict=True)) for places, chosen in (decided[first], decided[second])]
    shared = sorted(both[0].keys() & both[1].keys())
    rights = [np.array([decisions[place] == truth[place] for place in shared], np.bool_) for decisions in both]
    return _measured(suite, (first, second), [(rights[0], rights[1])], seed, resamples=False)


def _mean(parts: Sequence[Consistency], base: str, run: str) -> Consistency:
    observed, expected, kappa = (
        float(np.mean([getattr(one, name) for one in parts])) for name in ("observed", "expected", "kappa")
    )
    return Consistency(parts[0].suite, base, run, parts[0].images, parts[0].conditions, observed, expected, kappa)


def _with_bias(one: Consistency, paths: Sequence[str], decisions: Sequence[str]) -> Consistency:
    cues = [cues_of(path) for path in paths]
    if display_family(one.suite).has_clean or None in cues:
        return one
    known = [both for both in cues if both is not None]
    bias = Cues.of([shape for shape, _ in known], [texture for _, texture in known], decisions).bias
    return replace(one, shape_bias=bias)


def _measured(
    suite: str, names: tuple[str, str], pairs: Sequence[tuple[Rights, Rights]], seed: int, *, resamples: bool = True
) -> Consistency:
    """Return the means over conditions of the agreement of two decision makers, whose right decisions are given."""
    n = len(pairs[0][0])
    first, second = (np.stack(rights, axis=1) for rights in zip(*pairs, strict=True))
    values = np.empty((3, DISTRIBUTION_SIZE if resamples else 1))
    for part, counts in resample_weights(n, seed):
        values[:, part] = np.mean(error_consistency(first, second, counts), axis=2)
        if not resamples:
            break
    observed, expected, kappa = values[:, 0].tolist()
    ends = percentile_interval(values[2, 1:]) if resamples else (np.float64("nan"),) * 2
    low, high = (float(end) for end in ends)
    return Consistency(suite, *names, n, len(pairs), observed, expected, kappa, low, high)


def consistency_rows(found: Sequence[Consistency]) -> pd.DataFrame:
    """Return a table with a row for each pair and suite, in columns of `difference_rows` and some of its own."""
    columns = {"base": "base_model", "run": "run_model", "kappa": "run_value"}
    table = pd.DataFrame([asdict(one) for one in found]).rename(columns=columns)
    return table.assign(level=PAIR, metric=METRIC, unit=METRICS[METRIC].unit)
