"""What a run is going to do: options and suites -> conditions, each with the protocol that its figures carry."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

from robench.datasets import find_released
from robench.errors import DatasetError, OptionError, unknown_name
from robench.evaluation.options import Options
from robench.evaluation.protocol import CROP_RATIO, protocol
from robench.evaluation.provenance import check_suite
from robench.models import Preprocessing
from robench.runs.conditions import ConditionEntry
from robench.suites import (
    BEST_OF_K,
    CLEAN,
    RESOLUTIONS,
    SMALL,
    SMALL_RESOLUTIONS,
    UNTREATED,
    Condition,
    ReleasedFiles,
    Suite,
    find_suite,
    suites_for,
)
from robench.suites.geometry import Geometry
from robench.transforms.apply import condition_frames
from robench.transforms.corruptions import CONSTANT_SETS, IMAGECORRUPTIONS
from robench.transforms.perturbations import PERTURBATIONS, find_perturbation
from robench.transforms.perturbations.base import Perturbation
from robench.transforms.reference import check_reference
from robench.treatments import parse_treatments

__all__ = ["Options", "Plan", "make_plan"]

Gflops: TypeAlias = Callable[[int], float | None]


@dataclass(frozen=True)
class Plan:
    """The conditions of a run in their order, as the loop takes them and as the manifest lists them.

    notes: what a reader of the results should know.
    """

    conditions: tuple[Condition, ...]
    listed: tuple[ConditionEntry, ...]
    notes: tuple[str, ...] = ()

    @property
    def geometries(self) -> list[Geometry]:
        """The different image geometries of the conditions, in order."""
        return list(dict.fromkeys(condition.geometry for condition in self.conditions))


def make_plan(
    suites: Sequence[str], options: Options, preprocessing: Preprocessing, gflops: Gflops = lambda _: None
) -> Plan:
    """Lay out the conditions of `suites`: first the clean images of every geometry, then the suites in the given order.

    gflops: counts the operations of the model at an input size; None where it is not counted. OptionError where the model
    cannot run at that size: that size is left out, with a note.
    """
    chosen = suites_for([suites] if isinstance(suites, str) else suites, preprocessing.crop)
    if not chosen:
        raise OptionError("no suite was named: give --suite, for example --suite imagenet-c")
    perturbed = [suite for suite in chosen if suite.name != CLEAN]
    for suite in perturbed:
        check_suite(suite, options.backend)
    _check_selection(perturbed, options)
    if options.released is not None and not any(suite.released_side for suite in perturbed):
        raise OptionError("--released goes with the suites of published files: give one, such as --suite imagenet-c")
    notes: list[str] = []
    conditions: list[Condition] = []
    clean: dict[Suite, Geometry] = {}
    counted: dict[int, float | None] = {}
    sizes = options.resolutions or _resolutions(preprocessing.crop)
    for suite in perturbed or chosen:
        clean[suite] = _geometry(suite, options, preprocessing)
        if suite.name == CLEAN:
            continue
        if options.released is not None and suite.released_side:
            conditions += _released(suite, clean[suite], options, options.released, notes)
            continue
        cells = _cells(suite, options)
        if cells:
            _check_side(suite, suite.side or clean[suite].side)
        for name, severity in cells:
            if suite.family == "corruptions":
                jpeg = suite.release_jpeg if options.release_jpeg else None
                if options.backend == "reference":
                    check_reference(suite.name, suite.constants)
                conditions.append(
                    Condition(suite.name, name, severity, clean[suite], suite.constants, jpeg, options.backend)
                )
            elif name == "network":
                for side in sizes:
                    try:
                        counted[side] = gflops(side)
                    except OptionError as error:
                        notes.append(f"{error}; this size is left out")
                        continue
                    conditions.append(_network(suite, side, preprocessing))
                    if any(one.method.per_resolution for one in parse_treatments(options.treatments)):
                        conditions.append(replace(conditions[-1], corruption=UNTREATED))
            elif name == "information":
                places = tuple(side for side in sizes if side <= preprocessing.crop)
                if places:
                    one = _sequence(suite, name, severity, preprocessing.crop)
                    conditions.append(replace(one, axis_values=places))
                else:
                    notes.append(f"information needs a size of at most {preprocessing.crop} px, and is left out")
            elif name == BEST_OF_K:
                copies = sum(one.corruption == "network" for one in conditions) or len(sizes)
                one = _network(suite, preprocessing.crop, preprocessing)
                conditions.append(replace(one, corruption=BEST_OF_K, axis_values=tuple(range(copies))))
            else:
                conditions.append(_sequence(suite, name, severity, preprocessing.crop))
    if options.backend == "reference" and any(suite.family != "corruptions" for suite in perturbed):
        raise OptionError("the package has no perturbations: --backend reference goes with the suites of corruptions")
    first = _clean(dict.fromkeys(clean.values()))
    _check_names([*first, *conditions])
    names = {condition.geometry: condition.name for condition in first}
    listed = []
    for condition in (*first, *conditions):
        suite = find_suite(condition.suite)
        perturbation = _perturbation(condition)
        listed.append(
            ConditionEntry(
                name=condition.name,
                suite=condition.suite,
                corruption=condition.corruption,
                severity=condition.severity,
                resolution=condition.resolution,
                protocol=protocol(condition, options.precision),
                source=condition.source,
                clean=names[condition.geometry if condition.is_clean else clean[suite]],
                frames=condition_frames(condition),
                axis=perturbation.axis if perturbation else "",
                independent=perturbation.independent if perturbation else False,
                gflops=counted.get(condition.resolution) if condition.corruption == "network" else None,
            )
        )
    return Plan((*first, *conditions), tuple(listed), (*notes, *_notes(conditions)))


def _clean(geometries: Iterable[Geometry]) -> list[Condition]:
    """The unperturbed images of every geometry; the names of those of one side tell which is which."""
    found = [Condition(CLEAN, CLEAN, 0, one) for one in geometries]
    count = Counter(one.name for one in found)
    return [replace(one, named_geometry=count[one.name] > 1) for one in found]


def _check_names(conditions: Sequence[Condition]) -> None:
    """Two conditions of one name would write the same file: never a user's mistake, and never let through."""
    twice = [name for name, count in Counter(one.name for one in conditions).items() if count > 1]
    if twice:
        raise ValueError(f"several conditions are called {', '.join(twice)}")


