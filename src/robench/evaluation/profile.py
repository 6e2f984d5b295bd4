"""Where the time of an evaluation went: numbers that add up over shards and workers, and their table. Torch-free."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from rich.table import Table

__all__ = ["PHASES", "Profile", "profile_table"]

PHASES: dict[str, str] = {
    "decode": "reading and decoding files",
    "copy": "pixels to the device",
    "corruption": "corrupting them",
    "statistics": "estimating a treatment's statistics",
    "forward": "the model, from uint8 images to its best classes",
    "records": "the table of what it said",
}
"""What the time goes to, in the order in which it is done. What remains is idle."""


@dataclass(frozen=True)
class Profile:
    """Where the time of some work went; the profiles of several pieces of work add up.

    seconds: by phase.  beside: by phase, what ran beside the model, on a stream of its own; it slows the model down somewhat.
    wall: seconds by the clock, of all workers together.  images: that the model was shown.
    """

    seconds: Mapping[str, float] = field(default_factory=dict)
    beside: Mapping[str, float] = field(default_factory=dict)
    wall: float = 0.0
    images: int = 0

    @classmethod
    def of(cls, phase: str, seconds: float) -> Profile:
        """Return the profile of a phase that was timed elsewhere."""
        return cls({phase: seconds}, {}, seconds)

    def __add__(self, other: Profile) -> Profile:
        return Profile(
            _summed(self.seconds, other.seconds),
            _summed(self.beside, other.beside),
            self.wall + other.wall,
            self.images + other.images,
        )

    @property
    def idle(self) -> float:
        """Seconds in which neither the model nor anything that it has to wait for was at work."""
        return max(0.0, self.wall - sum(self.seconds.values()))

    @property
    def rate(self) -> float:
        """Images a second, of one worker."""
        return self.images / self.wall if self.wall else 0.0


def _summed(one: Mapping[str, float], other: Mapping[str, float]) -> dict[str, float]:
    return {phase: one.get(phase, 0.0) + other.get(phase, 0.0) for phase in PHASES if phase in one or phase in other}


def profile_table(profiles: Mapping[str, Profile]) -> Table:
    """Show profiles by name, and all of them together: images a second, and the share of the time that each phase took."""
    whole = sum(profiles.values(), Profile())
    shown = [phase for phase in PHASES if phase in whole.seconds or phase in whole.beside]
    table = Table(title="Where the time went", caption=_caption(whole))
    table.add_column("", no_wrap=True)
    for name in ("images", "images/s", "seconds", *shown, "idle"):
        table.add_column(name, justify="right")
    for name, one in [*profiles.items(), ("all", whole)]:
        if name == "all":
            table.add_section()
        cells = [_cell(one, phase) for phase in shown]
        counts = f"{one.images:,}", f"{one.rate:,.0f}" if one.images else "", f"{one.wall:,.1f}"
        table.add_row(name, *counts, *cells, _share(one.idle, one.wall))
    return table


def _cell(profile: Profile, phase: str) -> str:
    parts = [_share(profile.seconds[phase], profile.wall)] if phase in profile.seconds else []
    parts += [f"({_share(profile.beside[phase], profile.wall)})"] if phase in profile.beside else []
    return " ".join(parts)


def _share(seconds: float, wall: float) -> str:
    return f"{seconds / wall:.0%}" if wall else ""


def _caption(whole: Profile) -> str | None:
    return "in brackets: beside the model, on a stream of its own" if whole.beside else None
