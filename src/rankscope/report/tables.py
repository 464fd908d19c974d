"""One function per table; each turns records into rows of cells and computes nothing."""

from rankscope.rank.rate_maps import fixed_need, shared_rates, tuned_need
from rankscope.rank.records import (
    CalibrationRow,
    CurvePoint,
    FunctionalRank,
    RateMap,
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
    rate,
    raw,
    score_format,
    size_text,
    skill_label,
    text_cell,
    unit,
)
from rankscope.report.parts import Cell, Column, Table

OTHER_SCORES = {
    "answer_correct": ("Answer, own trace", "Answer after the model's own, freely generated trace"),
    "answer_given_trace": ("Answer, gold trace", "Answer when the gold trace is given"),
    "decisions_right": ("Decisions right", "Share of completion tokens that are right given the gold prefix"),
    "forced_choice": ("Forced choice", "Right answer scored above every other candidate"),
}


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
            "size": text_cell(size_text(skill), title=skill.budget),
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


def calibration_table(findings: StudyFindings) -> Table:
    """How the procedure did on skills whose rank is known."""
    columns = (
        Column("truth", "Truth"),
        Column("repeats", "Repeats judged"),
        Column("coverage", "Sets holding the truth, %", "interval"),
        Column("width", "Median width, doublings", "number"),
        Column("functional", "Functional rank found"),
        Column("note", "Note"),
    )
    rows = tuple(calibration_row(row) for row in findings.calibration)
    return Table("calibration", "The same procedure where the answer is known", columns, rows)


def calibration_row(row: CalibrationRow) -> dict[str, Cell]:
    """One truth: how many repeats were judged and how many sets held it."""
    return {
        "truth": text_cell(row.truth),
        "repeats": Cell(text=f"{row.n_judged} of {row.n_repeats}", csv=f"{row.n_judged} of {row.n_repeats}"),
        "coverage": coverage_cell(row),
        "width": number_cell(row.median_doublings, plain, "no set to measure for this truth"),
        "functional": text_cell(row.functional_rank, "no adapter was truncated"),
        "note": Cell(text=row.note, csv=row.note),
    }


def coverage_cell(row: CalibrationRow) -> Cell:
    """Covered of judged, with the interval of the rate."""
    if row.n_judged == 0:
        return missing("no repeat could be judged: dense training never came close enough to the exact gain")
    low, high = row.coverage_low, row.coverage_high
    span = "no interval" if low is None or high is None else f"[{percent(low)}, {percent(high)}]"
    return Cell(
        text=f"{row.covered} of {row.n_judged}",
        detail=span,
        title="95 % interval of the rate, in per cent",
        csv=raw(row.covered / row.n_judged, percent),
        low=raw(low, percent),
        high=raw(high, percent),
    )


def simulated_table(findings: StudyFindings) -> Table:
    """How often the sets hold the truth of simulated curves."""
    columns = (
        Column("family", "Curves"),
        Column("size", "Seeds × items"),
        Column("coverage", "Sets holding the truth, %", "interval"),
        Column("width", "Median width, doublings", "number"),
    )
    rows = tuple(
        {
            "family": text_cell(row.family),
            "size": text_cell(f"{row.n_seeds} × {row.n_items}"),
            "coverage": rate_cell(row.covered, row.n_curves, (row.coverage_low, row.coverage_high)),
            "width": number_cell(row.median_doublings, plain, ""),
        }
        for row in findings.simulated
    )
    return Table("simulated", "The sets on simulated rank curves whose truth is known", columns, rows)


def null_table(findings: StudyFindings) -> Table:
    """How often 5 % tests reject a true null."""
    columns = (Column("test", "Two-sided 5 % test"), Column("rate", "Rejected, %", "interval"))
    rows = tuple(
        {"test": text_cell(row.test), "rate": rate_cell(row.rejected, row.n_nulls, (row.low, row.high))}
        for row in findings.nulls
    )
    return Table("nulls", "Where there is nothing to find", columns, rows)


def rate_cell(n_hit: int, n: int, ends: tuple[float, float]) -> Cell:
    """A rate in per cent with its exact interval."""
    span = f"[{percent(ends[0])}, {percent(ends[1])}]"
    text = percent(n_hit / n)
    return Cell(text, span, f"{n_hit:,} of {n:,}; exact 95 % interval", csv=text, low=raw(ends[0]), high=raw(ends[1]))


