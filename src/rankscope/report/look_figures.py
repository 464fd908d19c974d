"""The figure of role scores: every member of every population, its median, and chance."""

from collections.abc import Sequence
from typing import Any

from rankscope.interpret.look_records import Population
from rankscope.report.figures import TINTS, layer, to_svg

Spec = dict[str, Any]
ROW_HEIGHT, WIDTH, LEFT = 46, 420, 200
JITTER = (0.5, 0.25, 0.75, 0.38, 0.62, 0.16, 0.84, 0.31, 0.69)
"""Places across a row that neighbouring scores take in turn, so that equal ones stay visible."""


def population_strips(populations: Sequence[Population]) -> str:
    """Held-out AUROC of every member, one row per population, on one scale."""
    height = ROW_HEIGHT * len(populations)
    return to_svg(strip_layers(populations), right=16, width=WIDTH, height=height, left=LEFT)


def strip_layers(populations: Sequence[Population]) -> list[Spec]:
    """The level of chance, a dot per member, a tick at each median."""
    n_rows = len(populations)
    dots = [
        {"x": score, "y": row + JITTER[i % len(JITTER)], "own": row == 0}
        for row, one in enumerate(populations)
        for i, score in enumerate(sorted(one.auroc))
    ]
    medians = [{"x": one.median_auroc, "low": row + 0.08, "high": row + 0.92} for row, one in enumerate(populations)]
    scores = [dot["x"] for dot in dots] + [row["x"] for row in medians]
    domain = [min([0.4, *scores]), max([1.0, *scores])]
    x: Spec = {"field": "x", "type": "quantitative", "scale": {"domain": domain, "nice": False}}
    x["axis"] = {"title": "held-out AUROC of the best role", "tickCount": 6, "format": ".1f"}
    y: Spec = {"field": "y", "type": "quantitative", "scale": {"domain": [n_rows, 0], "nice": False}}
    y["axis"] = None
    name = {"align": "right", "baseline": "middle", "fontSize": 12, "color": TINTS["ink"], "limit": LEFT - 12}
    rows = [{"y": row + 0.5, "t": one.name} for row, one in enumerate(populations)]
    return [
        layer([{"x": 0.5}], "rule", {"color": TINTS["muted"], "strokeDash": [2, 3]}, x=x),
        *(
            layer(
                [dot for dot in dots if dot["own"] is own],
                "point",
                {"color": TINTS[colour], "filled": True, "size": 14, "opacity": 0.55},
                x=x,
                y=y,
            )
            for own, colour in ((True, "c1"), (False, "muted"))
        ),
        layer(
            medians,
            "rule",
            {"color": TINTS["c2"], "strokeWidth": 2.5},
            x=x,
            y=y | {"field": "low"},
            y2={"field": "high"},
        ),
        layer(rows, "text", name, x={"value": -8}, y=y, text={"field": "t", "type": "nominal"}),
    ]
