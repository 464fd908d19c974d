"""The figures of hash_paper's page, as layers for `figures.to_svg`."""

from collections.abc import Sequence
from typing import Any

from rankscope.rank.paper_records import SweepPoint
from rankscope.report.figures import TINTS, layer, to_svg

Spec = dict[str, Any]
READINGS = (("as_published", "c1", "circle", -5), ("clean", "c2", "square", 5))


def accuracy(points: Sequence[SweepPoint]) -> str:
    """Accuracy against rank, read as published and cleanly, with intervals over items."""
    return to_svg(accuracy_layers(points), right=16)


def accuracy_layers(points: Sequence[SweepPoint]) -> list[Spec]:
    """A line, intervals and marks for each reading."""
    ordered = [str(point.rank) for point in points]
    axis = {"title": "rank (0: base)", "labelAngle": 0, "grid": False}
    x = {"field": "x", "type": "nominal", "sort": None, "scale": {"domain": ordered}, "axis": axis}
    y_axis = {"title": "accuracy", "format": "%", "values": [0, 0.25, 0.5, 0.75, 1]}
    y = {"field": "y", "type": "quantitative", "scale": {"domain": [0, 1], "nice": False}, "axis": y_axis}
    layers = []
    for reading, colour, shape, offset in READINGS:
        found = [(point.rank, getattr(point, reading)) for point in points]
        rows = [{"x": str(rank), "y": one.estimate, "low": one.low, "high": one.high} for rank, one in found]
        tint = {"color": TINTS[colour], "xOffset": offset}
        layers += [
            layer(rows, "line", tint | {"opacity": 0.55, "strokeWidth": 1.5}, x=x, y=y),
            layer(rows, "rule", tint | {"strokeWidth": 2}, x=x, y=y | {"field": "low"}, y2={"field": "high"}),
            layer(rows, "point", tint | {"shape": shape, "filled": True, "size": 62, "opacity": 1}, x=x, y=y),
        ]
    return layers


def thresholds(points: Sequence[SweepPoint]) -> str:
    """N(t) against the relative threshold, one line per rank."""
    return to_svg(threshold_layers(points), right=16)


def threshold_layers(points: Sequence[SweepPoint]) -> list[Spec]:
    """A line and marks per rank; larger ranks are drawn stronger."""
    ordered = list(points[0].falling)
    axis = {"title": "relative threshold t", "labelAngle": 0, "grid": False}
    x = {"field": "x", "type": "nominal", "sort": None, "scale": {"domain": ordered}, "axis": axis}
    top = max(point.rank for point in points)
    scale = {"domain": [0, top * 1.05], "nice": False}
    y = {
        "field": "y",
        "type": "quantitative",
        "scale": scale,
        "axis": {"title": "N(t)", "tickCount": 5, "format": "~g"},
    }
    layers = []
    for point in points:
        rows = [{"x": t, "y": point.thresholds[t]} for t in point.falling]
        tint = {"color": TINTS["c3"], "opacity": strength(point.rank, [one.rank for one in points])}
        layers.append(layer(rows, "line", tint | {"strokeWidth": 1.8}, x=x, y=y))
        layers.append(layer(rows, "point", tint | {"filled": True, "size": 30}, x=x, y=y))
    return layers


def strength(rank: int, ranks: Sequence[int]) -> float:
    """Opacity of a rank's line."""
    ordered = sorted(ranks)
    return 1.0 if len(ordered) == 1 else 0.3 + 0.7 * ordered.index(rank) / (len(ordered) - 1)
