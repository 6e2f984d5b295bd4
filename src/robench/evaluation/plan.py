"""Plans: the conditions of a run, each with the protocol of its results."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeAlias

from robench.datasets import find_released
from robench.errors import DatasetError, OptionError, unknown_name
from robench.evaluation.images import is_cue_conflict
from robench.evaluation.options import Options
from robench.evaluation.protocol import CROP_RATIO, protocol
from robench.evaluation.provenance import check_suite
from robench.models import Preprocessing
from robench.models.exits import Exits
from robench.runs.conditions import ConditionEntry
from robench.suites import (
    CLEAN,
    CUE_CONFLICT,
    RESOLUTION,
    RESOLUTIONS,
    SHIFT,
    SMALL,
    SMALL_RESOLUTIONS,
    SUITES,
    UNTREATED,
    Condition,
    Family,
    FrameKind,
    ReleasedFiles,
    Suite,
    constants_for,
    default_suite,
    families,
    find_suite,
    make_attack,
    suites_for,
)
from robench.suites.geometry import Geometry, PixelFormat, height_width, scaled, size_text
from robench.transforms.apply import condition_frames
from robench.transforms.corruptions import CONSTANT_SETS, IMAGECORRUPTIONS, find_corruption
from robench.transforms.own import read_names
from robench.transforms.perturbations import PERTURBATIONS, find_perturbation
from robench.transforms.reference import check_reference
from robench.treatments import parse_treatments
from robench.types import Size

__all__ = ["Options", "Plan", "make_plan", "unlabelled_plan"]

Gflops: TypeAlias = Callable[[Size], float | None]
Cells: TypeAlias = list[tuple[str, int]]


@dataclass(frozen=True)
class Plan:
    """The conditions of a run in order.

    Attributes:
        conditions: Conditions as the evaluator takes them.
        listed: The same conditions as the manifest lists them.
        notes: Notes for readers of the results.
    """

    conditions: tuple[Condition, ...]
    listed: tuple[ConditionEntry, ...]
    notes: tuple[str, ...] = ()

    @property
    def geometries(self) -> list[Geometry]:
        """The distinct image geometries of the conditions in order."""
        return list(dict.fromkeys(condition.geometry for condition in self.conditions))


@dataclass(frozen=True)
class _Context:
    """The inputs and the side results of planning.

    Attributes:
        options: Options of the run.
        preprocessing: Preprocessing of the model.
        count: Counts the operations of the model at an input size.
        exits: Returns the exits or settings of the model.
        gflops: Counted operations by condition.
        notes: Notes for readers of the results.
    """

    options: Options
    preprocessing: Preprocessing
    count: Gflops
    exits: Callable[[], Exits]
    gflops: dict[Condition, float | None] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def sizes(self) -> Sequence[int]:
        """Short sides of the resolution family in pixels. By default, the model's own is one of them."""
        side = self.preprocessing.side
        return self.options.resolution or sorted({*(SMALL_RESOLUTIONS if side <= SMALL else RESOLUTIONS), side})


