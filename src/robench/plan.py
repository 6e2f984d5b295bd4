"""What a run is going to do: options and suites -> conditions, each with the protocol that its figures carry."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from robench.corruptions import PACKAGE, SETS
from robench.draws import DRAWS_VERSION
from robench.errors import OptionError, unknown_name
from robench.geometry import Geometry
from robench.loop import PRECISIONS
from robench.models import Preprocessing
from robench.reference import check_reference, reference_version
from robench.rundir import PlannedCondition
from robench.suites import BACKENDS, CLEAN, Condition, Suite, find_suite

__all__ = ["DEFAULT_BATCH_SIZE", "GEOMETRIES", "Options", "Plan", "make_plan"]

DEFAULT_BATCH_SIZE = 64
"""Fixed, because a network's floating-point result depends on the batch's shape."""

GEOMETRIES = ("suite", "model")


@dataclass(frozen=True)
class Options:
    """Everything about a run but the model, the images and the place; the defaults are the published protocols.

    corruptions, severities: parts of the suites; None for all.  extra_corruptions: also those outside the aggregates.
    limit, per_class, subset: which samples (see data.select).  skip_unreadable: list damaged images instead of stopping.
    geometry: "suite", or "model" for the model's own resize, crop and interpolation.
    release_jpeg: whether suites whose released files went through JPEG do so here.
    backend: "torch", or "reference" for the published package's own functions, slowly, on a CPU.
    normalize_by: "alexnet", the directory of another run, "none", or None for each suite's published baseline.
    fresh: move an existing run aside instead of resuming it.
    compiled: make the draws through torch.compile: the same pixels, sooner, after a minute's compilation.
    """

    corruptions: Sequence[str] | None = None
    severities: Sequence[int] | None = None
    extra_corruptions: bool = False
    limit: int | None = None
    per_class: int | None = None
    subset: Path | None = None
    skip_unreadable: bool = False
    geometry: str = "suite"
    release_jpeg: bool = True
    backend: str = BACKENDS[0]
    batch_size: int = DEFAULT_BATCH_SIZE
    precision: str = "fp32"
    seed: int = 0
    normalize_by: str | None = None
    fresh: bool = False
    compiled: bool = False

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise OptionError(f"--batch-size must be at least 1, not {self.batch_size}")
        if not 0 <= self.seed < 2**63:
            raise OptionError(f"--seed must be from 0 to 2^63 - 1, not {self.seed}")
        if self.geometry not in GEOMETRIES:
            raise OptionError(unknown_name("geometry", self.geometry, GEOMETRIES))
        if self.precision not in PRECISIONS:
            raise OptionError(unknown_name("precision", self.precision, PRECISIONS))
        if self.backend not in BACKENDS:
            raise OptionError(unknown_name("backend", self.backend, BACKENDS))


@dataclass(frozen=True)
class Plan:
    """The conditions of a run in their order, as the loop takes them and as the manifest lists them.

    notes: what a reader of the results should know.
    """

    conditions: tuple[Condition, ...]
    listed: tuple[PlannedCondition, ...]
    notes: tuple[str, ...] = ()

    @property
    def geometries(self) -> list[Geometry]:
        """The different image geometries of the conditions, in order."""
        return list(dict.fromkeys(condition.geometry for condition in self.conditions))


def make_plan(suites: Sequence[str], options: Options, preprocessing: Preprocessing) -> Plan:
    """Lay out the conditions of `suites`: first the clean images of every geometry, then the suites in the given order."""
    chosen = [find_suite(name) for name in dict.fromkeys(suites)]
    if not chosen:
        raise OptionError("no suite was named: give --suite, for example --suite imagenet-c")
    perturbed = [suite for suite in chosen if suite.name != CLEAN]
    _check_selection(perturbed, options)
    geometry = {suite.name: _geometry(suite, options, preprocessing) for suite in perturbed or chosen}
    conditions = [Condition(CLEAN, CLEAN, 0, one) for one in dict.fromkeys(geometry.values())]
    for suite in perturbed:
        known = set(suite.corruptions) | set(suite.extra)
        cells = suite.select(
            corruptions=None if options.corruptions is None else [c for c in options.corruptions if c in known],
            severities=options.severities,
            extra=options.extra_corruptions,
        )
        jpeg = suite.release_jpeg if options.release_jpeg else None
        if options.backend == "reference":
            check_reference(suite.name, suite.constants)
        conditions += [
            Condition(suite.name, c, s, geometry[suite.name], suite.constants, jpeg, options.backend) for c, s in cells
        ]
    clean = {condition.geometry: condition.name for condition in conditions if condition.is_clean}
    listed = tuple(
        PlannedCondition(
            name=condition.name,
            suite=condition.suite,
            corruption=condition.corruption,
            severity=condition.severity,
            resolution=condition.resolution,
            protocol=protocol(condition, options.precision),
            source="computed",
            clean=clean[condition.geometry],
        )
        for condition in conditions
    )
    return Plan(tuple(conditions), listed, tuple(_notes(conditions)))


def _notes(conditions: Sequence[Condition]) -> list[str]:
    """Say which conditions the reference backend computes in its own way."""
    other = [
        condition.corruption
        for condition in conditions
        if condition.backend == "reference"
        and PACKAGE[condition.corruption].kernel is not SETS[condition.constants][condition.corruption].kernel
    ]
    named = ", ".join(dict.fromkeys(other))
    return [f"the package has its own {named}: suite imagecorruptions is its exact counterpart"] if other else []


def _check_selection(suites: Sequence[Suite], options: Options) -> None:
    """Every named corruption must belong to one of the suites, so that a misspelt one is never just left out."""
    if not suites and (options.corruptions or options.severities):
        raise OptionError("the clean suite has no corruptions: give --suite as well, for example --suite cifar-c")
    known = [name for suite in suites for name in (*suite.corruptions, *suite.extra)]
    for name in options.corruptions or ():
        if name not in known:
            raise OptionError(unknown_name("corruption", name, set(known)))


def _geometry(suite: Suite, options: Options, preprocessing: Preprocessing) -> Geometry:
    if suite.geometry is None or options.geometry == "model":
        return preprocessing.geometry()
    return suite.geometry


def protocol(condition: Condition, precision: str) -> str:
    """Return a readable string with a hash of everything that moves a suite's numbers, whatever part of it is evaluated.

    Of the constants, all of the suite's go in; of the model, nothing: rows of two models are compared by this string.
    """
    suite = find_suite(condition.suite)
    parts = [str(condition.geometry), precision]
    if condition.release_jpeg is not None:
        parts.insert(1, f"jpeg{condition.release_jpeg}")
    facts: dict[str, object] = {"geometry": repr(condition.geometry), "precision": precision}
    if not condition.is_clean:
        levels = {
            name: [dict(level) for level in SETS[suite.constants][name].levels[suite.constants]]
            for name in (*suite.corruptions, *suite.extra)
        }
        facts |= {"release_jpeg": condition.release_jpeg, "draws": DRAWS_VERSION, "levels": levels}
        if condition.backend == "reference":
            parts.append(condition.backend)
            facts |= {"backend": reference_version()}
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:8]
    return f"{'+'.join(parts)}#{digest}"
