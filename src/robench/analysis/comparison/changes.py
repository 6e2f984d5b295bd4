"""What moved published numbers, by version: the entries under **Numbers** of the CHANGELOG, and which figures each is about.

`tests/test_moved.py` holds the texts to CHANGELOG.md: an entry there needs one here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Literal

__all__ = ["MOVED", "Moved", "between", "moved_between", "protocol_difference", "quoted"]


@dataclass(frozen=True)
class Moved:
    """One change. version: the first that has it.  text: the CHANGELOG's, on one line.  suites, metrics: patterns.

    how: `figures` moved though their protocol's name did not; or the `protocol` moved, so that its name tells; or figures of some
    `models`, which a row of results does not tell: those compare, with a note; or `nothing` that is compared: labels,
    intervals, what was refused before.
    part: of the protocol that moved, as `protocol_difference` calls it; empty for any.
    """

    version: str
    text: str
    how: Literal["figures", "protocol", "models", "nothing"] = "nothing"
    suites: tuple[str, ...] = ("*",)
    metrics: tuple[str, ...] = ("*",)
    part: str = ""

    def is_about(self, row: Mapping[str, Any]) -> bool:
        """Whether it may have moved the figure of a row of results."""
        return any(fnmatchcase(row["suite"], one) for one in self.suites) and any(
            fnmatchcase(row["metric"], one) for one in self.metrics
        )


def between(version: str, other: str) -> list[Moved]:
    """Return what moved between two versions of robench, in either order, leaving out `nothing`."""
    low, high = sorted(_order(one) for one in (version, other))
    return [one for one in MOVED if low < _order(one.version) <= high and one.how != "nothing"]


def moved_between(row: Mapping[str, Any], other: Mapping[str, Any], how: str) -> list[Moved]:
    """Return what may so have moved a figure between the versions of robench of two of its rows."""
    versions = row["robench_version"], other["robench_version"]
    return [one for one in between(*versions) if one.how == how and one.is_about(row)]


def quoted(moved: Sequence[Moved]) -> str:
    """Return the entries' texts for a message, at most three of them."""
    more = f"And {len(moved) - _QUOTED} more under Numbers in CHANGELOG.md. " if len(moved) > _QUOTED else ""
    return "".join(f"{one.text} " for one in moved[:_QUOTED]) + more


_QUOTED = 3


def _order(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version)[:3])


_PARTS = (
    ("release JPEG", r"jpeg\d+"),
    ("side of the frames", r"frames\d+"),
    ("precision", r"fp32|tf32|bf16|fp16"),
    ("backend", r"reference"),
    ("input sizes", r"\d+(-\d+)*px"),
)
"""Parts of a protocol's name after the first, which is its geometry, by what they look like."""


def protocol_difference(ours: str, theirs: str) -> str:
    """Say which parts of two protocols differ: `the geometry (resize256-crop224 and resize224)`."""
    one, two = _parts(ours), _parts(theirs)
    unlike = [name for name in dict.fromkeys([*one, *two]) if one.get(name) != two.get(name)]
    if not unlike:
        return f"the constants or the draws ({ours} and {theirs})"
    return " and ".join(f"the {name} ({one.get(name, 'none')} and {two.get(name, 'none')})" for name in unlike)


def _parts(protocol: str) -> dict[str, str]:
    geometry, *others = protocol.partition("#")[0].split("+")
    found = {"geometry": geometry}
    for part in others:
        name = next((name for name, pattern in _PARTS if re.fullmatch(pattern, part)), "provider of the corruptions")
        found[name] = part
    return found


