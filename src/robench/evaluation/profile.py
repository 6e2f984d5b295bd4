"""Profiles, which add up the time of each phase over shards and workers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from rich.table import Table

__all__ = ["PHASES", "Profile", "profile_table"]

PHASES: dict[str, str] = {
    "decode": "reading and decoding files",
    "copy": "copying pixels to the device",
    "corruption": "corrupting images",
    "statistics": "estimating a treatment's statistics",
    "forward": "the model, from uint8 images to its best classes",
    "records": "writing the table of predictions",
}
"""Description of each phase, in order. The remaining time is idle."""


@dataclass(frozen=True)
class Profile:
    """The time of some work by phase; profiles of several pieces of work add up.

    Attributes:
        seconds: Seconds by phase.
        concurrent: Seconds by phase of work on a separate stream, which slows the model down somewhat.
        wall: Seconds of wall time, summed over workers.
        images: Images classified.
    """

    seconds: Mapping[str, float] = field(default_factory=dict)
    concurrent: Mapping[str, float] = field(default_factory=dict)
    wall: float = 0.0
    images: int = 0

    @classmethod
    def of(cls, phase: str, seconds: float) -> Profile:
        """Return the profile of a single phase."""
        return cls({phase: seconds}, {}, seconds)

    def __add__(self, other: Profile) -> Profile:
        return Profile(
            _summed(self.seconds, other.seconds),
            _summed(self.concurrent, other.concurrent),
            self.wall + other.wall,
            self.images + other.images,
        )

    @property
    def idle(self) -> float:
        """Seconds in which neither the model nor work that it waits for was running."""
        return max(0.0, self.wall - sum(self.seconds.values()))

    @property
    def rate(self) -> float:
        """Images per second of one worker."""
        return self.images / self.wall if self.wall else 0.0


def _summed(one: Mapping[str, float], other: Mapping[str, float]) -> dict[str, float]:
    return {phase: one.get(phase, 0.0) + other.get(phase, 0.0) for phase in PHASES if phase in one or phase in other}


_HEADINGS = {"corruption": "corrupt", "statistics": "stats", "forward": "model"}
"""Headings of phases whose names are too long for a table of 80 characters."""


def profile_table(profiles: Mapping[str, Profile]) -> Table:
    """Return a table of profiles by name and of their sum, with images per second and the share of each phase."""
    total = sum(profiles.values(), Profile())
    phases = [phase for phase in PHASES if phase in total.seconds or phase in total.concurrent]
    caption = "in brackets: work on a separate stream, concurrent with the model" if total.concurrent else None
    table = Table(title="time by phase", title_justify="left", title_style="bold", box=None, caption=caption)
    table.padding = 0, 1, 0, 0
    table.add_column("", overflow="fold", min_width=12)
    for name in ("images/s", "seconds", *phases, "idle"):
        table.add_column(_HEADINGS.get(name, name), justify="right", no_wrap=True)
    for name, profile in [*profiles.items(), ("all", total)]:
        if name == "all":
            table.add_section()
        cells = [_cell(profile, phase) for phase in phases]
        counts = (
            f"{profile.rate:,.0f}" if profile.images else "",
            f"{profile.wall:,.0f}" if profile.wall >= 100 else f"{profile.wall:.1f}",
        )
        table.add_row(name, *counts, *cells, _share(profile.idle, profile.wall))
    return table


def _cell(profile: Profile, phase: str) -> str:
    parts = [_share(profile.seconds[phase], profile.wall)] if phase in profile.seconds else []
    parts += [f"({_share(profile.concurrent[phase], profile.wall)})"] if phase in profile.concurrent else []
    return " ".join(parts)


def _share(seconds: float, wall: float) -> str:
    return f"{seconds / wall:.0%}" if wall else ""
