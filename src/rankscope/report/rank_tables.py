"""Tables of rank: what each skill needs and uses, how both were judged, and how much each arm recovers."""

from rankscope.rank.records import (
    FunctionalRank,
    RequiredRank,
    SkillFindings,
    SpectralSummary,
    StudyFindings,
)
from rankscope.report.formats import (
    VERDICT_TONES,
    count,
    functional_text,
    interval_cell,
    is_share,
    missing,
    number_cell,
    ordered,
    percent,
    plain,
    plural,
    rank_set,
    raw,
    score_format,
    size_text,
    skill_label,
    text_cell,
)
from rankscope.report.parts import Cell, Column, Table


def rank_table(findings: StudyFindings) -> Table:
    """Required, functional and spectral rank, one row per task."""
    skills = ordered(findings.skills)
    required_qs = sorted({r.q for s in skills for r in s.required})
    functional_qs = sorted({f.q for s in skills for f in s.functional})
    estimators = list(dict.fromkeys(name for s in skills for summary in s.spectral for name in summary.estimators))
    columns = (
        Column("skill", "Skill"),
        *(
            Column(f"required {q}", f"Required rank, q\u00a0=\u00a0{q:g}", title=f"reaches {q:.0%} of dense's gain")
            for q in required_qs
        ),
        *(
            Column(f"functional {q}", f"Functional rank, q\u00a0=\u00a0{q:g}", title=f"keeps {q:.0%} of its own gain")
            for q in functional_qs
        ),
        Column(
            "nominal", "Nominal rank", "number", "of the adapter that the next columns and functional rank describe"
        ),
        *(Column(f"spectral {name}", name, "interval", "from singular values alone") for name in estimators),
        Column("size", "Seeds × items"),
    )
    rows = tuple(rank_row(skill, required_qs, functional_qs, estimators) for skill in skills)
    note = (
        "A set holds every rank that the data can not exclude as the smallest sufficient one. Functional and "
        "spectral ranks are of the adapter with the largest nominal rank; the other adapters are folded in below."
    )
    return Table("rank", "Required, functional and spectral rank of each task", columns, rows, note)


def rank_row(
    skill: SkillFindings, required_qs: list[float], functional_qs: list[float], estimators: list[str]
) -> dict[str, Cell]:
    """One skill's ranks by every definition."""
    summary = max(skill.spectral, key=lambda s: s.nominal_rank, default=None)
    arm = summary.arm if summary else largest_functional_arm(skill)
    required = {r.q: r for r in skill.required}
    functional = {f.q: f for f in skill.functional if f.arm == arm}
    return {
        "skill": Cell(text=skill.name, detail=skill.mode, title=skill.task, csv=skill_label(skill)),
        **{f"required {q}": required_cell(required.get(q)) for q in required_qs},
        **{f"functional {q}": functional_cell(functional.get(q)) for q in functional_qs},
        "nominal": number_cell(summary.nominal_rank if summary else None, count, "no adapter was analysed"),
        **{f"spectral {name}": spectral_cell(summary, name) for name in estimators},
        "size": text_cell(size_text(skill), title=skill.budget),
    }


def largest_functional_arm(skill: SkillFindings) -> str | None:
    """The arm of largest nominal rank among those truncated."""
    ranks = {point.arm: point.rank or 0 for point in skill.curve}
    return max((f.arm for f in skill.functional), key=lambda arm: ranks.get(arm, 0), default=None)


def required_cell(required: RequiredRank | None) -> Cell:
    """The set with its verdict as a badge; the sentence on hovering."""
    if required is None:
        return missing("required rank was not asked for here: it needs a dense arm to compare with")
    text = rank_set(required)
    tone = VERDICT_TONES.get(required.verdict, "")
    need = f" About {plural(required.seeds_missing, 'more seed')} would decide it." if required.seeds_missing else ""
    title = required.sentence + need
    csv = f"{text or 'unbounded'} ({required.verdict})"
    if text is None:
        return Cell("–", title=title, badge=required.verdict, tone=tone, csv=csv, missing=True)
    return Cell(text, title=title, badge=required.verdict, tone=tone, csv=csv)


def functional_cell(functional: FunctionalRank | None) -> Cell:
    """The median with the value of every seed."""
    if functional is None:
        return missing("this adapter was not truncated")
    text = functional_text(functional)
    seeds = f"seeds: {', '.join(map(str, functional.by_seed))}"
    if functional.no_gain:
        return Cell(
            "0",
            detail=seeds,
            badge="no gain",
            tone="open",
            csv="0 (no gain)",
            title="the adapter's gain is not above 0",
        )
    if text is None:
        return missing("no median: the truncation curve never keeps the asked share of the gain")
    why = "" if functional.low is not None else "; no interval below 5 seeds"
    return Cell(
        text,
        detail=seeds,
        csv=text,
        title=f"median over {plural(len(functional.by_seed), 'seed')} of {functional.arm}{why}",
    )


def spectral_cell(summary: SpectralSummary | None, name: str) -> Cell:
    """An estimator's mean with its interval over seeds and the nominal rank beside it."""
    if summary is None:
        return missing("no adapter of this skill was analysed")
    cell = interval_cell(summary.estimators.get(name), plain, f"{name} was not computed for {summary.arm}")
    if cell.missing:
        return cell
    return Cell(
        f"{cell.text} of {summary.nominal_rank}", cell.detail, cell.title, csv=cell.csv, low=cell.low, high=cell.high
    )


