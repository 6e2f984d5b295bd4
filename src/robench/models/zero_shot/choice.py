"""Class names and prompts of a zero-shot classifier."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from robench.datasets.class_mapping import imagenet_wnids, wordnet_name
from robench.datasets.io.bounded import read_limited
from robench.errors import CheckpointError, DatasetError, OptionError, one_line

__all__ = ["IMAGENET", "PLAIN", "Prompts", "ZeroShotChoice", "equal_names_note"]

IMAGENET = "imagenet"
"""Value of the options for OpenAI's names of ImageNet's classes, and for its 80 templates."""
PLAIN = "a photo of a {}."
_NAMED = (IMAGENET, "simple", "plain")
_PLACE = "{}"
_LARGEST = 16 * 2**20
"""Most bytes of a file of names or templates."""
_WNID = re.compile(r"n\d{8}")
_LISTED = 3


@dataclass(frozen=True)
class Prompts:
    """Texts of each class.

    Attributes:
        names: Names of the classes, in the order of the outputs.
        templates: Texts with `{}` in the place of the name.
        source: Name of the templates: a word of `--prompts`, or of a file.
        stated: Whether a file states the names, so that they may give the order of the dataset's classes.
        notes: Messages for the user, one line each.
    """

    names: tuple[str, ...]
    templates: tuple[str, ...]
    source: str
    stated: bool = False
    notes: tuple[str, ...] = ()

    def texts(self, name: str) -> list[str]:
        """Return the texts of a class."""
        return [template.replace(_PLACE, name) for template in self.templates]


@dataclass(frozen=True)
class ZeroShotChoice:
    """Options of a zero-shot classifier.

    Attributes:
        prompts: "imagenet", "simple", "plain" or a file of templates; None for the 80 of ImageNet.
        class_names: Names, a file of them, or "imagenet"; None for those of the dataset.
        default_names: Names of the dataset's classes; None if no dataset is known.
    """

    prompts: str | None = None
    class_names: str | Sequence[str] | None = None
    default_names: Sequence[str] | None = None

    @property
    def options(self) -> list[str]:
        """The options that the user gave."""
        return [
            name
            for name, value in (("--prompts", self.prompts), ("--class-names", self.class_names))
            if value is not None
        ]

    def check(self) -> None:
        """Raise OptionError if a file that the user gave is no list of names or templates."""
        if self.prompts is not None and self.prompts not in _NAMED:
            _templates(self.prompts)
        if isinstance(self.class_names, str) and self.class_names != IMAGENET:
            _lines("--class-names", self.class_names, "name")

    def load(self, model: str) -> Prompts:
        """Return the names and templates; `model` is the name of the model, for errors.

        Raises:
            OptionError: A file is no list of names or templates, or no names are known.
            CheckpointError: The names or templates are open_clip's, which is not installed.
        """
        source = self.prompts or IMAGENET
        names, notes = self._names(model)
        templates = _templates(source)
        if (note := equal_names_note(names)) is not None:
            notes = (*notes, note)
        name = source if source in _NAMED else Path(source).name
        return Prompts(names, templates, name, self.class_names not in (None, IMAGENET), notes)

    def _names(self, model: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
        if isinstance(self.class_names, str):
            if self.class_names == IMAGENET:
                return _imagenet_names(), ()
            return tuple(_lines("--class-names", self.class_names, "name")), ()
        if self.class_names is not None:
            return tuple(self.class_names), ()
        if not self.default_names:
            raise OptionError(
                f"{model} has no classes of its own, and no names of classes are given", "add --class-names FILE"
            )
        return _names_of_dataset(tuple(self.default_names))


def _names_of_dataset(classes: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the words for the classes of a dataset, and notes."""
    if all(name.isdecimal() for name in classes):
        raise OptionError(
            f"the classes of the images are numbers ({', '.join(classes[:_LISTED])}, …), which say nothing to a text encoder",
            "add --class-names FILE, one name a line in the order of the classes, or --class-names imagenet",
        )
    if all(_WNID.fullmatch(name) for name in classes):
        known = {wnid: number for number, wnid in enumerate(imagenet_wnids())}
        words = _imagenet_names()
        if all(name in known for name in classes):
            # Fewer classes limit the predictions, as with any classifier of ImageNet.
            return words, (
                f"the classes are WordNet ids: they have OpenAI's names of ImageNet's {len(words):,} classes",
            )
        names = tuple(words[known[name]] if name in known else wordnet_name(name) for name in classes)
        others = sum(name not in known for name in classes)
        return names, (
            f"the classes are WordNet ids: {others} of {len(classes)} are none of ImageNet's 1,000 and have WordNet's first name",
        )
    return tuple(" ".join(name.replace("_", " ").split()) for name in classes), ()


def _imagenet_names() -> tuple[str, ...]:
    return tuple(_open_clip_metadata("IMAGENET_CLASSNAMES"))


def _templates(source: str) -> tuple[str, ...]:
    if source == "plain":
        return (PLAIN,)
    if source in _NAMED:
        functions = _open_clip_metadata(
            "OPENAI_IMAGENET_TEMPLATES" if source == IMAGENET else "SIMPLE_IMAGENET_TEMPLATES"
        )
        return tuple(function(_PLACE) for function in functions)
    templates = _lines("--prompts", source, "template")
    wrong = next((number for number, line in enumerate(templates, 1) if _PLACE not in line), None)
    if wrong is not None:
        raise OptionError(
            f"--prompts {source}: template {wrong} has no {_PLACE} in the place of the name",
            "write templates such as: a photo of a {}.",
        )
    return tuple(templates)


def _open_clip_metadata(name: str) -> Sequence[Any]:
    try:
        from open_clip import zero_shot_metadata
    except ImportError as error:
        raise CheckpointError(
            f"the names and templates of ImageNet come with open_clip ({one_line(error)})",
            "pip install 'robench[clip]'",
        ) from error
    values: Sequence[Any] = getattr(zero_shot_metadata, name)
    return values


def _lines(option: str, file: str, kind: str) -> list[str]:
    """Return the lines of a text file that are not blank at its end."""
    path = Path(file)
    if not path.is_file():
        words = ", ".join(_NAMED) if option == "--prompts" else IMAGENET
        raise OptionError(f"{option} {file} is no file", f"give {words}, or a file with one {kind} a line")
    try:
        lines = [line.strip() for line in read_limited(path, _LARGEST).decode("utf-8-sig").splitlines()]
    except UnicodeDecodeError as error:
        raise OptionError(f"{option} {file} is not UTF-8 text", "save it as UTF-8") from error
    except DatasetError as error:
        raise OptionError(f"{option}: {error.problem}", error.hint) from error
    while lines and not lines[-1]:
        lines.pop()
    if not lines:
        raise OptionError(f"{option} {file} is empty", f"write one {kind} a line")
    if "" in lines:
        raise OptionError(f"{option} {file}: line {lines.index('') + 1} is blank", f"write one {kind} a line")
    return lines


def equal_names_note(names: Sequence[str]) -> str | None:
    """Return a note about classes of one name, whose logits are equal; None if all names differ."""
    places: dict[str, list[int]] = {}
    for number, name in enumerate(names):
        places.setdefault(name, []).append(number)
    equal = {name: found for name, found in places.items() if len(found) > 1}
    if not equal:
        return None
    listed = ", ".join(f"{name!r} ({', '.join(map(str, found))})" for name, found in [*equal.items()][:_LISTED])
    more = f" and {len(equal) - _LISTED} more" if len(equal) > _LISTED else ""
    return f"several classes have one name: {listed}{more}; their logits are equal, so that only the first can be predicted"
