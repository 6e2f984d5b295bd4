"""Charts of the report: each function takes rows of data and returns a Vega-Lite specification from Altair.

Names of models and classes come from users. They are values of fixed fields and never parts of an expression.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import altair

__all__ = ["COLOURS", "Rows", "bars", "grid_map", "heat_map", "lines", "reliability"]

Rows = Sequence[Mapping[str, Any]]

COLOURS = ("#1F86CC", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#7A6F9B", "#8C6D31")
"""Colours of the models in order: the palette of Okabe and Ito with a lighter blue for dark pages, then two more."""

_SHAPES = ("circle", "square", "triangle-up", "diamond")
_DASHES = ((1, 0), (6, 3), (2, 2), (8, 3, 2, 3))

_SCHEME = "viridis"
_CONFIG: dict[str, Any] = {
    "background": "transparent",
    "view": {"stroke": None},
    "font": "system-ui, sans-serif",
    "axis": {
        **dict.fromkeys(("labelColor", "titleColor", "gridColor", "domainColor", "tickColor"), "currentColor"),
        "gridOpacity": 0.12,
        "domainOpacity": 0.4,
        "tickOpacity": 0.4,
        "titleFontWeight": "normal",
        "labelFontSize": 11,
        "titleFontSize": 11,
    },
    "legend": {"labelColor": "currentColor", "titleColor": "currentColor", "titleFontWeight": "normal"},
}
"""Text and lines have the colour of the page's text: in light mode, in dark mode and in print."""

_ROW_HEIGHT = 21
"""Height of a row of a heat map in pixels."""

_LIGHT_ABOVE = 60
"""Value in percent above which the colour of a heat map's cell is light enough for black text."""


def heat_map(rows: Rows, columns: str, description: str) -> dict[str, Any]:
    """Return a heat map in percent.

    Args:
        rows: Rows with name, position, value, low and high.
        columns: Title of the positions, such as severity.
        description: Text for screen readers.
    """
    alt = _altair()
    base = _chart(rows).encode(
        x=alt.X("position:O", title=columns, axis=alt.Axis(orient="top", labelAngle=0, ticks=False, domain=False)),
        y=alt.Y("name:N", sort=None, title=None, axis=alt.Axis(ticks=False, domain=False, labelLimit=160)),
        tooltip=_tooltip(("name", "position")),
    )
    cells = base.mark_rect(stroke="white", strokeOpacity=0.25).encode(
        color=alt.Color("value:Q", scale=alt.Scale(scheme=_SCHEME, domain=[0, 100]), legend=None)
    )
    text = base.mark_text(fontSize=11).encode(
        text=alt.Text("value:Q", format=".0f"),
        color=alt.condition(alt.datum.value > _LIGHT_ABOVE, alt.value("black"), alt.value("white")),
    )
    return _spec(
        (cells + text).properties(width="container", height=_ROW_HEIGHT * len({row["name"] for row in rows})),
        description,
    )


def grid_map(rows: Rows, description: str) -> dict[str, Any]:
    """Return a map in percent over offsets in pixels.

    Args:
        rows: Rows with down, right and value.
        description: Text for screen readers.
    """
    alt = _altair()
    chart = (
        _chart(rows)
        .mark_rect()
        .encode(
            x=alt.X("right:O", title="px to the right", axis=alt.Axis(labelAngle=0, ticks=False, domain=False)),
            y=alt.Y("down:O", title="px down", axis=alt.Axis(ticks=False, domain=False)),
            color=alt.Color(
                "value:Q",
                scale=alt.Scale(scheme=_SCHEME, zero=False),
                title="accuracy, %",
                legend=alt.Legend(format=".1f"),
            ),
            tooltip=[alt.Tooltip("down:O"), alt.Tooltip("right:O"), alt.Tooltip("value:Q", format=".2f")],
        )
    )
    return _spec(chart.properties(width="container", height=240), description)


def lines(
    rows: Rows,
    models: Sequence[str],
    x: str,
    y: str,
    description: str,
    *,
    size: int = 120,
    percent: bool = True,
    policies: bool = False,
) -> dict[str, Any]:
    """Return curves of the models with bands for their intervals.

    Args:
        rows: Rows with model, position, value, low, high and label.
        models: Names of all curves, in the order of their colours.
        x: Title of the positions.
        y: Title of the values.
        description: Text for screen readers.
        size: Height in pixels.
        percent: Whether the values are percentages.
        policies: Whether the curves belong to policies instead of models. The chart then has a legend, and its vertical axis
            begins at the lowest value. Its horizontal axis is logarithmic, because costs differ by a factor of ten.
    """
    alt = _altair()
    y_scale = alt.Scale(zero=False) if policies else alt.Scale(domain=[0, 100]) if percent else alt.Scale(zero=True)
    step = 1 if all(float(row["position"]).is_integer() for row in rows) else 0
    base = _chart(rows).encode(
        x=alt.X(
            "position:Q",
            title=x,
            scale=alt.Scale(type="log", nice=False) if policies else alt.Scale(zero=False, nice=False),
            axis=alt.Axis(grid=False, tickCount=5, **({"labelOverlap": True} if policies else {"tickMinStep": step})),
        ),
        color=_colour(models, policies),
    )
    band = base.mark_area(opacity=0.18).encode(y=alt.Y("low:Q", title=y, scale=y_scale), y2="high:Q")
    line = base.mark_line(strokeWidth=2).encode(
        y=alt.Y("value:Q", title=y, scale=y_scale), strokeDash=_dash(models, policies)
    )
    points = base.mark_point(filled=True, size=28, opacity=1).encode(
        y=alt.Y("value:Q", title=y, scale=y_scale), shape=_shape(models, policies), tooltip=_tooltip(("model", "label"))
    )
    return _spec((band + line + points).properties(width="container", height=size), description)


