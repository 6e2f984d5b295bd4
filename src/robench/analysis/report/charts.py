"""Charts of the report: each function takes rows of data and returns a Vega-Lite specification.

A specification has the dataset `rows`. Names of models and classes come from users. They are values of fixed fields and never parts
of an expression.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

__all__ = [
    "CATEGORY_MARK",
    "COLOURS",
    "MARKS",
    "Rows",
    "Spec",
    "cell_colours",
    "dots",
    "heat_map",
    "lines",
    "reliability",
    "scatter",
]

Rows: TypeAlias = Sequence[Mapping[str, Any]]
Spec: TypeAlias = dict[str, Any]

COLOURS = ("#1F86CC", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#7A6F9B", "#8C6D31")
"""Colours of the models in order: the palette of Okabe and Ito with a lighter blue for dark pages, then two more."""

MARKS = "●■▲◆"
"""Marks of the models in a legend, in the order of their shapes."""

CATEGORY_MARK = "\N{ZERO WIDTH SPACE}"
"""End of the name of a row that is the heading of a category."""

_SHAPES = ("circle", "square", "triangle-up", "diamond")
_DASHES = ([1, 0], [6, 3], [2, 2], [8, 3, 2, 3])
_GREY = "#8b949e"
_VERDICTS = {"better": "#009E73", "worse": "#D55E00", "not significant": _GREY}
"""Colours of differences. Those of one run use the last two."""
_SEQUENTIAL = {"scheme": "viridis"}
_DIVERGING = {"range": ["#35b597", "#f1f1f1", "#f0915a"]}
"""From better through no change to worse; black text is readable on all three."""
_SEQUENTIAL_STOPS = (
    "440154 481467 482575 463580 414487 3b528b 35608d 2f6c8e 2a788e 25858e 21918d "
    "1f9c8a 22a884 30b47c 43bf71 5dc963 7ad151 9ad93d bcdf27 dee41a fde725"
)
_DIVERGING_STOPS = (
    "35b597 50bba0 66c2a8 7ac8b1 8cceba 9ed4c3 afdacc c0e0d5 d0e6de e1ebe8 f1f1f1 "
    "f3e7e1 f5ded2 f6d4c2 f6cbb3 f6c1a4 f6b895 f5ae86 f4a477 f29b69 f0915a"
)
"""The colours that Vega draws for both at every twentieth of their domains."""
_ROW_HEIGHT = 21
_LIGHT_ABOVE = 0.6
"""Share of the domain above which the colour of the sequential scheme is light enough for black text."""

_CONFIG: Spec = {
    "background": "transparent",
    "view": {"stroke": None},
    "font": "system-ui, sans-serif",
    "axis": {
        **dict.fromkeys(("labelColor", "titleColor", "gridColor", "domainColor", "tickColor"), "currentColor"),
        "gridOpacity": 0.12,
        "domainOpacity": 0.4,
        "tickOpacity": 0.4,
        "titleFontWeight": "normal",
        "labelFontSize": 11.5,
        "titleFontSize": 11.5,
    },
    "legend": {
        **dict.fromkeys(("labelColor", "titleColor"), "currentColor"),
        "titleFontWeight": "normal",
        "labelFontSize": 11.5,
        "titleFontSize": 11.5,
        "orient": "bottom",
    },
    "text": {"color": "currentColor", "fontSize": 11.5},
}
"""Text and lines have the colour of the page's text: in light mode, in dark mode and in print."""


