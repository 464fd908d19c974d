"""Puts what the benchmarks measured into docs/performance.md: tables between two marks, and a figure beside them."""

import json
from pathlib import Path
from typing import Any

import altair as alt
import vl_convert

from rankscope.bench.cases import CASES

HERE = Path(__file__).parent
DOCS = HERE.parent / "docs"
PAGE, FIGURE = DOCS / "performance.md", DOCS / "images" / "engine.svg"
BEGIN, END = "<!-- made by benchmarks/page.py: begin -->", "<!-- end -->"
ABOUT = (
    "Seconds are medians per step of one adapter; ratios are medians over turns; `charged` counts set-up and the first "
    "pass over the items, and `even after` is the number of steps in which they have paid off against A1. "
    "`most` is what the ratio to A1 would be if a step were nothing but that arm's matrix products, at the "
    "rate measured here for the MLP's product alone in the fastest format. Where of eight adapters that train one "
    "after another one was timed, nothing is charged: the other seven would find its caches filled."
)
Row = dict[str, Any]
Found = dict[str, Any]


def main() -> None:
    """Rewrites page and figure from what stands in `results`; a benchmark that was not run is left out."""
    engine, study = _cases(HERE / "results" / "engine"), _read(HERE / "results" / "first_look.json")
    parts = []
    if engine:
        parts += [ABOUT, *(_engine_table(found) for found in engine)]
        parts += [f"![Speed of every arm]({FIGURE.relative_to(DOCS)})"]
        FIGURE.write_text(_figure(engine), encoding="utf-8")
    if study:
        parts += [_study_table(study)]
    made = {"by_length": _lengths_table, "precision": _precision_table, "capture": _capture_table}
    for name, table in made.items():
        if found := _read(HERE / "results" / f"{name}.json"):
            parts += [table(found)]
    before, rest = PAGE.read_text(encoding="utf-8").split(BEGIN)
    after = rest.split(END)[1]
    PAGE.write_text("\n\n".join([before + BEGIN, *parts, END]) + after, encoding="utf-8")


def _cases(folder: Path) -> list[Found]:
    """What was measured, in the order of the cases, then of the number of adapters."""
    found = [dict(json.loads(path.read_text(encoding="utf-8"))) for path in folder.glob("*.json")]
    order = list(CASES)
    return sorted(found, key=lambda one: (order.index(one["rows"][0]["case"]), _n_rows(one["rows"])))


def _read(path: Path) -> Found | None:
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else None


def _where(facts: dict[str, Any]) -> str:
    n_threads = facts["threads"]
    threads = "one thread" if n_threads == 1 else f"{n_threads} threads"
    return f"{facts['cpu']}, {threads}, torch {facts['torch']}, commit {facts['git']['commit'][:10]}."


