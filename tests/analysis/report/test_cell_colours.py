"""Colours of cells outside a chart. Oracle: the chart, drawn by Vega."""

from __future__ import annotations

import re

import numpy as np
import pytest

from robench.analysis.report.charts import cell_colours, heat_map

vl_convert = pytest.importorskip("vl_convert")


@pytest.mark.parametrize(
    ("domain", "is_change"), [((0, 100), False), ((0, 45), False), ((-10, 10), True), ((-5, 20), True)]
)
def test_cells_have_the_colours_of_the_chart(domain: tuple[float, float], is_change: bool) -> None:
    low, high = domain
    values = np.linspace(low - 2, high + 2, 23).tolist()  # The ends of the colours hold beyond the domain.
    rows = [{"name": "fog", "position": place, "value": value, "text": "x"} for place, value in enumerate(values)]
    spec = heat_map(rows, "severity", "error", "", order=["fog"], domain=domain, is_change=is_change)
    drawn = {**spec, "data": {"name": "rows", "values": rows}, "width": 600}
    svg = vl_convert.vegalite_to_svg(drawn)
    fills = re.findall(r'aria-roledescription="rect mark"[^>]*fill="([^"]+)"', svg)
    inks = re.findall(r'<text [^>]*fill="(black|white)"', svg)
    assert len(fills) == len(values) == len(inks)
    for value, fill, ink in zip(values, fills, inks, strict=True):
        background, own_ink = cell_colours(value, domain, is_change=is_change)
        assert own_ink == ink, value
        assert np.allclose(rgb(background), rgb(fill), atol=3), (value, background, fill)


def rgb(colour: str) -> list[int]:
    if colour.startswith("#"):
        return [int(colour[k : k + 2], 16) for k in (1, 3, 5)]
    return [int(part) for part in re.findall(r"\d+", colour)]