def dots(
    rows: Rows,
    order: Sequence[str],
    x: str,
    description: str,
    *,
    models: Sequence[str] = (),
    verdicts: Sequence[str] = (),
    rule: float | None = None,
) -> Spec:
    """Return dots with intervals, a row for each name.

    Args:
        rows: Rows with name, value, low and high; also model with `models`, or verdict and note with `verdicts`.
        order: The names from top to bottom. Headings of categories end with `CATEGORY_MARK`.
        x: Title of the values.
        description: Text for screen readers.
        models: Names of the models, in the order of their colours. Each has its own line within a row.
        verdicts: Instead of models: words for a dot that is better, worse and not significant, or for the last two. The last kind
            of dot is hollow. A note is written at the right end of the row.
        rule: Value at which a line is drawn; None for none.
    """
    if models:
        colour = _of_models("color", models, COLOURS)
        lane: Spec = {"yOffset": {"field": "model", "sort": list(models), "scale": {"paddingOuter": 0.25}}}
        dot: Spec = {"color": colour, "shape": _of_models("shape", models, _SHAPES)}
        named = {"model": "model"}
    else:
        colours = list(_VERDICTS.values())[-len(verdicts) :]
        scale = {"domain": list(verdicts), "range": colours}
        colour = {"field": "verdict", "type": "nominal", "scale": scale, "legend": None}
        fill = {**colour, "scale": {**scale, "range": [*colours[:-1], "var(--paper)"]}}
        lane, dot, named = {}, {"stroke": colour, "fill": fill}, {"verdict": "verdict"}
    value = {
        "field": "value",
        "type": "quantitative",
        "title": x,
        "scale": {"zero": rule is None},
        "axis": {"tickCount": 6},
    }
    span = {
        "mark": {"type": "rule", "strokeWidth": 2, "opacity": 0.75},
        "encoding": {"x": {**value, "field": "low"}, "x2": {"field": "high"}, "color": colour},
    }
    point = {
        "mark": {"type": "point", "size": 60, "opacity": 1, "strokeWidth": 2, "filled": bool(models)},
        "encoding": {"x": value, **dot, "tooltip": _tooltip({"name": "of", **named, **_VALUE})},
    }
    layers: list[Spec] = [*([span] if _has_intervals(rows) else []), point]
    if rule is not None:
        layers.insert(0, _rule(rule))
    if verdicts:
        layers.append(
            {
                "mark": {"type": "text", "align": "left", "dx": 8, "opacity": 0.85},
                "encoding": {"x": {"value": "width"}, "text": {"field": "note", "type": "nominal"}},
            }
        )
    row = _ROW_HEIGHT if len(models) < 2 else 11 * len(models) + 8
    return _spec(layers, description, {"y": _names(order), **lane}, **_rows(row, order))


def _has_intervals(rows: Rows) -> bool:
    return any(row.get("low") is not None for row in rows)


def heat_map(
    rows: Rows,
    x: str,
    value: str,
    description: str,
    *,
    order: Sequence[str] = (),
    y: str = "",
    domain: tuple[float, float] = (0, 100),
    is_change: bool = False,
) -> Spec:
    """Return a heat map with a legend.

    Args:
        rows: Rows with name, position and value; with text for a number in each cell.
        x: Title of the positions, such as severity.
        value: Title of the values in the legend.
        description: Text for screen readers.
        order: The names from top to bottom, see `dots`; empty for ascending numbers.
        y: Title of the names.
        domain: Values at the ends of the colours, equal for charts to be compared.
        is_change: Whether values are changes. Their colours run from better through zero to worse, or back for a descending domain.
    """
    scale = {**(_DIVERGING if is_change else _SEQUENTIAL), "domain": [*domain], "clamp": True}
    if is_change:
        scale["domain"] = [domain[0], 0, domain[1]]
    colour = {
        "field": "value",
        "type": "quantitative",
        "title": value,
        "scale": scale,
        "legend": {"gradientLength": 120, "gradientThickness": 10, "titleLimit": 0, "tickCount": 5},
    }
    names = {"name": "of"} if order else {"name": y}
    cells: Spec = {
        "mark": {"type": "rect", **({"stroke": "white", "strokeOpacity": 0.25} if order else {})},
        "encoding": {
            "color": colour,
            "tooltip": _tooltip(
                {**names, "position": x, **_VALUE}
                if any("low" in row for row in rows)
                else {**names, "position": x, "value": "value"}
            ),
        },
    }
    layers = [cells]
    if any("text" in row for row in rows):
        light = domain[0] + _LIGHT_ABOVE * (domain[1] - domain[0])
        is_light = {"test": "true" if is_change else f"datum.value > {json.dumps(light)}", "value": "black"}
        layers.append(
            {
                "mark": {"type": "text", "fontSize": 11, "aria": False},
                "encoding": {"text": {"field": "text"}, "color": {"condition": is_light, "value": "white"}},
            }
        )
    position: Spec = {"field": "position", "type": "ordinal", "title": x}
    position["axis"] = {"orient": "top" if order else "bottom", "labelAngle": 0, "ticks": False, "domain": False}
    down = _names(order) if order else {"field": "name", "type": "ordinal", "title": y, "axis": {"ticks": False}}
    return _spec(
        layers, description, {"x": position, "y": down}, **(_rows(_ROW_HEIGHT, order) if order else {"height": 260})
    )


