"""The protocol string of a result, and the parts in which two of them differ."""

from __future__ import annotations

import re

__all__ = ["protocol_difference"]

_PARTS = (
    ("release JPEG", r"jpeg\d+"),
    ("side of the frames", r"frames\d+"),
    ("precision", r"fp32|tf32|bf16|fp16"),
    ("backend", r"reference"),
    ("input sizes", r"\d+(-\d+)*px"),
)
"""Parts of a protocol's name after the first, which is its geometry, by what they look like."""


def protocol_difference(ours: str, theirs: str) -> str:
    """Say which parts of two protocols differ: `the geometry (resize256-crop224 and resize224)`."""
    one, two = _parts(ours), _parts(theirs)
    unlike = [name for name in dict.fromkeys([*one, *two]) if one.get(name) != two.get(name)]
    if not unlike:
        return f"the constants or the draws ({ours} and {theirs})"
    return " and ".join(f"the {name} ({one.get(name, 'none')} and {two.get(name, 'none')})" for name in unlike)


def _parts(protocol: str) -> dict[str, str]:
    geometry, *others = protocol.partition("#")[0].split("+")
    found = {"geometry": geometry}
    for part in others:
        name = next((name for name, pattern in _PARTS if re.fullmatch(pattern, part)), "provider of the corruptions")
        found[name] = part
    return found
