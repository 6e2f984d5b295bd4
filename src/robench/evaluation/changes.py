"""The changes that stop a run from being resumed, in the words of the user: options first, then files and software."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from robench.evaluation.options import Options

__all__ = ["describe_changes"]

_NOT_COMPARED = (
    "fresh",
    "compile",
    "kernels",
    "profile",
    "normalize_by",
    "difficulty",
    "skip_unreadable",
    "ood",
    "csid",
    "groups",
)
"""Options that a resumed run may change."""

_HASH = re.compile(r"[0-9a-f]{64}")
_FILES = {
    "model.sha256": "the weights changed",
    "data.sha256": "the images or labels changed",
    "calibration": "the calibration images changed",
}
_LISTED = 3


def describe_changes(old: Mapping[str, Any], new: Mapping[str, Any], identity: Mapping[str, Any]) -> list[str]:
    """Describe the differences of two manifests, such as `--limit was 200, is 100`; empty if the run can be resumed.

    Args:
        old: Manifest of the existing run.
        new: Manifest of the new run.
        identity: Identity of the existing run, after files that the user may repair.
    """
    changed = _differences(identity, new["identity"])
    if not changed:
        return []
    # Other difficulties of some perturbations are other frames.
    has_other_conditions = any(key.startswith("conditions.") for key in changed)
    options = [
        _change(f"--{name.replace('_', '-')}", old["options"].get(name), new["options"].get(name))
        for name in Options.__dataclass_fields__
        if (name not in _NOT_COMPARED or (name == "difficulty" and has_other_conditions))
        and old["options"].get(name) != new["options"].get(name)
        # A folder of released files may move; their content is compared.
        and not (name == "released" and old["options"][name] and new["options"][name])
    ]
    if old["suites"] != new["suites"]:
        options.insert(0, _change("--suite", old["suites"], new["suites"]))
    # The conditions and the hashes of the images follow from the options.
    followed: tuple[str, ...] = (
        ("options.", "conditions.", "sizes.", "data.", "treatment", "released.") if options else ()
    )
    if any(option.startswith("--treatment") for option in options):
        followed += ("model.label",)
    rest = {key: text for key, text in changed.items() if not key.startswith(followed)}
    lines = [*options, *dict.fromkeys(_FILES.get(key, text) for key, text in rest.items())]
    more = [f"and {len(lines) - _LISTED} more"] if len(lines) > _LISTED else []
    return [*lines[:_LISTED], *more]


def _differences(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Return a text for each key with another value; keys of mappings in mappings are joined by dots."""
    lines: dict[str, str] = {}
    for key in dict.fromkeys([*old, *new]):
        name, was, now = f"{prefix}{key}", old.get(key), new.get(key)
        if isinstance(was, Mapping) and isinstance(now, Mapping):
            lines |= _differences(was, now, f"{name}.")
        elif was != now:
            is_file = all(isinstance(value, str) and _HASH.fullmatch(value) for value in (was, now))
            of = f"the released file of {key}" if prefix == "released." else name
            lines[name] = f"{of} changed" if is_file else _change(of, was, now)
    return lines


def _change(name: str, was: object, now: object) -> str:
    return f"{name} was {_shown(was)}, is {_shown(now)}"


def _shown(value: object) -> str:
    if value is None or value in ([], ()):
        return "not set"
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
