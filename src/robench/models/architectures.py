"""The architectures that can be named, in one explicit table, and the building of one."""

from __future__ import annotations

from difflib import get_close_matches
from importlib.util import find_spec

import torch
from torch import nn

from robench.errors import CheckpointError, unknown_name
from robench.models import timm, torchvision, zoo
from robench.models.classifier import Preprocessing
from robench.models.configured import unlike_timm
from robench.models.factory import call_factory, is_factory, preprocessing_of
from robench.models.family import Family
from robench.models.loaded import assumed

__all__ = ["ARCHITECTURES", "EXAMPLES", "architecture_names", "build_architecture", "names_factory"]

ARCHITECTURES: dict[str, Family] = {
    "zoo": Family(zoo.build, zoo.pretrained, zoo.names),
    "torchvision": Family(torchvision.build, torchvision.pretrained, torchvision.names),
    "timm": Family(timm.build, timm.pretrained, timm.names),
}

EXAMPLES = "--arch torchvision:resnet50, timm:vit_base_patch16_224, zoo:cifar_resnet20 or file.py:function"


def architecture_names(family: str) -> list[str]:
    """Names of all architectures of a family of `ARCHITECTURES`."""
    if family not in ARCHITECTURES:
        raise CheckpointError(unknown_name("architecture family", family, ARCHITECTURES))
    return ARCHITECTURES[family].names()


def names_factory(text: str) -> bool:
    """Whether a text names a factory and not a family, nor a misspelt one."""
    family, _, _ = text.partition(":")
    if not is_factory(text) or family in ARCHITECTURES:
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
        if not colon or family not in ARCHITECTURES:
            known = ", ".join(f"{known}:NAME" for known in ARCHITECTURES)
            raise CheckpointError(
                f"architecture {arch!r} is none of {known}, package.module:function, file.py:function"
            )
        module, preprocessing = ARCHITECTURES[family].build(name, classes)
        return module, preprocessing, unlike_timm(getattr(module, "pretrained_cfg", None))
