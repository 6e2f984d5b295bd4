"""The head that the user chose, parsed from texts such as `knn:k=20,T=0.07`."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias

from robench.errors import OptionError, unknown_name

__all__ = ["HeadChoice"]

Kind: TypeAlias = Literal["knn", "linear", "file"]


def _count(text: str) -> int:
    value = int(text) if text.isascii() and text.isdecimal() else 0
    if not 1 <= value < 10**9:
        raise ValueError(text)
    return value


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value < math.inf or "_" in text:
        raise ValueError(text)
    return value


_PARAMETERS: Mapping[str, Mapping[str, tuple[Callable[[str], float], float, str]]] = {
    "knn": {
        "k": (_count, 20, "a whole number of neighbours, 1 or more"),
        "T": (_positive, 0.07, "a temperature above 0"),
    },
    "linear": {"C": (_positive, 1.0, "an inverse strength of regularisation above 0")},
}
"""Reader, default and description of each parameter, by the kind of the head."""


@dataclass(frozen=True)
class HeadChoice:
    """A head for a backbone.

    Attributes:
        kind: "knn", "linear" or "file".
        values: Value of each parameter.
        file: Weights of the head; None unless `kind` is "file".
        reference: Labelled images that the head is made from; None if `kind` is "file".
        features: Name of the module whose output is the features, or a layout of tokens; None for the usual features.
    """

    kind: Kind
    values: Mapping[str, float] = field(default_factory=dict)
    file: Path | None = None
    reference: str | Path | None = None
    features: str | None = None

    @classmethod
    def parse(
        cls, text: str | None, reference: str | Path | None = None, features: str | None = None
    ) -> HeadChoice | None:
        """Parse `knn`, `knn:k=20,T=0.07`, `linear`, `linear:C=1`, or the path of a file; None if nothing is chosen.

        Raises:
            OptionError: A parameter is unknown or invalid, or the options contradict each other.
        """
        if text is None:
            for option, value in (("--reference", reference), ("--features", features)):
                if value is not None:
                    raise OptionError(f"{option} has no effect without a head", "add --head knn, or omit it")
            return None
        name, colon, rest = text.partition(":")
        if name not in _PARAMETERS:
            return cls._from_file(text, reference, features)
        if reference is None:
            raise OptionError(
                f"--head {name} needs labelled images", "add --reference DIR, such as the training images"
            )
        known = _PARAMETERS[name]
        values = {key: default for key, (_, default, _) in known.items()}
        given: set[str] = set()
        for part in rest.split(",") if colon else ():
            key, _, value = part.strip().partition("=")
            if key not in known:
                raise OptionError(*unknown_name(f"parameter of --head {name}", key, known))
            if key in given:
                raise OptionError(f"--head {text} gives {key} twice", "give it once")
            read, default, description = known[key]
            try:
                values[key] = read(value)
            except ValueError:
                raise OptionError(
                    f"--head {name} takes {description} as {key}, not {value!r}", f"omit {key} for {default:g}"
                ) from None
            given.add(key)
        return cls("knn" if name == "knn" else "linear", values, reference=reference, features=features)

    @classmethod
    def _from_file(cls, text: str, reference: str | Path | None, features: str | None) -> HeadChoice:
        if not Path(text).exists():
            raise OptionError(f"--head {text} is neither knn, linear nor a file", "check the path")
        if reference is not None:
            raise OptionError("--reference has no effect on a head from a file", "omit it")
        return cls("file", file=Path(text), features=features)

    def __str__(self) -> str:
        if self.file is not None:
            return self.file.name
        return f"{self.kind}:{','.join(f'{key}={value:g}' for key, value in self.values.items())}"
