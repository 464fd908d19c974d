"""One function per figure; each gives an SVG string whose colours are CSS variables, so both themes share it.

The figures are Vega-Lite specifications (what Altair writes), put together as dictionaries: building and copying Altair
objects took twenty seconds for a page, this takes one or two. A test holds every specification to Altair's schema.
"""

import itertools
import re
from collections.abc import Sequence
from typing import Any

import vl_convert

from rankscope.rank.records import CurvePoint, FunctionalRank, RateMap, SkillFindings, SpectralSummary, TruncationPoint
from rankscope.report.formats import is_share, percent, plain, rate
from rankscope.report.parts import Key

WIDTH, HEIGHT = 276, 205
TINTS = {
    "ink": "#010101",
    "muted": "#020202",
    "grid": "#030303",
    "paper": "#040404",
    "c1": "#050505",
    "c2": "#060606",
    "c3": "#070707",
    "c4": "#080808",
    "c5": "#090909",
    "c6": "#0a0a0a",
}
"""CSS variable -> the placeholder that stands for it until the SVG is finished."""
PALETTE = ("c1", "c2", "c3", "c4", "c5", "c6")
CONTROLS: dict[str, Key] = {
    "energy": Key("best k (energy)", "c1", "", "circle"),
    "fisher": Key("k by Fisher information", "c3", "6 3", "triangle"),
    "sensitivity": Key("k by mean derivative", "c3", "6 3", "triangle"),
    "global": Key("best, global budget", "c4", "2 2", "diamond"),
    "rescaled": Key("best k, norm restored", "c2", "8 3 2 3", "square"),
    "random": Key("random k", "muted", "4 4", "line"),
    "bottom": Key("bottom k", "muted", "1 3", "line"),
    "noise": Key("random directions, norm kept", "c5", "1 2", "line"),
}
SHAPES = {"circle": "circle", "square": "square", "diamond": "diamond", "triangle": "triangle-up"}
Domain = tuple[float, float]
Spec = dict[str, Any]
"""A Vega-Lite (part of a) specification, or one row of its data."""


def score_domain(skills: Sequence[SkillFindings]) -> Domain:
    """The y scale that skills shown side by side share: 0 to 100 %, or what nats need."""
    if all(is_share(skill) for skill in skills):
        return (0.0, 1.0)
    points = [point.score for skill in skills for point in skill.curve]
    values = [v for s in points for v in (s.estimate, s.low, s.high, *s.by_seed) if v is not None]
    values += [skill.base_score for skill in skills]
    room = 0.06 * ((max(values) - min(values)) or 1.0)
    return (min(values) - room, max(values) + room)


def arm_order(skills: Sequence[SkillFindings]) -> list[str]:
    """The x positions that skills shown side by side share: ranks, a gap, then dense and full."""
    ranks = sorted({point.rank for skill in skills for point in skill.curve if point.rank is not None})
    rest = list(dict.fromkeys(point.arm for skill in skills for point in skill.curve if point.rank is None))
    return [*map(str, ranks), *([" "] if rest else []), *rest]


def layer(rows: Sequence[Spec], mark: str, style: Spec, **encoding: Spec) -> Spec:
    """One Vega-Lite layer: its rows, its mark with style, its encoding."""
    return {"data": {"values": list(rows)}, "mark": {"type": mark, **style}, "encoding": encoding}


def score_curve(skill: SkillFindings, order: list[str], domain: Domain, colour: str) -> str:
    """Score against nominal rank with intervals, dense and full at the right, chance and shortcuts as lines."""
    return to_svg(score_layers(skill, order, domain, TINTS[colour]), right=118)


