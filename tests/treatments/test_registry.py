"""Treatments as texts: what is read, what is refused and with which words, what the label says."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from torch import nn
from typer.testing import CliRunner

from robench.cli import app
from robench.errors import OptionError
from robench.models import Classifier
from robench.treatments import TREATMENTS, adapt, parse_treatments
from tests.builders import each
from tests.treatments.networks import CLEAN


@each(
    ("texts", "read"),
    [
        (["bn-test"], ["bn-test"]),
        (["bn-test:n=8"], ["bn-test:n=8"]),
        (["bn-prior:N=16,n=8"], ["bn-prior:N=16,n=8"]),
        (["bn-prior:n=8,N=16"], ["bn-prior:N=16,n=8"]),
        (["bn-prior:N=16, n=8 "], ["bn-prior:N=16,n=8"]),
        (["bn-prior:N=inf"], ["bn-prior:N=inf"]),
        (["localnorm:g=1"], ["localnorm:g=1"]),
        (["bn-branch:aux[1]"], ["bn-branch:aux1"]),
        (["bn-branch:aux,bn-calib:weak,M=8", "bn-prior"], ["bn-branch:aux0", "bn-calib:weak,M=8", "bn-prior"]),
    ],
)
def test_texts_are_read(texts: list[str], read: list[str]) -> None:
    assert [str(one) for one in parse_treatments(texts)] == read


@each(
    ("texts", "said"),
    [
        ([""], "--treatment names no treatment"),
        (["tent:lr=inf"], "'inf'"),
        (["localnrom"], "unknown treatment 'localnrom'; did you mean 'localnorm'?"),
        (["BN-TEST"], "unknown treatment 'BN-TEST'; did you mean 'bn-test'?"),
        (["bn-prior:N=1_0"], "not '1_0'"),
        (["bn-test:m=8"], "unknown parameter 'm' of bn-test; choose one of n"),
        (["bn-test:n=0"], "bn-test takes a number of images, 1 or more as n, not '0'"),
        (["bn-test:n=8.5"], "1 or more as n, not '8.5'"),
        (["bn-test:n="], "1 or more as n, not ''"),
        (["bn-test:8"], "unknown parameter '8' of bn-test"),
        (["bn-test:"], "unknown parameter '' of bn-test"),
        (["bn-prior:N=-1"], "bn-prior takes a number of at least 0, or inf as N, not '-1'"),
        (["bn-prior:N=nan"], "not 'nan'"),
        (["bn-prior:N=4,N=5"], "gives N twice"),
        (["bn-branch:auxiliary"], "bn-branch takes main | aux0, aux1, … as branch, not 'auxiliary'"),
        (["bn-calib", "bn-branch"], "bn-branch changes the statistics that bn-calib starts from; give bn-branch first"),
        (["bn-test", "bn-test:n=8"], "bn-test is given twice"),
        (
            ["bn-test bn-prior"],
            "--treatment 'bn-test bn-prior' has a space between treatments; write 'bn-test,bn-prior'",
        ),
        (["bn-prior:N=16,n=8 blurpool:filter=bin5"], "--treatment 'n=8 blurpool:filter=bin5' has a space"),
        (["bn-test,localnorm:g=1"], "bn-test and localnorm both replace the statistics of a layer"),
    ],
)
def test_what_is_refused(texts: list[str], said: str) -> None:
    with pytest.raises(OptionError, match=re.escape(said)):
        parse_treatments(texts)


def test_the_label_has_every_parameter(normalised: Classifier) -> None:
    assert adapt(normalised, ["bn-prior"], None, 0).classifier.label == "normed+bn-prior:N=16,n=8"
    assert adapt(normalised, [], None, 0).classifier == normalised
    assert adapt(normalised, [], None, 0).label is None


def test_layers_are_counted_in_words(normalised: Classifier) -> None:
    one = replace(normalised, module=nn.Sequential(nn.Conv2d(3, 3, 3), nn.BatchNorm2d(3)))
    assert adapt(one, ["bn-test"], None, 0).notes([CLEAN]) == ["bn-test:n=64 changes 1 layer"]
    assert adapt(normalised, ["bn-test"], None, 0).notes([CLEAN]) == ["bn-test:n=64 changes 2 layers"]


def test_they_are_listed() -> None:
    shown = CliRunner().invoke(app, ["list", "treatments"], env={"COLUMNS": "240"}).stdout
    for method in TREATMENTS.values():
        assert method.name in shown
        assert method.source
        assert method.summary
    assert "n=a number of images, 1 or more (64)" in shown
