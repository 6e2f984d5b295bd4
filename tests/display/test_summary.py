"""Oracle: numbers written down here, from which the table of results is built."""

from __future__ import annotations

import re
from io import StringIO

import numpy as np
import pandas as pd
from rich.color import ColorSystem
from rich.color_triplet import ColorTriplet
from rich.console import Console

from robench.analysis.formatting import in_percent
from robench.analysis.run_summary import headlines, verdict, worst
from robench.display.summary import summary
from robench.display.tint import tint
from robench.runs.schema import RESULTS, rows_to_frame

ERRORS = {
    "gaussian_noise": [0.20, 0.70],
    "impulse_noise": [0.20, 0.50],
    "fog": [0.10, 0.65],
    "brightness": [0.10, 0.12],
    "speckle_noise": [0.9, 1.0],
}
"""Errors of an invented model at severities 1 and 5; the last one is extra, and the clean error is 0.1."""


def results(geometries: int = 1) -> pd.DataFrame:
    common = {"schema": 1, "model": "net", "dataset": "d", "data_sha": "0", "source": "computed", "seed": "0"}
    common |= {"robench_version": "0", "unit": "fraction", "ci_low": 0.0, "ci_high": 1.0, "resolution": 32}
    rows = []
    for number in range(geometries):
        clean = {"suite": "clean", "corruption": "clean", "severity": 0, "n": 200, "protocol": f"resize{number}+fp32#0"}
        rows += [{**clean, "metric": "error_rate", "value": 0.1}, {**clean, "metric": "accuracy", "value": 0.9}]
    suite = {"suite": "cifar-c", "protocol": "p"}
    for name, errors in ERRORS.items():
        for severity, error in zip((1, 5), errors, strict=True):
            cell = {"corruption": name, "severity": severity, "n": 200}
            rows.append({**suite, **cell, "metric": "error_rate", "value": error})
        rows.append({**suite, "corruption": name, "metric": "corruption_error", "value": sum(errors) / 2, "n": 2})
    rows.append({**suite, "metric": "mean_error", "value": 0.32125, "n": 8})
    rows.append({**suite, "metric": "ece", "value": 0.123, "n": 8})
    return rows_to_frame(RESULTS, [{**common, **row} for row in rows])


def printed(table: pd.DataFrame, width: int, verbose: bool = False) -> list[str]:
    console = Console(file=StringIO(), width=width, color_system=None, highlight=False)
    console.print(summary(table, ["a note"], verbose=verbose))
    assert isinstance(console.file, StringIO)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


def test_headlines_come_first_and_the_worst_follow() -> None:
    table = results()
    assert [(one.suite, one.label, one.value) for one in headlines(table)] == [
        ("clean", "accuracy", 0.9),
        ("cifar-c", "mean error", 0.32125),
    ]
    assert [(one.label, round(one.value, 9)) for one in worst(table, "cifar-c")] == [
        ("gaussian_noise", 0.45),
        ("fog", 0.375),
        ("impulse_noise", 0.35),
    ]
    for width in (80, 100):
        lines = printed(table, width)
        assert lines[:3] == [
            "net on d · 200 images · seed 0",
            "  clean accuracy           90.0 %  [0.0, 100.0]",
            "  cifar-c mean error       32.1 %  [0.0, 100.0]  over 8 of 75 cells",
        ]
        text = "\n".join(lines)
        assert "ece" not in text
        assert "  noise   gaussian_noise       20.0  70.0   45.0" in text
        assert "  extra   speckle_noise        90.0 100.0   95.0" in text
        assert "          mean                 15.0  49.2   32.1" in text, "without the extra corruption"
        assert max(map(len, lines)) <= width
        assert "ece" in "\n".join(printed(table, width, verbose=True))


def test_clean_images_of_equal_geometries_are_one_row() -> None:
    """Two geometries with equal values, as all suites of CIFAR have."""
    assert [one.label for one in headlines(results(geometries=2))] == ["accuracy", "mean error"]
    lines = printed(results(geometries=2), 100, verbose=True)
    assert len([line for line in lines if "error_rate" in line]) == 1


def test_the_verdict_names_causes_thresholds_and_what_stays() -> None:
    """Errors added: gaussian_noise 0.35, fog 0.275, impulse_noise 0.25, brightness 0.01. Half of the accuracy is an error of 0.55."""
    assert verdict(results()) == [
        "cifar-c: gaussian_noise (40 %), fog (31 %) and impulse_noise (28 %) cause 99 % of the errors that corruptions add to "
        "those on clean images.",
        "cifar-c: accuracy is below half of the clean accuracy from severity 5 under gaussian_noise and fog.",
        "cifar-c: the error stays within 5 pp of that on clean images at all 2 severities of brightness.",
    ]


def test_the_verdict_names_only_perturbations_that_flip() -> None:
    table = (
        results()
        .iloc[[0, 0]]
        .assign(suite="cifar-p", metric="flip_rate", corruption=["tilt", "rotate"], axis_value=1.0, value=[0.004, 0.0])
    )
    assert verdict(table) == ["cifar-p: predictions change most often under tilt 0.4 % (100 % of all flips)."]


def luminance(color: ColorTriplet) -> float:
    linear = [c / 3294.6 if c <= 10 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in color]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_text_on_a_tint_is_readable() -> None:
    """Oracle: the contrast ratio of WCAG 2, which asks for at least 4.5 for text."""
    for value in range(101):
        for metric in ("error_rate", "accuracy", "flip_rate"):
            style = tint(metric, value / 100)
            assert style.color is not None
            assert style.bgcolor is not None
            pair = [luminance(color.get_truecolor()) for color in (style.color, style.bgcolor)]
            assert (max(pair) + 0.05) / (min(pair) + 0.05) >= 4.5, (metric, value)


def test_more_harm_is_darker_in_terminals_of_256_colours() -> None:
    backgrounds = [tint("error_rate", value / 100).bgcolor for value in range(101)]
    shown = [color.downgrade(ColorSystem.EIGHT_BIT).get_truecolor() for color in backgrounds if color is not None]
    assert sorted(map(luminance, shown), reverse=True) == list(map(luminance, shown))
    assert len(set(shown)) == 10


def test_equal_means_have_one_text() -> None:
    """A mean of means differs from the mean over all in its last bit, on either side of the half that is rounded."""
    assert {in_percent(value) for value in (0.2125, np.nextafter(0.2125, 0), np.nextafter(0.2125, 1))} == {21.25}
    rows = results()
    errors = rows["metric"].isin(["error_rate", "mean_error", "corruption_error"])
    rows.loc[errors & (rows["suite"] == "cifar-c"), "value"] = 0.2125
    rows.loc[rows["metric"] == "mean_error", "value"] = np.nextafter(0.2125, 1)
    assert {value for line in printed(rows, 100) for value in re.findall(r"21\.\d", line)} == {"21.2"}
