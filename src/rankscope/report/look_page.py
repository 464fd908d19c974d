"""The page of a look: where an adapter acts, and an explorer of its directions. Drawn from records and labels alone."""

from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlencode

from rankscope.base.atomic import write_text
from rankscope.interpret.labels import read_labels
from rankscope.interpret.look_records import LABELS_FILE, LOOK_FILE, Direction, LookRecord, read_look
from rankscope.report import look_figures as figures
from rankscope.report.ablation_page import effect_table, role_table, tables, where
from rankscope.report.formats import VERDICT_TONES, number_cell, percent, text_cell
from rankscope.report.look_data import explorer_lines
from rankscope.report.look_words import population_alt, size
from rankscope.report.page import environment
from rankscope.report.parts import (
    Block,
    Claim,
    Claims,
    Column,
    Commands,
    Details,
    Facts,
    Figure,
    Key,
    Panel,
    Part,
    Prose,
    Section,
    Table,
)

EXPLORER = "directions"
"""Slug of the section that the template fills with the explorer."""
PAGE_FILE = "report.html"


def render_look(record: LookRecord, labels: Mapping[str, str]) -> str:
    """The whole page as HTML; labels by slug, also of directions that the record no longer holds."""
    sections = (
        Section("answer", "Answer", (Block("", False, answer(record)),)),
        Section("where", "Where the adapter acts", (Block("", False, places(record)),)),
        Section(EXPLORER, "Directions", (), LEDE),
        Section("reproduce", "Reproduce, provenance", (Block("", False, reproduce(record)),)),
    )
    template = environment().get_template("look.html")
    return template.render(
        findings=record,
        committed=None,
        sections=sections,
        partial="",
        explorer=EXPLORER,
        data=explorer_lines(record, labels),
        record_file=LOOK_FILE,
        labels_file=LABELS_FILE,
    )


LEDE = (
    "A singular direction of a site's update has one value at every token: how far the token's input lies along it, "
    "times its singular value. Tokens are shaded by that value. Signs are a convention: the largest entry of what the "
    "direction writes is positive."
)


def write_look_page(folder: Path, target: Path | None = None) -> Path:
    """Writes the page, by default `report.html` into the look's folder, from its record and any labels beside it.

    Raises: BadFile when the record or the labels can not be read, or the labels are of another adapter.
    """
    record = read_look(folder / LOOK_FILE)
    labels_path, out_path = folder / LABELS_FILE, target or folder / PAGE_FILE
    labels = read_labels(labels_path, record.adapter_hash) if labels_path.exists() else {}
    write_text(out_path, render_look(record, labels))
    return out_path


def answer(record: LookRecord) -> tuple[Part, ...]:
    """The answer in sentences, claim cards, populations beside each other, what is missing."""
    return (
        *((Prose(record.answer, "lead"),) if record.answer else ()),
        Prose((size(record),), "quiet"),
        *((claims(record),) if record.cards else ()),
        *populations(record),
        *((Prose(record.missing, "list", "What could not be measured"),) if record.missing else ()),
    )


def claims(record: LookRecord) -> Claims:
    """The claim cards."""
    return Claims(
        tuple(
            Claim(
                claim=card.claim,
                source="",
                rule=card.rule,
                estimate=card.estimate,
                verdict=card.verdict,
                tone=VERDICT_TONES[card.verdict],
                because=card.because,
                limits=card.limits,
                command="",
            )
            for card in record.cards
        )
    )


def populations(record: LookRecord) -> tuple[Part, ...]:
    """Role scores of the adapter's directions beside those of other populations; nothing without any."""
    found = record.populations
    if not found:
        return ()
    keys = (
        Key(f"one of the {found[0].name}", "c1", shape="dot"),
        Key("one of another population", "muted", shape="dot"),
        Key("median", "c2", shape="bar"),
        Key("chance", "muted", "2 3", "line"),
    )
    caption = "Best role of every member, chosen on half the items and scored on the other half."
    panel = Panel("", "", figures.population_strips(found), population_alt(found))
    columns = (
        Column("name", "Population"),
        Column("n", "Members", "number"),
        Column("share", "Significant, %", "number", "q at most 5 % against circular shifts"),
        Column("median", "Median AUROC", "number"),
    )
    rows = tuple(
        {
            "name": text_cell(one.name),
            "n": number_cell(one.n, lambda n: f"{n:,.0f}", ""),
            "share": number_cell(one.share_significant, percent, ""),
            "median": number_cell(one.median_auroc, lambda x: f"{x:.2f}", ""),
        }
        for one in found
    )
    return (
        Figure(caption, (panel,), keys, "How well roles are told"),
        Table("populations", "Role scores by population", columns, rows),
    )


def places(record: LookRecord) -> tuple[Part, ...]:
    """Heat map whose cells lead to directions, bars, and the costs of all parts in tables."""
    reading = record.reading
    if reading is None:
        return (Prose(("Nothing was taken out of this adapter, so where it acts is not known.",), "quiet"),)
    others = reading.override(ablations=[row.model_dump() for row in reading.ablations if row.unit != "direction"])
    single = [one.ablation for one in record.directions if one.ablation and one.ablation.unit == "direction"]
    table = effect_table("direction", "Single directions", single)
    return (
        *where(reading, cell_links(record.directions)),
        *tables(others),
        *((Details(f"Single directions ({len(single)} rows)", (table,)),) if single else ()),
        *((Details("At which tokens", (by_role,)),) if isinstance(by_role := role_table(reading), Table) else ()),
    )


def cell_links(directions: tuple[Direction, ...]) -> dict[str, str]:
    """Site -> the fragment that shows its direction, or the list of them where it has several."""
    links: dict[str, str] = {}
    for one in directions:
        several = one.site in links
        place = {"kind": one.kind} | ({} if one.layer is None else {"layer": one.layer})
        links[one.site] = "#" + urlencode(place if several else {"d": one.slug})
    return links


def reproduce(record: LookRecord) -> tuple[Part, ...]:
    """Commands and provenance."""
    facts = (
        ("adapter", record.adapter),
        ("adapter hash", record.adapter_hash),
        ("task", record.task),
        ("base", record.base),
        ("base hash", record.base_hash),
        *record.provenance.items(),
    )
    return Commands(tuple(record.reproduce.items())), Facts(facts)
