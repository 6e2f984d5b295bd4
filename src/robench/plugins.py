"""Plugins: corruptions, suites, treatments and model families of other installed packages.

A package lists them as entry points of the groups below. They are looked up only for names that are not built in.
Therefore they cannot change built-in names, and a broken package breaks only its own names. Torch-free.
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
"""Entry-point group of each kind of plugin."""


@dataclass(frozen=True)
class Plugin:
    """An entry point of an installed package; only `load` imports the package.

    Attributes:
        kind: Kind of object.
        name: Name of the entry point, which must equal the object's own `name`.
        package: Name of the distribution.
        version: Version of the distribution.
        entry: The entry point.
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

    def load(self, expected: type[T]) -> T:
        """Import the object and return it; the import's output goes to stderr.

        Args:
            expected: Type that the object must have.

        Raises:
            OptionError: The import fails, or the object has another type or name. The error names the package.
        """
        with (
            self.attribute_errors(f"cannot provide the {self.kind} {self.name!r}"),
            contextlib.redirect_stdout(sys.stderr),
        ):
            loaded: object = self.entry.load()
        if not isinstance(loaded, expected):
            raise OptionError(
                f"the {self.kind} {self.name!r} of {self.origin} has the type {type(loaded).__name__} instead of "
                f"{expected.__module__}.{expected.__name__}"
            )
        name = getattr(loaded, "name", self.name)
        if name != self.name:
            raise OptionError(
                f"{self.origin} registers the {self.kind} {name!r} as {self.name!r}", "give both the same name"
            )
        return loaded

    @contextlib.contextmanager
    def attribute_errors(self, failure: str) -> Iterator[None]:
        """Turn any error of the package's code into an OptionError that names the package.

        robench's own errors pass, and so do errors about memory, which the evaluation loop handles.

        Args:
            failure: Predicate of the message, whose subject is the package.
        """
        try:
            yield
        except RobenchError:
            raise
        except (Exception, SystemExit) as error:
            if ran_out_of_memory(error):
                raise
            text = " ".join(str(error).split())[:200]
            raise OptionError(f"{self.origin} {failure}: {type(error).__name__}: {text}") from error


def plugins(kind: Kind) -> tuple[Plugin, ...]:
    """Return the plugins of a kind, sorted by name, without importing them."""
    return _plugins(kind, tuple(sys.path))


def find_plugin(kind: Kind, name: str) -> Plugin | None:
    """Return the plugin of a name that is not built in, or None.

    Raises:
        OptionError: Several packages provide the name.
    """
    named = [plugin for plugin in plugins(kind) if plugin.name == name]
    if len(named) > 1:
        raise OptionError(
            f"{' and '.join(plugin.origin for plugin in named)} each provide a {kind} named {name!r}",
            "uninstall all but one",
        )
    return named[0] if named else None


@lru_cache(maxsize=16)
def _plugins(kind: Kind, path: tuple[str, ...]) -> tuple[Plugin, ...]:
    """Search the installed packages, which takes tens of milliseconds; every batch of a corruption asks for it."""
    entries = {
        Plugin(kind, entry.name, entry.dist.name, entry.dist.version, entry)
        for entry in entry_points(group=GROUPS[kind])
        if entry.dist is not None
    }
    return tuple(sorted(entries, key=lambda plugin: (plugin.name, plugin.package)))
