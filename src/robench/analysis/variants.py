"""The settings by which runs of one model differ, for names that tell them apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["differing", "input_settings", "run_settings"]

_INPUT = ("mean", "std", "channels", "data_range")
_GEOMETRY = ("resize", "crop", "interpolation")
_NO_SETTINGS = ("treatment", "fresh", "compile", "profile", "normalize_by")
"""Options that change no value, and those that a name has already."""


def input_settings(manifest: Mapping[str, Any]) -> dict[str, str]:
    """Return mean, std and order of the channels of a run's model as texts; those in the usual order have none."""
    return _texts(_preprocessing(manifest), _INPUT)


def run_settings(manifest: Mapping[str, Any]) -> dict[str, str]:
    """Return the settings of a run that can change its values, as texts by the name of their option."""
    options = manifest.get("options")
    options = options if isinstance(options, Mapping) else {}
    return {
        **_texts(_preprocessing(manifest), (*_INPUT, *_GEOMETRY)),
        **_texts(options, [str(name) for name in options if name not in _NO_SETTINGS]),
    }


def differing(settings: Sequence[Mapping[str, str]]) -> list[str]:
    """Return for each of several settings those that the others do not share, such as `mean 0.5,0.5,0.5`; may be empty."""
    names = dict.fromkeys(name for one in settings for name in one)
    varied = [name for name in names if len({one.get(name) for one in settings}) > 1]
    return [", ".join(f"{name} {one[name]}" for name in varied if name in one) for one in settings]


def _preprocessing(manifest: Mapping[str, Any]) -> Mapping[str, Any]:
    model = manifest.get("model")
    found = model.get("preprocessing") if isinstance(model, Mapping) else None
    return found if isinstance(found, Mapping) else {}


def _texts(values: Mapping[str, Any], names: Sequence[str]) -> dict[str, str]:
    """Return the values that are set, by name with hyphens, as options take them."""
    return {
        name.replace("_", "-"): _text(values[name])
        for name in names
        if values.get(name) is not None and values[name] is not False and values[name] != []
    }


def _text(value: object) -> str:
    if isinstance(value, list | tuple):
        return ",".join(map(_text, value))
    return f"{value:g}" if isinstance(value, float) else str(value)