MOVED: tuple[Moved, ...] = (
    Moved(
        "0.1.0",
        "`untreated` of the suite `resolution` is the checkpoint without any treatment: where others were given beside "
        "bn-resolution (blurpool, bn-branch) it had those. With bn-resolution alone it is as before.",
        "models",
        suites=("resolution",),
        metrics=("accuracy",),
    ),
    Moved(
        "0.1.0",
        "Where `random_accuracy`, or what an oracle, chance or a cascade reaches at the cost of one size "
        "(`*_accuracy_at_static`), is 0 or 1 its interval is Wilson's, as that of `oracle_accuracy` beside it; it had no "
        "width. No figure changes.",
    ),
    Moved(
        "0.1.0",
        "`rank` of a leaderboard is one more than the number of models whose whole interval is better, and rows are in "
        "the order of the figure: models whose intervals were joined by others shared a rank, in a long table all of "
        "them.",
    ),
    Moved(
        "0.1.0",
        "The suite `resolution` has one more condition, `luck` (as many frames at the model's input as there are "
        "sizes), and more rows: its protocol is its own, and figures and protocols of `network`, `information` "
        "and `untreated` are as before. Where a model gave NaN at a size its `oracle_accuracy` counted images "
        "without a prediction as right, and `gflops` had two rows.",
    ),
    Moved(
        "0.1.0",
        "The extra degradations of `noise` have a protocol of their own: figures and protocol of the seven older ones, and "
        "of their mean `accuracy_area`, are as before. Where a model gives NaN under `noise` the mean `accuracy_area` was "
        "NaN; it is the mean of the areas now.",
    ),
    Moved(
        "0.1.0",
        "`seed` of the results and of the leaderboard is text, because pooled rows have several (`0+1+2`); files of "
        "one seed are as before.",
    ),
    Moved(
        "0.1.0",
        "A file called `model.safetensors` is labelled by its folder: the `model` column and the default run "
        "directory of such runs change.",
    ),
    Moved(
        "0.1.0",
        "`--suite clean` and `--geometry model` of models whose configuration squashes pictures to a square (ViT, "
        "BEiT, DeiT, Swin, PVT, SegFormer, EfficientNet and ConvNeXt at 384 px of transformers, timm's 131 with "
        "`crop_mode: squash`): the whole picture is squashed, where the short side was resized and the middle "
        "kept. Square pictures are as before. On 1,000 pictures of ImageNet a SqueezeNet sees 288 of them "
        "otherwise (top-1 62.6 % cut, 62.4 % squashed).",
        "protocol",
        part="geometry",
    ),
    Moved(
        "0.1.0",
        "The same, of transformers' processors that resize and cut (ResNet, ConvNeXt, MobileNet, MobileViT, "
        "PoolFormer, LeViT, BiT): a margin that is odd is halved as transformers does, so that some crops move by "
        "one pixel (16 of the 1,000 pictures: 61.5 % to 61.6 %). The protocol says `crop224floor`. All other "
        "protocols, and the suites' own geometries, are as before.",
        "protocol",
        part="geometry",
    ),
    Moved(
        "0.1.0",
        "EfficientNet's processor divides once more by std wherever `include_top` holds, without `do_normalize` too.",
        "models",
    ),
    Moved(
        "0.1.0",
        "Values that a processor's file leaves out are its class's (bicubic and 0.5 for many, where bilinear and "
        "ImageNet's were taken).",
        "models",
    ),
    Moved(
        "0.1.0",
        "First release: draws version 1 (Philox4x32-10, keyed by seed, sample, corruption and name).",
    ),
    Moved(
        "0.1.0",
        "A dataset with some of ImageNet's classes, by WordNet id, is scored among these alone (docs/decisions/011): "
        "it was refused before.",
    ),
    Moved(
        "0.1.0",
        "Softmax and sigmoid at the end of a model are undone, so confidences and calibration are those that it "
        "states.",
        "figures",
        metrics=("ece", "rms_calibration_error", "mean_prob_label"),
    ),
    Moved(
        "0.1.0",
        "Clean images of two geometries at one side (`imagenet-c-299` with `scale`, `--geometry model` with `noise`) "
        "shared one records file: `relative_mce` and `accuracy_area` of such runs took the other's clean accuracy. "
        "Each has its own now; runs of one geometry are as before.",
        "figures",
        suites=("imagenet-c-299", "scale", "noise"),
        metrics=("relative_mce", "accuracy_area"),
    ),
    Moved(
        "0.1.0",
        "`half_strength` is the distance from the clean images: of `gain` |factor - 1| in place of the factor, of "
        "`offset` downwards its size without the sign. The five one-sided degradations are as before.",
        "figures",
        suites=("noise",),
        metrics=("half_strength",),
    ),
    Moved(
        "0.1.0",
        "`cifar-p`, `tiny-imagenet-p` and `scale` at up to 64 px: the clean images keep their shape and are cropped, "
        "as their frames are. Square images are as before.",
        "protocol",
        suites=("clean", "cifar-p", "tiny-imagenet-p", "scale"),
    ),
    Moved(
        "0.1.0",
        "`information` ends at the model's input and follows `--resolution`; the input is always among the sizes (a "
        "299 px model gets 299, a 64 px model 64, in `network` and its oracle too). Its protocol's hash changes, and "
        "the text and hash of `network` on models up to 64 px.",
        "protocol",
        suites=("resolution",),
    ),
    Moved(
        "0.1.0",
        "Where a single rate along frames is 0 or 1 (`consistency` of neighbouring scales, `oracle_accuracy`) its "
        "interval is Wilson's; a mean over several frames has the bootstrap's, also where it is 1 (`accuracy` over "
        "all crops or scales had Wilson's).",
    ),
    Moved(
        "0.1.0",
        "`severity` of `flip_rate` and `t5d` is their difficulty; the map of offsets has the axis `offsets`, 1000 "
        "times down plus right, in place of nine axes `right at down=N`.",
        "figures",
        suites=("*-p", "*-p-*", "shift"),
        metrics=("flip_rate", "t5d", "accuracy"),
    ),
    Moved(
        "0.1.0",
        "`ece` and `rms_calibration_error` have no row where no image has a prediction (NaN logits), nor has their "
        "mean over such a cell: they were 0.",
        "figures",
        metrics=("ece", "rms_calibration_error"),
    ),
    Moved(
        "0.1.0",
        "Of a network that returns several outputs, such as (features, logits), the first that has the classes of the images "
        "is taken, where the first was: such networks were refused or, on labels that are numbers, measured by their "
        "features.",
        "models",
    ),
    Moved(
        "0.1.0",
        "Pictures of 16 bits of grey, and of fractions, are unreadable, with what to do: they became white, or black, and "
        "counted. Decoded images are made once more (the cache's version is 4).",
    ),
)
"""All of them, the latest version first, in the order of the CHANGELOG."""
