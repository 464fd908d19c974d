"""Puts what the benchmarks measured into docs/performance.md: tables between two marks, and a figure beside them."""

import json
from pathlib import Path
from typing import Any

import altair as alt
import vl_convert

HERE = Path(__file__).parent
DOCS = HERE.parent / "docs"
PAGE, FIGURE = DOCS / "performance.md", DOCS / "images" / "engine.svg"
BEGIN, END = "<!-- made by benchmarks/page.py: begin -->", "<!-- end -->"
Row = dict[str, Any]


def main() -> None:
    """Rewrites page and figure from what stands in `results`; a benchmark that was not run is left out."""
    engine, study = (_read(HERE / "results" / name) for name in ("engine.json", "first_look.json"))
    parts = []
    if engine:
        parts += [_where(engine), _engine_tables(engine["rows"]), f"![Speed of every arm]({FIGURE.relative_to(DOCS)})"]
        FIGURE.write_text(_figure(engine["rows"]), encoding="utf-8")
    if study:
        parts += [_study_table(study)]
    before, rest = PAGE.read_text(encoding="utf-8").split(BEGIN)
    after = rest.split(END)[1]
    PAGE.write_text("\n\n".join([before + BEGIN, *parts, END]) + after, encoding="utf-8")


def _read(path: Path) -> dict[str, Any] | None:
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else None


def _where(found: dict[str, Any]) -> str:
    facts = found["facts"]
    return (
        f"{facts['cpu']}, {facts['threads']} threads, torch {facts['torch']}, commit {facts['git']['commit'][:10]}. "
        "Seconds are medians per step of one adapter; ratios are medians over turns; `charged` counts set-up and the "
        "first pass over the items, for ten epochs over four batches."
    )


def _engine_tables(rows: list[Row]) -> str:
    tables = []
    for title, some in _groups(rows).items():
        lines = [
            f"### {title}",
            "",
            "| arm | s per step | to A1 | to A3 | charged | of matrix rate |",
            "|---|---|---|---|---|---|",
        ]
        for row in some:
            ratios = (row["ratio_to_A1"], row["ratio_to_A3"], row["charged_ratio_to_A1"])
            told = ["" if value is None else f"{value:.2f}" for value in ratios]
            share = "" if row["roofline_fraction"] is None else f"{row['roofline_fraction']:.0%}"
            lines.append(f"| {row['arm']} | {row['seconds_per_step']:.3f} | {' | '.join(told)} | {share} |")
        tables.append("\n".join(lines))
    return "\n\n".join(tables)


def _groups(rows: list[Row]) -> dict[str, list[Row]]:
    """Rows by case and number of adapters; the Trainer, which trains one at a time, belongs to the rows after it."""
    groups: dict[str, list[Row]] = {}
    title = ""
    for index, row in enumerate(rows):
        if row["arm"].startswith("A1"):
            n_rows = rows[index + 1]["n_rows"]
            title = f"{row['case']}, {n_rows} {'adapter' if n_rows == 1 else 'adapters'}"
        groups.setdefault(title, []).append(row)
    return groups


def _study_table(found: dict[str, Any]) -> str:
    facts, hours = found["facts"], {kind: total_s / 3600 for kind, total_s in found["training_s"].items()}
    told = (
        f"{facts['cpu']}, one thread, torch {facts['torch']}, commit {facts['git']['commit'][:10]}. Seconds per step. "
        f"All trainings of the full form take {hours['reference']:.1f} h of one core by `reference` and "
        f"{hours['auto']:.1f} h by ours: {found['ratio']:.2f} times as fast."
    )
    lines = [
        "### The trainings of first_look",
        "",
        told,
        "",
        "| task | arm | reference | ours | ratio |",
        "|---|---|---|---|---|",
    ]
    for row in found["rows"]:
        name = row["task"].replace("shuffled:of=", "shuffled ").split(",")[0].replace(":mode=", " ")
        times = f"{row['reference']:.3f} | {row['auto']:.3f} | {row['reference'] / row['auto']:.2f}"
        lines.append(f"| {name} | {row['arm']} | {times} |")
    return "\n".join(lines)


def _figure(rows: list[Row]) -> str:
    """Ratio to today's practice by arm, one panel per case; readable on a light and on a dark page."""
    values = [
        {"panel": title, "arm": row["arm"], "ratio": row["ratio_to_A1"]}
        for title, some in _groups(rows).items()
        for row in some
        if row["ratio_to_A1"] is not None
    ]
    grey = "#808080"
    chart = (
        alt.Chart(alt.Data(values=values), width=520, height=alt.Step(17))
        .mark_bar(color="#4c78a8")
        .encode(
            x=alt.X("ratio:Q", title="times as fast as PEFT with transformers' Trainer", scale=alt.Scale(type="sqrt")),
            y=alt.Y("arm:N", sort=None, title=None),
            row=alt.Row("panel:N", sort=None, title=None, header=alt.Header(labelAngle=0, labelAlign="left")),
        )
        .resolve_scale(x="independent", y="independent")
        .configure(background="transparent")
        .configure_axis(
            labelColor=grey, titleColor=grey, domainColor=grey, tickColor=grey, gridOpacity=0.3, labelLimit=260
        )
        .configure_header(labelColor=grey, labelOrient="top", labelAnchor="start")
        .configure_view(stroke=None)
    )
    return str(vl_convert.vegalite_to_svg(chart.to_json()))


if __name__ == "__main__":
    main()
