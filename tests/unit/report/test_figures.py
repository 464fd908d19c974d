import re
import xml.etree.ElementTree as ET

import altair as alt
import pytest

from rankscope.report import figures


@pytest.fixture(scope="module")
def findings(made_up):
    return made_up.example()


def skill_of(findings, name, mode):
    return next(s for s in findings.skills if (s.name, s.mode) == (name, mode))


def specs(findings):
    skill = skill_of(findings, "HashHop", "matched")
    order, domain = figures.arm_order([skill]), figures.score_domain([skill])
    yield figures.score_layers(skill, order, domain, "#010101")
    yield figures.truncation_layers(skill, skill.functional[0])
    yield figures.spectrum_layers(figures.spectrum_kinds(skill.spectral[0])["mlp.c_fc"], 2.0, "#010101")
    yield figures.rate_layers(findings.rate_maps[0], [0.001, 0.005, 0.01, 0.02])


def test_specifications_are_what_altair_accepts(findings):
    for layers in specs(findings):
        alt.Chart.from_dict(figures.specification(layers, 10, 200, 100), validate=True)


def test_svg_is_well_formed_themed_by_variables_and_holds_real_text(findings):
    skill = skill_of(findings, "HashChain", "matched")
    svg = figures.score_curve(skill, figures.arm_order([skill]), (0.0, 1.0), "c2")
    root = ET.fromstring(svg)
    texts = [element.text for element in root.iter("text")]
    assert {"1", "32", "dense", "full", "nominal rank"} <= set(texts)
    assert "var(--c2)" in svg
    painted = re.findall(r'(?:fill|stroke)="([^"]*)"', svg)
    assert all(colour.startswith("var(--") or colour in ("none", "transparent") for colour in painted)


def test_names_are_escaped_in_svg(made_up):
    skill = made_up.hostile_skill()
    svg = figures.score_curve(skill, figures.arm_order([skill]), (0.0, 1.0), "c1")
    assert "<script" not in svg
    assert "&lt;script" in svg


def test_skills_side_by_side_share_positions_and_scale(findings):
    pair = [skill_of(findings, name, "matched") for name in ("HashHop", "HashChain")]
    assert figures.arm_order(pair) == ["1", "2", "4", "8", "16", "32", " ", "dense", "full"]
    assert figures.score_domain(pair) == (0.0, 1.0)
    low, high = figures.score_domain([skill_of(findings, "Planted rank 4", "planted")])
    assert low < -2.41 < -0.06 < high


def test_seeds_are_points_only_below_five(findings, made_up):
    axes = {}, {}
    few = figures.seed_points(skill_of(findings, "HashHop", "matched"), *axes, "#010101")
    assert len(few[0]["data"]["values"]) == 8 * 3
    many = skill_of(made_up.example(8, hostile=False), "HashHop", "matched")
    assert figures.seed_points(many, *axes, "#010101") == []


def test_error_bars_leave_out_refused_intervals_and_dash_open_ones(made_up):
    skill = made_up.hostile_skill()
    rows = [figures.score_row(point, (0.0, 1.0)) for point in skill.curve]
    assert all(bar["data"]["values"] == [] for bar in figures.error_bars(rows, {}, {}, "#010101", 1.0))
    rows[0] |= {"none": False}
    solid, dashed = figures.error_bars(rows, {}, {}, "#010101", 1.0)
    assert (len(solid["data"]["values"]), len(dashed["data"]["values"])) == (0, 1)
    assert rows[0]["low"] == 0.0


def test_labels_are_pushed_apart_and_stay_inside():
    assert figures.spread([10.0, 12.0, 50.0], 13.0, 100.0) == [10.0, 23.0, 50.0]
    assert figures.spread([98.0, 99.0, 100.0], 13.0, 100.0) == [74.0, 87.0, 100.0]


def test_sites_are_grouped_by_kind_and_layer():
    assert figures.site_kind("transformer.h.2.mlp.c_proj") == ("mlp.c_proj", 2)
    assert figures.site_kind("lm_head") == ("lm_head", 0)


def test_functional_rank_is_marked_unless_there_is_no_gain(findings):
    gained = skill_of(findings, "HashHop", "matched").functional[0]
    assert figures.functional_rule(gained, {})[0]["data"]["values"] == [{"k": 2}]
    assert figures.functional_rule(skill_of(findings, "HashHop", "null").functional[0], {}) == []


def test_a_map_of_rates_names_every_arm_and_what_diverged(findings):
    texts = {element.text for element in ET.fromstring(figures.rate_heat(findings.rate_maps[0])).iter("text")}
    assert {"rank 1", "rank 2", "dense", "div.", "70.0", "learning rate"} <= texts
