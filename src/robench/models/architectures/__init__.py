"""Table of the architecture families, and the building of an architecture by its name."""

from __future__ import annotations

from difflib import get_close_matches
from importlib.util import find_spec

import torch
from torch import nn

from robench.errors import CheckpointError, unknown_name
from robench.models.architectures import cifar_resnet, timm, torchvision
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
    "names_factory",
    "names_family",
]

ARCHITECTURES: dict[str, Family] = {
    "zoo": Family(cifar_resnet.build, cifar_resnet.pretrained, cifar_resnet.names),
    "torchvision": Family(torchvision.build, torchvision.pretrained, torchvision.names),
    "timm": Family(timm.build, timm.pretrained, timm.names),
}

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
            f"{plugin.origin} returns a {type(result).__name__} for {plugin.name}:{name} instead of a module and its preprocessing"
        )

    def build(name: str, classes: int | None) -> tuple[nn.Module, Preprocessing]:
        with plugin.attribute_errors(f"cannot build {plugin.name}:{name}"):
            return checked(name, family.build(name, classes))

    def pretrained(name: str) -> tuple[nn.Module, Preprocessing]:
        with plugin.attribute_errors(f"cannot load {plugin.name}:{name}"):
            return checked(name, family.pretrained(name))

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
        arch: `family:name`, or a factory.
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
        module, preprocessing = find_family(family).build(name, classes)
        return module, preprocessing, timm_deviation_note(getattr(module, "pretrained_cfg", None))
