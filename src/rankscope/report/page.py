"""Composes findings into one offline HTML page."""

from collections.abc import Callable, Sequence, Set
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from rankscope.base.atomic import write_text
from rankscope.rank.records import FunctionalRank, SkillFindings, SpectralSummary, StudyFindings, read_findings
from rankscope.report import calibration_tables, figures, rank_tables, rate_tables, score_tables, words
from rankscope.report.formats import by_mode, functional_text, ordered, plural, size_text, skill_label
from rankscope.report.parts import (
    Block,
    Claims,
    Commands,
    Details,
    Facts,
    Figure,
    Key,
    Panel,
    Part,
    Plain,
    Prose,
    Section,
    Tiles,
)

View = Callable[[StudyFindings], tuple[Part, ...]]
MOST_FLAGS = 3
"""Flags other than those of untuned learning rates are folded away where they are more."""
LEDES = {
    "scores": (
        "Each mark is the share of items whose whole output is exactly right, or the negative KL in nats on "
        "planted skills."
    ),
    "ranks": (
        "Three definitions of rank side by side. Required and functional rank are measured by scores; "
        "spectral ranks see singular values alone."
    ),
    "truncation": (
        "A trained adapter is cut to k directions per site. Functional rank is the smallest k from which every "
        "larger k keeps the asked share of its gain."
    ),
    "spectra": (
        "Singular values of the weight update, averaged over seeds, by kind of map; deeper layers are drawn stronger."
    ),
    "recovery": (
        "Gain of each arm as a share of full fine-tuning's gain. Where the full gain is too small to divide by, "
        "no ratio is given."
    ),
    "calibration": "The procedure on skills whose rank is known beforehand; it earns trust here or loses it.",
    "estimators": (
        "Estimators see singular values alone. Each is held against a rank that is known, over adapters that differ in "
        "what should not matter; an error of 1 is a factor of 2. Ranks are planted here; what the same estimators say "
        "of skills learnt from tasks is another matter (docs/rank.md)."
    ),
    "rates": (
        "The rate is part of the method: each arm is trained at the one that did best in a tuning of its own, with "
        "seeds that no result comes from."
    ),
    "details": "Every arm, every score, with its interval.",
    "reproduce": "The commands that make each number again.",
}


def render(findings: StudyFindings, committed: StudyFindings | None = None) -> str:
    """The whole page as HTML; a committed study's sections stand below this run's, labelled.

    A study that knows the truth shows its calibration where others show claims; one that declares no claim has no such
    section. Of skills that repeat one another the first is shown. Where no rank is asked for, and all adapters have
    rank 1, the sections on ranks are left out.
    """
    findings, committed = one_of_each(findings), None if committed is None else one_of_each(committed)
    trust = section("calibration", "Calibration", calibration, findings, committed)
    is_calibration = findings.calibration_source == findings.study
    has_claims = bool(findings.claims or (committed and committed.claims))
    sections = (
        section("answer", "Answer", answer, findings, committed),
        *((trust,) if is_calibration else ()),
        *((section("claims", "Claims", claims, findings, committed),) if has_claims else ()),
        section("scores", "Score against rank", scores, findings, committed),
        *(
            section(slug, title, view, findings, committed)
            for slug, title, view in RANK_SECTIONS
            if asks_rank(findings) or (committed is not None and asks_rank(committed))
        ),
        *(
            (section("estimators", "Which spectral estimator deserves belief", estimators, findings, committed),)
            if findings.estimators
            else ()
        ),
        *((section("rates", "Learning rates", rates, findings, committed),) if findings.rate_maps else ()),
        section("recovery", "Recovery of full fine-tuning", recovery, findings, committed),
        *(() if is_calibration else (trust,)),
        section("details", "Details", details, findings, committed),
        section("reproduce", "Reproduce, provenance, limits", reproduce, findings, committed),
    )
    template, partial = environment().get_template("page.html"), findings.partial
    return template.render(findings=findings, committed=committed, sections=sections, partial=partial)


def asks_rank(findings: StudyFindings) -> bool:
    """Whether there is anything to say of ranks: one that was measured, or an adapter of more than one direction."""
    return any(
        skill.required or skill.functional or any(one.nominal_rank > 1 for one in skill.spectral)
        for skill in findings.skills
    )