def cell_colours(value: float, domain: tuple[float, float], *, is_change: bool = False) -> tuple[str, str]:
    """Return the colours of a cell of a `heat_map` and of its text, for pages that draw the cells themselves.

    Args:
        value: The value.
        domain: Values at the ends of the colours, see `heat_map`.
        is_change: Whether the value is a change.
    """
    low, high = domain
    share = min(max((value - low) / (high - low), 0.0), 1.0)
    if not is_change:
        return _between(_SEQUENTIAL_STOPS, share), "black" if share > _LIGHT_ABOVE else "white"
    # Zero has the middle colour, also between ends of different size.
    zero = -low / (high - low)
    place = share / zero / 2 if share < zero else 0.5 + (share - zero) / (1 - zero) / 2
    return _between(_DIVERGING_STOPS, place), "black"


def _between(colours: str, share: float) -> str:
    """Return the colour at a share of evenly spaced ones."""
    stops = [bytes.fromhex(colour) for colour in colours.split()]
    first = min(int(share * (len(stops) - 1)), len(stops) - 2)
    rest = share * (len(stops) - 1) - first
    pairs = zip(stops[first], stops[first + 1], strict=True)
    return "#" + bytes(round(a + rest * (b - a)) for a, b in pairs).hex()


def lines(
    rows: Rows,
    models: Sequence[str],
    x: str,
    y: str,
    description: str,
    *,
    height: int = 120,
    domain: tuple[float, float] | None = (0, 100),
    is_log: bool = False,
) -> Spec:
    """Return curves with bands for their intervals.

    Args:
        rows: Rows with model, position, value, low, high and label. A row with `end` and `end_y` has this text next to its end.
        models: Names of all curves, in the order of their colours.
        x: Title of the positions.
        y: Title of the values.
        description: Text for screen readers.
        height: Height in pixels.
        domain: Ends of the vertical axis, equal for charts to be compared; None for those of the values.
        is_log: Whether the positions have a logarithmic axis.
    """
    step = 1 if all(float(row["position"]).is_integer() for row in rows) else 0
    scale: Spec = {"zero": False} if domain is None else {"domain": [*domain]}
    value = {"field": "value", "type": "quantitative", "title": y, "scale": scale}
    value["axis"] = {"tickCount": 4}
    across = {
        "field": "position",
        "type": "quantitative",
        "title": x,
        "scale": {"type": "log", "nice": False} if is_log else {"zero": False, "nice": False},
        "axis": {"grid": False, "tickCount": 5, **({"labelOverlap": True} if is_log else {"tickMinStep": step})},
    }
    band = {
        "mark": {"type": "area", "opacity": 0.16, "aria": False},
        "encoding": {"y": {**value, "field": "low"}, "y2": {"field": "high"}},
    }
    line = {
        "mark": {"type": "line", "strokeWidth": 2, "aria": False},
        "encoding": {"y": value, "strokeDash": _of_models("strokeDash", models, _DASHES)},
    }
    point = {
        "mark": {"type": "point", "filled": True, "size": 30, "opacity": 1},
        "encoding": {
            "y": value,
            "shape": _of_models("shape", models, _SHAPES),
            "tooltip": _tooltip({"model": "model", "label": "at", **_VALUE}),
        },
    }
    layers: list[Spec] = [*([band] if _has_intervals(rows) else []), line, point]
    if any("end" in row for row in rows):
        layers.append(
            {
                "transform": [{"filter": "isValid(datum.end)"}],
                "mark": {"type": "text", "align": "left", "dx": 6, "fontSize": 11},
                "encoding": {
                    "y": {**value, "field": "end_y"},
                    "text": {"field": "end", "type": "nominal"},
                    "color": {"value": "currentColor"},
                },
            }
        )
    return _spec(layers, description, {"x": across, "color": _of_models("color", models, COLOURS)}, height=height)


