"""Turns the charts of a report into data for plotly.js."""

from __future__ import annotations

import html
import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from gridproblems.study.charts import Chart, NetworkChart, Series, colour_of

#: Replaced on the page by the colour of its text; no name can be this, names are escaped.
NEUTRAL = "<ink>"
ROW_PX, AXES_PX = 34, 130


def figure_of(chart: Chart | NetworkChart) -> dict[str, Any]:
    """``data`` and ``layout`` for ``Plotly.newPlot``, as plain values."""
    if isinstance(chart, NetworkChart):
        return _network(chart)
    layout: dict[str, Any] = {
        "xaxis": {"title": {"text": _text(chart.x_label)}, "type": _scale(chart.x_log)},
        "yaxis": {"title": {"text": _text(chart.y_label)}, "type": _scale(chart.y_log)},
        "showlegend": len(chart.series) > 1 and not chart.row_per_series,
        "height": 380,
    }
    if chart.x_log and _decades(chart) >= 2.0:
        layout["xaxis"]["dtick"] = 1
    if chart.rows:
        per_row = 1 if chart.row_per_series else max(1.0, 0.4 * len(chart.series))
        layout["height"] = AXES_PX + ROW_PX * len(chart.rows) * per_row
        layout["yaxis"] |= {
            "type": "category",
            "categoryorder": "array",
            "categoryarray": [_text(row) for row in reversed(chart.rows)],
            "range": [-0.5, len(chart.rows) - 0.5],
            "automargin": True,
        }
        if not chart.row_per_series:
            layout["scattermode"] = "group"
    elif chart.y_range:
        shown = np.log10(chart.y_range) if chart.y_log else np.asarray(chart.y_range)
        layout["yaxis"]["range"] = shown.tolist()
        if chart.y_log:
            layout["yaxis"]["dtick"] = 1
    data = [trace for series in chart.series for trace in _traces(series)]
    return {"data": data, "layout": layout}


def _decades(chart: Chart) -> float:
    """How many powers of ten the horizontal data span."""
    values = np.array([v for s in chart.series for v in _numbers(s.x) if v], dtype=float)
    values = values[values > 0.0]
    return float(np.log10(values.max() / values.min())) if len(values) else 0.0


def _scale(log: bool) -> str:
    return "log" if log else "linear"


def _traces(series: Series) -> list[dict[str, Any]]:
    colour, name = colour_of(series, NEUTRAL), _text(series.name)
    common = {"name": name, "legendgroup": name, "type": "scatter"}
    x, y = _numbers(series.x), [v if isinstance(v, str) else _number(v) for v in series.y]
    if series.kind == "box":
        return [
            {
                "type": "box",
                "name": name,
                "x": x,
                "y": [name] * len(x),
                "orientation": "h",
                "boxpoints": "all",
                "jitter": 0.5,
                "pointpos": 0,
                "marker": {"color": colour, "size": 4, "opacity": 0.6},
                "line": {"color": colour},
            }
        ]
    if series.kind == "level":
        line = {"color": colour, "dash": "dash", "width": 1.5}
        return [{**common, "x": x, "y": y * 2, "mode": "lines", "line": line}]
    if series.kind == "points":
        bars = {}
        if series.low is not None:
            bars = {
                "type": "data",
                "symmetric": False,
                "array": _numbers(np.subtract(series.high, series.x)),
                "arrayminus": _numbers(np.subtract(series.x, series.low)),
                "color": colour,
                "thickness": 2,
            }
        symbol = "circle-open" if series.colour is None else "circle"
        size = 12 if series.colour is None else 8
        trace = {
            **common,
            "x": x,
            "y": [_text(v) if isinstance(v, str) else v for v in y],
            "mode": "markers",
            "marker": {"color": colour, "size": size, "symbol": symbol},
            "text": [_wrapped(text) for text in series.text],
            "hovertemplate": "%{text}<extra></extra>" if series.text else "%{x}<extra></extra>",
        }
        if bars:
            trace |= {"error_x": bars, "offsetgroup": name, "orientation": "h"}
        return [trace]
    shape = "hv" if series.kind == "steps" else "linear"
    line = {"color": colour, "width": 2, "shape": shape}
    traces = []
    if series.low is not None:
        edge = {**common, "x": x, "mode": "lines", "line": {"width": 0}, "showlegend": False}
        edge["hoverinfo"] = "skip"
        filled = {"fill": "tonexty", "fillcolor": _faint(colour)}
        traces = [
            {**edge, "y": _numbers(series.low)},
            {**edge, "y": _numbers(series.high), **filled},
        ]
    return [*traces, {**common, "x": x, "y": y, "mode": "lines", "line": line}]


