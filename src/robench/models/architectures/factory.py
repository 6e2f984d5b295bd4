"""Factories: modules from the user's own code, as `package.module:callable` or `file.py:callable`."""

from __future__ import annotations

import ast
import contextlib
import hashlib
import importlib
import importlib.util
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType

from torch import nn

from robench.errors import CheckpointError, one_line
from robench.models.preprocessing import Preprocessing
from robench.models.preprocessing.from_config import from_timm_config

__all__ = ["call_factory", "importable", "is_factory", "preprocessing_of"]

_FACTORY = re.compile(
    r"(?P<source>.+?\.py|[A-Za-z_]\w*(\.\w+)*):(?P<name>[A-Za-z_]\w*)(\?(?P<arguments>.*))?", re.ASCII
)


def is_factory(text: str) -> bool:
    """Return whether a text has the form of a factory; `timm:resnet18` has it too, so look for families first."""
    return _FACTORY.fullmatch(text) is not None


def call_factory(text: str) -> nn.Module:
    """Return the module that a factory makes.

    The factory's code can import from the current folder and from its own. Its output goes to stderr.

    Args:
        text: The factory, optionally followed by arguments as `?key=value&key2=value2`. A value is a Python literal,
            and otherwise a text.

    Raises:
        CheckpointError: The factory cannot be imported, fails, or does not return a module.
    """
    match = _FACTORY.fullmatch(text)
    if match is None:
        raise CheckpointError(f"{text!r} is no factory", "give package.module:callable or file.py:callable")
    source, name = match["source"], match["name"]
    arguments = _arguments(text, match["arguments"])
    folder = Path(source).parent if source.endswith(".py") else Path()
    with importable(folder), contextlib.redirect_stdout(sys.stderr):
        code = _file(Path(source)) if source.endswith(".py") else _module(source)
        factory = getattr(code, name, None)
        if factory is None:
            public = ", ".join(key for key in vars(code) if not key.startswith("_"))[:120]
            raise CheckpointError(f"{source} has no {name!r}", f"it has {public or 'no public names'}")
        if not callable(factory):
            raise CheckpointError(f"{name} of {source} is a {type(factory).__name__}", "give a function or a class")
        try:
            module: object = factory(**arguments)
        except (Exception, SystemExit) as error:
            raise CheckpointError(f"{text} raised {_describe(error)}") from error
    if not isinstance(module, nn.Module):
        raise CheckpointError(f"{text} returns a {type(module).__name__} instead of a torch.nn.Module")
    return module


def preprocessing_of(module: nn.Module) -> Preprocessing | None:
    """Return the preprocessing that a module states, or None.

    The attribute `preprocessing` comes first, then timm's `pretrained_cfg` and `default_cfg`. `preprocessing` is a
    `Preprocessing` or a mapping with these keys:

    - crop: input size in pixels.
    - mean, std: three fractions of full scale each.
    - resize, optional: short side, or height and width, before the crop; the default is crop / 0.875.
    - interpolation, optional: the default is bilinear.

    Raises:
        CheckpointError: The mapping has other keys or impossible values.
    """
    stated: object = getattr(module, "preprocessing", None)
    if isinstance(stated, Preprocessing):
        return stated
    name = type(module).__name__
    if isinstance(stated, Mapping):
        if not {"crop", "mean", "std"} <= stated.keys() <= {"resize", "crop", "interpolation", "mean", "std"}:
            raise CheckpointError(
                f"{name}.preprocessing has the keys {', '.join(map(str, stated)) or 'none'}",
                "state crop, mean and std, and optionally resize and interpolation",
            )
        config = {**stated, "input_size": (3, stated["crop"], stated["crop"])}
        config["interpolation"] = stated.get("interpolation", "bilinear")
        preprocessing = from_timm_config(config, f"{name}.preprocessing")
        resize = stated.get("resize", round(preprocessing.crop / 0.875))
        return preprocessing.replaced(resize=tuple(resize) if isinstance(resize, list) else resize)
    for attribute in ("pretrained_cfg", "default_cfg"):
        timm_config = getattr(module, attribute, None)
        if isinstance(timm_config, Mapping) and timm_config.get("mean"):
            return from_timm_config(timm_config, f"{name}.{attribute}")
    return None


@contextlib.contextmanager
def importable(folder: Path) -> Iterator[None]:
    """Add a folder and the current one to the import path inside the context."""
    before = list(sys.path)
    sys.path[:0] = [str(folder.resolve()), str(Path.cwd())]
    importlib.invalidate_caches()  # files may have been written since the last import
    try:
        yield
    finally:
        sys.path[:] = before


def _arguments(text: str, listed: str | None) -> dict[str, object]:
    arguments: dict[str, object] = {}
    for item in (listed or "").split("&") if listed else ():
        key, equals, value = item.partition("=")
        if not key.isidentifier() or not equals:
            raise CheckpointError(f"{text} has an argument {item!r}", "write ?key=value&key2=value2")
        try:
            arguments[key] = ast.literal_eval(value)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            arguments[key] = value
    return arguments


def _module(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and (name == error.name or name.startswith(f"{error.name}.")):
            raise CheckpointError(
                f"no module {name!r} from here", "check the name, or give file.py:callable"
            ) from error
        raise CheckpointError(f"{name} cannot be imported: {_describe(error)}") from error
    except (Exception, SystemExit) as error:
        raise CheckpointError(f"{name} cannot be imported: {_describe(error)}") from error


def _file(path: Path) -> ModuleType:
    if not path.is_file():
        raise CheckpointError(f"no file {path}", "check the path")
    name = f"{path.stem}_{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:8]}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise CheckpointError(f"{path} cannot be imported", "give a .py file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and pickles look their module up by name
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise CheckpointError(f"{path} cannot be imported: {_describe(error)}") from error
    return module


def _describe(error: BaseException) -> str:
    return f"{type(error).__name__}: {one_line(Exception(str(error)))}"