def score_layers(skill: SkillFindings, order: list[str], domain: Domain, tint: str) -> list[Spec]:
    """The layers of a score curve, back to front."""
    rows = [score_row(point, domain) for point in skill.curve]
    axis = {"title": "nominal rank", "labelAngle": 0, "grid": False}
    x = {"field": "x", "type": "nominal", "sort": None, "scale": {"domain": order}, "axis": axis}
    y = score_axis(domain, is_share(skill))
    line = {"color": tint, "opacity": 0.55, "strokeWidth": 1.5}
    return [
        *reference_lines(skill, domain, y),
        layer([row for row in rows if row["rank"] is not None], "line", line, x=x, y=y),
        *error_bars(rows, x, y, tint, 0.45 if skill.n_seeds < 5 else 1.0),
        *seed_points(skill, x, y, tint),
        *arm_marks(rows, x, y, tint),
    ]


def arm_x(point: CurvePoint) -> str:
    """The x position of an arm."""
    return point.arm if point.rank is None else str(point.rank)


def score_row(point: CurvePoint, domain: Domain) -> Spec:
    """One arm as plot values; an open end runs to the edge of the scale and is drawn dashed."""
    score = point.score
    return {
        "x": arm_x(point),
        "rank": point.rank,
        "y": score.estimate,
        "low": domain[0] if score.low is None else max(score.low, domain[0]),
        "high": domain[1] if score.high is None else min(score.high, domain[1]),
        "bounded": score.low is not None and score.high is not None,
        "none": score.low is None and score.high is None,
        "shape": "circle" if point.rank is not None else "diamond" if point.arm == "full" else "square",
        "hollow": point.not_converged_seeds > 0,
    }


def score_axis(domain: Domain, share: bool) -> Spec:
    """The score axis, in per cent or nats."""
    axis: Spec = {"title": "exact output" if share else "−KL, nats", "format": "%" if share else "~g", "tickCount": 5}
    if share:
        axis["values"] = [0, 0.25, 0.5, 0.75, 1]
    return {"field": "y", "type": "quantitative", "scale": {"domain": list(domain), "nice": False}, "axis": axis}


def error_bars(rows: list[Spec], x: Spec, y: Spec, tint: str, opacity: float) -> list[Spec]:
    """Interval bars: solid where both ends are known, dashed where one is open, none where both are."""
    return [
        layer(
            [row for row in rows if row["bounded"] is bounded and not row["none"]],
            "rule",
            {"color": tint, "strokeWidth": 2, "strokeDash": dash, "opacity": opacity},
            x=x,
            y=y | {"field": "low"},
            y2={"field": "high"},
        )
        for bounded, dash in ((True, [1, 0]), (False, [3, 3]))
    ]


def seed_points(skill: SkillFindings, x: Spec, y: Spec, tint: str) -> list[Spec]:
    """A small point per seed, beside the estimate, when seeds are too few for an interval to be trusted."""
    if skill.n_seeds >= 5:
        return []
    rows = [{"x": arm_x(point), "y": value} for point in skill.curve for value in point.score.by_seed]
    style = {"filled": True, "color": tint, "size": 16, "opacity": 0.75, "xOffset": 8}
    return [layer(rows, "point", style, x=x, y=y)]


def arm_marks(rows: list[Spec], x: Spec, y: Spec, tint: str) -> list[Spec]:
    """Estimates by mark shape; hollow where a seed was still improving."""
    base = {"size": 62, "filled": False, "stroke": tint, "strokeWidth": 2, "opacity": 1}
    return [
        layer(chosen, "point", base | {"shape": shape, "fill": TINTS["paper"] if hollow else tint}, x=x, y=y)
        for shape, hollow in itertools.product(("circle", "square", "diamond"), (False, True))
        if (chosen := [row for row in rows if row["shape"] == shape and row["hollow"] is hollow])
    ]


def references(skill: SkillFindings) -> list[tuple[str, float]]:
    """Named levels to compare with: base, chance and known shortcuts, highest first."""
    chance = {} if skill.chance is None else {"chance": skill.chance}
    return sorted((chance | {"base": skill.base_score} | skill.shortcuts).items(), key=lambda item: -item[1])


