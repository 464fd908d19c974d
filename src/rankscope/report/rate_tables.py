"""One learning rate for all ranks against one each: in the tuning trainings, and over the seeds of a study."""

from rankscope.rank.rate_maps import fixed_need, shared_rates, tuned_need
from rankscope.rank.records import OneRateNeed, RateMap, SkillFindings, StudyFindings
from rankscope.report.formats import missing, plural, rate, skill_label, text_cell
from rankscope.report.parts import Cell, Column, Table
from rankscope.report.rank_tables import required_cell


def fixed_rate_table(findings: StudyFindings) -> Table:
    """The rank that each skill seems to need when every rank is trained at one rate, and at rates of their own."""
    maps = [found for found in findings.rate_maps if found.ranks and "dense" in found.scores]
    rates = sorted({one for found in maps for one in shared_rates(found)})
    columns = (
        Column("skill", "Skill"),
        *(Column(f"at-{one:g}", rate(one), "number") for one in rates),
        Column("tuned", "Tuned", "number"),
    )
    rows = tuple(
        {
            "skill": text_cell(rates_of(found)),
            **{f"at-{one:g}": need_cell(fixed_need(found, one)) for one in rates},
            "tuned": need_cell(tuned_need(found)),
        }
        for found in maps
    )
    note = (
        "Smallest rank from which all larger ones reach 90 % of dense's gain, dense at its best rate. From the tuning "
        "trainings (validation items, few seeds; between tried rates by interpolation): a description, no verdict."
    )
    return Table("fixed-rate", "One learning rate for all ranks, or one each", columns, rows if rates else (), note)


def need_cell(need: int | None) -> Cell:
    """A rank, or a dash that says why not."""
    if need is None:
        return missing("no rank reaches it, or a rank was not tried around this rate")
    return Cell(f"{need}", csv=f"{need}")


def rates_of(found: RateMap) -> str:
    """The skills that share a map of rates: the first by name."""
    mode, name = found.skills[0].split("/", 1)
    others = len(found.skills) - 1
    return f"{name} ({mode})" + (f" and {others} more" if others else "")


def one_rate_table(findings: StudyFindings) -> Table:
    """Required rank at one rate for all ranks, trained over seeds, beside that at rates of their own."""
    skills = {skill.key: skill for skill in findings.skills}
    columns = (
        Column("skill", "Skill"),
        Column("rate", "One rate", "number"),
        Column("ranks", "Ranks at it"),
        Column("one", "Required rank at one rate"),
        Column("tuned", "Tuned", title="every rank at the rate that did best in its tuning"),
        Column("size", "Seeds × items"),
    )
    rows = tuple(one_rate_row(found, skills[found.skill]) for found in findings.one_rate if found.skill in skills)
    note = "Reaches 90 % of dense's gain; dense is the same training in both, at its own best rate."
    return Table("one-rate", "One learning rate for all ranks, over seeds", columns, rows, note)


def one_rate_row(found: OneRateNeed, skill: SkillFindings) -> dict[str, Cell]:
    """One skill's required rank by both ways of choosing rates."""
    return {
        "skill": text_cell(skill_label(skill)),
        "rate": Cell(rate(found.rate), csv=f"{found.rate:g}"),
        "ranks": text_cell(", ".join(map(str, sorted(found.need.by_rank)))),
        "one": required_cell(found.need),
        "tuned": required_cell(next((one for one in skill.required if one.q == found.need.q), None)),
        "size": text_cell(need_size(found)),
    }


def need_size(found: OneRateNeed) -> str:
    """Seeds and items of the need at one rate, which may be fewer than those of the tuned one."""
    contrast = next(iter(found.need.contrast.values()))
    return f"{plural(contrast.n_seeds, 'seed')} × {plural(contrast.n_items, 'item')}"
