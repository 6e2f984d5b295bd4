"""Treatments of other installed packages: whatever their code raises is one line that names the package."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from torch import nn

from robench.models import Classifier
from robench.plugins import Offer
from robench.suites import Condition
from robench.treatments.base import Method, Parameter, Sample, Session, Started, Value, Values, is_count
from robench.treatments.calibration import Calibration

__all__ = ["offered_method"]


def offered_method(offer: Offer) -> Method:
    """Return a package's method, whose mistakes name the package: OptionError."""
    method = offer.load(Method)
    what = f"fails in the treatment {offer.name!r}"

    def layers(module: nn.Module, values: Values) -> int:
        with offer.blamed(what):
            return method.layers(module, values)

    def start(classifier: Classifier, values: Values, calibration: Calibration | None) -> Started:
        with offer.blamed(what):
            changed, session = _checked(method.start(classifier, values, calibration))
        return changed, None if session is None else _Blamed(session, offer, what)

    def remarks(values: Values) -> list[str]:
        with offer.blamed(what):
            return list(method.remarks(values))

    parameters = tuple(
        replace(one, read=_reader(one, one.name == method.images, offer, what)) for one in method.parameters
    )
    return replace(method, layers=layers, start=start, remarks=remarks, parameters=parameters)


def _checked(started: object) -> Started:
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
    offer: Offer
    what: str

    def begin(self, condition: Condition, sample: Sample) -> int | None:
        """Begin a condition."""
        with self.offer.blamed(self.what):
            images = self.session.begin(condition, sample)
            if images is not None and not is_count(images):
                raise TypeError(f"begin returns {images!r}, neither a number of images nor None")
            return images

    def show(self, frame: int) -> None:
        """Show a frame."""
        with self.offer.blamed(self.what):
            self.session.show(frame)


def _reader(parameter: Parameter, images: bool, offer: Offer, what: str) -> Callable[[str], Value]:
    """What reads a package's parameter, a number of images or not: ValueError is its user's mistake, all else the package's."""

    def read(text: str) -> Value:
        refused: ValueError
        with offer.blamed(what):
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