def reference_lines(skill: SkillFindings, domain: Domain, y: Spec) -> list[Spec]:
    """Dashed levels with labels in the right margin, pushed apart where they would touch."""
    write = percent if is_share(skill) else plain
    sign = " %" if is_share(skill) else ""
    shown = [(name, level) for name, level in references(skill) if domain[0] <= level <= domain[1]]
    pixels = spread([HEIGHT * (domain[1] - level) / (domain[1] - domain[0]) for _, level in shown], 13.0, float(HEIGHT))
    label = {"align": "left", "baseline": "middle", "fontSize": 12, "color": TINTS["muted"]}
    layers = []
    for (name, level), pixel in zip(shown, pixels, strict=True):
        rows = [{"y": level, "t": f"{shorten(name)} {write(level)}{sign}"}]
        place: dict[str, Spec] = {"x": {"value": WIDTH + 6}, "y": {"value": pixel}}
        layers.append(layer(rows, "rule", {"color": TINTS["muted"], "strokeDash": [2, 3], "strokeWidth": 1}, y=y))
        layers.append(layer(rows, "text", label, **place, text={"field": "t", "type": "nominal"}))
    return layers


def spread(pixels: list[float], gap: float, bottom: float) -> list[float]:
    """Ascending positions pushed down until neighbours keep the gap, then up again where they pass the bottom."""
    placed: list[float] = []
    for pixel in pixels:
        placed.append(max(pixel, placed[-1] + gap) if placed else pixel)
    limit = bottom
    for i in reversed(range(len(placed))):
        placed[i] = min(placed[i], limit)
        limit = placed[i] - gap
    return placed


def shorten(name: str, limit: int = 11) -> str:
    """A label that fits the margin."""
    return name if len(name) <= limit else name[: limit - 1].rstrip() + "…"


def truncation_curve(skill: SkillFindings, functional: FunctionalRank) -> str:
    """Score against the directions kept per site, for the best ones and for every control."""
    return to_svg(truncation_layers(skill, functional), right=16)


def truncation_layers(skill: SkillFindings, functional: FunctionalRank) -> list[Spec]:
    """The layers of a truncation curve: the functional rank, then controls, the best directions on top."""
    values = [v for p in functional.curve for v in (p.score.estimate, p.score.low, p.score.high) if v is not None]
    room = 0.04 * ((max(values) - min(values)) or 1.0)
    y = score_axis((0.0, 1.0) if is_share(skill) else (min(values) - room, max(values) + room), is_share(skill))
    last = max(1.0, *(point.k for point in functional.curve))
    ticks = [0, *itertools.takewhile(lambda k: k <= last, (2**i for i in range(20)))]
    axis = {"title": "directions kept per site, k", "values": ticks, "grid": False, "format": "d"}
    scale = {"type": "symlog", "constant": 1, "domain": [0, last], "nice": False}
    x = {"field": "k", "type": "quantitative", "scale": scale, "axis": axis}
    present = [name for name in reversed(CONTROLS) if any(p.control == name for p in functional.curve)]
    return [
        *functional_rule(functional, x),
        *(one for name in present for one in control_layers(functional, name, x, y)),
    ]


def functional_rule(functional: FunctionalRank, x: Spec) -> list[Spec]:
    """A line at the functional rank, when there is one."""
    if functional.median is None or functional.no_gain:
        return []
    style = {"color": TINTS["ink"], "strokeWidth": 1, "strokeDash": [5, 3]}
    return [layer([{"k": functional.median}], "rule", style, x=x)]


