"""Exported programs are refused, whatever the format: their layers cannot be changed."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
import torch

from robench.errors import CheckpointError
from robench.models import Classifier, load_classifier
from robench.treatments import adapt

IMAGE = (torch.zeros(2, 3, 32, 32),)


def stored(classifier: Classifier, path: Path) -> Path:
    module = classifier.module
    if path.suffix == ".ts":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.jit.save(torch.jit.trace(module, IMAGE), path)
    elif path.suffix == ".pt2":
        torch.export.save(torch.export.export(module, IMAGE), path)
    else:
        pytest.importorskip("onnx")
        pytest.importorskip("onnxruntime")
        pytest.importorskip("onnxscript")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.onnx.export(module, IMAGE, path, dynamo=True, external_data=False, verbose=False)
    return path


@pytest.mark.parametrize("suffix", [".ts", ".pt2", ".onnx"])
def test_it_is_refused(normalised: Classifier, tmp_path: Path, suffix: str) -> None:
    classifier = load_classifier(stored(normalised, tmp_path / f"net{suffix}"), None, "cpu", crop=32)
    for text in ("bn-test", "localnorm:g=1", "blurpool", "tent"):
        with pytest.raises(
            CheckpointError, match="net is an exported program, whose layers cannot be changed; use --treatment with"
        ):
            adapt(classifier, [text], None, 0)
