"""The options of a run."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from robench.errors import OptionError, unknown_name
from robench.evaluation.device_scopes import PRECISIONS
from robench.suites import BACKENDS
from robench.treatments import parse_treatments

__all__ = ["DEFAULT_BATCH_SIZE", "GEOMETRIES", "Options"]

DEFAULT_BATCH_SIZE = 64
"""A fixed size, because the floating-point result of a network depends on the shape of the batch."""

GEOMETRIES = ("suite", "model")


@dataclass(frozen=True)
class Options:
    """Everything about a run except model, images and directory; the defaults are the published protocols.

    Attributes:
        corruptions: Corruptions or perturbations to evaluate; None for all of the suites.
        severities: Severities to evaluate; None for all.
        extra_corruptions: Whether to evaluate corruptions outside the aggregates too.
        difficulties: Difficulties of perturbation sequences, 1 to 3.
        resolutions: Input sizes of the resolution suite in pixels, for `information` up to the model's input; None for the defaults.
        limit: Number of samples, evenly spread.
        per_class: Number of samples of each class.
        subset: File with the paths of the samples.
        skip_unreadable: Whether to list damaged images in the manifest instead of stopping.
        treatments: Treatments of the model in order of application.
        calibration: Dataset for treatments that estimate statistics on images of their own.
        geometry: "suite", or "model" for the model's own resize and crop; frames have the suite's geometry in either case.
        release_jpeg: Whether suites apply the JPEG compression of their released files.
        backend: "torch", or "reference" for the functions of the published package, which are slow and need a CPU.
        released: Directory of released files that replace computed images.
        batch_size: Images of a batch.
        precision: A key of `PRECISIONS`.
        seed: Seed of all draws, 0 to 2^63 - 1.
        normalize_by: "alexnet", the directory of another run, "none", or None for each suite's published baseline.
        fresh: Whether to move an existing run aside instead of resuming it.
        compile: Whether to compile the draws with torch.compile, which takes a minute and gives the same pixels faster.
        profile: Whether to time each phase, which is a little slower.

    Raises:
        OptionError: An option is invalid, or options contradict each other.
    """

    corruptions: Sequence[str] | None = None
    severities: Sequence[int] | None = None
    extra_corruptions: bool = False
    difficulties: Sequence[int] = (1,)
    resolutions: Sequence[int] | None = None
    limit: int | None = None
    per_class: int | None = None
    subset: Path | None = None
    skip_unreadable: bool = False
    treatments: Sequence[str] = ()
    calibration: str | Path | None = None
    geometry: str = "suite"
    release_jpeg: bool = True
    backend: str = BACKENDS[0]
    released: Path | None = None
    batch_size: int = DEFAULT_BATCH_SIZE
    precision: str = "fp32"
    seed: int = 0
    normalize_by: str | None = None
    fresh: bool = False
    compile: bool = False
    profile: bool = False

    def __post_init__(self) -> None:
        for name, convert in _CONVERTERS.items():
            value = getattr(self, name)
            try:
                if value is not None:
                    object.__setattr__(self, name, convert(value))
            except TypeError:
                raise OptionError(f"{name} cannot be {value!r}") from None
            except ValueError as error:
                raise OptionError(f"{name} {error.args[0]}", *error.args[1:]) from None
        if self.batch_size < 1:
            raise OptionError(f"--batch-size must be at least 1, not {self.batch_size}")
        for size in self.resolutions or ():
            if size < 1:
                raise OptionError(f"--resolution must be at least 1, not {size}")
        if not set(self.difficulties) <= {1, 2, 3}:
            raise OptionError(f"--difficulty must be 1, 2 or 3, not {', '.join(map(str, self.difficulties))}")
        if not 0 <= self.seed < 2**63:
            raise OptionError(f"--seed must be from 0 to 2^63 - 1, not {self.seed}")
        for kind, known in (("geometry", GEOMETRIES), ("precision", PRECISIONS), ("backend", BACKENDS)):
            if getattr(self, kind) not in known:
                raise OptionError(*unknown_name(kind, getattr(self, kind), known))
        for option, active in (
            ("--backend reference", self.backend == "reference"),
            ("--geometry model", self.geometry == "model"),
            ("--no-release-jpeg", not self.release_jpeg),
        ):
            if self.released is not None and active:
                raise OptionError(f"{option} has no effect on released files", "omit it")


def _list(values: Any) -> list[Any]:
    if isinstance(values, str):
        raise ValueError(f"takes a list, not {values!r}", f"give [{values!r}]")
    if not (items := list(values)):
        raise ValueError("is an empty list", "omit it for the default")
    return items


def _integers(values: Any) -> list[int]:
    return sorted(set(map(operator.index, _list(values))))


def _treatments(values: Any) -> list[str]:
    return [str(treatment) for treatment in parse_treatments(_list(values) if values else ())]


_CONVERTERS: dict[str, Callable[[Any], object]] = {
    **dict.fromkeys(("limit", "per_class", "batch_size", "seed"), operator.index),
    **dict.fromkeys(("severities", "difficulties", "resolutions"), _integers),
    "corruptions": _list,
    "treatments": _treatments,
    "subset": Path,
    "released": Path,
}
"""Conversions into the types of the manifest, which accept any type of number, list and path."""