def make_plan(
    suites: Sequence[str],
    options: Options,
    preprocessing: Preprocessing,
    gflops: Gflops = lambda _: None,
    exits: Callable[[], Exits] = lambda: (("exit 1", None),),
) -> Plan:
    """Plan the conditions of suites: first the clean images of every geometry, then the suites in the given order.

    Args:
        suites: Names of suites.
        options: Options of the run.
        preprocessing: Preprocessing of the model.
        gflops: Counts the operations of the model at an input size; None if they are not counted. An OptionError of it says
            that the model cannot run at that size. The plan then skips the size with a note.
        exits: Returns the exits or settings of the model; called for the suite `exits` alone.

    Raises:
        OptionError: If a suite does not exist, or an option does not apply to any of the suites.
        DatasetError: If released files that the options name are missing.
    """
    names, corruptions = read_names([suites] if isinstance(suites, str) else suites, options.corruption)
    options = replace(options, corruption=corruptions)
    chosen = suites_for(names, preprocessing.crop)
    if not chosen:
        raise OptionError("no suite was named", "give --suite, for example --suite imagenet-c")
    if is_cue_conflict(names) and options.ood:
        raise OptionError(f"--ood has no effect on {chosen[0].name}, which has no clean images", "omit it")
    perturbed = [suite for suite in chosen if suite.name != CLEAN]
    for suite in perturbed:
        check_suite(suite, options.backend)
        _check_shape(suite, options, preprocessing.crop)
    _check_selection(perturbed, options)
    perturbed, left_out = _not_emptied(perturbed, names, options)
    if options.released is not None and not any(suite.released_side for suite in perturbed):
        raise OptionError(
            "--released applies only to suites of published files", "give one, such as --suite imagenet-c"
        )
    context = _Context(options, preprocessing, gflops, exits, notes=[*left_out, *_pixel_notes(options, preprocessing)])
    geometries = {suite: _clean_geometry(suite, options, preprocessing) for suite in perturbed or chosen}
    conditions = [one for suite in perturbed for one in _plan_suite(suite, geometries[suite], context)]
    if options.backend == "reference" and any(suite.family.has_frames for suite in perturbed):
        raise OptionError("--backend reference has no perturbations", "use it with suites of corruptions alone")
    with_clean = [geometry for suite, geometry in geometries.items() if suite.family.has_clean]
    clean = _clean_conditions(dict.fromkeys(with_clean))
    _check_names([*clean, *conditions])
    clean_names = {condition.geometry: condition.name for condition in clean}
    listed = [
        *(_entry(condition, condition.name, context) for condition in clean),
        *(
            # Images of a suite without clean ones are unperturbed themselves.
            _entry(condition, clean_names.get(geometries[find_suite(condition.suite)], condition.name), context)
            for condition in conditions
        ),
    ]
    return Plan((*clean, *conditions), tuple(listed), (*context.notes, *_backend_notes(conditions)))


def unlabelled_plan(plan: Plan, precision: str, pixels: PixelFormat) -> Plan:
    """Return the clean conditions of a plan for images of any shape, which are resized by their short side and cropped."""
    conditions, listed = [], []
    for condition, entry in zip(plan.conditions, plan.listed, strict=True):
        if condition.is_clean:
            geometry = condition.geometry
            if isinstance(geometry.resize, tuple) and geometry.square:
                geometry = replace(geometry, resize=min(geometry.resize), crop=geometry.side)
            condition = replace(condition, geometry=geometry)
            name = condition.name
            conditions.append(condition)
            listed.append(replace(entry, name=name, clean=name, protocol=str(protocol(condition, precision, pixels))))
    return Plan(tuple(conditions), tuple(listed))


def _entry(condition: Condition, clean: str, context: _Context) -> ConditionEntry:
    """Return a condition as the manifest lists it; `clean` is the name of the condition of the same images unperturbed."""
    family = find_suite(condition.suite).family
    has_exits = family is families.EXITS
    framed = family.has_frames and not has_exits and condition.attack is None
    perturbation = find_perturbation(condition.corruption, condition.constants) if framed else None
    return ConditionEntry(
        name=condition.name,
        suite=condition.suite,
        corruption=condition.corruption,
        severity=condition.severity,
        resolution=condition.resolution,
        protocol=str(protocol(condition, context.options.precision, context.preprocessing.pixels)),
        source=condition.source,
        clean=clean,
        frames=condition_frames(condition),
        axis="epsilon" if condition.attack else perturbation.axis if perturbation else "exit" if has_exits else "",
        methods=",".join(condition.attack.names) if condition.attack else "",
        independent=perturbation.independent if perturbation else False,
        gflops=context.gflops.get(condition),
        exits=context.exits() if has_exits else (),
    )


def _clean_conditions(geometries: Iterable[Geometry]) -> list[Condition]:
    """Return the clean conditions. Names contain the geometry if several geometries have one side."""
    conditions = [Condition(CLEAN, CLEAN, 0, geometry) for geometry in geometries]
    count = Counter(condition.name for condition in conditions)
    return [replace(condition, named_geometry=count[condition.name] > 1) for condition in conditions]


