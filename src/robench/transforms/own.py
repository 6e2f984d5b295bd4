"""Corruptions and suites of the user's own files: `my.py:fade`, or functions of the session.

The shortest corruption is a function whose defaults are its constants by severity:

    def fade(images, share=(0.2, 0.4, 0.6, 0.8, 0.9)):
        return images + share * (0.5 - images)

`images` is (b, 3, h, w) float32 in 0..1, and so is the result. A parameter `draws` receives the random draws (`Draws`).
"""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from robench.arguments import ArgumentError
from robench.errors import OptionError, unknown_name
from robench.plugins import OwnPlugin, code_digest, find_plugin, is_own, own_name, provide, read_own_file
from robench.suites import CLEAN, Suite, families, find_suite
from robench.transforms.corruptions import OWN, Corruption, find_corruption

__all__ = ["own_corruption", "provide_function", "read_names"]


@dataclass(frozen=True)
class _Own:
    """An own object that a text names.

    Attributes:
        name: Name of the object.
        item: The object.
        package: Name of its file.
        version: Hash of its code.
        file: Its file, if there is one.
    """

    name: str
    item: object
    package: str
    version: str
    file: Path | None

    def plugin(self, kind: Any, name: str, item: object) -> OwnPlugin:
        """Return an object of the same file as a plugin."""
        code = getattr(getattr(self.item, "kernel", self.item), "__code__", None)
        line = code.co_firstlineno if code is not None and self.file is not None else 0
        return OwnPlugin(kind, name, self.package, self.version, None, item, self.file, line)


def read_names(suites: Sequence[str], corruptions: Sequence[str] | None) -> tuple[list[str], list[str] | None]:
    """Read the own files that suites and corruptions name, and return the names of what they define.

    Own corruptions of one file are a suite with the name of the file. It has the geometry of the first suite that is named
    with it, or else the model's. A suite without a corruption in the list only lends its geometry.

    Args:
        suites: Names of suites, or `file.py:object`.
        corruptions: Names of corruptions, or `file.py:function`; None for all of the suites.

    Raises:
        OptionError: A file cannot be read or fails, or an object is no corruption or suite.
    """
    names = [_read_suite(name) if is_own(name) else name for name in suites]
    if corruptions is None or not any(map(is_own, corruptions)):
        return names, None if corruptions is None else list(corruptions)
    files: dict[str, list[_Own]] = {}
    for name in dict.fromkeys(filter(is_own, corruptions)):
        own = _read(name)
        files.setdefault(own.package, []).append(own)
    plain = [name for name in corruptions if not is_own(name)]
    others = {name: _known(name) for name in names if name != CLEAN}
    lender = next((suite for suite in others.values() if suite is not None and suite.geometry is not None), None)
    for package, items in files.items():
        _provide_suite(package, items, lender)
    kept = [name for name, suite in others.items() if plain and (suite is None or set(suite.names) & set(plain))]
    return [*kept, *files], [*plain, *(own.name for items in files.values() for own in items)]


def own_corruption(text: str) -> Corruption:
    """Return the corruption of `file.py:function`, with its constants in the set `OWN`."""
    own = _read(text)
    provide(own.plugin("corruption", f"{OWN}/{own.name}", _as_corruption(own, OWN, None)))
    return find_corruption(own.name, OWN)


def provide_function(function: Callable[..., Any] | Corruption) -> str:
    """Make a function or corruption of this session known, and return the text that names it, as `my.py:fade`.

    Raises:
        ArgumentError: It is neither.
    """
    code = function.kernel if isinstance(function, Corruption) else function
    if not hasattr(code, "__code__"):
        raise ArgumentError(f"a corruption must be a name or a function, not a {type(function).__name__}")
    file = Path(code.__code__.co_filename)
    is_whole = file.is_file() and "<locals>" not in code.__qualname__
    cells = [cell.cell_contents for cell in code.__closure__ or ()]
    version = code_digest(code) if not cells else hashlib.sha256(f"{code_digest(code)}{cells}".encode()).hexdigest()[:8]
    if is_whole:  # As on the command line, so that the same function of the same file has one protocol.
        version = hashlib.sha256(file.read_bytes()).hexdigest()[:8]
    package = own_name(file.name if is_whole else f"{code.__module__}.py")
    name = function.name if isinstance(function, Corruption) else code.__name__.strip("<>")
    own = _Own(name, function, package, version, file if file.is_file() else None)
    text = f"{package}:{name}"
    provide(own.plugin("corruption", text, own))
    return text


def _read(text: str) -> _Own:
    """Return the own object of `file.py:name`, from this session or from the file."""
    known = find_plugin("corruption", text)
    if isinstance(known, OwnPlugin) and isinstance(known.item, _Own):
        return known.item
    file, colon, name = text.rpartition(":")
    if not colon:
        raise OptionError(f"{text} names no function or suite in the file", f"give {text}:NAME")
    values, digest = read_own_file(Path(file))
    if name not in values:
        public = [key for key, value in values.items() if callable(value) and not key.startswith("_")]
        raise OptionError(*unknown_name(f"name of {file}", name, public))
    return _Own(name, values[name], own_name(file), digest, Path(file).resolve())