def sufficiency_table(findings: StudyFindings) -> Table:
    """For every rank, whether it is sufficient, and the contrast that decided it."""
    columns = (
        Column("skill", "Skill"),
        Column("q", "q", "number"),
        Column("rank", "Rank", "number"),
        Column("verdict", "Verdict"),
        Column("contrast", "Gain − q × dense gain", "interval"),
        Column("detectable", "Detectable", "number", "smallest true contrast that these seeds see with 80 % power"),
        Column("unit", "Unit"),
        Column("size", "Seeds × items"),
    )
    rows = tuple(
        sufficiency_row(skill, required, rank)
        for skill in ordered(findings.skills)
        for required in skill.required
        for rank in sorted(required.by_rank)
    )
    return Table("sufficiency", "Which ranks are sufficient, and by what margin", columns, rows)


def sufficiency_row(skill: SkillFindings, required: RequiredRank, rank: int) -> dict[str, Cell]:
    """One rank's verdict and contrast."""
    verdict, resolution = required.by_rank[rank], required.resolution.get(rank)
    return {
        "skill": Cell(text=skill.name, detail=skill.mode, csv=skill_label(skill)),
        "q": Cell(text=f"{required.q:g}", csv=raw(required.q)),
        "rank": Cell(text=str(rank), csv=str(rank)),
        "verdict": Cell(text="", badge=verdict, tone=VERDICT_TONES.get(verdict, ""), csv=verdict),
        "contrast": interval_cell(required.contrast.get(rank), score_format(skill), "no contrast was recorded"),
        "detectable": number_cell(
            resolution.detectable if resolution else None, score_format(skill), "told where a rank is undecided"
        ),
        "unit": Cell(text="points" if is_share(skill) else "nats", csv="points" if is_share(skill) else "nats"),
        "size": text_cell(size_text(skill), title=skill.budget),
    }


def analysed_table(findings: StudyFindings) -> Table:
    """Functional rank of every adapter truncated."""
    columns = (
        Column("skill", "Skill"),
        Column("arm", "Adapter"),
        Column("q", "q", "number"),
        Column("functional", "Functional rank"),
        Column("global", "Mean directions per site, global budget", "number"),
        Column("size", "Seeds × items"),
    )
    rows = tuple(
        {
            "skill": Cell(text=skill.name, detail=skill.mode, csv=skill_label(skill)),
            "arm": text_cell(functional.arm),
            "q": Cell(text=f"{functional.q:g}", csv=raw(functional.q)),
            "functional": functional_cell(functional),
            "global": number_cell(functional.global_mean, plain, "no global budget was tried on this adapter"),
            "size": text_cell(size_text(skill, skill.n_cut_on(functional.arm)), title=skill.budget),
        }
        for skill in ordered(findings.skills)
        for functional in skill.functional
    )
    return Table("functional", "Functional rank of every adapter that was truncated", columns, rows)


def spectral_table(findings: StudyFindings) -> Table:
    """Spectral estimators of every adapter, always beside the nominal rank."""
    skills = ordered(findings.skills)
    names = list(dict.fromkeys(name for s in skills for summary in s.spectral for name in summary.estimators))
    columns = (
        Column("skill", "Skill"),
        Column("arm", "Adapter"),
        *(Column(name, name, "interval") for name in names),
        Column("size", "Seeds × items"),
    )
    rows = tuple(
        {
            "skill": Cell(text=skill.name, detail=skill.mode, csv=skill_label(skill)),
            "arm": text_cell(summary.arm),
            **{name: spectral_cell(summary, name) for name in names},
            "size": text_cell(size_text(skill), title=skill.budget),
        }
        for skill in skills
        for summary in skill.spectral
    )
    return Table("spectral", "Spectral estimators of every adapter, beside its nominal rank", columns, rows)


def recovery_table(findings: StudyFindings) -> Table:
    """Recovery per skill and arm, or the sentence that refuses it."""
    columns = (
        Column("skill", "Skill"),
        Column("arm", "Arm"),
        Column("ratio", "Recovery, %", "interval", "gain(adapter) / gain(full)"),
        Column("contrast", "Gain − q × full gain", "interval"),
        Column("unit", "Unit"),
        Column("q", "q", "number"),
        Column("why", "Why no ratio"),
        Column("size", "Seeds × items"),
    )
    rows = tuple(
        {
            "skill": Cell(text=skill.name, detail=skill.mode, csv=skill_label(skill)),
            "arm": text_cell(recovery.arm),
            "ratio": interval_cell(recovery.ratio, percent, recovery.refused or "no ratio was recorded"),
            "contrast": interval_cell(recovery.contrast, score_format(skill), "no contrast was recorded"),
            "unit": Cell(text="points" if is_share(skill) else "nats", csv="points" if is_share(skill) else "nats"),
            "q": Cell(text=f"{recovery.q:g}", csv=raw(recovery.q)),
            "why": Cell(text=recovery.refused or "", csv=recovery.refused or ""),
            "size": text_cell(size_text(skill), title=skill.budget),
        }
        for skill in ordered(findings.skills)
        for recovery in skill.recovery
    )
    note = "Recovery is never clipped at 100 %: an adapter may beat full fine-tuning."
    return Table("recovery", "How much of full fine-tuning's gain each arm recovers", columns, rows, note)
