"""The page of an ablation: where an adapter acts, with the resolution of the arithmetic shown."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from rankscope.base.atomic import write_text
from rankscope.interpret.ablation_records import Ablation, AblationReading, AblationRecord, RoleEffect, read_ablation
from rankscope.report import ablation_figures as figures
from rankscope.report.ablation_words import answer, chance, effect_alt, nats
from rankscope.report.formats import interval_cell, missing, number_cell, percent, plain, text_cell
from rankscope.report.page import environment
from rankscope.report.parts import (
    Block,
    Cell,
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

UNIT_NAMES = {
    "part": "Attention and MLP",
    "kind": "Kinds of map",
    "block": "Blocks of layers",
    "layer": "Layers",
    "site": "Single sites",
    "direction": "Single directions",
}
MOST_ROLES = 24
HOW_TO_READ = (
    "KL is KL(whole adapter || changed adapter) per completion token, teacher-forced, from float32 logits.",
    "Below resolution: no more than rescaling A by c and B by 1 / c gives, which changes no function.",
    (
        "Random shift: the mean KL of adding random directions of the same rank and norm there. A part is significant "
        "when its own KL exceeds that by more than items and single shifts differ."
    ),
)


def render_ablation(record: AblationRecord) -> str:
    """The whole page as HTML."""
    sections = (
        Section("answer", "Answer", (Block("", False, (Prose(answer(record.reading), "lead"),)),)),
        Section("where", "Where the adapter acts", (Block("", False, where(record.reading)),)),
        Section("parts", "What every part costs", (Block("", False, tables(record.reading)),)),
        Section("roles", "At which tokens", (Block("", False, (role_table(record.reading),)),)),
        Section("reproduce", "Reproduce, provenance", (Block("", False, reproduce(record)),)),
    )
    template = environment().get_template("page.html")
    return template.render(findings=record, committed=None, sections=sections, partial="")


def write_ablation_page(record_path: Path, out_path: Path) -> None:
    """Reads a record and writes the page atomically; BadFile when the record can not be read."""
    write_text(out_path, render_ablation(read_ablation(record_path)))


def where(reading: AblationReading, links: Mapping[str, str] | None = None) -> tuple[Part, ...]:
    """Heat map of single sites and bars of layers, where sites have layers; `links` maps sites to fragments."""
    sites = [row for row in reading.of("site") if row.layer is not None]
    layers = reading.of("layer")
    parts: list[Part] = []
    if sites:
        keys = (
            Key("KL, stronger is more", "c1", shape="square"),
            Key("below resolution", "muted", shape="dot"),
            Key("more than a random shift", "ink", shape="hollow"),
        )
        panel = Panel("Single sites taken out", "", figures.heat_map(sites, links), effect_alt(sites))
        parts.append(Figure("KL per completion token when one site's update is taken out.", (panel,), keys))
    if layers:
        keys = (
            Key("KL", "c1", shape="square"),
            Key("95 % interval", "ink", shape="bar"),
            Key("resolution", "c2", shape="line"),
        )
        panel = Panel("Whole layers taken out", "", figures.layer_bars(layers), effect_alt(layers))
        parts.append(Figure("KL per completion token when all updates of a layer are taken out.", (panel,), keys))
    return (*parts, Prose(HOW_TO_READ, "quiet"))


def tables(reading: AblationReading) -> tuple[Part, ...]:
    """A table per unit; the long ones folded away."""
    shown: list[Part] = []
    for unit, title in UNIT_NAMES.items():
        rows = [row for row in reading.ablations if row.unit == unit]
        if rows:
            table = effect_table(unit, title, rows)
            shown.append(
                table if unit in ("part", "kind", "block") else Details(f"{title} ({len(rows)} rows)", (table,))
            )
    return tuple(shown)


def effect_table(unit: str, title: str, rows: Sequence[Ablation]) -> Table:
    """What each ablation of a unit costs."""
    columns = (
        Column("name", "Part"),
        Column("how", "What was done"),
        Column("kl", "KL, nats per token", "interval"),
        Column("floor", "Resolution", "number", "99th percentile of rescalings that change no function"),
        Column("random", "Random shift", "number", "KL of random directions of the same rank and norm"),
        Column(
            "p", "p", "number", "that the KL exceeds a random shift's, over items and over shifts, corrected by Holm"
        ),
        Column("exact", "Exact output lost, points", "interval"),
        Column("nats", "Log-probability lost, nats per item", "interval"),
        Column("guess", "First-order guess", "number", "of the log-probability lost"),
    )
    return Table(f"ablation_{unit}", title, columns, tuple(_effect_row(row) for row in rows))


def _effect_row(row: Ablation) -> dict[str, Cell]:
    kl = interval_cell(row.kl, nats, "")
    if row.below_resolution:
        kl = Cell("below resolution", csv=kl.csv, low=kl.low, high=kl.high, title=f"measured {nats(row.kl.estimate)}")
    return {
        "name": text_cell(row.name),
        "how": text_cell({"zero": "taken out", "mean": "held at its mean", "keep only": "kept alone"}[row.how]),
        "kl": kl,
        "floor": number_cell(row.floor, nats, ""),
        "random": number_cell(row.random_kl, nats, "drawn only for what is taken out"),
        "p": number_cell(row.p, chance, "no random shift was drawn"),
        "exact": interval_cell(row.exact_loss, percent, ""),
        "nats": interval_cell(row.nats_loss, plain, ""),
        "guess": number_cell(row.attributed, plain, "for what is taken out only"),
    }


def role_table(reading: AblationReading) -> Part:
    """KL of attention and MLP taken out, by the role of the token that is predicted."""
    effects = [one for one in reading.roles if one.unit == "part" and one.how == "zero"]
    if not effects:
        return Prose(("Neither attention nor MLP was taken out as a whole.",), "quiet")
    names = list(dict.fromkeys(one.name for one in effects))
    by_role: dict[str, dict[str, RoleEffect]] = {}
    for one in effects:
        by_role.setdefault(one.role, {})[one.name] = one
    ordered = sorted(by_role, key=lambda role: -max(one.kl for one in by_role[role].values()))[:MOST_ROLES]
    columns = (
        Column("role", "Predicted token"),
        Column("tokens", "Tokens", "number"),
        *(Column(name, f"{name} taken out, KL in nats", "number") for name in names),
    )
    rows = tuple(
        {
            "role": text_cell(role),
            "tokens": number_cell(next(iter(by_role[role].values())).n_tokens, lambda n: f"{n:,.0f}", ""),
            **{name: _role_cell(by_role[role][name]) if name in by_role[role] else missing("") for name in names},
        }
        for role in ordered
    )
    return Table("ablation_roles", "By the role of the predicted token", columns, rows)


def _role_cell(effect: RoleEffect) -> Cell:
    cell = number_cell(effect.kl, nats, "", f"resolution {nats(effect.floor)}")
    if not effect.below_resolution:
        return cell
    return Cell("below resolution", csv=cell.csv, title=f"measured {nats(effect.kl)}, resolution {nats(effect.floor)}")


def reproduce(record: AblationRecord) -> tuple[Part, ...]:
    """Commands and provenance."""
    facts = (
        ("adapters", ", ".join(record.adapters)),
        ("task", record.task),
        ("base", record.base),
        ("base hash", record.subject.base_hash),
        ("adapter hashes", ", ".join(record.subject.adapter_hashes)),
        *record.provenance.items(),
    )
    return Commands(tuple(record.reproduce.items())), Facts(facts)
