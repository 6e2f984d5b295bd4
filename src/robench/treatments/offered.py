"""Treatments of other installed packages: whatever their code raises is one line that names the package."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from torch import nn

from robench.extensions import Offer
from robench.models import Classifier
from robench.suites import Condition
from robench.treatments.calibration import Calibration
from robench.treatments.treatment import Method, Parameter, Sample, Session, Started, Value, Values

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
            changed, session = method.start(classifier, values, calibration)
        return changed, None if session is None else _Blamed(session, offer, what)

    def remarks(values: Values) -> list[str]:
        with offer.blamed(what):
            return list(method.remarks(values))

    parameters = tuple(replace(one, read=_reader(one, offer, what)) for one in method.parameters)
    return replace(method, layers=layers, start=start, remarks=remarks, parameters=parameters)


@dataclass(frozen=True)
class _Blamed:
    """A package's session, whose mistakes name the package."""

    session: Session
    offer: Offer
    what: str

    def begin(self, condition: Condition, sample: Sample) -> int | None:
        """Begin a condition."""
        with self.offer.blamed(self.what):
            return self.session.begin(condition, sample)

    def show(self, frame: int) -> None:
        """Show a frame."""
        with self.offer.blamed(self.what):
            self.session.show(frame)


def _reader(parameter: Parameter, offer: Offer, what: str) -> Callable[[str], Value]:
    """What reads a package's parameter: ValueError is its user's mistake, everything else the package's."""

    def read(text: str) -> Value:
        refused: ValueError
        with offer.blamed(what):
            try:
                return parameter.read(text)
            except ValueError as error:
                refused = error
        raise refused

    return read
