"""Treatment: a method with a value for each of its parameters, parsed from a text such as `localnorm:g=16`."""

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
    "finite",
    "is_count",
    "number",
    "one_of",
]

Value: TypeAlias = int | float | str
IMAGES = "a number of images, 1 or more"

Values: TypeAlias = Mapping[str, Value]
"""Values of the parameters, by name."""

Sample: TypeAlias = "Callable[[int], Iterator[Frame]]"
"""Yields the frames of n random samples of a condition, in batches of equal size."""


@runtime_checkable
class Session(Protocol):
    """The state of a method between conditions, with the network that it has changed."""

    def start_condition(self, condition: Condition, sample: Sample) -> int | None:
        """Reset the state, and return the number of images of a test batch; None accepts the batches of the loop."""

    def before_batch(self, frame: int) -> None:
        """Prepare for a batch of one frame of the samples, by its number."""


PreparedModel: TypeAlias = "tuple[Classifier, Session | None]"


@dataclass(frozen=True)
class Parameter:
    """A setting of a method.

    Attributes:
        name: Name in texts.
        read: Converts a text to a value; raises ValueError if the text is invalid.
        description: Valid values, in words.
        default: Value for networks with an input of at most `suites.SMALL` pixels, and for larger ones.
        bare: Whether texts omit the name.
    """

    name: str
    read: Callable[[str], Value]
    description: str
    default: tuple[Value, Value]
    bare: bool = False

    def __str__(self) -> str:
        small, large = map(_format, self.default)
        default = small if small == large else f"{small} up to {SMALL} px, else {large}"
        return f"{'' if self.bare else f'{self.name}='}{self.description} ({default})"


@dataclass(frozen=True)
class Method:
    """A published method that makes a trained network robust.

    Attributes:
        name: Name for `--treatment`.
        summary: One line for users.
        data: Input besides the network. A method with "stream" learns from each test batch for the batches after it.
        per_image: Whether the treatment of an image is independent of the other evaluated images, in words.
        source: Paper.
        stage: What the method changes: the "network", the "branch" of BatchNorm, the stored statistics ("calibration"), or the
            statistics that normalise an image ("statistics"). Stages run in this order, but "network" may come at any time.
            A network has at most one method of the stage "statistics".
        layers: (module, values) -> number of layers that the method will change; raises CheckpointError if it cannot.
        start: (classifier, values, calibration) -> the classifier with its module changed in place, and the session or None.
        parameters: Settings of the method.
        images: Name of the parameter with the largest number of images for the statistics.
        frames: Behaviour if frames of a sample are compared: the "same", "frozen" statistics, or "refused".
        keeps_running_stats: Whether the checkpoint's own statistics still affect the result.
        per_resolution: Whether the method depends on the input size. The suite `resolution` then also runs the untouched network.
        notes: (values) -> warnings for the reader of the results.
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
        """Raise ValueError if the method takes images without a parameter for their number."""
        if not self.images and self.data == "none":
            return
        defaults = {parameter.name: parameter.default for parameter in self.parameters}
        if not all(map(is_count, defaults.get(self.images, (None,)))):
            raise ValueError(
                f"a Method that takes images ({self.data}) names the parameter with their number as its field images, not {self.images!r}"
            )


@dataclass(frozen=True)
class Treatment:
    """A method and its values.

    Attributes:
        method: The method.
        settings: Values by name, in the order of the method's parameters.
        calibration: Name of the calibration images, if the method takes any.
    """

    method: Method
    settings: tuple[tuple[str, Value], ...] = ()
    calibration: str = ""

    @classmethod
    def parse(cls, text: str, find: Callable[[str], Method]) -> Treatment:
        """Parse `name`, `name:value` or `name:key=value,key=value`.

        Args:
            text: The text.
            find: Returns the method of a name.

        Raises:
            OptionError: If the text is invalid.
        """
        name, colon, rest = text.partition(":")
        method, values = find(name), {}
        known = {parameter.name: parameter for parameter in method.parameters}
        for part in rest.split(",") if colon else ():
            key, equals, value = part.strip().partition("=")
            if not equals:
                key, value = next((parameter.name for parameter in method.parameters if parameter.bare), key), key
            if key not in known:
                if not known:
                    raise OptionError(f"{name} has no parameters", "see `robench list treatments`")
                raise OptionError(*unknown_name(f"parameter of {name}", key, known))
            if key in values:
                raise OptionError(f"--treatment {text} gives {key} twice", "give it once")
            try:
                values[key] = known[key].read(value)
            except ValueError:
                raise OptionError(
                    f"{name} takes {known[key].description} as {key}, not {value!r}", f"see `robench explain {name}`"
                ) from None
        return cls(method, tuple((key, values[key]) for key in known if key in values))

    def complete(self, input_size: int) -> Treatment:
        """Return the treatment with defaults for the omitted parameters, for an input of `input_size` pixels."""
        defaults = {parameter.name: parameter.default[input_size > SMALL] for parameter in self.method.parameters}
        return replace(self, settings=tuple((defaults | self.values).items()))

    @property
    def values(self) -> dict[str, Value]:
        """The settings by name; those of all parameters after `complete`."""
        return dict(self.settings)

    @property
    def images(self) -> int:
        """Largest number of images for the statistics; 0 without statistics."""
        return int(self.values[self.method.images]) if self.method.images else 0

    def limited(self, images: int) -> Treatment:
        """Return the treatment with at most `images` images for its statistics."""
        limit = {self.method.images: min(self.images, images)} if self.method.images else {}
        return replace(self, settings=tuple((self.values | limit).items()))

    def __str__(self) -> str:
        bare = {parameter.name for parameter in self.method.parameters if parameter.bare}
        parts = [_format(value) if name in bare else f"{name}={_format(value)}" for name, value in self.settings]
        text = ":".join([self.method.name, *([",".join(parts)] if parts else [])])
        return f"{text}@{self.calibration}" if self.calibration else text


def _format(value: Value) -> str:
    return value if isinstance(value, str) else f"{value:.10g}"


def is_count(value: object) -> bool:
    """Return whether a value is a number of images."""
    return isinstance(value, int) and value >= 1


def count(text: str) -> int:
    """Parse a number of images, a whole number of at least 1."""
    if not re.fullmatch(r"[0-9]{1,9}", text) or not int(text):
        raise ValueError(text)
    return int(text)


def number(text: str) -> float:
    """Parse a number of at least 0, or infinity."""
    value = float(text)
    if not value >= 0 or "_" in text:
        raise ValueError(text)
    return value


def finite(text: str) -> float:
    """Parse a number from 0 to 1000."""
    value = number(text)
    if value > 1000:
        raise ValueError(text)
    return value


def one_of(*choices: str) -> Callable[[str], str]:
    """Return a parser that accepts the given words."""

    def read(text: str) -> str:
        if text not in choices:
            raise ValueError(text)
        return text

    return read