def reliability(rows: Rows, models: Sequence[str], description: str) -> Spec:
    """Return accuracy by confidence with the diagonal, above a histogram of the confidences.

    Args:
        rows: Rows of bins with model, position, value, samples and few; rows of the histogram with model, start, end and share.
            All values are percentages.
        models: Names of the models, in the order of their colours.
        description: Text for screen readers.
    """
    scale = {"domain": [0, 100]}
    x: Spec = {"type": "quantitative", "title": "confidence, %", "scale": scale, "axis": {"grid": False}}
    y: Spec = {"type": "quantitative", "title": "accuracy and share of predictions, %", "scale": scale}
    colour = _of_models("color", models, COLOURS)
    histogram: Spec = {
        "transform": [{"filter": "isValid(datum.share)"}],
        "mark": {"type": "rect", "opacity": 0.22},
        "encoding": {
            "x": {**x, "field": "start"},
            "x2": {"field": "end"},
            "y": {**y, "field": "zero"},
            "y2": {"field": "share"},
            "color": colour,
            "tooltip": _tooltip(
                {"model": "model", "start": "confidence from, %", "end": "to, %", "share": "share of predictions, %"}
            ),
        },
    }
    diagonal = {
        "data": {"values": [{"position": 0, "value": 0}, {"position": 100, "value": 100}]},
        "mark": {"type": "line", "strokeDash": [4, 3], "color": "currentColor", "opacity": 0.6, "aria": False},
        "encoding": {"x": {**x, "field": "position"}, "y": {**y, "field": "value"}},
    }
    bins: Spec = {"transform": [{"filter": "isValid(datum.samples)"}]}
    place: Spec = {"x": {**x, "field": "position"}, "y": {**y, "field": "value"}}
    path = {
        **bins,
        "mark": {"type": "line", "opacity": 0.7, "aria": False},
        "encoding": {**place, "color": colour, "strokeDash": _of_models("strokeDash", models, _DASHES)},
    }
    point = {
        **bins,
        "mark": {"type": "point", "filled": True, "opacity": 1, "size": 55},
        "encoding": {
            **place,
            "color": {**colour, "condition": {"test": "datum.few", "value": _GREY}},
            "shape": _of_models("shape", models, _SHAPES),
            "tooltip": _tooltip(
                {
                    "model": "model",
                    "position": "mean confidence, %",
                    "value": "accuracy, %",
                    "samples": "predictions",
                    "images": "images",
                }
            ),
        },
    }
    return _spec([histogram, diagonal, path, point], description, {}, height=260)


