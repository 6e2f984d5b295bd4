"""The options of a run."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from numbers import Real
from pathlib import Path
from typing import Any, SupportsIndex

from robench.arguments import check_type, one_or_more, path_of
from robench.errors import OptionError, unknown_name
from robench.evaluation.device_scopes import PRECISIONS
from robench.evaluation.environment import Machine
from robench.runs.schema import check_cell
from robench.suites import ATTACKS, BACKENDS, Preset, make_attack
from robench.transforms.kernels import KERNELS
from robench.transforms.own import provide_function
from robench.treatments import parse_treatments

__all__ = ["GEOMETRIES", "Options"]

GEOMETRIES = ("suite", "model")


@dataclass(frozen=True)
class Options:
    """Everything about a run except model, images and directory; the defaults are the published protocols.

    A field has the name of its option on the command line, of its keyword of `robench.evaluate` and of its key in a job file.
    A field with several values also takes a single one.

    Attributes:
        corruption: Corruptions or perturbations to evaluate; None for all of the suites. `file.py:function`, or a function,
            is a corruption of your own.
        severity: Severities to evaluate; None for all.
        extra_corruptions: Whether to evaluate corruptions outside the aggregates too.
        difficulty: Difficulties of perturbation sequences, 1 to 3.
        resolution: Input sizes of the resolution suite in pixels, for `information` up to the model's input; None for the defaults.
        attack: Attacks of the suite adversarial: "apgd-ce" and "apgd-t".
        norm: Norm of their changes, "linf" or "l2".
        epsilon: Their radii for images in 0 to 1, such as "4/255" or 0.5; None for the defaults of the norm.
        steps: Their updates of an image.
        restarts: Starts of each attack.
        limit: Number of samples, evenly spread.
        per_class: Number of samples of each class.
        subset: File with the paths of the samples.
        skip_unreadable: Whether to list damaged images in the manifest instead of stopping.
        treatment: Treatments of the model in order of application.
        calibration: Dataset for treatments that estimate statistics on images of their own.
        geometry: "suite", or "model" for the model's own resize and crop; frames have the suite's geometry in either case.
        no_release_jpeg: Whether suites skip the JPEG compression of their released files.
        backend: "torch", or "reference" for the functions of the published package, which are slow and need a CPU.
        released: Directory of released files that replace computed images.
        batch_size: Images of a batch; None for 256 on a CUDA device and 64 elsewhere. The size is fixed, because the
            floating-point result of a network depends on the shape of the batch.
        precision: Arithmetic of the model: "fp32", "tf32", "bf16" or "fp16".
        seed: Seed of all draws, 0 to 2^63 - 1.
        normalize_by: "alexnet", the directory of another run, "none", or None for each suite's published baseline.
        ood: Images out of distribution, each as NAME=DATA; several may share a name. Their labels do not count.
        csid: Images in distribution under a natural shift, for the full spectrum.
        groups: Table of paths and groups of images, or FILE:COLUMN,... for some of its columns.
        fresh: Whether to move an existing run aside instead of resuming it.
        kernels: "auto", "eager" or "fused": whether a GPU computes corruptions with fused kernels. The pixels are the same.
        compile: Whether to compile the draws with torch.compile on a CPU, which takes a minute and gives the same pixels faster.
        profile: Whether to time each phase, which is a little slower.

    Raises:
        ArgumentError: An option has a wrong type; also a TypeError.
        OptionError: An option is invalid, or options contradict each other.
    """

    corruption: Sequence[str] | None = None
    severity: Sequence[int] | None = None
    extra_corruptions: bool = False
    difficulty: Sequence[int] = (1,)
    resolution: Sequence[int] | None = None
    attack: Sequence[str] = tuple(ATTACKS)
    norm: str = "linf"
    epsilon: Sequence[str] | None = None
    steps: int = 100
    restarts: int = 1
    limit: int | None = None
    per_class: int | None = None
    subset: Path | None = None
    skip_unreadable: bool = False
    treatment: Sequence[str] = ()
    calibration: str | Path | None = None
    geometry: str = "suite"
    no_release_jpeg: bool = False
    backend: str = BACKENDS[0]
    released: Path | None = None
    batch_size: int | None = None
    precision: str = "fp32"
    seed: int = 0
    normalize_by: str | None = None
    ood: Sequence[str] = ()
    csid: Sequence[str] = ()
    groups: str | None = None
    fresh: bool = False
    kernels: str = KERNELS[0]
    compile: bool = False
    profile: bool = False

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            # The type of a default is the type of the field, so that None is only a value where it is the default.
            if value is not None or field.default is not None:
                object.__setattr__(
                    self, field.name, _CONVERTERS[field.name](f"--{field.name.replace('_', '-')}", value)
                )
        for name in ("limit", "per_class", "batch_size"):
            if (number := getattr(self, name)) is not None and number < 1:
                raise OptionError(
                    f"--{name.replace('_', '-')} must be at least 1, not {number}", "omit it for the default"
                )
        for size in self.resolution or ():
            if size < 1:
                raise OptionError(
                    f"--resolution must be at least 1, not {size}", "give sizes in pixels, such as 128,224"
                )
        make_attack(self.attack, self.norm, self.epsilon, self.steps, self.restarts)
        if not set(self.difficulty) <= {1, 2, 3}:
            raise OptionError(
                f"--difficulty must be 1, 2 or 3, not {', '.join(map(str, self.difficulty))}", "omit it for 1"
            )
        if not 0 <= self.seed < 2**63:
            raise OptionError(f"--seed must be from 0 to 2^63 - 1, not {self.seed}", "omit it for 0")
        for kind, known in (
            *(("geometry", GEOMETRIES), ("precision", PRECISIONS)),
            *(("backend", BACKENDS), ("kernels", KERNELS)),
        ):
            if getattr(self, kind) not in known:
                raise OptionError(*unknown_name(kind, getattr(self, kind), known))
        if self.csid and not self.ood:
            raise OptionError("--csid has no effect without images out of distribution", "give --ood NAME=DATA")
        for option, active in (
            ("--backend reference", self.backend == "reference"),
            ("--geometry model", self.geometry == "model"),
            ("--no-release-jpeg", self.no_release_jpeg),
        ):
            if self.released is not None and active:
                raise OptionError(f"{option} has no effect on released files", "omit it")

    def on_machine(self, machine: Machine) -> Options:
        """Return options with the machine's batch size where these options have none."""
        return self if self.batch_size is not None else replace(self, batch_size=machine.batch_size)

    def with_preset(self, preset: Preset) -> Options:
        """Return options with a preset's choices where these options make none."""
        samples_chosen = (self.limit, self.per_class, self.subset) != (None, None, None)
        return replace(
            self,
            corruption=self.corruption or preset.corruptions,
            severity=self.severity or preset.severities,
            limit=self.limit if samples_chosen else preset.limit,
        )