def _check_names(conditions: Sequence[Condition]) -> None:
    """Raise ValueError if two conditions have one name and would write the same file. This is a defect, not a user's error."""
    twice = [name for name, count in Counter(condition.name for condition in conditions).items() if count > 1]
    if twice:
        raise ValueError(f"several conditions are called {', '.join(twice)}")


def _plan_suite(suite: Suite, geometry: Geometry, context: _Context) -> Iterable[Condition]:
    """Plan the conditions of a suite whose clean images have `geometry`."""
    options = context.options
    cells = _of_bands(suite, _cells(suite, options), context)
    if options.released is not None and suite.released_side:
        return _released(suite, geometry, cells, options.released, context)
    if cells and (side := suite.side or geometry.side) < suite.smallest:
        raise OptionError(
            f"{suite.name} needs images of at least {suite.smallest} px, and these would have {side} px",
            "give a larger --crop",
        )
    before = len(context.notes)
    conditions = list(_PLANNERS[suite.family](suite, geometry, cells, context))
    if not conditions:
        raise OptionError(
            f"nothing of suite {suite.name} is left: {'; '.join(context.notes[before:])}", "omit the suite"
        )
    return conditions


def _plan_corruptions(suite: Suite, geometry: Geometry, cells: Cells, context: _Context) -> Iterator[Condition]:
    options = context.options
    is_rgb = context.preprocessing.bands == 3
    jpeg = suite.release_jpeg if is_rgb and not options.no_release_jpeg else None
    if not is_rgb and suite.release_jpeg is not None and not options.no_release_jpeg:
        context.notes.append(
            f"{suite.name}: the JPEG compression of the released files is left out, which is defined on RGB"
        )
    for name, severity in cells:
        if options.backend == "reference":
            check_reference(suite.name, suite.constants)
        yield Condition(suite.name, name, severity, geometry, suite.constants, jpeg, options.backend)


def _plan_cue_conflict(suite: Suite, geometry: Geometry, cells: Cells, context: _Context) -> Iterator[Condition]:
    yield Condition(suite.name, CUE_CONFLICT, 1, geometry)


def _plan_attacks(suite: Suite, geometry: Geometry, cells: Cells, context: _Context) -> Iterator[Condition]:
    options = context.options
    attack = make_attack(options.attack, options.norm, options.epsilon, options.steps, options.restarts)
    yield Condition(suite.name, attack.norm, 1, geometry, attack=attack)


def _plan_frames(suite: Suite, geometry: Geometry, cells: Cells, context: _Context) -> Iterator[Condition]:
    for name, difficulty in cells:
        size = suite.side or context.preprocessing.crop
        constants = suite.constants or constants_for(min(height_width(size)))
        whole = find_perturbation(name, constants).uses_original_size
        source = Geometry() if whole else _source_geometry(suite.source_region, size)
        yield Condition(suite.name, name, difficulty, source, constants, size=size)


def _plan_resolutions(suite: Suite, geometry: Geometry, cells: Cells, context: _Context) -> Iterator[Condition]:
    own = context.preprocessing
    per_resolution = any(one.method.per_resolution for one in parse_treatments(context.options.treatment))
    native = 0
    for name, level in cells:
        kind = suite.kind(name)
        if kind is FrameKind.SIZES:
            sizes = tuple(side for side in context.sizes if side <= own.side)
            if sizes:
                yield from (
                    replace(one, axis_values=sizes) for one in _plan_frames(suite, geometry, [(name, level)], context)
                )
            else:
                context.notes.append(f"{name} needs a size of at most {own.side} px, and is left out")
        elif kind is FrameKind.COPIES:
            copies = tuple(range(native or len(context.sizes)))
            yield replace(_native(suite, name, own.side, own), axis_values=copies)
        else:
            for side in context.sizes:
                condition = _native(suite, name, side, own)
                try:
                    context.gflops[condition] = context.count(condition.shape)
                except OptionError as error:
                    context.notes.append(f"{error}; this size is left out")
                    continue
                native += 1
                yield condition
                if per_resolution:
                    yield replace(condition, corruption=UNTREATED, treated=False)


