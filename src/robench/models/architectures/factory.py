"""Factories: modules from the user's own code, as `package.module:callable` or `file.py:callable`."""

from __future__ import annotations

import ast
import contextlib
import hashlib
import importlib
import importlib.util
import inspect
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType

from torch import nn

from robench.errors import CheckpointError, one_line
from robench.models.architectures.arguments import parse_arguments
from robench.models.preprocessing import Preprocessing
from robench.models.preprocessing.from_config import from_timm_config
from robench.suites.geometry import scaled

__all__ = ["call_factory", "importable", "is_factory", "preprocessing_of"]

_FACTORY = re.compile(
    r"(?P<source>.+?\.py|[A-Za-z_]\w*(\.\w+)*):(?P<name>[A-Za-z_]\w*)(\?(?P<arguments>.*))?", re.ASCII
)

_OWN = __name__.partition(".")[0]


def is_factory(text: str) -> bool:
    """Return whether a text has the form of a factory; `timm:resnet18` has it too, so look for families first."""
    return _FACTORY.fullmatch(text) is not None


def call_factory(text: str) -> nn.Module:
    """Return the module that a factory makes.

    The factory's code can import from the current folder and from its own. Its output goes to stderr.

    Args:
        text: The factory, optionally followed by `?` and arguments for `parse_arguments`.

    Raises:
        CheckpointError: The factory cannot be imported, fails, or does not return a module.
    """
    match = _FACTORY.fullmatch(text)
    if match is None:
        raise CheckpointError(f"{text!r} is no factory", "give package.module:callable or file.py:callable")
    source, name = match["source"], match["name"]
    arguments = parse_arguments(text, match["arguments"])
    with contextlib.ExitStack() as stack:
        stack.enter_context(contextlib.redirect_stdout(sys.stderr))
        if source.endswith(".py"):
            code = _file(Path(source), stack)
        else:
            stack.enter_context(importable(Path()))
            code = _module(source)
        factory = getattr(code, name, None)
        if factory is None:
            public = ", ".join(key for key in vars(code) if not key.startswith("_"))[:120]
            raise CheckpointError(f"{source} has no {name!r}", f"it has {public or 'no public names'}")
        if not callable(factory):
            raise CheckpointError(f"{name} of {source} is a {type(factory).__name__}", "give a function or a class")
        try:
            module: object = factory(**arguments)
        except (Exception, SystemExit) as error:
            raise CheckpointError(f"{text} raised {_describe(error)}", _signature_hint(factory, error)) from error
    if not isinstance(module, nn.Module):
        raise CheckpointError(
            f"{text} returns a {type(module).__name__} instead of a torch.nn.Module",
            "return the module from the function",
        )
    return module


