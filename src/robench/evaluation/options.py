"""Everything about a run but the model, the images and the place."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from robench.errors import OptionError, unknown_name
from robench.evaluation.device_scopes import PRECISIONS
from robench.suites import BACKENDS
from robench.treatments import parse_treatments

__all__ = ["DEFAULT_BATCH_SIZE", "GEOMETRIES", "Options"]

DEFAULT_BATCH_SIZE = 64
"""Fixed, because a network's floating-point result depends on the batch's shape."""

GEOMETRIES = ("suite", "model")


@dataclass(frozen=True)
class Options:
    """Everything about a run but the model, the images and the place; the defaults are the published protocols.

    corruptions, severities: parts of the suites; None for all.  extra_corruptions: also those outside the aggregates.
    difficulties: of perturbation sequences, 1 to 3.  resolutions: sizes of the resolution suite, px, of `information` those up to the
        model's input; None for its own.
    limit, per_class, subset: which samples (see data.select).  skip_unreadable: list damaged images instead of stopping.
    treatments: of the model, in the order in which they are applied (`robench list treatments`), and
    calibration: the dataset of those that estimate something on images of their own.
    geometry: "suite", or "model" for the model's own resize, crop and interpolation; frames have the suite's in any case.
    release_jpeg: whether suites whose released files went through JPEG do so here.
    backend: "torch", or "reference" for the published package's own functions, slowly, on a CPU.
    released: folder of published files that take the place of computed images, in the suites of which any were published.
    normalize_by: "alexnet", the directory of another run, "none", or None for each suite's published baseline.
    fresh: move an existing run aside instead of resuming it.
    compiled: make the draws through torch.compile: the same pixels, sooner, after a minute's compilation.
    profile: time where the time goes, by phase; a little slower.
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
        for name in ("limit", "per_class", "batch_size", "seed"):
            self._plain(name, _integer)
        for name in ("severities", "difficulties", "resolutions", "corruptions"):
            self._plain(name, partial(_non_empty_list, name))
        for name in ("severities", "difficulties", "resolutions"):
            self._plain(name, lambda values: sorted(set(map(_integer, values))))
        if isinstance(self.treatments, str):
            raise OptionError(f"treatments takes a list, not {self.treatments!r}: give [{self.treatments!r}]")
        object.__setattr__(self, "treatments", [str(one) for one in parse_treatments(self.treatments)])
        self._plain("subset", Path)
        self._plain("released", Path)
        if self.batch_size < 1:
            raise OptionError(f"--batch-size must be at least 1, not {self.batch_size}")
        for side in self.resolutions or ():
            if side < 1:
                raise OptionError(f"--resolution takes sides of at least 1 pixel, not {side}")
        if not self.difficulties or not set(self.difficulties) <= {1, 2, 3}:
            raise OptionError(f"--difficulty takes 1, 2 and 3, not {', '.join(map(str, self.difficulties)) or 'none'}")
        if not 0 <= self.seed < 2**63:
            raise OptionError(f"--seed must be from 0 to 2^63 - 1, not {self.seed}")
        if self.geometry not in GEOMETRIES:
            raise OptionError(unknown_name("geometry", self.geometry, GEOMETRIES))
        if self.precision not in PRECISIONS:
            raise OptionError(unknown_name("precision", self.precision, PRECISIONS))
        if self.backend not in BACKENDS:
            raise OptionError(unknown_name("backend", self.backend, BACKENDS))
        for option, given in (
            ("--backend reference", self.backend == "reference"),
            ("--geometry model", self.geometry == "model"),
            ("--no-release-jpeg", not self.release_jpeg),
        ):
            if self.released is not None and given:
                raise OptionError(f"released files are taken as they are, so {option} has no meaning: leave it out")

    def _plain(self, name: str, kind: Callable[[Any], object]) -> None:
        """Bring an option into the type that the manifest writes, whatever number or path type the caller has."""
        value = getattr(self, name)
        if value is not None:
            try:
                object.__setattr__(self, name, kind(value))
            except TypeError:
                raise OptionError(f"the option {name} cannot be {value!r}") from None


def _integer(value: Any) -> int:
    return operator.index(value)


def _non_empty_list(name: str, values: Any) -> list[Any]:
    if isinstance(values, str):
        raise OptionError(f"{name} takes a list, not {values!r}: give [{values!r}]")
    if not list(values):
        raise OptionError(f"{name} is an empty list: leave it out for all of them")
    return list(values)