def control_layers(functional: FunctionalRank, name: str, x: Spec, y: Spec) -> list[Spec]:
    """One control's line; the best directions also get intervals."""
    look, strong = CONTROLS[name], name == "energy"
    tint = TINTS[look.colour]
    points = sorted((p for p in functional.curve if p.control == name), key=lambda p: p.k)
    rows = [{"k": p.k, "y": p.score.estimate} for p in points]
    dash = [int(part) for part in look.dash.split()] or [1, 0]
    layers = [layer(rows, "line", {"color": tint, "strokeDash": dash, "strokeWidth": 2.4 if strong else 1.6}, x=x, y=y)]
    if strong:
        bar = {"color": tint, "strokeWidth": 2}
        spans = bounded_spans(points, y["scale"]["domain"])
        layers.append(layer(spans, "rule", bar, x=x, y=y | {"field": "low"}, y2={"field": "high"}))
    if look.shape in SHAPES:
        style = {"shape": SHAPES[look.shape], "filled": True, "size": 46 if strong else 30, "color": tint, "opacity": 1}
        layers.append(layer(rows, "point", style, x=x, y=y))
    return layers


def bounded_spans(points: Sequence[TruncationPoint], domain: Sequence[float]) -> list[Spec]:
    """Intervals with both ends known, cut to the scale (a clip path would need an id, which a page can not repeat)."""
    return [
        {"k": p.k, "low": max(p.score.low, domain[0]), "high": min(p.score.high, domain[1])}
        for p in points
        if p.score.low is not None and p.score.high is not None
    ]


def site_kind(site: str) -> tuple[str, int]:
    """The kind of map and the layer that a module path names: `h.2.mlp.c_proj` gives (`mlp.c_proj`, 2)."""
    parts = site.split(".")
    depth = next((int(part) for part in parts if part.isdigit()), 0)
    return ".".join([part for part in parts if not part.isdigit()][-2:]), depth


def spectrum_kinds(summary: SpectralSummary) -> dict[str, dict[int, tuple[float, ...]]]:
    """Singular values by kind of map, then by layer."""
    kinds: dict[str, dict[int, tuple[float, ...]]] = {}
    for site, values in summary.singular_values.items():
        kind, depth = site_kind(site)
        kinds.setdefault(kind, {})[depth] = values
    return {kind: dict(sorted(depths.items())) for kind, depths in sorted(kinds.items())}


def layer_opacity(depth: int, depths: Sequence[int]) -> float:
    """Deeper layers are drawn stronger."""
    return 1.0 if len(depths) == 1 else 0.28 + 0.72 * sorted(depths).index(depth) / (len(depths) - 1)


def spectrum(depths: dict[int, tuple[float, ...]], top: float, colour: str) -> str:
    """Singular values of one kind of map, one line per layer, all panels of a skill on one scale."""
    return to_svg(spectrum_layers(depths, top, TINTS[colour]), right=10, width=190, height=150)


