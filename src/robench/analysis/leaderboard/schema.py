"""Columns of the leaderboard."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from robench.analysis.leaderboard.columns import extra_columns
from robench.runs.schema import Column, Table, Type

__all__ = ["LEADERBOARD", "LEADERBOARD_BY_OOD", "LEADERBOARD_BY_SIZE", "leaderboard_of"]

_TEXT: Type = "string"
_F64: Type = "double"


def _with_interval(column: Column) -> tuple[Column, ...]:
    """Return a column and the columns with the ends of its interval, which published rows leave empty."""
    return (
        column,
        Column(f"{column.name}_ci_low", _F64, f"lower end of the 95 % interval of {column.name}", column.unit, True),
        Column(f"{column.name}_ci_high", _F64, f"upper end of the 95 % interval of {column.name}", column.unit, True),
    )


def _percent(name: str, meaning: str) -> tuple[Column, ...]:
    return _with_interval(Column(name, _F64, meaning, "%", nullable=True))


def _signed(name: str, meaning: str) -> tuple[Column, ...]:
    return _with_interval(Column(name, _F64, meaning, "pp", nullable=True))


LEADERBOARD = Table(
    "leaderboard",
    (
        # The first nine are the columns of timm's result files.
        Column("model", _TEXT, "label of the model"),
        Column("top1", _F64, "accuracy on the unperturbed images", "%", nullable=True),
        Column("top1_err", _F64, "100 - top1", "%", nullable=True),
        Column("top5", _F64, "share of images whose label is among the five most probable classes", "%", nullable=True),
        Column("top5_err", _F64, "100 - top5", "%", nullable=True),
        Column("param_count", _F64, "parameters of the model", "millions", nullable=True),
        Column("img_size", "int64", "input size of the model", "px", nullable=True),
        Column(
            "crop_pct",
            _F64,
            "side of the model's own crop, divided by the side that it resizes to",
            "fraction",
            nullable=True,
        ),
        Column(
            "interpolation",
            _TEXT,
            "interpolation of the model's own resize; the one in use is in `protocol`",
            nullable=True,
        ),
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
        *_percent("mce", "mean corruption error of that suite, divided by the baseline's"),
        *_percent("relative_mce", "relative mean corruption error of that suite, divided by the baseline's"),
        *_signed("effective_robustness", "accuracy above what `top1` predicts by the fit over `field`"),
        *_percent("c_bar_mean_error", "mean error of imagenet-c-bar or cifar-c-bar"),
        *_percent("c_bar_mce", "mean corruption error of that suite, divided by the baseline's"),
        *_percent("3dcc_2d_mean_error", "mean error of imagenet-3dcc-2d"),
        *_percent("3dcc_2d_mce", "mean corruption error of that suite, divided by the baseline's"),
        *_signed("3dcc_2d_effective_robustness", "effective robustness of imagenet-3dcc-2d, likewise"),
        *_percent("mean_flip_rate", "unnormalised mean flip rate of a suite of sequences at difficulty 1; not mFR"),
        *_percent("mfr", "mean flip rate of that suite at difficulty 1, divided by the baseline's"),
        *_percent("consistency", "pairs of shifted crops with the same prediction (suite shift)"),
        *_percent("circular_consistency", "pairs of circularly shifted images with the same prediction (suite shift)"),
        *_percent("scale_consistency", "neighbouring scales with the same prediction (suite scale)"),
        *_percent("accuracy_auc", "mean area under accuracy by strength (suite noise)"),
        *_percent("occlusion_accuracy_auc", "mean area under accuracy by covered area (suite occlusion)"),
        *_percent(
            "adversarial_accuracy",
            "accuracy after all attacks at the largest radius (suite adversarial), an upper bound",
        ),
        *_percent("shape_bias", "decisions for the shape among those for shape or texture (suite shape-bias)"),
        *(
            each
            for prefix, images in (
                ("", "the unperturbed images"),
                ("corrupted_", "a suite of corruptions, mean of its cells"),
            )
            for column in (
                Column(f"{prefix}nll", _F64, f"negative log-likelihood of {images}", "nats", nullable=True),
                Column(f"{prefix}brier", _F64, f"Brier score of {images}", "score", nullable=True),
                Column(f"{prefix}ece", _F64, f"expected calibration error of {images}", "%", nullable=True),
                Column(f"{prefix}aurc", _F64, f"area under the risk-coverage curve of {images}", "%", nullable=True),
            )
            for each in _with_interval(column)
        ),
        Column("treatment", _TEXT, "test-time method applied to the model, empty for none", nullable=True),
        Column("weights_sha", _TEXT, "SHA-256 of the weights, empty where the input does not say", nullable=True),
        Column("model_input", _TEXT, "mean, std and order of channels of the model's input, as options", nullable=True),
        Column("dataset", _TEXT, "name of the dataset"),
        Column("data_sha", _TEXT, "fingerprint of the evaluated samples, empty for published rows", nullable=True),
        Column("images", "int64", "evaluated images", nullable=True),
        Column(
            "source",
            _TEXT,
            "origin of the corrupted images, `computed` or `released`; for published rows `timm`, `robustbench` or "
            "`imagenet-testbed`",
        ),
        Column(
            "protocol", _TEXT, "`SUITE PROTOCOL` of every suite that the row has values of, separated by semicolons"
        ),
        Column("baseline", _TEXT, "baseline of the normalised values", nullable=True),
        Column("field", _TEXT, "published models of the fit of effective_robustness", nullable=True),
        Column("seed", _TEXT, "seed of all draws, `0+1+2` if pooled; empty for published rows", nullable=True),
        Column(
            "robench_version", _TEXT, "version of robench that computed the row, empty for published", nullable=True
        ),
        Column(
            "warnings",
            _TEXT,
            "likely mistakes in the run, such as labels that look permuted, separated by semicolons",
            nullable=True,
        ),
        Column("schema", "int64", "version of these columns"),
    ),
    "one model, as `robench leaderboard --out` writes it",
)


LEADERBOARD_BY_SIZE = _percent("top1_{size}px", "accuracy of the network at that input size (suite resolution)")
"""Columns that follow the others for every input size of the rows, smallest first."""


LEADERBOARD_BY_OOD = (
    *_percent("auroc_{name}", "AUROC of these images out of distribution, by the largest probability (suite ood)"),
    *_percent("fpr95_{name}", "FPR95 of these images, likewise"),
)
"""Columns that follow for every name of images out of distribution."""


def leaderboard_of(names: Iterable[str]) -> Table:
    """Return the columns of a leaderboard that has the given ones."""
    columns = extra_columns(names)
    sizes = [column.resolution for column in columns if column.resolution is not None]
    more = [
        *(replace(one, name=one.name.format(size=size)) for size in sizes for one in LEADERBOARD_BY_SIZE),
        *(
            replace(one, name=one.name.format(name=name))
            for name in dict.fromkeys(column.subset for column in columns if column.subset)
            for one in LEADERBOARD_BY_OOD
        ),
    ]
    return replace(LEADERBOARD, columns=(*LEADERBOARD.columns, *more))