def bars(rows: Rows, models: Sequence[str], x: str, description: str, *, rule: float | None = None) -> dict[str, Any]:
    """Return bars of the models with intervals.

    Args:
        rows: Rows with model, name, value, low and high.
        models: Names of the models, in the order of their colours.
        x: Title of the values.
        description: Text for screen readers.
        rule: Value of the baseline, at which a line is drawn; None for none.
    """
    alt = _altair()
    base = _chart(rows).encode(
        y=alt.Y("name:N", sort=None, title=None, axis=alt.Axis(ticks=False, domain=False, labelLimit=160)),
        yOffset=alt.YOffset("model:N", sort=list(models)),
    )
    columns = base.mark_bar().encode(
        x=alt.X("value:Q", title=x), color=_colour(models), tooltip=_tooltip(("model", "name"))
    )
    ends = base.mark_rule(color="currentColor", opacity=0.7).encode(x=alt.X("low:Q", title=x), x2="high:Q")
    layers = columns + ends
    if rule is not None:
        layers += _chart([{"position": rule}]).mark_rule(strokeDash=[4, 3], color="currentColor").encode(x="position:Q")
    return _spec(
        layers.properties(width="container", height=max(11 * len(models), 16) * len({row["name"] for row in rows})),
        description,
    )


def reliability(rows: Rows, models: Sequence[str], description: str) -> dict[str, Any]:
    """Return accuracy by confidence, with the diagonal.

    Args:
        rows: Rows with model, position, value and samples.
        models: Names of the models, in the order of their colours.
        description: Text for screen readers.
    """
    alt = _altair()
    scale = alt.Scale(domain=[0, 100])
    diagonal = (
        _chart([{"position": 0, "value": 0}, {"position": 100, "value": 100}])
        .mark_line(strokeDash=[4, 3], color="currentColor", opacity=0.6)
        .encode(x="position:Q", y="value:Q")
    )
    base = _chart(rows).encode(
        x=alt.X("position:Q", title="confidence, %", scale=scale, axis=alt.Axis(grid=False)),
        y=alt.Y("value:Q", title="accuracy, %", scale=scale),
        color=_colour(models),
    )
    points = base.mark_point(filled=True, opacity=0.9).encode(
        shape=_shape(models),
        size=alt.Size("samples:Q", legend=None, scale=alt.Scale(range=[12, 220])),
        tooltip=[
            alt.Tooltip("model:N"),
            alt.Tooltip("position:Q", title="confidence, %", format=".1f"),
            alt.Tooltip("value:Q", title="accuracy, %", format=".1f"),
            alt.Tooltip("samples:Q", format=","),
        ],
    )
    path = base.mark_line(opacity=0.6).encode(strokeDash=_dash(models))
    return _spec((diagonal + path + points).properties(width="container", height=220), description)


def _altair() -> Any:
    try:
        import altair
    except ImportError as error:
        from robench.errors import OptionError

        raise OptionError(f"the charts of the report need altair ({error})", "pip install 'robench[report]'") from error
    return altair


def _chart(rows: Rows) -> altair.Chart:
    alt = _altair()
    return alt.Chart(alt.Data(values=[dict(row) for row in rows]))


def _colour(models: Sequence[str], legend: bool = False) -> Any:
    alt = _altair()
    palette = [COLOURS[index % len(COLOURS)] for index in range(len(models))]
    return alt.Color("model:N", scale=alt.Scale(domain=list(models), range=palette), legend=_legend(legend))


def _shape(models: Sequence[str], legend: bool = False) -> Any:
    """Return the shapes of points, which distinguish models without colours."""
    alt = _altair()
    shapes = [_SHAPES[index % len(_SHAPES)] for index in range(len(models))]
    return alt.Shape("model:N", scale=alt.Scale(domain=list(models), range=shapes), legend=_legend(legend))


def _dash(models: Sequence[str], legend: bool = False) -> Any:
    alt = _altair()
    dashes = [list(_DASHES[index % len(_DASHES)]) for index in range(len(models))]
    return alt.StrokeDash("model:N", scale=alt.Scale(domain=list(models), range=dashes), legend=_legend(legend))


def _legend(is_visible: bool) -> Any:
    return (
        _altair().Legend(title=None, orient="bottom", columns=1, labelLimit=0, symbolSize=60, symbolOpacity=1)
        if is_visible
        else None
    )


def _tooltip(names: Sequence[str]) -> list[Any]:
    alt = _altair()
    ends = [alt.Tooltip(f"{name}:Q", format=".2f") for name in ("value", "low", "high")]
    return [*(alt.Tooltip(f"{name}:N") for name in names), *ends]


def _spec(chart: Any, description: str) -> dict[str, Any]:
    spec: dict[str, Any] = chart.properties(description=description).configure().to_dict()
    spec["config"] = _CONFIG
    return spec
