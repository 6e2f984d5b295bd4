"""What other installed packages offer by name: corruptions, suites, treatments, families of architectures.

A package lists them in its pyproject.toml as entry points of one of the groups below. They are looked for only where a name is
not built in, so they cost nothing otherwise, cannot change what a built-in name means, and a package that is broken breaks
only what is asked of it. Torch-free.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points
from typing import Literal, TypeAlias, TypeVar

from robench.errors import OptionError, RobenchError, ran_out_of_memory

__all__ = ["GROUPS", "Kind", "Plugin", "find_plugin", "plugins"]

T = TypeVar("T")

Kind: TypeAlias = Literal["corruption", "suite", "treatment", "family"]

GROUPS: dict[Kind, str] = {
    "corruption": "robench.corruptions",
    "suite": "robench.suites",
    "treatment": "robench.treatments",
    "family": "robench.models",
}
"""Entry-point group of each kind of thing that a package may offer."""


@dataclass(frozen=True)
class Plugin:
    """An entry of an installed package; nothing of the package is imported before `load`.

    package, version: of the distribution.  entry: where in it the thing is.
    """

    kind: Kind
    name: str
    package: str
    version: str
    entry: EntryPoint

    @property
    def origin(self) -> str:
        """Name and version of the package."""
        return f"{self.package} {self.version}"

    def load(self, wanted: type[T]) -> T:
        """Import and return it; OptionError, which names the package, where that fails or is nothing of the wanted type."""
        with (
            self.attribute_errors(f"cannot give the {self.kind} {self.name!r}"),
            contextlib.redirect_stdout(sys.stderr),
        ):
            found: object = self.entry.load()
        if not isinstance(found, wanted):
            raise OptionError(
                f"the {self.kind} {self.name!r} of {self.origin} is of the type {type(found).__name__}, not "
                f"{wanted.__module__}.{wanted.__name__}"
            )
        own = getattr(found, "name", self.name)
        if own != self.name:
            raise OptionError(f"{self.origin} calls the {self.kind} {own!r} {self.name!r}: its two names must be one")
        return found

    @contextlib.contextmanager
    def attribute_errors(self, what: str) -> Iterator[None]:
        """Turn whatever the package's code raises into one line that names the package.

        robench's own errors pass, and that memory ran out, of which the loop says what to do.
        """
        try:
            yield
        except RobenchError:
            raise
        except (Exception, SystemExit) as error:
            if ran_out_of_memory(error):
                raise
            # Another package's code can raise anything.
            text = " ".join(str(error).split())[:200]
            raise OptionError(f"{self.origin} {what}: {type(error).__name__}: {text}") from error


def plugins(kind: Kind) -> tuple[Plugin, ...]:
    """Return what the installed packages offer of a kind, by name; nothing is imported."""
    return _offers(kind, tuple(sys.path))


def find_plugin(kind: Kind, name: str) -> Plugin | None:
    """Return the one offer of a name that is not built in, None if there is none; OptionError where packages differ."""
    found = [offer for offer in plugins(kind) if offer.name == name]
    if len(found) > 1:
        raise OptionError(
            f"{' and '.join(offer.origin for offer in found)} each offer a {kind} called {name!r}: uninstall all but one"
        )
    return found[0] if found else None


@lru_cache(maxsize=16)
def _offers(kind: Kind, path: tuple[str, ...]) -> tuple[Plugin, ...]:
    """Looking through all installed packages takes tens of milliseconds, and a corruption is asked for with every batch."""
    found = {
        Plugin(kind, entry.name, entry.dist.name, entry.dist.version, entry)
        for entry in entry_points(group=GROUPS[kind])
        if entry.dist is not None
    }
    return tuple(sorted(found, key=lambda offer: (offer.name, offer.package)))
