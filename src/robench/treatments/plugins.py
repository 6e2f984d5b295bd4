"""Treatments of installed packages, whose errors name the package."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeAlias

from torch import nn

from robench.models import Classifier
from robench.plugins import Plugin
from robench.suites import Condition
from robench.treatments.base import Method, Parameter, PreparedModel, Sample, Session, Value, Values, is_count
from robench.treatments.calibration import Calibration

__all__ = ["plugin_method"]

Attribution: TypeAlias = Callable[[], AbstractContextManager[None]]
"""Returns a context whose errors name the package."""


def plugin_method(plugin: Plugin) -> Method:
    """Return a package's method; its errors become an OptionError that names the package."""
    method = plugin.load(Method)
    attributed = partial(plugin.attribute_errors, f"fails in the treatment {plugin.name!r}")

    def layers(module: nn.Module, values: Values) -> int:
        with attributed():
            return method.layers(module, values)

    def start(classifier: Classifier, values: Values, calibration: Calibration | None) -> PreparedModel:
        with attributed():
            changed, session = _checked(method.start(classifier, values, calibration))
        return changed, None if session is None else _PluginSession(session, attributed)

    def notes(values: Values) -> list[str]:
        with attributed():
            return list(method.notes(values))

    parameters = (
        replace(parameter, read=_reader(parameter, parameter.name == method.images, attributed))
        for parameter in method.parameters
    )
    return replace(method, layers=layers, start=start, notes=notes, parameters=tuple(parameters))


def _checked(started: object) -> PreparedModel:
    match started:
        case (Classifier() as classifier, (None | Session()) as session):
            return classifier, session
        case (first, second):
            kinds = f"{type(first).__name__} and {type(second).__name__}"
        case _:
            kinds = type(started).__name__
    raise TypeError(f"start returns {kinds}, not a Classifier and a Session or None")


@dataclass(frozen=True)
class _PluginSession:
    """A package's session, whose errors name the package."""

    session: Session
    attributed: Attribution

    def start_condition(self, condition: Condition, sample: Sample) -> int | None:
        with self.attributed():
            images = self.session.start_condition(condition, sample)
            if images is not None and not is_count(images):
                raise TypeError(f"start_condition returns {images!r}, neither a number of images nor None")
            return images

    def before_batch(self, frame: int) -> None:
        with self.attributed():
            self.session.before_batch(frame)


def _reader(parameter: Parameter, images: bool, attributed: Attribution) -> Callable[[str], Value]:
    """Return a reader whose ValueError is the user's error, and whose other errors are the package's."""

    def read(text: str) -> Value:
        with attributed():
            try:
                value = parameter.read(text)
            except ValueError as error:
                invalid = error
            else:
                if images and not is_count(value):
                    raise TypeError(f"{parameter.name} is read as {value!r}, no number of images")
                return value
        raise invalid

    return read