def _read_suite(text: str) -> str:
    """Provide the suite of `file.py:name`, a `Suite` or a list of functions, and return its name."""
    own = _read(text)
    name = own_name(own.package, own.name)
    if isinstance(own.item, Suite):
        suite = own.item
        if suite.family is not families.CORRUPTIONS or not suite.names:
            raise OptionError(
                f"{text} is no suite of corruptions", "give a Suite with `corruptions`, of the default family"
            )
        assert own.file is not None
        values, _ = read_own_file(own.file)
        for member in suite.names:
            item = values.get(member)
            source = replace(own, name=member, item=item) if callable(item) else own
            if callable(item):
                corruption = _as_corruption(source, name, suite)
            else:
                found = find_corruption(member, suite.constants)
                levels = tuple(found.params(suite.constants, severity) for severity in suite.severities)
                corruption = replace(found, levels={name: levels})
            provide(source.plugin("corruption", f"{name}/{member}", corruption))
        provide(
            own.plugin("suite", name, replace(suite, name=name, constants=name, family=families.OWN, baseline=None))
        )
        return name
    if not isinstance(own.item, list | tuple) or not own.item:
        raise OptionError(f"{text} is a {type(own.item).__name__}", "give a list of functions, or a Suite")
    members = []
    for item in own.item:
        if not callable(item):
            raise OptionError(f"{text} holds a {type(item).__name__}", "give a list of functions, or a Suite")
        members.append(replace(own, name=item.name if isinstance(item, Corruption) else item.__name__, item=item))
    _provide_suite(name, members, None)
    return name


def _provide_suite(name: str, members: Sequence[_Own], lender: Suite | None) -> None:
    """Provide a suite of own corruptions, with the geometry of another suite or of the model."""
    corruptions = {own.name: _as_corruption(own, name, lender) for own in members}
    counts = {len(corruption.levels[name]): member for member, corruption in corruptions.items()}
    if len(counts) > 1:
        (first, a), (second, b), *_ = counts.items()
        raise OptionError(f"{name}: {a} has {first} severities, and {b} has {second}", "give all the same number")
    for own in members:
        provide(own.plugin("corruption", f"{name}/{own.name}", corruptions[own.name]))
    suite = Suite(
        name=name,
        summary=f"own corruptions of {members[0].package}",
        source=members[0].package,
        geometry=None if lender is None else lender.geometry,
        constants=name,
        corruptions=tuple(corruptions),
        severities=tuple(range(1, next(iter(counts)) + 1)),
        family=families.OWN,
    )
    provide(members[0].plugin("suite", name, suite))


def _as_corruption(own: _Own, constants: str, lender: Suite | None) -> Corruption:
    """Return an own object as a corruption with its levels in one set of constants."""
    if isinstance(own.item, Corruption):
        sets = own.item.levels
        levels = sets.get(lender.constants) if lender is not None else None
        if levels is None:
            if len(sets) != 1:
                listed = ", ".join(sets)
                raise OptionError(f"{own.name} has the constants {listed}", "name a suite with the constants to use")
            (levels,) = sets.values()
        return replace(own.item, name=own.name, levels={constants: levels})
    if not inspect.isfunction(own.item):
        raise OptionError(
            f"{own.package}:{own.name} is a {type(own.item).__name__}", "give a function of images (docs/extending.md)"
        )
    parameters = list(inspect.signature(own.item).parameters.values())
    if not parameters:
        raise OptionError(f"{own.package}:{own.name} takes no images", "write a function of images")
    tables: dict[str, tuple[float, ...]] = {}
    takes_draws = False
    for parameter in parameters[1:]:
        if parameter.name == "draws":
            takes_draws = True
            continue
        default = parameter.default
        values = tuple(default) if isinstance(default, tuple | list) else (default,)
        if default is parameter.empty or not values or not all(type(value) in (int, float) for value in values):
            raise OptionError(
                f"{own.package}:{own.name}: {parameter.name} has no constants by severity",
                f"write a default with a number for each severity, {parameter.name}=(0.1, 0.2, 0.3)",
            )
        tables[parameter.name] = values
    count = max((len(values) for values in tables.values()), default=1)
    if any(len(values) not in (1, count) for values in tables.values()):
        raise OptionError(
            f"{own.package}:{own.name} has defaults of several lengths", "give one number for each severity"
        )
    levels = tuple(
        {key: values[level] if len(values) > 1 else values[0] for key, values in tables.items()}
        for level in range(count)
    )
    return Corruption(
        name=own.name,
        kernel=_kernel(own.item, takes_draws),
        levels={constants: levels},
        source=own.package,
        values="float",
        random=takes_draws,
        interpolates=True,
        summary=(own.item.__doc__ or "").strip().split("\n")[0],
        per_band=True,
    )


def _kernel(function: Callable[..., Any], takes_draws: bool) -> Callable[..., Any]:
    def kernel(images: Any, draws: Any, **params: float) -> Any:
        return function(images, draws=draws, **params) if takes_draws else function(images, **params)

    return kernel


def _known(name: str) -> Suite | None:
    """Return a suite; None for `all`, and for a name that `find_suite` will report."""
    try:
        return find_suite(name)
    except OptionError:
        return None
