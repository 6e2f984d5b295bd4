"""What a treatment is: a method with a value for each of its parameters, made from a text such as `localnorm:g=16`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias, runtime_checkable

from robench.errors import OptionError, unknown_name
from robench.suites import SMALL, Condition

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import nn

    from robench.models import Classifier
    from robench.transforms.apply import Frame
    from robench.treatments.calibration import Calibration

__all__ = [
    "IMAGES",
    "Method",
    "Parameter",
    "PreparedModel",
    "Sample",
    "Session",
    "Treatment",
    "Value",
    "Values",
    "count",
    "is_count",
    "number",
    "one_of",
]

Value: TypeAlias = int | float | str
IMAGES = "a number of images, 1 or more"

Values: TypeAlias = Mapping[str, Value]
"""Of the parameters, by name."""

Sample: TypeAlias = "Callable[[int], Iterator[Frame]]"
"""So many samples of a condition, at random -> their frames, in batches of equal size."""


@runtime_checkable
class Session(Protocol):
    """What a method does at every condition, with a network that it has changed."""

    def start_condition(self, condition: Condition, sample: Sample) -> int | None:
        """Forget the condition before; return the images of a test batch, None where the loop's own batches will do."""

    def before_batch(self, frame: int) -> None:
        """Prepare for a batch of one frame of the samples, by its number."""


PreparedModel: TypeAlias = "tuple[Classifier, Session | None]"


@dataclass(frozen=True)
class Parameter:
    """A setting of a method.

    read: its value from a text; ValueError where it is none.  takes: what that is, in words.
    default: for networks with an input of at most `suites.SMALL` pixels, and for larger ones.
    bare: whether it is written without its name.
    """

    name: str
    read: Callable[[str], Value]
    takes: str
    default: tuple[Value, Value]
    bare: bool = False

    def __str__(self) -> str:
        small, large = map(_shown, self.default)
        default = small if small == large else f"{small} up to {SMALL} px, else {large}"
        return f"{'' if self.bare else f'{self.name}='}{self.takes} ({default})"


@dataclass(frozen=True)
class Method:
    """A published way to make a trained network robust.

    data: what it takes beside the network; of a "stream", it learns from a test batch of `n` images for the batches after it.
    per_image: whether an image is treated alike whatever is evaluated with it.
    stage: what it changes: the "network", the "branch" of BatchNorm, the stored statistics by "calibration", or what a layer
        normalises with when it is shown an image ("statistics"), of which a network can have one method. In this order, but that
        the network may be changed at any time.
    images: name of the parameter that says how many images statistics are of, at most: of what `data` says.
    frames: what it does where frames of one sample are compared: the "same", or as the "frozen" kind; "refused" where there are any.
    keeps: whether the checkpoint's own statistics still count after it.
    by_size: whether it does something else at every input size; the suite `resolution` then has the untouched network beside it.
    layers: (module, values) -> how many layers it will change; CheckpointError where it cannot.
    remarks: (values) -> what the reader of its figures should know.
    start: (classifier, values, calibration) -> the classifier with its module changed in place, and what is to be done at every condition.
    """

    name: str
    summary: str
    data: Literal["none", "test batch", "condition", "calibration", "stream"]
    per_image: str
    source: str
    stage: Literal["network", "branch", "calibration", "statistics"]
    layers: Callable[[nn.Module, Values], int]
    start: Callable[[Classifier, Values, Calibration | None], PreparedModel]
    parameters: tuple[Parameter, ...] = ()
    images: str = ""
    frames: Literal["same", "frozen", "refused"] = "same"
    keeps_running_stats: bool = False
    per_resolution: bool = False
    notes: Callable[[Values], Iterable[str]] = lambda _: ()

    def __post_init__(self) -> None:
        """ValueError where it takes images and does not say how many."""
        if not self.images and self.data == "none":
            return
        found = [one for one in self.parameters if one.name == self.images]
        if not found or not all(map(is_count, found[0].default)):
            raise ValueError(
                f"a Method that takes images ({self.data}) names the parameter that says how many as its field images, not {self.images!r}"
            )


@dataclass(frozen=True)
class Treatment:
    """A method and its values.

    given: by name, in the order of the method's parameters.  calibration: name of the calibration images, where it takes some.
    """

    method: Method
    given: tuple[tuple[str, Value], ...] = ()
    calibration: str = ""

    @classmethod
    def parse(cls, text: str, find: Callable[[str], Method]) -> Treatment:
        """Read `name`, `name:value` or `name:key=value,key=value`; OptionError that says what is wrong.

        find: the method of a name.
        """
        name, colon, rest = text.partition(":")
        method, given = find(name), {}
        known = {parameter.name: parameter for parameter in method.parameters}
        for part in rest.split(",") if colon else ():
            key, equals, value = part.strip().partition("=")
            if not equals:
                key, value = next((one.name for one in method.parameters if one.bare), key), key
            if key not in known:
                what = f"{name} has no parameters" if not known else unknown_name(f"parameter of {name}", key, known)
                raise OptionError(f"{what}: `robench list treatments` shows them")
            if key in given:
                raise OptionError(f"--treatment {text} gives {key} twice")
            try:
                given[key] = known[key].read(value)
            except ValueError:
                raise OptionError(f"{name} takes {known[key].takes} as {key}, not {value!r}") from None
        return cls(method, tuple((key, given[key]) for key in known if key in given))

    def complete(self, side: int) -> Treatment:
        """Return it with the defaults for an input of `side` pixels where nothing was given."""
        given = dict(self.given)
        values = ((one.name, given.get(one.name, one.default[side > SMALL])) for one in self.method.parameters)
        return replace(self, given=tuple(values))

    @property
    def values(self) -> dict[str, Value]:
        """What was given, or all after `complete`."""
        return dict(self.given)

    @property
    def images(self) -> int:
        """How many images its statistics are of, at most; 0 where it has none."""
        return int(self.values[self.method.images]) if self.method.images else 0

    def limited(self, images: int) -> Treatment:
        """Return it with statistics of at most so many images."""
        most = self.method.images
        return replace(
            self, given=tuple((key, min(int(value), images) if key == most else value) for key, value in self.given)
        )

    def __str__(self) -> str:
        bare = {one.name for one in self.method.parameters if one.bare}
        parts = [_shown(value) if name in bare else f"{name}={_shown(value)}" for name, value in self.given]
        text = ":".join([self.method.name, *([",".join(parts)] if parts else [])])
        return f"{text}@{self.calibration}" if self.calibration else text


def _shown(value: Value) -> str:
    return value if isinstance(value, str) else f"{value:.10g}"


def is_count(value: object) -> bool:
    """Whether a value is a number of images."""
    return isinstance(value, int) and value >= 1


def count(text: str) -> int:
    """Read a number of images: whole, at least 1."""
    if not re.fullmatch(r"[0-9]{1,9}", text) or not int(text):
        raise ValueError(text)
    return int(text)


def number(text: str) -> float:
    """Read a number of at least 0; infinity too."""
    value = float(text)
    if not value >= 0 or "_" in text:
        raise ValueError(text)
    return value


def finite(text: str) -> float:
    """Read a number from 0 to 1000."""
    value = number(text)
    if value > 1000:
        raise ValueError(text)
    return value


def one_of(*choices: str) -> Callable[[str], str]:
    """Return what reads one of some words."""

    def read(text: str) -> str:
        if text not in choices:
            raise ValueError(text)
        return text

    return read