def scatter(rows: Rows, curve: Rows, models: Sequence[str], x: str, y: str, description: str) -> Spec:
    """Return published models as grey dots, the curve of their fit, and runs with their intervals in both directions.

    Args:
        rows: Rows with name, source, position, value and above. Those of runs also have model, and left, right, low and high.
        curve: Rows of the curve with position and value.
        models: Names of all models of the page, in the order of their colours.
        x: Title of the positions.
        y: Title of the values.
        description: Text for screen readers.
    """
    across: Spec = {"type": "quantitative", "title": x, "scale": {"zero": False}, "axis": {"grid": False}}
    up: Spec = {"type": "quantitative", "title": y, "scale": {"zero": False}}
    place: Spec = {"x": {**across, "field": "position"}, "y": {**up, "field": "value"}}
    names = {"name": "model", "source": "source", "position": x, "value": y, "above": "effective robustness, pp"}
    tooltip = {"tooltip": _tooltip(names)}
    of_runs = {"transform": [{"filter": "isValid(datum.model)"}]}
    colour = _of_models("color", models, COLOURS)
    rule = {"type": "rule", "strokeWidth": 2, "aria": False}
    dot = {"type": "point", "filled": True, "opacity": 1}
    layers: list[Spec] = [
        {
            "transform": [{"filter": "!isValid(datum.model)"}],
            "mark": {**dot, "size": 36, "opacity": 0.7, "color": _GREY},
            "encoding": {**place, **tooltip},
        },
        {
            "data": {"values": list(curve)},
            "mark": {"type": "line", "strokeDash": [4, 3], "color": "currentColor", "opacity": 0.7, "aria": False},
            "encoding": place,
        },
        {
            **of_runs,
            "mark": rule,
            "encoding": {**place, "y": {**up, "field": "low"}, "y2": {"field": "high"}, "color": colour},
        },
        {
            **of_runs,
            "mark": rule,
            "encoding": {**place, "x": {**across, "field": "left"}, "x2": {"field": "right"}, "color": colour},
        },
        {
            **of_runs,
            "mark": {**dot, "size": 90},
            "encoding": {**place, "color": colour, "shape": _of_models("shape", models, _SHAPES), **tooltip},
        },
    ]
    return _spec(layers, description, {}, height=380)


_VALUE = {"value": "value", "low": "95 % interval from", "high": "to"}


def _rows(height: int, order: Sequence[str]) -> Spec:
    """Return the height of a chart; the page's script needs that of a row for another order."""
    return {"height": height * len(order), "usermeta": {"row": height}}


def _names(order: Sequence[str]) -> Spec:
    """Return the vertical axis of names, on which headings of categories are bold."""
    headings = [name for name in order if name.endswith(CATEGORY_MARK)]
    axis: Spec = {"ticks": False, "domain": False, "labelLimit": 170, "labelPadding": 6}
    # The headings are words of the product.
    is_heading = {"test": f"indexof({json.dumps(headings)}, datum.value) >= 0", "value": "bold"}
    axis["labelFontWeight"] = {"condition": is_heading, "value": "normal"}
    return {"field": "name", "type": "nominal", "title": None, "scale": {"domain": list(order)}, "axis": axis}


def _of_models(channel: str, models: Sequence[str], values: Sequence[Any]) -> Spec:
    """Return the encoding of the models by colours, shapes or dashes; the page has the legend."""
    cycle = [values[index % len(values)] for index in range(len(models))]
    return {"field": "model", "type": "nominal", "scale": {"domain": list(models), "range": cycle}, "legend": None}


def _rule(value: float) -> Spec:
    mark = {"type": "rule", "strokeDash": [4, 3], "color": "currentColor", "opacity": 0.7, "aria": False}
    return {"data": {"values": [{}]}, "mark": mark, "encoding": {"x": {"datum": value}}}


def _tooltip(fields: Mapping[str, str]) -> list[Spec]:
    numbers = {"value", "low", "high", "share", "start", "end", "above"}
    return [
        {
            "field": key,
            "title": title,
            **({"type": "quantitative", "format": ".1f"} if key in numbers else {"type": "nominal"}),
        }
        for key, title in fields.items()
    ]


def _spec(layers: Sequence[Spec], description: str, encoding: Spec, **sizes: Any) -> Spec:
    """Return a chart whose layers share an encoding, except those with data of their own."""
    return {
        "$schema": "https://vega.github.io/schema/vega-lite/v6.json",
        "description": description,
        "data": {"name": "rows"},
        "width": "container",
        "autosize": {"type": "fit-x", "contains": "padding"},
        **sizes,
        "layer": [
            layer if "data" in layer else {**layer, "encoding": {**encoding, **layer["encoding"]}} for layer in layers
        ],
        "config": _CONFIG,
    }
