"""Columns of the leaderboard."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from robench.runs.schema import Column, Table, Type

__all__ = ["LEADERBOARD", "LEADERBOARD_BY_SIDE", "leaderboard_of"]

_TEXT: Type = "string"
_F64: Type = "double"


def _with_interval(column: Column) -> tuple[Column, ...]:
    """A figure's column and those of the ends of its interval, which published rows leave empty."""
    return (
        column,
        Column(f"{column.name}_ci_low", _F64, f"lower end of the 95 % interval of {column.name}", column.unit, True),
        Column(f"{column.name}_ci_high", _F64, f"upper end of the 95 % interval of {column.name}", column.unit, True),
    )


def _percent(name: str, meaning: str) -> tuple[Column, ...]:
    return _with_interval(Column(name, _F64, meaning, "%", nullable=True))


LEADERBOARD = Table(
    "leaderboard",
    (
        # The first nine are those of timm's result files.
        Column("model", _TEXT, "label of the model"),
        Column("top1", _F64, "accuracy on the unperturbed images", "%", nullable=True),
        Column("top1_err", _F64, "100 - top1", "%", nullable=True),
        Column("top5", _F64, "images whose label is among the five most probable classes", "%", nullable=True),
        Column("top5_err", _F64, "100 - top5", "%", nullable=True),
        Column("param_count", _F64, "parameters of the model", "millions", nullable=True),
        Column("img_size", "int64", "side of the model's input", "px", nullable=True),
        Column(
            "crop_pct", _F64, "side of the model's own crop by the side that it resizes to", "fraction", nullable=True
        ),
        Column("interpolation", _TEXT, "of the model's own resizing; what was done is in `protocol`", nullable=True),
        Column(
            "rank",
            "int64",
            "one more than the comparable rows whose whole interval of `rank_by` is better",
            nullable=True,
        ),
        Column("rank_by", _TEXT, "column that the rows are ranked and sorted by"),
        *_with_interval(Column("top1", _F64, "", "%"))[1:],
        *_with_interval(Column("top5", _F64, "", "%"))[1:],
        *_percent("mean_error", "unnormalised mean error of a suite of corruptions; not mCE"),
        *_percent("mce", "mean corruption error of that suite, by the baseline's"),
        *_percent("relative_mce", "relative mean corruption error of that suite, by the baseline's"),
        *_percent("mean_flip_rate", "unnormalised mean flip rate of a suite of sequences at difficulty 1; not mFR"),
        *_percent("mfr", "mean flip rate of that suite at difficulty 1, by the baseline's"),
        *_percent("consistency", "pairs of shifted crops with the same prediction (suite shift)"),
        *_percent("circular_consistency", "pairs of circularly shifted images with the same prediction (suite shift)"),
        *_percent("scale_consistency", "neighbouring scales with the same prediction (suite scale)"),
        *_percent("accuracy_auc", "mean area under accuracy by strength (suite noise)"),
        *_percent("occlusion_accuracy_auc", "mean area under accuracy by covered area (suite occlusion)"),
        Column("treatment", _TEXT, "test-time method applied to the model, empty for none", nullable=True),
        Column("weights_sha", _TEXT, "SHA-256 of the weights, empty where the input does not say", nullable=True),
        Column("dataset", _TEXT, "name of the dataset"),
        Column("data_sha", _TEXT, "fingerprint of the evaluated samples, empty for published rows", nullable=True),
        Column("images", "int64", "evaluated images", nullable=True),
        Column(
            "source",
            _TEXT,
            "`computed` or `released` (what the suites' images are), `timm` or `robustbench` (published)",
        ),
        Column("protocol", _TEXT, "`SUITE PROTOCOL` of every suite with a value in the row, separated by semicolons"),
        Column("baseline", _TEXT, "baseline that normalized values are divided by", nullable=True),
        Column("seed", _TEXT, "seed of all draws; of pooled ones `0+1+2`; empty for published rows", nullable=True),
        Column(
            "robench_version", _TEXT, "version of robench that computed the row, empty for published", nullable=True
        ),
        Column("schema", "int64", "version of these columns"),
    ),
    "one model; what `robench leaderboard --out` writes",
)


LEADERBOARD_BY_SIDE = _percent("top1_{side}px", "accuracy of the network run at that side (suite resolution)")
"""Columns that follow the others for every input size that some row has, smallest first."""


def leaderboard_of(sides: Iterable[int]) -> Table:
    """The leaderboard's columns where these input sizes occur."""
    more = [
        replace(column, name=column.name.format(side=side), meaning=column.meaning.format(side=side))
        for side in sorted(set(sides))
        for column in LEADERBOARD_BY_SIDE
    ]
    return replace(LEADERBOARD, columns=(*LEADERBOARD.columns, *more))