def _network(chart: NetworkChart) -> dict[str, Any]:
    network = chart.network
    positions = network["positions"]
    data: list[dict[str, Any]] = []
    for is_open, name in ((False, "closed"), (True, "open")):
        branches = [b for b in network["branches"] if b["open"] == is_open]
        ends = [[positions[i] for i in branch["ends"]] for branch in branches]
        line = {"color": "#D55E00", "dash": "dot"} if is_open else {"color": "#8C8C8C"}
        if ends:
            data.append(
                {
                    "type": "scatter",
                    "mode": "lines",
                    "name": name,
                    "x": [v for a, b in ends for v in (a[0], b[0], None)],
                    "y": [v for a, b in ends for v in (a[1], b[1], None)],
                    "line": {"width": 2, **line},
                    "hoverinfo": "skip",
                }
            )
            data.append(
                {
                    "type": "scatter",
                    "mode": "markers",
                    "showlegend": False,
                    "x": [(a[0] + b[0]) / 2 for a, b in ends],
                    "y": [(a[1] + b[1]) / 2 for a, b in ends],
                    "marker": {"size": 9, "opacity": 0},
                    "text": [_text(_branch(branch)) for branch in branches],
                    "hovertemplate": "%{text}<extra></extra>",
                }
            )
    voltages = network["vm_pu"]
    sources = set(network["sources"])
    data.append(
        {
            "type": "scatter",
            "mode": "markers",
            "showlegend": False,
            "x": [p[0] for p in positions],
            "y": [p[1] for p in positions],
            "marker": {
                "color": voltages,
                "colorscale": "Viridis",
                "size": [15 if i in sources else 9 for i in range(len(positions))],
                "symbol": ["square" if i in sources else "circle" for i in range(len(positions))],
                "line": {"width": 1, "color": NEUTRAL},
                "colorbar": {"title": {"text": "V [p.u.]"}, "thickness": 10, "len": 0.8},
            },
            "text": [
                _text(f"bus {bus}: {'no supply' if v is None else f'{v:.4f} p.u.'}")
                for bus, v in zip(network["buses"], voltages, strict=True)
            ],
            "hovertemplate": "%{text}<extra></extra>",
        }
    )
    hidden = {"visible": False}
    return {
        "data": data,
        "layout": {
            "xaxis": hidden,
            "yaxis": hidden,
            "height": 480,
            "showlegend": any(branch["open"] for branch in network["branches"]),
        },
    }


def _branch(branch: dict[str, Any]) -> str:
    loading = branch["loading_percent"]
    if branch["open"]:
        return f"{branch['name']}: open"
    return branch["name"] if loading is None else f"{branch['name']}: {loading:.1f} % loaded"


def _numbers(values: Iterable[Any]) -> list[float | None]:
    return [_number(value) for value in values]


def _number(value: Any) -> float | None:
    """As JSON, six digits more than a screen can show."""
    number = float(np.float64(value))
    return float(f"{number:.9g}") if math.isfinite(number) else None


def _faint(colour: str) -> str:
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},0.15)"


def _text(text: str) -> str:
    """Text as it is: plotly would read tags in it, and formulas between dollars."""
    return html.escape(text, quote=False).replace("$", "&#36;")


def _wrapped(text: str) -> str:
    """Hover text with breaks after semicolons."""
    return "<br>".join(_text(part) for part in text.split("; "))
