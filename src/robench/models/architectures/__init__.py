"""Table of the architecture families, and the building of an architecture by its name."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from difflib import get_close_matches
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn

from robench.errors import CheckpointError, RobenchError, one_line, unknown_name
from robench.models.architectures import cifar_resnet, timm, torchvision
from robench.models.architectures.arguments import split_arguments
from robench.models.architectures.base import Family
from robench.models.architectures.factory import call_factory, is_factory, preprocessing_of
from robench.models.preprocessing import Preprocessing, assumed
from robench.models.preprocessing.from_config import timm_deviation_note
from robench.plugins import Plugin, find_plugin, plugins

__all__ = [
    "ARCHITECTURES",
    "EXAMPLES",
    "architecture_names",
    "build_architecture",
    "find_family",
    "load_published",
    "names_factory",
    "names_family",
    "translate_names",
]

ARCHITECTURES: dict[str, Family] = {
    "zoo": Family(cifar_resnet.build, cifar_resnet.pretrained, cifar_resnet.names),
    "torchvision": Family(torchvision.build, torchvision.pretrained, torchvision.names),
    "timm": Family(timm.build, timm.pretrained, timm.names),
}

_UNEXPECTED = re.compile(r"unexpected keyword argument '(\w+)'")
_SIZES = ("img_size", "image_size", "input_size", "resolution")
"""Names of an input size in the libraries."""

EXAMPLES = "--arch torchvision:resnet50, timm:vit_base_patch16_224, zoo:cifar_resnet20 or file.py:function"


def architecture_names(family: str) -> list[str]:
    """Return the names of all architectures of a family."""
    return find_family(family).names()


def names_family(text: str) -> bool:
    """Return whether a text is the name of a family, built in or from a plugin."""
    return text in ARCHITECTURES or (text.replace("-", "_").isidentifier() and find_plugin("family", text) is not None)


def find_family(name: str) -> Family:
    """Return the family of that name, built in or from a plugin.

    Raises:
        CheckpointError: No family has the name; the error suggests one.
    """
    if name in ARCHITECTURES:
        return ARCHITECTURES[name]
    plugin = find_plugin("family", name)
    if plugin is None:
        known = (*ARCHITECTURES, *(plugin.name for plugin in plugins("family")))
        raise CheckpointError(*unknown_name("architecture family", name, known))
    return _load_family(plugin)


def _load_family(plugin: Plugin) -> Family:
    """Return the family of a plugin, with functions whose errors name the package."""
    family = plugin.load(Family)

    def checked(name: str, result: object) -> tuple[nn.Module, Preprocessing]:
        match result:
            case (nn.Module() as module, Preprocessing() as preprocessing):
                return module, preprocessing
        raise CheckpointError(
            f"{plugin.origin} returns a {type(result).__name__} for {plugin.name}:{name} instead of a module and its preprocessing",
            "correct the package; docs/extending.md describes a family",
        )

    def build(name: str, classes: int | None, **arguments: Any) -> tuple[nn.Module, Preprocessing]:
        with plugin.attribute_errors(f"cannot build {plugin.name}:{name}"):
            return checked(name, family.build(name, classes, **arguments))

    def pretrained(name: str, **arguments: Any) -> tuple[nn.Module, Preprocessing]:
        with plugin.attribute_errors(f"cannot load {plugin.name}:{name}"):
            return checked(name, family.pretrained(name, **arguments))

    def names() -> list[str]:
        with plugin.attribute_errors(f"cannot list the family {plugin.name}"):
            return list(family.names())

    return Family(build, pretrained, names)


def names_factory(text: str) -> bool:
    """Return whether a text names a factory, and neither a family nor a misspelt one."""
    family, _, _ = text.partition(":")
    if not is_factory(text) or names_family(family):
        return False
    return "." in family or not get_close_matches(family, ARCHITECTURES) or find_spec(family) is not None


def build_architecture(arch: str, classes: int | None = None) -> tuple[nn.Module, Preprocessing, tuple[str, ...]]:
    """Build an untrained network; the caller's random generators keep their state.

    Args:
        arch: `family:name`, optionally with `?name=value&...`, or a factory.
        classes: Number of classes of the head; None for the default. A factory ignores it.

    Returns:
        The network, its preprocessing, and notes on assumptions.

    Raises:
        CheckpointError: The architecture does not exist or cannot be built.
    """
    with torch.random.fork_rng(devices=[]):
        if names_factory(arch):
            module = call_factory(arch)
            stated = preprocessing_of(module)
            preprocessing, note = (stated, None) if stated is not None else assumed()
            return module, preprocessing, (note,) if note else ()
        family, colon, name = arch.partition(":")
        if not colon or not names_family(family):
            known = ", ".join(f"{family}:NAME" for family in ARCHITECTURES)
            raise CheckpointError(
                f"architecture {arch!r} is none of {known}, package.module:function, file.py:function",
                "see `robench list models`",
            )
        name, arguments = split_arguments(name)
        number = arguments.pop("num_classes", classes)
        if not isinstance(number, int | None):
            raise CheckpointError(f"num_classes of {arch} is no whole number", "omit it for that of the weights")
        if classes is not None and number != classes:
            raise CheckpointError(
                f"{arch} has {number} classes, but the weights seem to have {classes}", "omit num_classes"
            )
        with _argument_errors(f"{family}:{name}", arguments):
            module, preprocessing = find_family(family).build(name, number, **arguments)
        return module, preprocessing, timm_deviation_note(getattr(module, "pretrained_cfg", None))


def load_published(arch: str) -> tuple[nn.Module, Preprocessing, tuple[str, ...]]:
    """Return a network with its published weights, its preprocessing, and notes; `arch` is that of `build_architecture`.

    Raises:
        CheckpointError: There are no such weights, or they do not fit the arguments.
    """
    family, _, name = arch.partition(":")
    name, arguments = split_arguments(name)
    if "num_classes" in arguments:
        raise CheckpointError(f"{family}:{name} has the classes of its published weights", "omit num_classes")
    with torch.random.fork_rng(devices=[]), _argument_errors(f"{family}:{name}", arguments):
        module, preprocessing = find_family(family).pretrained(name, **arguments)
    return module, preprocessing, timm_deviation_note(getattr(module, "pretrained_cfg", None))


def translate_names(arch: str, state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], bool] | None:
    """Return the tensors of a file by the names of a library, from those of the network's authors or of an older version.

    Args:
        arch: As for `build_architecture`.
        state: Tensors by name.

    Returns:
        The tensors, and whether the library interpolated one to another size; None if it has no such translation.
    """
    family, _, rest = arch.partition(":")
    if family != "timm":
        return None
    name, arguments = split_arguments(rest)
    with torch.random.fork_rng(devices=[]), _argument_errors(f"{family}:{name}", arguments):
        return timm.translate_names(name, state, arguments)


@contextmanager
def _argument_errors(name: str, arguments: Mapping[str, object]) -> Iterator[None]:
    """Turn the errors of a network that does not take its arguments into CheckpointErrors."""
    try:
        yield
    except RobenchError:
        raise
    except Exception as error:
        # Networks check their arguments with errors of their own.
        if not arguments:
            raise
        unknown = _UNEXPECTED.search(str(error))
        if unknown is not None and unknown[1] in arguments:
            hint = ""
            if unknown[1] in _SIZES:
                own = "timm's name is img_size; " if name.startswith("timm:") and unknown[1] != "img_size" else ""
                hint = f"{own}--crop sets the input size of a network that takes any"
            raise CheckpointError(f"{name} has no argument {unknown[1]!r}", hint) from error
        listed = ", ".join(f"{key}={value!r}" for key, value in arguments.items())
        raise CheckpointError(
            f"{name} cannot be built with {listed} ({type(error).__name__}: {one_line(error)})",
            "correct or omit these arguments",
        ) from error
