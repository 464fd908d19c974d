"""The figures of ablations, as layers for `figures.to_svg`: a heat map of kinds and layers, and bars per layer."""

import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from rankscope.interpret.ablation_records import Ablation
from rankscope.report.figures import TINTS, layer, to_svg

Spec = dict[str, Any]
CELL_WIDTH, CELL_HEIGHT, MOST_LABELLED = 30, 24, 16
LEFT = 108


def heat_map(rows: Sequence[Ablation], links: Mapping[str, str] | None = None) -> str:
    """KL of single sites by kind and layer; cells below resolution are hatched out by a dot.

    `links` maps a site to a fragment of the page, such as `#d=L3.mlp.up_proj.0`, that its cell leads to.
    """
    layers = sorted({row.layer for row in rows if row.layer is not None})
    kinds = list(dict.fromkeys(row.kind or "" for row in rows))
    width = min(CELL_WIDTH, max(9, 900 // max(1, len(layers))))
    shown = heat_layers(rows, layers, kinds, links or {})
    svg = to_svg(shown, right=8, width=width * len(layers), height=CELL_HEIGHT * len(kinds), left=LEFT)
    # The converter puts a base of its own before a fragment. Cells are no tab stops: the page's filters lead there too.
    return re.sub(r'xlink:href="[^"#]*#', 'tabindex="-1" href="#', svg)


def heat_layers(
    rows: Sequence[Ablation],
    layers: Sequence[int],
    kinds: Sequence[str],
    links: Mapping[str, str] = MappingProxyType({}),
) -> list[Spec]:
    """Cells, then marks of what is below resolution, then outlines of what a random shift does not explain."""
    top = max((row.kl.estimate for row in rows), default=0.0) or 1.0
    cells = [
        {
            "x": str(row.layer),
            "y": row.kind,
            "weight": 0.0 if row.below_resolution else 0.06 + 0.94 * max(row.kl.estimate, 0.0) / top,
            "below": row.below_resolution,
            "sure": row.significant,
            "to": links.get(row.name),
        }
        for row in rows
        if row.layer is not None
    ]
    x = {"field": "x", "type": "nominal", "sort": None, "scale": {"domain": [str(one) for one in layers], "padding": 0}}
    x["axis"] = {"title": "layer", "labelAngle": 0, "grid": False}
    y = {"field": "y", "type": "nominal", "sort": None, "scale": {"domain": list(kinds), "padding": 0}}
    y["axis"] = {"title": None, "grid": False, "labelLimit": LEFT - 8}
    opacity = {"field": "weight", "type": "quantitative", "scale": None, "legend": None}
    frame = {"fillOpacity": 0, "stroke": TINTS["ink"], "strokeWidth": 1.2}
    to = {"href": {"field": "to", "type": "nominal"}} if links else {}
    return [
        layer(
            cells,
            "rect",
            {"color": TINTS["c1"], "stroke": TINTS["grid"], "strokeWidth": 0.5},
            x=x,
            y=y,
            opacity=opacity,
            **to,
        ),
        layer([cell for cell in cells if cell["below"]], "point", {"color": TINTS["muted"], "size": 6}, x=x, y=y, **to),
        layer([cell for cell in cells if cell["sure"]], "rect", frame, x=x, y=y, **to),
    ]


def layer_bars(rows: Sequence[Ablation]) -> str:
    """KL of whole layers with intervals, and the floor of each as a line across its bar."""
    width = max(180, min(900, 26 * len(rows)))
    return to_svg(bar_layers(rows), right=10, width=width, height=150)


def bar_layers(rows: Sequence[Ablation]) -> list[Spec]:
    """Bars, intervals, floors."""
    values: list[Spec] = [
        {
            "x": str(row.layer),
            "y": max(row.kl.estimate, 0.0),
            "low": max(row.kl.low or 0.0, 0.0),
            "high": row.kl.high if row.kl.high is not None else row.kl.estimate,
            "floor": row.floor,
            "zero": 0.0,
        }
        for row in rows
    ]
    order = [row["x"] for row in values]
    x: Spec = {"field": "x", "type": "nominal", "sort": None, "scale": {"domain": order}}
    x["axis"] = {"title": "layer", "labelAngle": 0, "grid": False}
    scale = {"domainMin": 0, "nice": True}
    y = {
        "field": "y",
        "type": "quantitative",
        "scale": scale,
        "axis": {"title": "KL, nats per token", "tickCount": 4, "format": "~g"},
    }
    return [
        layer(values, "bar", {"color": TINTS["c1"], "opacity": 0.75}, x=x, y=y),
        layer(
            values,
            "rule",
            {"color": TINTS["ink"], "strokeWidth": 1.5},
            x=x,
            y=y | {"field": "low"},
            y2={"field": "high"},
        ),
        layer(values, "tick", {"color": TINTS["c2"], "thickness": 2}, x=x, y=y | {"field": "floor"}),
    ]
