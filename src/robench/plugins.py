"""Plugins: corruptions, suites, treatments and model families of other installed packages, and of the user's own files.

A package lists them as entry points of the groups below. They are looked up only for names that are not built in.
Therefore they cannot change built-in names, and a broken package breaks only its own names.

A file is named on the command line (`my.py:fade`). `read_own_file` runs it, and `provide` makes its objects known to
this process. Nothing that a run directory names is ever run. Torch-free.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import sys
import traceback
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path, PurePath
from types import CodeType, ModuleType
from typing import Literal, TypeAlias, TypeVar

from robench.errors import OptionError, RobenchError, ran_out_of_memory

__all__ = [
    "GROUPS",
    "Kind",
    "OwnPlugin",
    "Plugin",
    "code_digest",
    "find_plugin",
    "is_own",
    "own_name",
    "plugins",
    "provide",
    "read_own_file",
]

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
        entry: The entry point; None for an object of the user's own file.
    """

    kind: Kind
    name: str
    package: str
    version: str
    entry: EntryPoint | None

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
            assert self.entry is not None
            loaded: object = self.entry.load()
        if not isinstance(loaded, expected):
            raise OptionError(
                f"the {self.kind} {self.name!r} of {self.origin} has the type {type(loaded).__name__} instead of "
                f"{expected.__module__}.{expected.__name__}",
                "correct the entry point of the package",
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
            raise OptionError(self._failure(failure, error), "correct the package, or uninstall it") from error

    def _failure(self, failure: str, error: BaseException) -> str:
        return f"{self.origin} {failure}: {_described(error)}"


@dataclass(frozen=True)
class OwnPlugin(Plugin):
    """An object of the user's own file or session. `package` is the name of the file, and `version` a hash of the code.

    Attributes:
        item: The object.
        file: The file; None for an object without one.
        line: First line of the object in the file; 0 if it is unknown.
    """

    item: object
    file: Path | None
    line: int = 0

    @property
    def origin(self) -> str:
        """Name of the file, and the line."""
        return f"{self.package}:{self.line}" if self.line else self.package

    def load(self, expected: type[T]) -> T:
        """Return the object; its own name may be another."""
        assert isinstance(self.item, expected)
        return self.item

    def _failure(self, failure: str, error: BaseException) -> str:
        line = None if self.file is None else _line_of(error, str(self.file))
        place = self.origin if line is None else f"{self.package}:{line}"
        return f"{place} {failure}: {_described(error)}"


_own: dict[tuple[Kind, str], OwnPlugin] = {}
"""Own plugins of this process, by kind and name."""

_files: dict[tuple[Path, str], Mapping[str, object]] = {}
"""Names of each own file that has run, by path and hash."""

_OWN_FILE = re.compile(r"(?P<file>.*\.py)(:(?P<name>\w+))?")


def is_own(name: str) -> bool:
    """Return whether a name is that of an own file or of an object in it: `my.py` or `my.py:fade`."""
    return _OWN_FILE.fullmatch(name) is not None


def own_name(file: str, name: str = "") -> str:
    """Return the name of an own file or of an object in it, without folders and without characters of protocols."""
    plain = re.sub(r"[^\w.-]", "_", PurePath(file).name)
    return f"{plain}:{name}" if name else plain


def provide(plugin: OwnPlugin) -> None:
    """Make an own plugin known to this process, in place of an earlier one of the same kind and name."""
    _own[plugin.kind, plugin.name] = plugin


def read_own_file(path: Path) -> tuple[Mapping[str, object], str]:
    """Run the user's file, unless this process has run the same bytes before; return its names and a hash of the bytes.

    The file can import from its own folder. Its output goes to stderr.

    Raises:
        OptionError: The file cannot be read or fails; the error names the line.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise OptionError(f"cannot read {path}: {error.strerror}", "check the path") from error
    digest = hashlib.sha256(content).hexdigest()[:8]
    key = path.resolve(), digest
    if key not in _files:
        module = ModuleType(f"{path.stem}_{digest}")
        module.__file__ = str(key[0])
        sys.modules[module.__name__] = module  # Dataclasses look their module up by name.
        before = list(sys.path)
        sys.path.insert(0, str(key[0].parent))
        try:
            with contextlib.redirect_stdout(sys.stderr):
                exec(compile(content, str(key[0]), "exec"), vars(module))
        except (Exception, SystemExit) as error:
            del sys.modules[module.__name__]
            line = error.lineno if isinstance(error, SyntaxError) else _line_of(error, str(key[0]))
            raise OptionError(f"{path}:{line or 1} fails: {_described(error)}", "correct the file") from error
        finally:
            sys.path[:] = before
        _files[key] = vars(module)
    return _files[key], digest


def code_digest(function: object) -> str:
    """Return 8 hexadecimal digits of a hash of a Python function's code, its constants and defaults; empty for other objects."""
    code = getattr(function, "__code__", None)
    if not isinstance(code, CodeType):
        return ""
    facts = (
        _facts(code),
        repr(getattr(function, "__defaults__", None)),
        repr(getattr(function, "__kwdefaults__", None)),
    )
    return hashlib.sha256(repr(facts).encode()).hexdigest()[:8]


def _facts(code: CodeType) -> tuple[object, ...]:
    constants = [
        _facts(value)
        if isinstance(value, CodeType)
        else sorted(map(repr, value))
        if isinstance(value, frozenset)
        else value
        for value in code.co_consts
    ]
    return code.co_code, code.co_names, code.co_varnames, code.co_freevars, constants


def _line_of(error: BaseException, file: str) -> int | None:
    """Return the last line of a file in the traceback of an error."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
    return lines[-1] if lines else None


def _described(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"


def plugins(kind: Kind) -> tuple[Plugin, ...]:
    """Return the plugins of a kind, sorted by name, without importing them."""
    return _plugins(kind, tuple(sys.path))


def find_plugin(kind: Kind, name: str) -> Plugin | None:
    """Return the plugin of a name that is not built in, or None.

    Raises:
        OptionError: Several packages provide the name.
    """
    if (kind, name) in _own:
        return _own[kind, name]
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
