"""Protocols: everything that changes the values of a suite, as a short string with a hash."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

__all__ = ["Protocol", "SuiteProtocol", "short_hash"]

_PATTERNS = (
    ("norm and radii of the attacks", re.compile(r"l(inf|2):.*")),
    ("attacks", re.compile(r"apgd.*")),
    ("steps of an attack", re.compile(r"\d+steps")),
    ("starts of an attack", re.compile(r"\d+starts")),
    ("release JPEG", re.compile(r"jpeg\d+")),
    ("side of the frames", re.compile(r"frames\d+(x\d+)?")),
    ("precision", re.compile(r"fp32|tf32|bf16|fp16")),
    ("backend", re.compile(r"reference")),
    ("bands", re.compile(r"\d+bands?")),
    ("range of the data", re.compile(r"range\S+to\S+")),
    ("input sizes", re.compile(r"\d+(-\d+)*px")),
)
"""Names of the parts after the first, which is the geometry, by their form. Other parts are packages."""


def short_hash(text: str) -> str:
    """Return the first 8 hexadecimal digits of the SHA-256 of a text."""
    return hashlib.sha256(text.encode()).hexdigest()[:8]


@dataclass(frozen=True)
class Protocol:
    """A readable string with a hash: `resize256-bilinear-crop224+jpeg85+fp32#01234567`. Equal protocols have comparable values.

    Attributes:
        parts: Readable parts; the first one is the geometry.
        digest: Hash of all facts.
    """

    parts: tuple[str, ...]
    digest: str

    @classmethod
    def compose(cls, parts: Iterable[str], facts: Mapping[str, object]) -> Protocol:
        """Build the protocol that hashes `facts`, a mapping that JSON can hold."""
        return cls(tuple(parts), short_hash(json.dumps(facts, sort_keys=True)))

    @classmethod
    def parse(cls, text: str) -> Protocol:
        """Split the string of a protocol into its parts."""
        readable, _, digest = text.partition("#")
        return cls(tuple(readable.split("+")), digest)

    def __str__(self) -> str:
        return f"{'+'.join(self.parts)}#{self.digest}"

    def with_sizes(self, sizes: Iterable[int]) -> Protocol:
        """Return the protocol of a value that depends on several input sizes, in pixels."""
        return replace(self, parts=(*self.parts, f"{'-'.join(map(str, sizes))}px"))

    @property
    def named_parts(self) -> dict[str, str]:
        """The readable parts by name."""
        geometry, *others = self.parts
        parts = {"geometry": geometry}
        for part in others:
            name = next((name for name, pattern in _PATTERNS if pattern.fullmatch(part)), "provider of the corruptions")
            parts[name] = part
        return parts

    def difference(self, other: Protocol) -> str:
        """Name the parts in which two protocols differ: `the geometry (resize256-crop224 and resize224)`."""
        ours, theirs = self.named_parts, other.named_parts
        names = [name for name in dict.fromkeys([*ours, *theirs]) if ours.get(name) != theirs.get(name)]
        if not names:
            return f"the constants or the draws ({self} and {other})"
        return " and ".join(f"the {name} ({ours.get(name, 'none')} and {theirs.get(name, 'none')})" for name in names)


_SUBSET = re.compile(r" \([^()]*\)$")


@dataclass(frozen=True)
class SuiteProtocol:
    """Protocols of the values of one suite in a row of a leaderboard: `cifar-c resize32x32#01234567 (1 of 75 cells#89abcdef)`.

    Attributes:
        suite: Name of the suite.
        protocols: Protocols, joined by `|`.
        subset: Cells that the values cover, in parentheses; empty for all cells of the suite.
    """

    suite: str
    protocols: str
    subset: str = ""

    @classmethod
    def parse_all(cls, text: str) -> list[SuiteProtocol]:
        """Split the cell of a leaderboard into the protocols of its suites."""
        found = []
        for entry in text.split("; "):
            subset = match[0] if (match := _SUBSET.search(entry)) else ""
            suite, _, protocols = entry.removesuffix(subset).partition(" ")
            found.append(cls(suite, protocols, subset.strip()))
        return found

    @property
    def comparable(self) -> str:
        """The protocols and the subset. Two values of the suite compare only if it is equal."""
        return " ".join(filter(None, (self.protocols, self.subset)))

    def __str__(self) -> str:
        return " ".join(filter(None, (self.suite, self.comparable)))