def preprocessing_of(module: nn.Module) -> Preprocessing | None:
    """Return the preprocessing that a module states, or None.

    The attribute `preprocessing` comes first, then timm's `pretrained_cfg` and `default_cfg`. `preprocessing` is a
    `Preprocessing` or a mapping with these keys:

    - crop: input size in pixels, or height and width.
    - mean, std: a fraction of full scale for each channel, usually three.
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
        crop = tuple(stated["crop"]) if isinstance(stated["crop"], list | tuple) else (stated["crop"],) * 2
        config = {**stated, "input_size": (_channels(stated["mean"]), *crop), "crop_mode": "squash"}
        config["interpolation"] = stated.get("interpolation", "bilinear")
        preprocessing = from_timm_config(config, f"{name}.preprocessing")
        resize = stated.get("resize", scaled(preprocessing.crop, 1 / 0.875))
        return preprocessing.replaced(resize=tuple(resize) if isinstance(resize, list) else resize)
    for attribute in ("pretrained_cfg", "default_cfg"):
        timm_config = getattr(module, attribute, None)
        if isinstance(timm_config, Mapping) and timm_config.get("mean"):
            return from_timm_config(timm_config, f"{name}.{attribute}")
    return None


def _channels(mean: object) -> int:
    return len(mean) if isinstance(mean, list | tuple) and mean else 3


@contextlib.contextmanager
def importable(*folders: Path) -> Iterator[None]:
    """Put folders and the current one first in the import path inside the context.

    Modules that an earlier model imported from another folder are forgotten where these folders have their names too.
    """
    before = list(sys.path)
    paths = list(dict.fromkeys([*(folder.resolve() for folder in folders), Path.cwd()]))
    _forget_others(paths, {Path(entry).resolve() for entry in before if entry})
    sys.path[:0] = map(str, paths)
    importlib.invalidate_caches()  # files may have been written since the last import
    try:
        yield
    finally:
        sys.path[:] = before


def _forget_others(paths: Sequence[Path], lasting: set[Path]) -> None:
    """Forget imported modules from outside of the `lasting` folders that the first of `paths` with their name does not hold."""
    for name, module in list(sys.modules.items()):
        if "." in name or name == _OWN:
            continue
        file = getattr(module, "__file__", None)
        places = [Path(file)] if file else [Path(place) for place in getattr(module, "__path__", ())]
        if not places:
            continue
        is_package = hasattr(module, "__path__") and file is not None
        origin = (places[0].parent.parent if is_package else places[0].parent).resolve()
        holder = next((path for path in paths if _holds(path, name)), None)
        if origin not in lasting and holder not in (None, origin):
            for other in [key for key in sys.modules if key == name or key.startswith(f"{name}.")]:
                del sys.modules[other]


def _holds(folder: Path, name: str) -> bool:
    """Return whether a folder holds a module or a package of that name."""
    return (folder / f"{name}.py").is_file() or (folder / name).is_dir()


def _module(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except (Exception, SystemExit) as error:
        if isinstance(error, ModuleNotFoundError) and error.name and f"{name}.".startswith(f"{error.name}."):
            raise CheckpointError(
                f"no module {name!r} from here", "check the name, or give file.py:callable"
            ) from error
        raise CheckpointError(f"{name} cannot be imported: {_describe(error)}", _import_hint(error)) from error


def _file(path: Path, stack: contextlib.ExitStack) -> ModuleType:
    """Import a file, as part of its package if it imports its neighbours relatively; imports work until `stack` ends."""
    if not path.is_file():
        raise CheckpointError(f"no file {path}", "check the path")
    given, path = path, path.resolve()
    level = _relative_level(path)
    root = _package_root(path, level)
    name = ".".join([*path.parent.relative_to(root).parts, path.stem])
    stack.enter_context(importable(root, path.parent) if level else importable(path.parent, root))
    try:
        module = importlib.import_module(name) if level else _run(path)
    except (Exception, SystemExit) as error:
        raise CheckpointError(f"{given} cannot be imported: {_describe(error)}", _import_hint(error, path)) from error
    if Path(module.__file__ or "").resolve() != path:
        raise CheckpointError(
            f"{given} cannot be imported as {name}, because {module.__file__} has this name", "rename its folder"
        )
    return module


def _run(path: Path) -> ModuleType:
    """Run a file as a module of its own."""
    name = f"{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError("it is no .py file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and pickles look their module up by name
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _relative_level(path: Path) -> int:
    """Return the greatest number of dots in a relative import of a file; 0 if it has none, or is no Python."""
    try:
        nodes = ast.walk(ast.parse(path.read_bytes()))
        return max((node.level for node in nodes if isinstance(node, ast.ImportFrom)), default=0)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return 0


def _package_root(path: Path, level: int) -> Path:
    """Return the folder that holds the package of a file: above the last `__init__.py`, and `level` folders up at least."""
    root = path.parent
    while root != root.parent and ((root / "__init__.py").is_file() or level > len(path.relative_to(root).parts) - 1):
        root = root.parent
    return root


def _import_hint(error: BaseException, path: Path | None = None) -> str:
    """Return a hint for code that cannot be imported."""
    if isinstance(error, ModuleNotFoundError) and error.name:
        top = error.name.partition(".")[0]
        folder = next((parent for parent in (path.parents if path else ()) if _holds(parent, top)), None)
        if folder is not None and folder != Path.cwd():
            return f"run robench in {folder}, which holds {top}"
        if top in sys.modules:
            return "check the names that it imports"
        return f"pip install the package of {top}, or run robench in the folder that holds it"
    if isinstance(error, ImportError) and "relative import" in str(error):
        return "give a module of its package, --arch package.module:function, from the folder that holds the package"
    return f"`python {path}` shows where" if path else ""


def _signature_hint(factory: object, error: BaseException) -> str:
    """Return a hint with the parameters of a factory that was called with others."""
    if not isinstance(error, TypeError):
        return ""
    try:
        return f"it takes {inspect.signature(factory)}, given as ?name=value&..."  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return ""


def _describe(error: BaseException) -> str:
    return f"{type(error).__name__}: {one_line(Exception(str(error)))}"
