"""The architectures that can be named, in one explicit table, and the building of one."""

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
    """Names of all architectures of a family."""
    return find_family(family).names()


def names_family(text: str) -> bool:
    """Whether a text is the name of a family, built in or an installed package's."""
    return text in ARCHITECTURES or (text.replace("-", "_").isidentifier() and find_plugin("family", text) is not None)


def find_family(name: str) -> Family:
    """Return the family of that name, built in or an installed package's; CheckpointError with a suggestion if there is none."""
    if name in ARCHITECTURES:
        return ARCHITECTURES[name]
    offer = find_plugin("family", name)
    if offer is None:
        known = (*ARCHITECTURES, *(one.name for one in plugins("family")))
        raise CheckpointError(unknown_name("architecture family", name, known))
    return _offered(offer)


def _offered(offer: Plugin) -> Family:
    """A package's family, whose mistakes name the package."""
    family = offer.load(Family)

    def checked(name: str, made: object) -> tuple[nn.Module, Preprocessing]:
        match made:
            case (nn.Module() as module, Preprocessing() as preprocessing):
                return module, preprocessing
        raise CheckpointError(
            f"{offer.origin} gives a {type(made).__name__} as {offer.name}:{name}, not a module and its preprocessing"
        )

    def build(name: str, classes: int | None) -> tuple[nn.Module, Preprocessing]:
        with offer.attribute_errors(f"cannot build {offer.name}:{name}"):
            return checked(name, family.build(name, classes))

    def pretrained(name: str) -> tuple[nn.Module, Preprocessing]:
        with offer.attribute_errors(f"cannot load {offer.name}:{name}"):
            return checked(name, family.pretrained(name))

    def names() -> list[str]:
        with offer.attribute_errors(f"cannot list its family {offer.name}"):
            return list(family.names())

    return Family(build, pretrained, names)


def names_factory(text: str) -> bool:
    """Whether a text names a factory and not a family, nor a misspelt one."""
    family, _, _ = text.partition(":")
    if not is_factory(text) or names_family(family):
        return False
    misspelt = bool(get_close_matches(family, ARCHITECTURES)) and "." not in family and find_spec(family) is None
    return not misspelt


def build_architecture(arch: str, classes: int | None = None) -> tuple[nn.Module, Preprocessing, tuple[str, ...]]:
    """Return an untrained network, its preprocessing, and notes on what was assumed.

    arch: `family:name`, or a factory.  classes: of its head, None for its default; a factory takes that as an argument of its
    own.  CheckpointError for names that do not exist. The caller's random generators are left as they were.
    """
    with torch.random.fork_rng(devices=[]):  # Initial weights are drawn, and overwritten by those of the file.
        if names_factory(arch):
            module = call_factory(arch)
            stated = preprocessing_of(module)
            preprocessing, note = (stated, None) if stated is not None else assumed()
            return module, preprocessing, (note,) if note else ()
        family, colon, name = arch.partition(":")
        if not colon or not names_family(family):
            known = ", ".join(f"{known}:NAME" for known in ARCHITECTURES)
            raise CheckpointError(
                f"architecture {arch!r} is none of {known}, package.module:function, file.py:function"
            )
        module, preprocessing = find_family(family).build(name, classes)
        return module, preprocessing, timm_deviation_note(getattr(module, "pretrained_cfg", None))