def _native(suite: Suite, name: str, side: int, own: Preprocessing) -> Condition:
    """Return the condition in which a network runs at an input of its own ratio of sides, `side` pixels at the short one."""
    size = scaled(own.crop, side / own.side)
    geometry = (
        Geometry(resize=height_width(size))
        if own.side <= SMALL
        else Geometry(resize=scaled(size, 1 / CROP_RATIO), crop=size)
    )
    divisor = math.gcd(*own.shape)
    aspect = own.shape[0] // divisor, own.shape[1] // divisor
    return Condition(suite.name, name, 1, geometry, constants_for(own.side), size=size, native=True, aspect=aspect)


def _plan_exits(suite: Suite, geometry: Geometry, cells: Cells, context: _Context) -> Iterator[Condition]:
    options, fitting = context.options, _fitting(context.options, context.preprocessing)
    frames = tuple(range(len(context.exits())))
    constants = constants_for(context.preprocessing.side) if fitting is None else fitting.constants
    jpeg = (
        None if fitting is None or options.no_release_jpeg or context.preprocessing.bands != 3 else fitting.release_jpeg
    )
    for name, severity in cells:
        own = None if name == CLEAN else jpeg
        yield Condition(suite.name, name, severity, geometry, constants, own, axis_values=frames)


def _fitting(options: Options, preprocessing: Preprocessing) -> Suite | None:
    """Return the corruption suite whose images the suite `exits` takes; None for the model's own geometry."""
    return default_suite(preprocessing.crop) if options.geometry != "model" else None


_PLANNERS: dict[Family, Callable[[Suite, Geometry, Cells, _Context], Iterator[Condition]]] = {
    families.CORRUPTIONS: _plan_corruptions,
    families.OWN: _plan_corruptions,
    families.CUE_CONFLICT: _plan_cue_conflict,
    families.ADVERSARIAL: _plan_attacks,
    families.SEQUENCES: _plan_frames,
    families.SHIFT: _plan_frames,
    families.SCALE: _plan_frames,
    families.NOISE: _plan_frames,
    families.OCCLUSION: _plan_frames,
    families.RESOLUTION: _plan_resolutions,
    families.EXITS: _plan_exits,
}


def _cells(suite: Suite, options: Options) -> Cells:
    """Return the (corruption, severity) or (perturbation, difficulty) pairs of a suite that the options select."""
    names = None if options.corruption is None else [name for name in options.corruption if name in suite.names]
    if suite.family is families.EXITS:
        corrupted = options.corruption is not None or options.severity is not None or options.extra_corruptions
        others = [name for name in names or suite.corruptions if name != CLEAN] if corrupted else []
        more = suite.extra if options.extra_corruptions and names is None else ()
        cells = suite.select(corruptions=[*others, *more], severities=options.severity) if others else []
        return [(CLEAN, 0), *cells]
    if not suite.family.has_frames:
        return suite.select(corruptions=names, severities=options.severity, extra=options.extra_corruptions)
    difficulties = options.difficulty if suite.family.has_difficulties else (1,)
    cells = suite.select(corruptions=names, severities=difficulties, extra=options.extra_corruptions)
    # The difficulty of noises is their strength. The other perturbations have the same frames at every difficulty.
    return list(dict.fromkeys((name, level if PERTURBATIONS[name].independent else 1) for name, level in cells))


def _of_bands(suite: Suite, cells: Cells, context: _Context) -> Cells:
    """Return the cells that the model's number of channels allows, and note the others.

    Raises:
        OptionError: `--corruption` names one of the others.
    """
    own = context.preprocessing
    if own.bands == 3:
        return cells
    constants = suite.constants or constants_for(suite.side or own.side)
    has_exits = suite.family is families.EXITS
    find = find_perturbation if suite.family.has_frames and not has_exits else find_corruption
    cells_by_name = dict.fromkeys(name for name, _ in cells if name != CLEAN)
    names = [name for name in cells_by_name if not find(name, constants).per_band]
    if names and context.options.corruption is not None:
        raise OptionError(
            f"{', '.join(names)} of {suite.name} {'is' if len(names) == 1 else 'are'} defined on RGB images alone, but the model "
            f"takes {own.bands} channel{'s' if own.bands > 1 else ''}",
            f"omit {'it' if len(names) == 1 else 'them'} from --corruption",
        )
    if names:
        context.notes.append(f"{suite.name}: left out {', '.join(names)}, which are defined on RGB images alone")
    return [(name, level) for name, level in cells if name not in names]


