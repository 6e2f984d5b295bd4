"""Protocols of all suites. Oracle: `protocols.txt`, which changes only with the constants, the draws or a geometry."""

from __future__ import annotations

from pathlib import Path

import pytest

from robench.evaluation.options import Options
from robench.evaluation.plan import make_plan
from robench.models import Preprocessing
from robench.suites import SUITES
from robench.suites.protocol import Protocol, SuiteProtocol

LINES = (Path(__file__).parent / "protocols.txt").read_text().splitlines()


def protocols(crop: int) -> list[str]:
    """Every protocol of a plan of every suite, extra corruptions included, with a JPEG pass and at another precision."""
    preprocessing = Preprocessing(round(crop / 0.875), crop, "bilinear", (0.5,) * 3, (0.5,) * 3)
    lines: dict[str, None] = {}
    for name, suite in SUITES.items():
        for precision in ("fp32", "bf16"):
            options = Options(extra_corruptions=bool(suite.extra), precision=precision)
            for entry in make_plan([name], options, preprocessing).listed:
                lines[f"{crop} {name} {entry.protocol}"] = None
    return list(lines)


@pytest.mark.parametrize("crop", [224, 32])
def test_protocols_are_equal_byte_for_byte(crop: int) -> None:
    assert protocols(crop) == [line for line in LINES if line.startswith(f"{crop} ")]


def test_a_protocol_is_the_sum_of_its_parts() -> None:
    for line in LINES:
        text = line.split(" ", 2)[2]
        assert str(Protocol.parse(text)) == text
    protocol = Protocol.parse("resize256-bilinear-crop224+jpeg85+fp32+nets-1.0#01234567").with_sizes([32, 64])
    assert str(protocol) == "resize256-bilinear-crop224+jpeg85+fp32+nets-1.0+32-64px#01234567"
    assert list(protocol.named_parts.values()) == list(protocol.parts)
    with pytest.raises(TypeError):
        Protocol.compose(["as-stored"], {"sizes": {32}})


def test_a_leaderboards_protocols_are_split_by_suite() -> None:
    text = "clean timm; cifar-c resize32x32+fp32#0|as-released#1 (2 of 75 cells#2); shift frames32#3"
    entries = SuiteProtocol.parse_all(text)
    assert [entry.suite for entry in entries] == ["clean", "cifar-c", "shift"]
    assert [entry.subset for entry in entries] == ["", "(2 of 75 cells#2)", ""]
    assert "; ".join(map(str, entries)) == text