def _check_side(suite: Suite, side: int) -> None:
    if side < suite.smallest:
        raise OptionError(
            f"{suite.name} needs images of at least {suite.smallest} px, these would have {side}: give a larger --crop"
        )


def _cells(suite: Suite, options: Options) -> list[tuple[str, int]]:
    """The (corruption, severity) or (perturbation, difficulty) pairs of a suite that the options choose."""
    known = set(suite.corruptions) | set(suite.extra)
    named = None if options.corruptions is None else [c for c in options.corruptions if c in known]
    if suite.family == "corruptions":
        return suite.select(corruptions=named, severities=options.severities, extra=options.extra_corruptions)
    wanted = tuple(options.difficulties) if suite.family == "sequences" else (1,)
    cells = suite.select(corruptions=named, severities=wanted, extra=options.extra_corruptions)
    # Difficulty is another strength of the noises; for the others it is how far apart the frames are that are compared.
    return list(dict.fromkeys((name, wanted if PERTURBATIONS[name].independent else 1) for name, wanted in cells))


def _released(suite: Suite, geometry: Geometry, options: Options, root: Path, notes: list[str]) -> list[Condition]:
    """The conditions whose files are below `root`; what is not there is noted, or refused where it was asked for by name."""
    cells = _cells(suite, options)
    found = find_released(root, suite, cells)
    present = {name for name, _ in found}
    lacking = [cell for cell in cells if cell not in found]
    absent = list(dict.fromkeys(f"{name} {level}" if name in present else name for name, level in lacking))
    if absent and options.corruptions is not None:
        raise DatasetError(f"--released {root} lacks {', '.join(absent)} of {suite.name}: get them, or leave them out")
    if absent:
        notes.append(f"{suite.name}: left out what {root} lacks: {', '.join(absent)}")
    conditions = [
        Condition(suite.name, name, severity, geometry, suite.constants)
        for name, severity in cells
        if (name, severity) in found
    ]
    return [
        replace(one, files=ReleasedFiles(found[one.corruption, one.severity], condition_frames(one)))
        for one in conditions
    ]


