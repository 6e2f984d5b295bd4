"""Rows of out-of-distribution detection: the clean images of a run, and those of its conditions, against sets of other images."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from robench.analysis.metrics.intervals import RESAMPLES, resample_counts
from robench.analysis.metrics.ood import OOD_COLUMNS, OOD_SCORES, Separation, ood_scores, placements
from robench.analysis.scoring.groups import has_samples
from robench.analysis.scoring.records import read_columns
from robench.analysis.scoring.rows import DISTRIBUTION_SIZE, Row, result_row
from robench.errors import RunError
from robench.runs.conditions import ConditionEntry
from robench.runs.directory import RunDirectory
from robench.suites import CLEAN, OOD
from robench.suites.protocol import Protocol, short_hash
from robench.types import Floats

__all__ = ["ood_rows"]

_RATES = ("fpr95", "aupr_in", "aupr_out")


@dataclass(frozen=True)
class _Scored:
    """Scores of the samples of a condition, or of several.

    Attributes:
        scores: Scores by method, (n,) each.
        scopes: Size of each part and the purpose of its resamples. Parts of one purpose are resampled alike.
    """

    scores: Mapping[str, Floats]
    scopes: tuple[tuple[int, str], ...]

    @property
    def size(self) -> int:
        """Number of samples."""
        return sum(size for size, _ in self.scopes)

    def with_others(self, others: Sequence[_Scored]) -> _Scored:
        """Return these samples, then those of others."""
        parts = [self, *others]
        return _Scored(
            {name: np.concatenate([part.scores[name] for part in parts]) for name in OOD_SCORES},
            tuple(scope for part in parts for scope in part.scopes),
        )

    def resamples(self, seed: int) -> Iterator[NDArray[np.int32]]:
        """Yield how often each of the resamples takes each sample, (n,); every part keeps its size."""
        draws = {scope: _rows(*scope, seed) for scope in dict.fromkeys(self.scopes)}
        for _ in range(RESAMPLES):
            counts = {scope: next(rows) for scope, rows in draws.items()}
            yield np.concatenate([counts[scope] for scope in self.scopes])


def _rows(size: int, purpose: str, seed: int) -> Iterator[NDArray[np.int32]]:
    for counts in resample_counts(size, seed, scope=purpose):
        yield from counts


@dataclass(frozen=True)
class _Set:
    """A set of images that the run evaluated besides its dataset."""

    kind: str
    name: str
    dataset: str
    run: RunDirectory


def ood_rows(run: RunDirectory, seed: int) -> Iterator[Row]:
    """Yield the rows of the suite `ood`; none for a run without images out of distribution.

    Each clean condition is in distribution. So is each condition of corruptions with the same clean images: for `auroc` alone, and
    for `fs_auroc` (full spectrum) together with the clean images. Sets under a natural shift join the clean images in `fs_*`.
    Values of sets with one name are averaged. Resamples of `auroc` and `fs_auroc` are those of their first-order expansion.

    Raises:
        RunError: The records of a set are missing.
    """
    sets = _sets(run)
    if not any(one.kind == OOD for one in sets):
        return
    finished = run.finished()
    planned = [condition for condition in run.conditions if condition.suite == CLEAN]
    sizes: set[int] = set()
    cells: set[tuple[object, ...]] = set()
    for place, clean in enumerate(planned):
        if clean not in finished:
            continue
        shifted = []
        for one in finished:
            cell = one.corruption, one.severity, one.resolution
            if one.suite != CLEAN and one.clean == clean.name and has_samples(one) and cell not in cells:
                shifted.append(one)
                cells.add(cell)
        # Of several geometries or suites with one size, the first counts.
        yield from _clean_rows(run, clean, place, shifted, sets, seed, clean.resolution not in sizes)
        sizes.add(clean.resolution)


def _clean_rows(
    run: RunDirectory,
    clean: ConditionEntry,
    place: int,
    shifted: Sequence[ConditionEntry],
    sets: Sequence[_Set],
    seed: int,
    with_clean: bool,
) -> Iterator[Row]:
    inside = _read(run, clean, "bootstrap")
    read = {one.run.path: _read(one.run, *_of_set(one, place)) for one in sets}
    csid = [one for one in sets if one.kind != OOD]
    spectrum = inside.with_others([read[one.run.path] for one in csid]) if csid else None
    conditions = [(condition, _read(run, condition, "bootstrap")) for condition in shifted]
    named: dict[str, list[_Set]] = {}
    for one in sets:
        if one.kind == OOD:
            named.setdefault(one.name, []).append(one)

    for name, members in named.items():
        chosen = [(name, members)]
        if len(members) > 1:
            chosen += [(f"{name}/{one.dataset}", [one]) for one in members]
        for subset, own in chosen:
            outside = [read[one.run.path] for one in own]

            def common(
                condition: ConditionEntry,
                inside: _Scored,
                *more: _Set,
                subset: str = subset,
                own: Sequence[_Set] = own,
                outside: Sequence[_Scored] = outside,
            ) -> Row:
                return {
                    "suite": OOD,
                    "subset": subset,
                    "corruption": condition.corruption,
                    "severity": condition.severity,
                    "resolution": condition.resolution,
                    "protocol": _protocol(condition, [*own, *more], place),
                    "source": condition.source,
                    # Images of both sides, or sets of a mean.
                    "n": inside.size + outside[0].size if len(outside) == 1 else len(outside),
                }

            if with_clean:
                for method in OOD_SCORES:
                    yield from _rows_of(common(clean, inside) | {"method": method}, inside, outside, method, seed, "")
            if with_clean and spectrum is not None:
                for method in OOD_SCORES:
                    of_all = common(clean, spectrum, *csid) | {"method": method}
                    yield from _rows_of(of_all, spectrum, outside, method, seed, "fs_")
            for condition, scored in conditions:
                whole = inside.with_others([scored])
                for method in OOD_SCORES:
                    alone = common(condition, scored) | {"method": method}
                    yield alone | result_row("auroc", _mean(_auroc, scored, outside, method, seed))
                    both = common(condition, whole) | {"method": method}
                    yield both | result_row("fs_auroc", _mean(_auroc, whole, outside, method, seed))


def _rows_of(
    common: Row, inside: _Scored, outside: Sequence[_Scored], method: str, seed: int, prefix: str
) -> Iterator[Row]:
    yield common | result_row(f"{prefix}auroc", _mean(_auroc, inside, outside, method, seed))
    rates = _mean(_rates, inside, outside, method, seed)
    for metric, distribution in zip(_RATES, rates, strict=True):
        yield common | result_row(f"{prefix}{metric}", distribution)


_Measure = Callable[[_Scored, _Scored, str, int], Floats]


def _mean(measure: _Measure, inside: _Scored, outside: Sequence[_Scored], method: str, seed: int) -> Floats:
    """Return the unweighted mean over the sets of a name."""
    return np.asarray(np.mean([measure(inside, one, method, seed) for one in outside], axis=0))


def _auroc(inside: _Scored, outside: _Scored, method: str, seed: int) -> Floats:
    """Return the AUROC and its resamples, (1 + resamples,), from 0 to 1."""
    ours, theirs = placements(inside.scores[method], outside.scores[method])
    value = ours.mean()
    shifts = _linear(inside, ours - value, seed) + _linear(outside, theirs - value, seed)
    return np.asarray(np.clip(np.append(value, value + shifts), 0, 1))


def _linear(scored: _Scored, deviations: Floats, seed: int) -> Floats:
    """Return the mean deviation of each resample, (resamples,)."""
    # Rounding makes every sum exact, whatever the order in which a product adds.
    grid = 2.0**30
    rounded, sums, start = np.round(deviations * grid) / grid, np.zeros(RESAMPLES), 0
    for size, purpose in scored.scopes:
        part, done = rounded[start : start + size], 0
        for counts in resample_counts(size, seed, scope=purpose):
            sums[done : done + len(counts)] += counts.astype(np.float64) @ part
            done += len(counts)
        start += size
    return sums / scored.size


def _rates(inside: _Scored, outside: _Scored, method: str, seed: int) -> Floats:
    """Return FPR95 and both AUPR with their resamples, (3, 1 + resamples)."""
    separation = Separation.of(inside.scores[method], outside.scores[method])
    values = np.empty((len(_RATES), DISTRIBUTION_SIZE))
    values[:, 0] = [value[0] for value in separation.rates()]
    pairs = zip(inside.resamples(seed), outside.resamples(seed), strict=True)
    for number, (ours, theirs) in enumerate(pairs, 1):
        values[:, number] = [value[0] for value in separation.rates(np.concatenate([ours, theirs])[None])]
    return values


def _read(run: RunDirectory, condition: ConditionEntry, purpose: str) -> _Scored:
    records = read_columns(run, condition, OOD_COLUMNS)
    scores = ood_scores({name: records[name].to_numpy() for name in OOD_COLUMNS})
    return _Scored(scores, ((len(records), purpose),))


def _of_set(one: _Set, place: int) -> tuple[ConditionEntry, str]:
    """Return the condition of a set that belongs to a clean condition of the run, and the purpose of its resamples."""
    return one.run.conditions[place], f"set:{one.run.manifest['data']['sha256']}"


def _sets(run: RunDirectory) -> list[_Set]:
    """Return the sets of a run; RunError if one is missing or unfinished."""
    found = []
    for entry in run.manifest.get("image_sets", []):
        own = RunDirectory.open(run.path / entry["path"])
        if len(own.finished()) < len(own.conditions):
            raise RunError(f"{own.path} is not finished", "run the same `robench evaluate` again")
        found.append(_Set(entry["kind"], entry["name"], own.manifest["data"]["name"], own))
    twice = {
        (one.name, one.dataset)
        for one in found
        if [(o.name, o.dataset) for o in found].count((one.name, one.dataset)) > 1
    }
    return [
        replace(one, dataset=f"{one.dataset}-{one.run.path.name}") if (one.name, one.dataset) in twice else one
        for one in found
    ]


def _protocol(condition: ConditionEntry, sets: Sequence[_Set], place: int) -> str:
    """Return the protocol of a condition, with a hash that also covers the images of the sets."""
    facts = [
        condition.protocol,
        *(f"{one.run.conditions[place].protocol} {one.run.manifest['data']['sha256']}" for one in sets),
    ]
    return str(replace(Protocol.parse(condition.protocol), digest=short_hash(json.dumps(facts))))