def one_of_each(findings: StudyFindings) -> StudyFindings:
    """The findings without skills that repeat an earlier one, and a note of how many those are."""
    seen: set[str] = set()
    kept = []
    for skill in findings.skills:
        if not skill.repeats or skill.repeats not in seen:
            kept.append(skill)
        seen.add(skill.repeats)
    left = len(findings.skills) - len(kept)
    if not left:
        return findings
    note = (
        f"{left} of {len(findings.skills)} skills repeat one shown here, with another teacher or another way of "
        "training: the tables on top count them all, and records/ holds their numbers."
    )
    return findings.model_copy(update={"skills": tuple(kept), "notes": (*findings.notes, note)})


def write_report(findings_path: Path, out_path: Path, committed_path: Path | None = None) -> None:
    """Reads findings and writes the page atomically; BadFile when a findings file can not be read."""
    committed = None if committed_path is None else read_findings(committed_path)
    write_text(out_path, render(read_findings(findings_path), committed))


def environment() -> Environment:
    """Templates with escaping always on and no silent blanks."""
    return Environment(
        loader=PackageLoader("rankscope.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def section(slug: str, title: str, view: View, findings: StudyFindings, committed: StudyFindings | None) -> Section:
    """One section: this run's block, then the committed one's."""
    label = "" if committed is None else f"This run · {findings.study}"
    blocks = [Block(label, False, view(findings))]
    if committed is not None:
        blocks.append(Block(f"Committed run · {committed.study}", True, view(committed)))
    return Section(slug, title, tuple(blocks), LEDES.get(slug, ""))


def answer(findings: StudyFindings) -> tuple[Part, ...]:
    """The answer in plain language, key numbers, what was run and how far it can be trusted.

    Flags of learning rates that forbid a verdict stand in sight. The others are folded away where they are many: what
    they do to a verdict, such as `not converged`, the verdict itself says.
    """
    flags = words.all_flags(findings)
    others = tuple(flag for flag in flags if "confounded" not in flag)
    folded = others if len(others) > MOST_FLAGS else ()
    shown = tuple(flag for flag in flags if flag not in folded)
    size = Prose((words.honesty_line(findings), *words.size_lines(findings), *shown), "callout", "Size of this run")
    more = Details(f"{len(folded)} more flags", (Prose(folded, "list"),))
    return (Prose(findings.answer, "lead"), Tiles(words.key_tiles(findings)), size, *(more,) * bool(folded))


def claims(findings: StudyFindings) -> tuple[Part, ...]:
    """The claim cards, or a sentence that there are none."""
    cards = words.claim_cards(findings)
    return (Claims(cards),) if cards else (Prose(("This study tests no claim.",), "quiet"),)


def skill_colours(findings: StudyFindings) -> dict[str, str]:
    """Skill name -> colour, the same in every mode and figure."""
    names = dict.fromkeys(skill.name for skill in ordered(findings.skills))
    return {name: figures.PALETTE[i % len(figures.PALETTE)] for i, name in enumerate(names)}


def scores(findings: StudyFindings) -> tuple[Part, ...]:
    """Score curves grouped by mode (one legend, under the first), then what the modes say together."""
    colours = skill_colours(findings)
    legend = score_legend(findings.skills)
    groups = by_mode(findings.skills).items()
    shown = tuple(score_figure(mode, skills, colours, () if i else legend) for i, (mode, skills) in enumerate(groups))
    told = words.comparison_paragraphs(findings)
    reading = (Prose(told, "callout", "Reading matched and unmatched traces together"),) if told else ()
    return (*shown, *reading)


def score_figure(mode: str, skills: list[SkillFindings], colours: dict[str, str], legend: tuple[Key, ...]) -> Figure:
    """Skills of one mode side by side on one scale."""
    domain, order = figures.score_domain(skills), figures.arm_order(skills)
    panels = tuple(
        Panel(
            skill.name,
            size_text(skill),
            figures.score_curve(skill, order, domain, colours[skill.name]),
            words.score_alt(skill),
        )
        for skill in skills
    )
    tag = "descriptive" if any(skill.descriptive for skill in skills) else ""
    budgets = (f"Budget: {skill.budget}." for skill in skills)
    caption = " ".join(dict.fromkeys([words.mode_note(mode, *skills), *budgets]))
    return Figure(caption, panels, legend, mode.capitalize(), tag)


def score_legend(skills: Sequence[SkillFindings]) -> tuple[Key, ...]:
    """Legend of the marks that the score curves of these skills use."""
    points = [point for skill in skills for point in skill.curve]
    arms = {point.arm for point in points}
    known = (
        (True, Key("adapter of that rank", "ink")),
        ("dense" in arms, Key("dense", "ink", shape="square")),
        ("full" in arms, Key("full", "ink", shape="diamond")),
        (any(point.not_converged_seeds for point in points), Key("a seed still improving", "ink", shape="hollow")),
        (any(point.score.low is not None for point in points), Key("95 % interval", "ink", shape="bar")),
        (any(skill.n_seeds < words.FEW_SEEDS for skill in skills), Key("one seed", "ink", shape="dot")),
        (True, Key("base, chance, shortcut", "muted", "2 3", "line")),
    )
    return tuple(key for used, key in known if used)


def ranks(findings: StudyFindings) -> tuple[Part, ...]:
    """The rank table with its verdicts in words; every rank and adapter below."""
    more: tuple[Plain, ...] = tuple(
        table
        for table in (
            rank_tables.sufficiency_table(findings),
            rank_tables.analysed_table(findings),
            rank_tables.spectral_table(findings),
        )
        if table.rows
    )
    verdicts = words.required_sentences(findings)
    return (
        rank_tables.rank_table(findings),
        *((Prose(verdicts, "list", "The verdicts in words"),) if verdicts else ()),
        *((Details("Every rank and every adapter", more),) if more else ()),
    )


def truncated(skill: SkillFindings) -> list[FunctionalRank]:
    """Truncation curves of a skill, largest adapter first, the lowest q for each."""
    ranks_by_arm = {point.arm: point.rank or 0 for point in skill.curve}
    found: dict[str, FunctionalRank] = {}
    for functional in sorted(skill.functional, key=lambda f: f.q):
        if functional.curve:
            found.setdefault(functional.arm, functional)
    return sorted(found.values(), key=lambda f: -ranks_by_arm.get(f.arm, 0))


def truncation(findings: StudyFindings) -> tuple[Part, ...]:
    """Truncation curves: the largest adapter of each skill, the others folded away."""
    curves = [(skill, truncated(skill)) for skill in ordered(findings.skills)]
    first = [truncation_panel(skill, found[0]) for skill, found in curves if found]
    rest = [truncation_panel(skill, f) for skill, found in curves for f in found[1:]]
    if not first:
        return (Prose(("No adapter was truncated in this study.",), "quiet"),)
    used = {point.control for _, found in curves for functional in found for point in functional.curve}
    caption = "The adapter of largest nominal rank of each skill; the dashed upright line is its functional rank."
    smaller = (truncation_figure(rest, "The same for smaller adapters.", used),)
    return (truncation_figure(first, caption, used), *((Details("Smaller adapters", smaller),) if rest else ()))


def truncation_figure(panels: Sequence[Panel], caption: str, used: Set[str]) -> Figure:
    """Truncation panels with the legend of the controls that are shown."""
    keys = tuple(key for name, key in figures.CONTROLS.items() if name in used)
    return Figure(caption, tuple(panels), (*keys, Key("functional rank", "ink", "5 3", "line")))


def truncation_panel(skill: SkillFindings, functional: FunctionalRank) -> Panel:
    """One adapter's truncation curve, its functional rank in the subtitle."""
    found = (
        "no gain: functional rank 0" if functional.no_gain else f"functional rank {functional_text(functional) or '–'}"
    )
    size = size_text(skill, skill.n_cut_on(functional.arm))
    subtitle = f"{functional.arm}; {found} at q = {functional.q:g}; {size}"
    return Panel(
        skill_label(skill),
        subtitle,
        figures.truncation_curve(skill, functional),
        words.truncation_alt(skill, functional.arm),
    )


def spectra(findings: StudyFindings) -> tuple[Part, ...]:
    """Singular values of the largest adapter of each skill, small multiples by kind of map."""
    colours = skill_colours(findings)
    found = [(skill, largest_spectrum(skill)) for skill in ordered(findings.skills)]
    shown = [spectrum_figure(skill, summary, colours[skill.name]) for skill, summary in found if summary]
    if not shown:
        return (Prose(("No singular values were recorded.",), "quiet"),)
    return (*shown[:2], *((Details("Spectra of the other skills", tuple(shown[2:])),) if shown[2:] else ()))


def largest_spectrum(skill: SkillFindings) -> SpectralSummary | None:
    """The recorded spectrum of the largest nominal rank."""
    return max((s for s in skill.spectral if s.singular_values), key=lambda s: s.nominal_rank, default=None)


def spectrum_figure(skill: SkillFindings, summary: SpectralSummary, colour: str) -> Figure:
    """One skill's spectra, one panel per kind of map."""
    kinds = figures.spectrum_kinds(summary)
    top = max(value for layers in kinds.values() for values in layers.values() for value in values) or 1.0
    panels = tuple(
        Panel(kind, "", figures.spectrum(layers, top, colour), spectrum_alt(kind, layers))
        for kind, layers in kinds.items()
    )
    depths = sorted({layer for layers in kinds.values() for layer in layers})
    legend = tuple(Key(f"layer {d}", colour, "", "circle", figures.layer_opacity(d, depths)) for d in depths)
    caption = f"{skill_label(skill)}, {summary.arm}: means over {size_text(skill)}; the scale is shared by all panels."
    return Figure(caption, panels, legend, skill_label(skill), small=True)


def spectrum_alt(kind: str, layers: dict[int, tuple[float, ...]]) -> str:
    """The largest and smallest singular value of every layer in words."""
    told = "; ".join(f"layer {layer} from {values[0]:.3g} down to {values[-1]:.3g}" for layer, values in layers.items())
    return f"Singular values of {kind}: {told}."


def rates(findings: StudyFindings) -> tuple[Part, ...]:
    """Learning rates as heat maps, and what one rate for all ranks would have shown."""
    panels = tuple(
        Panel(
            rate_tables.rates_of(found),
            f"{plural(found.n_seeds, 'tuning seed')}, {plural(found.n_items, 'validation item')}",
            figures.rate_heat(found),
            words.rate_alt(found),
        )
        for found in findings.rate_maps
    )
    caption = "Validation score by learning rate and arm; framed: the rate that the study trained with."
    tables = (rate_tables.one_rate_table(findings), rate_tables.fixed_rate_table(findings))
    figure = Figure(caption, panels, (Key("used rate", "ink", shape="hollow"),))
    return (figure, *(table for table in tables if table.rows))


def recovery(findings: StudyFindings) -> tuple[Part, ...]:
    """The recovery table."""
    table = rank_tables.recovery_table(findings)
    return (table,) if table.rows else (Prose(("This study has no full fine-tuning to compare with.",), "quiet"),)


def calibration(findings: StudyFindings) -> tuple[Part, ...]:
    """The calibration table and where its rows come from."""
    if not findings.calibration:
        return (Prose(("No calibration accompanies this study.",), "quiet"),)
    source = f"From {findings.calibration_source}." if findings.calibration_source else "From this run."
    more = (
        calibration_tables.criteria_table(findings),
        calibration_tables.simulated_table(findings),
        calibration_tables.null_table(findings),
    )
    return (
        calibration_tables.calibration_table(findings),
        Prose((source,), "quiet"),
        *(table for table in more if table.rows),
    )


def estimators(findings: StudyFindings) -> tuple[Part, ...]:
    """Spectral estimators by how well they tell a rank that is known."""
    kinds = (("planted", "planted update"), ("functional", "adapter's functional rank"))
    found = [calibration_tables.estimator_table(findings, target, of) for target, of in kinds]
    return tuple(table for table in found if table.rows)


def details(findings: StudyFindings) -> tuple[Part, ...]:
    """All scores of all arms, one table per skill."""
    return tuple(score_tables.score_table(skill) for skill in ordered(findings.skills))


def reproduce(findings: StudyFindings) -> tuple[Part, ...]:
    """Commands, provenance and limits."""
    facts = (
        ("study", findings.study),
        ("base", findings.base),
        ("base hash", findings.base_hash),
        *findings.provenance.items(),
        *_taken(findings),
    )
    limits = words.all_limits(findings)
    return (
        *((Commands(tuple(findings.reproduce.items())),) if findings.reproduce else ()),
        Facts(facts),
        *((Prose(limits, "list", "Limits"),) if limits else ()),
    )


def _taken(findings: StudyFindings) -> tuple[tuple[str, str], ...]:
    """Skills that an earlier run trained, and where that was, a row for each of those runs."""
    runs: dict[tuple[tuple[str, str], ...], list[str]] = {}
    for key, facts in findings.taken.items():
        mode, _, name = key.partition("/")
        runs.setdefault(tuple(facts.items()), []).append(f"{name} · {mode}")
    told = [(dict(facts), "; ".join(names)) for facts, names in runs.items()]
    shown = ("commit", "precision", "device", "cpu", "torch")
    return tuple(
        (f"taken from {facts['study']}", f"{names} ({', '.join(facts[name] for name in shown if name in facts)})")
        for facts, names in told
    )


RANK_SECTIONS: tuple[tuple[str, str, View], ...] = (
    ("ranks", "Required, functional and spectral rank", ranks),
    ("truncation", "What survives truncation", truncation),
    ("spectra", "Spectra", spectra),
)