def _engine_table(found: Found) -> str:
    rows = found["rows"]
    case = CASES[rows[0]["case"]]
    lines = [
        f"### {_title(rows)}",
        "",
        f"{_where(found['facts'])} Charged over {case.n_epochs} epochs of {case.n_batches * case.batch_size} items.",
        "",
        "| arm | s per step | to A1 | to A3 | charged | even after | of matrix rate | most |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        ratios = (row["ratio_to_A1"], row["ratio_to_A3"], row["charged_ratio_to_A1"])
        told = ["" if value is None else f"{value:.2f}" for value in ratios]
        even, is_charged = row["break_even_steps"], row["charged_ratio_to_A1"] is not None
        told.append("" if not is_charged else "never" if even is None else f"{even:.0f} steps")
        told += _bound(row)
        lines.append(f"| {_arm(row)} | {row['seconds_per_step']:.3f} | {' | '.join(told)} |")
    return "\n".join(lines)


def _arm(row: Row) -> str:
    """Its name, and in what passes it went where a batch did not fit."""
    passes = str(row["note"]).partition("passes of ")[2]
    return f"{row['arm']}, in passes of {passes}" if passes else str(row["arm"])


def _n_rows(rows: list[Row]) -> int:
    """Adapters of the arms that train several; the others train one after another."""
    return max(int(row["n_rows"]) for row in rows if "processes" not in row["arm"])


def _bound(row: Row) -> list[str]:
    """Share of the matrix rate, and the ratio to A1 if products alone took time and ran at that rate."""
    share, ratio = row["roofline_fraction"], row["ratio_to_A1"]
    if share is None:
        return ["", ""]
    return [f"{share:.0%}", "" if ratio is None else f"{ratio / share:.1f}"]


def _title(rows: list[Row]) -> str:
    n_rows = _n_rows(rows)
    return f"{rows[0]['case']}, {n_rows} {'adapter' if n_rows == 1 else 'adapters'}"


def _study_table(found: dict[str, Any]) -> str:
    facts, hours = found["facts"], {kind: total_s / 3600 for kind, total_s in found["training_s"].items()}
    told = (
        f"{_where(facts | {'threads': 1})} Seconds per step. "
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


def _precision_table(found: Found) -> str:
    facts, rows = found["facts"], found["rows"]
    n_seeds, n_items = (rows[0]["difference"][name] for name in ("n_seeds", "n_items"))
    told = (
        f"Matched skills of first_look's quick form, everything in bf16 against everything in fp32, {n_seeds} seeds "
        f"and {n_items} test items paired. Exact output; differences in points with 95 % intervals."
    )
    lines = [
        "### What bf16 does to what is learnt",
        "",
        f"{facts['cpu']}, torch {facts['torch']}, commit {facts['git']['commit'][:10]}. {told}",
        "",
        "| skill | arm | fp32 | bf16 | difference |",
        "|---|---|---|---|---|",
    ]
    for row in rows:
        off = row["difference"]
        span = f"{100 * off['estimate']:+.1f} ({100 * off['low']:+.1f} to {100 * off['high']:+.1f})"
        lines.append(f"| {row['skill']} | {row['arm']} | {row['fp32']:.1%} | {row['bf16']:.1%} | {span} |")
    return "\n".join(lines)


def _lengths_table(found: Found) -> str:
    rows = (
        f"| {row['base'].removesuffix(' all maps')} | {row['n_items']} of `{row['task']}` | {row['arm']} | "
        f"{row['tokens_whole']:,.0f} | {row['tokens_by_length']:,.0f} | {row['passes']:g} | "
        f"{row['seconds_whole']:.3f} | {row['seconds_by_length']:.3f} | "
        f"{row['ratio']:.2f} ({row['low']:.2f} to {row['high']:.2f}) |"
        for row in found["rows"]
    )
    told = f"{_where(found['facts'])} Seconds of loss and gradients of a batch: at once, and cut by length."
    head = "| base | items | arm | tokens at once | cut | passes | s at once | s cut | ratio (quartiles) |"
    return "\n".join(["### Passes of like length", "", told, "", head, "|---|---|---|---|---|---|---|---|---|", *rows])


def _capture_table(found: Found) -> str:
    rows = (
        f"| {row['case']} | {row['arm']} | {row['n_tokens']:,} | {row['n_columns']} | {row['seconds']:.3f} | "
        f"{row['ratio_to_forward']:.2f} | {row['ratio_to_bare']:.2f} |"
        for row in found["rows"]
    )
    told = (
        f"{_where(found['facts'])} Rank {found['rank']} on all maps; seconds of a batch, ratios within a turn to the "
        "forward pass of the same adapted model with its head, as scoring runs it, and without, as recording does."
    )
    head = "| case | arm | tokens | columns | s | to the pass with head | without |"
    return "\n".join(["### Recording an adapter's state", "", told, "", head, "|---|---|---|---|---|---|---|", *rows])


def _figure(engine: list[Found]) -> str:
    """Ratio to today's practice by arm, one panel per case; readable on a light and on a dark page."""
    values = [
        {"panel": _title(found["rows"]), "arm": row["arm"], "ratio": row["ratio_to_A1"]}
        for found in engine
        for row in found["rows"]
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
