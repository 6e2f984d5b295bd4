"""Treatments of other installed packages: whatever their code raises is one line that names the package."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from torch import nn

from robench.models import Classifier
from robench.plugins import Plugin
from robench.suites import Condition
from robench.treatments.base import Method, Parameter, PreparedModel, Sample, Session, Value, Values, is_count
from robench.treatments.calibration import Calibration

__all__ = ["plugin_method"]


def plugin_method(offer: Plugin) -> Method:
    """Return a package's method, whose mistakes name the package: OptionError."""
    method = offer.load(Method)
    what = f"fails in the treatment {offer.name!r}"

    def layers(module: nn.Module, values: Values) -> int:
        with offer.attribute_errors(what):
            return method.layers(module, values)

    def start(classifier: Classifier, values: Values, calibration: Calibration | None) -> PreparedModel:
        with offer.attribute_errors(what):
            changed, session = _checked(method.start(classifier, values, calibration))
        return changed, None if session is None else _Blamed(session, offer, what)

    def remarks(values: Values) -> list[str]:
        with offer.attribute_errors(what):
            return list(method.notes(values))

    parameters = tuple(
        replace(one, read=_reader(one, one.name == method.images, offer, what)) for one in method.parameters
    )
    return replace(method, layers=layers, start=start, notes=remarks, parameters=parameters)


def _checked(started: object) -> PreparedModel:
    match started:
        case (Classifier() as classifier, (None | Session()) as session):
            return classifier, session
        case (one, other):
            kinds = f"{type(one).__name__} and {type(other).__name__}"
        case _:
            kinds = type(started).__name__
    raise TypeError(f"start returns {kinds}, not a Classifier and a Session or None")


@dataclass(frozen=True)
class _Blamed:
    """A package's session, whose mistakes name the package."""

    session: Session
    offer: Plugin
    what: str

    def start_condition(self, condition: Condition, sample: Sample) -> int | None:
        """Begin a condition."""
        with self.offer.attribute_errors(self.what):
            images = self.session.start_condition(condition, sample)
            if images is not None and not is_count(images):
                raise TypeError(f"begin returns {images!r}, neither a number of images nor None")
            return images

    def before_batch(self, frame: int) -> None:
        """Show a frame."""
        with self.offer.attribute_errors(self.what):
            self.session.before_batch(frame)


def _reader(parameter: Parameter, images: bool, offer: Plugin, what: str) -> Callable[[str], Value]:
    """What reads a package's parameter, a number of images or not: ValueError is its user's mistake, all else the package's."""

    def read(text: str) -> Value:
        refused: ValueError
        with offer.attribute_errors(what):
            try:
                value = parameter.read(text)
            except ValueError as error:
                refused = error
            else:
                if images and not is_count(value):
                    raise TypeError(f"{parameter.name} is read as {value!r}, no number of images")
                return value
        raise refused

    return read
