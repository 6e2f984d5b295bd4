"""Oracle: the means over severities that were published beside the errors per severity."""

from __future__ import annotations

from importlib.resources import files

import pytest

from robench.analysis.baselines import BASELINES, load_baseline
from robench.errors import OptionError
from robench.suites import SEVERITIES, SUITES

MEANS = {
    "gaussian_noise": 0.886428,
    "shot_noise": 0.894468,
    "impulse_noise": 0.922640,
    "defocus_blur": 0.819880,
    "glass_blur": 0.826268,
    "motion_blur": 0.785948,
    "zoom_blur": 0.798360,
    "snow": 0.866816,
    "frost": 0.826572,
    "fog": 0.819324,
    "brightness": 0.564592,
    "contrast": 0.853204,
    "elastic_transform": 0.646056,
    "pixelate": 0.717840,
    "jpeg_compression": 0.606500,
    "speckle_noise": 0.845388,
    "gaussian_blur": 0.787108,
    "spatter": 0.717512,
    "saturate": 0.658248,
}


def test_errors_average_to_the_published_means() -> None:
    baseline = load_baseline("alexnet")
    suite = SUITES["imagenet-c"]
    assert list(MEANS) == [*suite.corruptions, *suite.extra]
    assert dict(baseline.means) == pytest.approx(MEANS, abs=1e-9)
    for corruption in suite.corruptions:
        errors = [baseline.errors[corruption, severity] for severity in SEVERITIES]
        assert sum(errors) / 5 == pytest.approx(MEANS[corruption], abs=1e-9)
    assert baseline.clean == 0.4348


def test_every_error_is_a_count_of_the_fifty_thousand_images() -> None:
    baseline = load_baseline("alexnet")
    assert len(baseline.errors) == 75
    for error in baseline.errors.values():
        assert error * 50000 == pytest.approx(round(error * 50000), abs=1e-6)


def test_errors_of_a_corruption() -> None:
    baseline = load_baseline("alexnet")
    fog, spatter = baseline.severities("fog"), baseline.severities("spatter")
    assert fog is not None
    assert spatter is not None
    assert fog.tolist() == [0.67474, 0.7605, 0.84378, 0.8726, 0.945]
    assert spatter.tolist() == [0.717512]
    assert baseline.severities("rain") is None


def test_every_file_names_its_source() -> None:
    for name, file in BASELINES.items():
        text = files("robench.analysis.baselines").joinpath(file).read_text()
        assert text.startswith("# ")
        assert "arXiv:" in text.splitlines()[0]
        assert load_baseline(name).name == name
    assert all(suite.baseline in (None, *BASELINES) for suite in SUITES.values())


def test_unknown_baseline() -> None:
    with pytest.raises(OptionError, match="did you mean 'alexnet'"):
        load_baseline("alexnett")