def _integer(name: str, value: Any) -> int:
    # Numbers of numpy and torch have an index too.
    return operator.index(check_type(name, value, SupportsIndex, "a whole number"))


def _integers(name: str, value: Any) -> list[int]:
    return sorted(set(map(operator.index, one_or_more(name, value, SupportsIndex, "a whole number or a list of them"))))


def _corruptions(name: str, value: Any) -> list[str]:
    items = [value] if callable(value) else value
    if isinstance(items, list | tuple):
        items = [provide_function(item) if callable(item) else item for item in items]
    return _names(name, items)


def _names(name: str, value: Any) -> list[str]:
    return one_or_more(name, value, str, "a name or a list of names")


def _image_sets(name: str, value: Any) -> list[str]:
    return list(dict.fromkeys(_names(name, value))) if value else []


def _named_sets(name: str, value: Any) -> list[str]:
    texts = _image_sets(name, value)
    for text in texts:
        label, separator, data = text.partition("=")
        if not separator or not label.strip() or not data.strip():
            raise OptionError(f"{name} {text} names no images", f"write NAME=DATA, such as {name} near=DIR")
        check_cell("set of images", label)
    return texts


def _treatments(name: str, value: Any) -> list[str]:
    texts = _names(name, value) if isinstance(value, str) or value else ()
    return [str(treatment) for treatment in parse_treatments(texts)]


def _epsilons(name: str, value: Any) -> list[str]:
    items = value if isinstance(value, list | tuple) else [value]
    # Numbers in Python are radii themselves.
    texts = [item if isinstance(item, str) else f"{float(check_type(name, item, Real, _RADII)):.9f}" for item in items]
    return one_or_more(name, texts, str, _RADII)


_RADII = "radii such as 4/255, as texts or numbers"


def _switch(name: str, value: Any) -> bool:
    return check_type(name, value, bool, "True or False")


def _text(name: str, value: Any) -> str:
    return check_type(name, value, str, "a text")


def _text_or_path(name: str, value: Any) -> str | Path:
    return value if isinstance(value, str) else path_of(name, value)


_CONVERTERS: dict[str, Callable[[str, Any], object]] = {
    **dict.fromkeys(("limit", "per_class", "batch_size", "seed", "steps", "restarts"), _integer),
    **dict.fromkeys(("severity", "difficulty", "resolution"), _integers),
    **dict.fromkeys(
        ("extra_corruptions", "skip_unreadable", "no_release_jpeg", "fresh", "compile", "profile"), _switch
    ),
    "attack": _names,
    "epsilon": _epsilons,
    **dict.fromkeys(("norm", "geometry", "backend", "precision", "kernels"), _text),
    **dict.fromkeys(("subset", "released"), path_of),
    "corruption": _corruptions,
    "ood": _named_sets,
    "csid": _image_sets,
    "treatment": _treatments,
    "calibration": _text_or_path,
    "groups": lambda name, value: str(_text_or_path(name, value)),
    "normalize_by": lambda name, value: str(_text_or_path(name, value)),
}
"""Conversions into the types of the manifest, which accept any type of number, list and path."""