def _pixel_notes(options: Options, preprocessing: Preprocessing) -> list[str]:
    """Check the options that need RGB, and return a note on the range of the data."""
    for option, is_given in (("--released", options.released), ("--backend reference", options.backend == "reference")):
        if is_given and preprocessing.bands != 3:
            raise OptionError(f"{option} has RGB images, but the model takes {preprocessing.bands} channels", "omit it")
    if preprocessing.data_range is None:
        return []
    low, high = preprocessing.data_range
    return [f"stored values from {low:g} to {high:g} become 0 to 255 (--data-range); values outside are cut off"]


def _not_emptied(suites: Sequence[Suite], names: Sequence[str], options: Options) -> tuple[list[Suite], list[str]]:
    """Return the suites that have a name of `--corruption`, and a note on the others, which `all` leaves out.

    Raises:
        OptionError: A suite without such a name is named itself.
    """
    emptied = [suite for suite in suites if suite.names and not _cells(suite, options)]
    selected = f"--corruption {','.join(options.corruption or ())} selects nothing of"
    named = [suite for suite in emptied if suite.name in names]
    if named:
        raise OptionError(
            f"{selected} {', '.join(suite.name for suite in named)}",
            f"omit {'it' if len(named) == 1 else 'them'} from --suite, or add names such as {named[0].corruptions[0]}",
        )
    listed = ", ".join(suite.name for suite in emptied)
    notes = [f"{selected} {listed}: --suite all leaves them out"] if emptied else []
    return [suite for suite in suites if suite not in emptied], notes


def _released(suite: Suite, geometry: Geometry, cells: Cells, root: Path, context: _Context) -> list[Condition]:
    """Plan the cells with files below `root`. Cells without files cause a note, or an error if `--corruption` names them."""
    files = find_released(root, suite, cells)
    present = {name for name, _ in files}
    missing = dict.fromkeys(
        f"{name} {level}" if name in present else name for name, level in cells if (name, level) not in files
    )
    if missing and context.options.corruption is not None:
        raise DatasetError(
            f"--released {root} has no {', '.join(missing)} of {suite.name}", "get these files, or leave the names out"
        )
    if missing:
        context.notes.append(f"{suite.name}: skipped {', '.join(missing)}, which {root} does not have")
    conditions = [
        Condition(suite.name, name, level, geometry, suite.constants) for name, level in cells if (name, level) in files
    ]
    return [
        replace(one, files=ReleasedFiles(files[one.corruption, one.severity], condition_frames(one)))
        for one in conditions
    ]


def _source_geometry(region: str, size: Size) -> Geometry:
    """Return the geometry of the images that perturbations take for frames of a size in pixels; see `Suite.source_region`."""
    height, width = height_width(size)
    side = min(height, width)
    if region == "margin":
        constants = constants_for(side)
        margin = find_perturbation("diagonal", constants).params(constants)["frames"][-1]
        size = side + margin if height == width else (height + margin, width + margin)
        return Geometry(resize=height_width(size)) if side <= SMALL else Geometry(resize=size, crop=size)
    whole = int(side / CROP_RATIO) if height == width else (int(height / CROP_RATIO), int(width / CROP_RATIO))
    if region == "rectangle" and height == width:
        return Geometry(resize=side if side <= SMALL else whole)
    if region == "rectangle":
        return Geometry(resize=size if side <= SMALL else whole)
    return Geometry(resize=(height, width)) if side <= SMALL else Geometry(resize=whole, crop=size)