def spectrum_layers(depths: dict[int, tuple[float, ...]], top: float, tint: str) -> list[Spec]:
    """A line and points per layer."""
    longest = max(map(len, depths.values()))
    ticks = [i for i in range(1, longest + 1) if longest <= 8 or i == 1 or i % (longest // 4) == 0]
    x_axis = {"title": "index", "values": ticks, "grid": False, "format": "d"}
    x_scale = {"domain": [0.5, longest + 0.5], "nice": False}
    x = {"field": "i", "type": "quantitative", "scale": x_scale, "axis": x_axis}
    y_axis = {"title": "singular value", "tickCount": 4, "format": "~g"}
    y = {"field": "s", "type": "quantitative", "scale": {"domain": [0, top * 1.05], "nice": False}, "axis": y_axis}
    layers = []
    for depth, values in depths.items():
        rows = [{"i": i + 1, "s": s} for i, s in enumerate(values)]
        look = {"color": tint, "opacity": layer_opacity(depth, list(depths))}
        layers.append(layer(rows, "line", look | {"strokeWidth": 1.8}, x=x, y=y))
        if len(values) <= 16:
            layers.append(layer(rows, "point", look | {"filled": True, "size": 18}, x=x, y=y))
    return layers


def rate_heat(found: RateMap) -> str:
    """Score by learning rate and arm: the darker the nearer to the best of all, the used rate framed."""
    rates = sorted({float(rate) for by_rate in found.scores.values() for rate in by_rate})
    return to_svg(rate_layers(found, rates), right=10, width=34 * len(rates), height=26 * len(found.scores))


def rate_layers(found: RateMap, rates: Sequence[float]) -> list[Spec]:
    """Cells, then their scores, then frames."""
    write = percent if found.is_share else plain
    values = [score for by_rate in found.scores.values() for score in by_rate.values() if score is not None]
    low, high = min(values, default=0.0), max(values, default=1.0)
    order = [rate(one) for one in rates]
    rows = [
        {
            "x": rate(float(tried)),
            "y": arm,
            "text": "div." if score is None else write(score),
            "weight": 0.0 if score is None else 0.08 + 0.8 * ((score - low) / ((high - low) or 1.0)) ** 4,
            "used": found.used.get(arm) == float(tried),
        }
        for arm, by_rate in found.scores.items()
        for tried, score in by_rate.items()
    ]
    x = {"field": "x", "type": "nominal", "sort": None, "scale": {"domain": order}}
    y = {"field": "y", "type": "nominal", "sort": None, "scale": {"domain": list(found.scores)}}
    x_axis = {"title": "learning rate", "labelAngle": -60, "grid": False, "labelOverlap": False}
    place: dict[str, Spec] = {"x": x | {"axis": x_axis}, "y": y | {"axis": {"title": None, "grid": False}}}
    opacity = {"field": "weight", "type": "quantitative", "scale": None, "legend": None}
    text = {"fontSize": 10, "color": TINTS["ink"]}
    frame = {"fillOpacity": 0, "stroke": TINTS["ink"], "strokeWidth": 1.5}
    return [
        layer(rows, "rect", {"color": TINTS["c1"]}, **place, opacity=opacity),
        layer([row for row in rows if row["used"]], "rect", frame, **place),
        layer(rows, "text", text, **place, text={"field": "text", "type": "nominal"}),
    ]


def specification(layers: list[Spec], right: int, width: int, height: int, left: int = 52) -> Spec:
    """A whole Vega-Lite specification of known outer size."""
    muted, grid, font = TINTS["muted"], TINTS["grid"], "sans-serif"
    axis = {
        "labelColor": muted, "titleColor": muted, "gridColor": grid, "domainColor": grid, "labelFontSize": 12,
        "titleFontSize": 12, "titleFontWeight": "normal", "labelFont": font, "titleFont": font, "labelPadding": 5,
        "ticks": False, "titlePadding": 8, "labelOverlap": True,
    }  # fmt: skip
    return {
        "$schema": "https://vega.github.io/schema/vega-lite/v6.json",
        "width": width,
        "height": height,
        "background": "transparent",
        "padding": {"left": left, "right": right, "top": 10, "bottom": 44},
        "autosize": {"type": "none"},
        "config": {"axis": axis, "view": {"stroke": None}, "text": {"font": font}},
        "layer": layers,
    }


def to_svg(layers: list[Spec], right: int, width: int = WIDTH, height: int = HEIGHT, left: int = 52) -> str:
    """The layers as inline SVG: real text, colours from CSS, no ids, nothing read aloud twice."""
    return themed(vl_convert.vegalite_to_svg(specification(layers, right, width, height, left)))


def themed(svg: str) -> str:
    """The SVG with placeholders turned into CSS variables and what the page already says or sets removed."""
    for name, placeholder in TINTS.items():
        svg = svg.replace(f'"{placeholder}"', f'"var(--{name})"')
    repeated = r"aria-[a-z]+|role|pointer-events|class|version|xmlns:xlink|xmlns|font-family|stroke-miterlimit"
    svg = re.sub(rf' (?:{repeated})="[^"]*"| opacity="1"', "", svg)
    svg = re.sub(r'<path(?: d="[^"]*")?(?: d="")? display="none"/>|<path d="M0,0h0v0h0Z"/>', "", svg)
    svg = re.sub(r"(\.\d{2})\d+", r"\1", svg)
    return svg.replace("<svg ", '<svg aria-hidden="true" focusable="false" ', 1)