def estimator_table(findings: StudyFindings, target: str, of: str) -> Table:
    """Estimators by their error in telling a rank, and by what moves them."""
    shown = [row for row in findings.estimators if row.target == target]
    nuisances = list(dict.fromkeys(name for row in shown for name in row.moved_by))
    columns = (
        Column("estimator", "Estimator"),
        Column("error", "Error, doublings", "interval"),
        Column("bias", "Bias, doublings", "number"),
        Column("correlation", "Rank correlation", "number"),
        *(Column(f"moved-{name}", f"Moved by {name}", "number") for name in nuisances),
    )
    rows = tuple(
        {
            "estimator": text_cell(row.estimator),
            "error": interval_cell(row.error_doublings, plain, ""),
            "bias": number_cell(row.bias_doublings, plain, ""),
            "correlation": number_cell(row.correlation, plain, "the estimate never changes"),
            **{f"moved-{name}": number_cell(row.moved_by.get(name), plain, "not tried") for name in nuisances},
        }
        for row in shown
    )
    n_cells = max((row.n_cells for row in shown), default=0)
    note = f"{n_cells:,} adapters. Moved by: mean change of the estimate, in doublings, where the truth is the same."
    return Table(f"estimators-{target}", f"Against the rank of the {of}", columns, rows, note)


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


def score_table(skill: SkillFindings) -> Table:
    """Every score of every arm of one skill, with the base and the chance level in the first rows."""
    columns = (
        Column("arm", "Arm"),
        Column("lr", "Learning rate", "number"),
        Column("score", f"Exact output, {unit(skill)}" if is_share(skill) else "−KL, nats", "interval"),
        Column("gain", f"Gain, {'points' if is_share(skill) else 'nats'}", "interval"),
        *(Column(key, f"{label}, %", "interval", title) for key, (label, title) in OTHER_SCORES.items()),
        Column("seeds", "Not converged / diverged"),
        Column("cells", "Cells"),
    )
    rows = (chance_row(skill), base_row(skill), *(arm_row(skill, point) for point in skill.curve))
    note = f"{size_text(skill)}; {skill.budget}. Task: {skill.task}."
    return Table(f"scores-{skill.name}-{skill.mode}", f"All scores of {skill_label(skill)}", columns, rows, note)


def chance_row(skill: SkillFindings) -> dict[str, Cell]:
    """Chance levels, where they are defined."""
    blank = missing("chance has no such value")
    write = score_format(skill)
    return {
        "arm": Cell("chance", csv="chance"),
        "lr": blank,
        "score": number_cell(skill.chance, write, "chance has no level on this score"),
        "gain": blank,
        **{key: missing("chance is not known for this score") for key in OTHER_SCORES},
        "forced_choice": number_cell(skill.chance_forced, percent, "the items have no candidates"),
        "seeds": blank,
        "cells": blank,
    }


def base_row(skill: SkillFindings) -> dict[str, Cell]:
    """The frozen base on the same items; it has no seeds, hence no interval over seeds."""
    why = "the base was not scored this way"
    title = "the frozen base on the same items; not trained, so no spread over seeds"
    blank = missing("the base is not trained")
    return {
        "arm": Cell("base", csv="base", title=title),
        "lr": blank,
        "score": number_cell(skill.base_score, score_format(skill), why, title),
        "gain": blank,
        **{key: number_cell(skill.base_scores.get(key), percent, why, title) for key in OTHER_SCORES},
        "seeds": blank,
        "cells": blank,
    }


def arm_row(skill: SkillFindings, point: CurvePoint) -> dict[str, Cell]:
    """One arm's scores."""
    write = score_format(skill)
    why = "this score was not taken for this arm"
    trouble = point.not_converged_seeds + point.diverged_seeds
    text = f"{point.not_converged_seeds} / {point.diverged_seeds}"
    return {
        "arm": text_cell(point.arm),
        "lr": Cell(rate(point.lr), csv=raw(point.lr)),
        "score": interval_cell(point.score, write, why),
        "gain": interval_cell(point.gain, write, why),
        **{key: interval_cell(getattr(point, key), percent, why) for key in OTHER_SCORES},
        "seeds": Cell(text, csv=text, tone="open", title="seeds still improving / seeds that diverged")
        if trouble
        else Cell(text, csv=text),
        "cells": cells_cell(point),
    }


def cells_cell(point: CurvePoint) -> Cell:
    """The first letters of each cell key; all of them in the CSV file."""
    if not point.cells:
        return missing("no cell keys were recorded")
    return Cell(" ".join(key[:6] for key in point.cells), csv=" ".join(point.cells), title="\n".join(point.cells))