def _clean_geometry(suite: Suite, options: Options, preprocessing: Preprocessing) -> Geometry:
    """Return the geometry of a suite's clean images."""
    if suite.family is families.EXITS:
        fitting = _fitting(options, preprocessing)
        return preprocessing.geometry() if fitting is None or fitting.geometry is None else fitting.geometry
    if suite.geometry is not None and (suite.family.has_frames or options.geometry != "model"):
        return suite.geometry
    size = suite.side or preprocessing.crop
    if suite.family is families.CUE_CONFLICT and options.geometry != "model":
        return Geometry(resize=height_width(size), interpolation=preprocessing.interpolation)
    if not suite.family.has_frames or suite.family is families.ADVERSARIAL:
        return preprocessing.geometry()
    if suite.source_region == "rectangle":
        return replace(_source_geometry("rectangle", size), crop=size)
    return _source_geometry("crop", size)


def _backend_notes(conditions: Sequence[Condition]) -> list[str]:
    """Name the corruptions whose kernels the reference backend replaces by other ones."""
    other = [
        condition.corruption
        for condition in conditions
        if condition.backend == "reference"
        and IMAGECORRUPTIONS[condition.corruption].kernel
        is not CONSTANT_SETS[condition.constants][condition.corruption].kernel
    ]
    names = ", ".join(dict.fromkeys(other))
    return [f"the package has its own {names}: suite imagecorruptions is its exact counterpart"] if other else []


def _check_shape(suite: Suite, options: Options, crop: Size) -> None:
    """Refuse a suite of square images for a network of another shape, because its images would lose their ratio of sides."""
    side = suite.side or (suite.geometry.side if suite.geometry is not None and options.geometry == "suite" else None)
    if side is None or isinstance(crop, int):
        return
    own = size_text(crop)
    raise OptionError(
        f"{suite.name} has square images of {side} px, but the model takes {own}",
        f"give suites of any size, such as {SHIFT.name},{RESOLUTION.name}"
        if suite.family.has_frames or options.released is not None
        else f"give --geometry model for its corruptions at {own} px",
    )


_ATTACK_DEFAULTS = {name: getattr(Options(), name) for name in ("attack", "norm", "epsilon", "steps", "restarts")}


def _check_selection(suites: Sequence[Suite], options: Options) -> None:
    """Check that every option applies to a suite, so that nothing, such as a misspelt corruption, is silently ignored."""
    if not suites and (options.corruption or options.severity):
        raise OptionError("the clean suite has no corruptions", "give --suite as well, for example --suite cifar-c")
    kinds = {suite.family for suite in suites}
    of_images = [suite for suite in suites if not suite.family.has_frames or suite.family is families.EXITS]
    has_images, has_severities = bool(of_images), any(suite.names for suite in of_images)
    has_difficulties = any(family.has_difficulties for family in kinds)
    has_resolutions = any(family.has_resolutions for family in kinds)
    has_attacks = families.ADVERSARIAL in kinds
    has_extra = any(suite.extra for suite in suites)
    has_released = any(suite.released_side for suite in suites)
    own_geometry = "suites of single images; frames have the geometry of their suite"
    for option, is_given, applies, suitable in (
        ("--severity", options.severity, has_severities, "suites of corruptions, such as cifar-c"),
        ("--difficulty", options.difficulty != [1], has_difficulties, "suites of sequences, such as cifar-p"),
        ("--resolution", options.resolution, has_resolutions, "the suite resolution"),
        *(
            (f"--{name}", getattr(options, name) != default, has_attacks, "the suite adversarial")
            for name, default in _ATTACK_DEFAULTS.items()
        ),
        ("--extra-corruptions", options.extra_corruptions, has_extra, "suites that have some"),
        ("--geometry model", options.geometry == "model", has_images or not suites, own_geometry),
        ("--released", options.released, has_released, "the suites of published files, such as imagenet-c"),
    ):
        if is_given and not applies:
            raise OptionError(f"{option} applies only to {suitable}", "omit it, or give such a --suite")
    names = {name for suite in suites for name in suite.names}
    for name in options.corruption or ():
        if name in names:
            continue
        owners = [suite.name for suite in SUITES.values() if name in suite.names]
        if owners:
            given = ", ".join(suite.name for suite in suites)
            raise OptionError(
                f"{given} has no {name}", f"it is in {', '.join(owners)}: give such a --suite, or omit it"
            )
        raise OptionError(*unknown_name("corruption", name, names))