def _sequence(suite: Suite, name: str, severity: int, crop: int) -> Condition:
    side = suite.side or crop
    constants = suite.constants or _constants(side)
    found = find_perturbation(name, constants)
    geometry = Geometry() if found.uses_original_size else _pictures(suite, side)
    return Condition(suite.name, name, severity, geometry, constants, side=side)


def _network(suite: Suite, side: int, preprocessing: Preprocessing) -> Condition:
    small = preprocessing.crop <= SMALL
    geometry = Geometry(resize=(side, side)) if small else Geometry(resize=round(side / CROP_RATIO), crop=side)
    return Condition(suite.name, "network", 1, geometry, _constants(preprocessing.crop), side=side, native=True)


def _perturbation(condition: Condition) -> Perturbation | None:
    if find_suite(condition.suite).family == "corruptions":
        return None
    return find_perturbation(condition.corruption, condition.constants)


def _resolutions(crop: int) -> list[int]:
    """The sizes of the resolution suite; the model's own input is always one of them."""
    return sorted({*(SMALL_RESOLUTIONS if crop <= SMALL else RESOLUTIONS), crop})


def _pictures(suite: Suite, side: int) -> Geometry:
    """What the perturbations of a suite take, where frames of `side` pixels come out."""
    whole = int(side / CROP_RATIO)
    if suite.source_region == "rectangle":
        return Geometry(resize=side if side <= SMALL else whole)
    if suite.source_region == "margin":
        whole = side + find_perturbation("diagonal", _constants(side)).params(_constants(side))["frames"][-1]
        return Geometry(resize=(whole, whole)) if side <= SMALL else Geometry(resize=whole, crop=whole)
    return Geometry(resize=(side, side)) if side <= SMALL else Geometry(resize=whole, crop=side)


def _constants(side: int) -> str:
    """The set of constants nearest to a side."""
    return "32" if side < 48 else "64" if side < 128 else "224" if side < 262 else "299"


def _notes(conditions: Sequence[Condition]) -> list[str]:
    """Say which conditions the reference backend computes in its own way."""
    other = [
        condition.corruption
        for condition in conditions
        if condition.backend == "reference"
        and IMAGECORRUPTIONS[condition.corruption].kernel
        is not CONSTANT_SETS[condition.constants][condition.corruption].kernel
    ]
    named = ", ".join(dict.fromkeys(other))
    return [f"the package has its own {named}: suite imagecorruptions is its exact counterpart"] if other else []


def _check_selection(suites: Sequence[Suite], options: Options) -> None:
    """Every option must mean something to one of the suites, so that none, and no misspelt corruption, is just left out."""
    if not suites and (options.corruptions or options.severities):
        raise OptionError("the clean suite has no corruptions: give --suite as well, for example --suite cifar-c")
    families = {suite.family for suite in suites}
    for option, given, taken, what in (
        ("--severity", options.severities, "corruptions" in families, "suites of corruptions, such as cifar-c"),
        ("--difficulty", options.difficulties != [1], "sequences" in families, "suites of sequences, such as cifar-p"),
        ("--resolution", options.resolutions, "resolution" in families, "the suite resolution"),
        (
            "--extra-corruptions",
            options.extra_corruptions,
            any(suite.extra for suite in suites),
            "suites that have some",
        ),
        (
            "--geometry model",
            options.geometry == "model",
            not suites or "corruptions" in families,
            "suites of single images: frames have their suite's own",
        ),
    ):
        if given and not taken:
            raise OptionError(f"{option} goes with {what}: leave it out, or give such a --suite")
    known = [name for suite in suites for name in (*suite.corruptions, *suite.extra)]
    for name in options.corruptions or ():
        if name not in known:
            raise OptionError(unknown_name("corruption", name, set(known)))


def _geometry(suite: Suite, options: Options, preprocessing: Preprocessing) -> Geometry:
    """Of the suite's clean images."""
    if suite.family == "corruptions" and (options.geometry == "model" or suite.geometry is None):
        return preprocessing.geometry()
    if suite.geometry is not None:
        return suite.geometry
    side = suite.side or preprocessing.crop
    if suite.source_region == "rectangle":
        return replace(_pictures(suite, side), crop=side)
    return _pictures(replace(suite, source_region="crop"), side)
