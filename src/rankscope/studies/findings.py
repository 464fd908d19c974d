"""From score tables to findings: every number of a report is made here, once."""

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np
import polars as pl
import torch
from torch import Tensor

from rankscope.adapters.read import read_adapter
from rankscope.base.errors import BadInput
from rankscope.evals.score import wide
from rankscope.rank.functional import TruncationCurve, functional_rank, truncation_curve
from rankscope.rank.over_items import drawn_functional_ranks
from rankscope.rank.records import (
    Control,
    CurvePoint,
    FunctionalRank,
    Recovery,
    RequiredRank,
    SkillFindings,
    SpectralSummary,
)
from rankscope.rank.recovery import recovery
from rankscope.rank.required import gain_interval, reference_scores, required_rank
from rankscope.spectra.estimators import ESTIMATORS, EmptySpectrum
from rankscope.spectra.low_rank_svd import singular_values
from rankscope.stats.crossed import crossed_interval
from rankscope.stats.interval import Interval
from rankscope.studies.evidence import PRIMARY, SHARES, Evidence, Term
from rankscope.studies.plan import SkillPlan, StudyPlan, rate_name
from rankscope.tasks.catalog import load_task
from rankscope.tasks.jsonl import JsonlTask
from rankscope.tasks.twins import TwinTask
from rankscope.train.cell import ArmSpec, LoraSpec
from rankscope.train.training import FINAL

IMPROVING = 0.01
"""A cell that gains more than this over its last fifth has not converged (in nats for planted skills)."""
_ROUNDING = 1e-9
Estimate = TypeVar("Estimate", bound=float | None)


@dataclass(frozen=True)
class SkillTables:
    """Everything measured on one skill. Cells are listed by (arm label, seed); diverged ones are absent."""

    base: pl.DataFrame
    test: dict[tuple[str, int], pl.DataFrame]
    convergence: dict[tuple[str, int], pl.DataFrame]
    truncation: dict[tuple[str, int], pl.DataFrame]
    folders: dict[tuple[str, int], Path]
    keys: dict[tuple[str, int], str]
    roles: dict[tuple[str, int], pl.DataFrame] = field(default_factory=dict)
    """Of adapters that the plan reads."""


@dataclass(frozen=True)
class Scores:
    """One score of a skill as arrays: arm label -> [seeds, items], over the seeds that every arm finished."""

    by_arm: dict[str, np.ndarray]
    reference_N: np.ndarray
    base_N: np.ndarray
    seeds: tuple[int, ...]


def primary_column(skill: SkillPlan) -> str:
    """The score that ranks are judged by: exact output, or nats for planted skills."""
    return "nats" if skill.mode == "planted" else "exact_output"


def arms_alive(skill: SkillPlan, tables: SkillTables) -> list[ArmSpec]:
    """Arms that did not diverge in every seed."""
    return [arm for arm in skill.arms if any((arm.label, seed) in tables.test for seed in skill.seeds)]


def whole_seeds(skill: SkillPlan, tables: SkillTables) -> tuple[int, ...]:
    """Seeds that every arm alive finished without diverging."""
    labels = [arm.label for arm in arms_alive(skill, tables)]
    return tuple(seed for seed in skill.seeds if all((label, seed) in tables.test for label in labels))


def scores_of(skill: SkillPlan, tables: SkillTables, column: str) -> Scores:
    """One score of every arm. Raises BadInput when no seed is whole."""
    seeds = whole_seeds(skill, tables)
    if not seeds:
        raise BadInput(
            f"Every seed of {skill.key} has a diverged training, so its arms share no seed to be compared on. Use more "
            "seeds, or lower learning rates and another folder (--out)."
        )
    by_arm = {
        arm.label: wide(pl.concat(tables.test[arm.label, seed] for seed in seeds), column)[2]
        for arm in arms_alive(skill, tables)
    }
    base_N = tables.base[column].cast(pl.Float64).to_numpy()
    chance = tables.base["chance"].cast(pl.Float64).to_numpy() if uses_chance(skill, tables.base) else None
    return Scores(by_arm, reference_scores(base_N, chance), base_N, seeds)


def uses_chance(skill: SkillPlan, base: pl.DataFrame) -> bool:
    """Whether exact output can be had by guessing among candidates: only where the answer is all that is written.

    `base`: the base's scores on the tested items, with the chance of each; of a file these are what counts.
    """
    task = load_task(skill.task)
    if isinstance(task, JsonlTask):
        return not base["chance"].null_count() and not any(task.texts[row].trace for row in base["item"])
    return isinstance(task, TwinTask) and task.knobs.mode == "direct"


def skill_findings(
    plan: StudyPlan, skill: SkillPlan, tables: SkillTables, then: SkillFindings | None = None
) -> SkillFindings:
    """All findings on one skill; an arm that diverged in every seed is only named in the flags.

    `then`: what an earlier run found, where its weights are gone; spectra and convergence are as they were there.
    """
    diverged = {arm.label: sum((arm.label, seed) not in tables.test for seed in skill.seeds) for arm in skill.arms}
    skill = _without_dead_arms(skill, tables)
    scores = scores_of(skill, tables, primary_column(skill))
    unsettled = _unsettled(skill, tables, scores.seeds) if then is None else _unsettled_then(then)
    column = primary_column(skill)
    chance = tables.base["chance"].cast(pl.Float64)
    return SkillFindings(
        name=skill.name,
        task=skill.task,
        scored_as=skill.scored_as,
        mode=skill.mode,
        repeats=skill.repeats,
        descriptive=skill.descriptive,
        n_seeds=len(scores.seeds),
        n_items=len(scores.base_N),
        budget=_budget_words(skill),
        precision=plan.precision,
        chance=float(chance.mean()) if uses_chance(skill, tables.base) else None,  # type: ignore[arg-type]
        chance_forced=None if chance.null_count() else float(chance.mean()),  # type: ignore[arg-type]
        shortcuts=shortcut_levels(skill),
        base_score=float(scores.base_N.mean()),
        base_scores=_base_scores(tables.base, column),
        curve=tuple(
            _curve_point(plan, skill, arm, tables, scores, unsettled[arm.label], diverged[arm.label])
            for arm in skill.arms
        ),
        required=_required(skill, scores, unsettled),
        functional=tuple(one for rank in skill.functional for one in _functional(skill, rank, tables, scores)),
        spectral=then.spectral if then else tuple(_spectral(arm, tables, scores.seeds) for arm in skill.lora_arms),
        recovery=_recovery(skill, scores),
        flags=_flags(unsettled, diverged),
    )


def _without_dead_arms(skill: SkillPlan, tables: SkillTables) -> SkillPlan:
    alive = arms_alive(skill, tables)
    ranks = {arm.rank for arm in alive if isinstance(arm, LoraSpec)}
    return skill.override(
        arms=[arm.model_dump() for arm in alive], functional=tuple(rank for rank in skill.functional if rank in ranks)
    )


def _budget_words(skill: SkillPlan) -> str:
    budget = skill.budget
    seen = "each seen once" if budget.n_epochs == 1 else f"each seen {budget.n_epochs} times"
    return f"{budget.n_steps:,} steps of {budget.batch_size} items, {seen}"


def shortcut_levels(skill: SkillPlan) -> dict[str, float]:
    """Exact output of shortcuts that write the trace but do not find the answer."""
    task = load_task(skill.task)
    if not isinstance(task, TwinTask):
        return {}
    knobs = task.knobs
    if knobs.labels == "shuffled":
        return {}
    if knobs.mode == "direct":
        ends = {"any end of a chain from the start": 1 / knobs.chains} if task.question == "chain" else {}
        return {"any leaf": 1 / (knobs.chains + knobs.distractors)} | ends
    if knobs.mode == "trace" and task.question == "hop":
        return {}
    return {"trace right, then any end of it": 1 / knobs.chains}


def _base_scores(base: pl.DataFrame, primary: str) -> dict[str, float]:
    columns = ("exact_output", "answer_correct", "answer_given_trace", "forced_choice", "nats")
    means = {name: base[name].cast(pl.Float64).mean() for name in columns if name != primary}
    return {name: float(mean) for name, mean in means.items() if mean is not None}  # type: ignore[arg-type]


def _unsettled(skill: SkillPlan, tables: SkillTables, seeds: tuple[int, ...]) -> dict[str, int]:
    return {arm.label: improving_seeds(skill, arm, tables, seeds) for arm in skill.arms}


def _unsettled_then(then: SkillFindings) -> dict[str, int]:
    return {point.arm: point.not_converged_seeds for point in then.curve}


def improving_seeds(skill: SkillPlan, arm: ArmSpec, tables: SkillTables, seeds: tuple[int, ...]) -> int:
    """Seeds whose validation score still rose by more than IMPROVING over the last fifth of training."""
    column = primary_column(skill)
    count = 0
    for seed in seeds:
        frame = tables.convergence[arm.label, seed]
        means = frame.group_by("step").agg(pl.col(column).cast(pl.Float64).mean()).sort("step")[column]
        count += float(means[-1] - means[0]) > IMPROVING + _ROUNDING
    return count


def _curve_point(
    plan: StudyPlan,
    skill: SkillPlan,
    arm: ArmSpec,
    tables: SkillTables,
    scores: Scores,
    unsettled: int,
    diverged: int,
) -> CurvePoint:
    frame = pl.concat(tables.test[arm.label, seed] for seed in scores.seeds)
    primary_SN = scores.by_arm[arm.label]
    right = frame.with_columns((pl.col("n_right") / pl.col("n_decisions")).alias("nats"))
    return CurvePoint(
        arm=arm.label,
        rank=arm.rank if isinstance(arm, LoraSpec) else None,
        lr=plan.rates[rate_name(skill, arm)],
        score=crossed_interval(primary_SN, share=primary_column(skill) != "nats"),
        gain=gain_interval(primary_SN, scores.reference_N),
        answer_correct=_other(frame, "answer_correct"),
        answer_given_trace=_other(frame, "answer_given_trace"),
        decisions_right=None if frame["n_decisions"].null_count() else _other(right, "nats"),
        forced_choice=_other(frame, "forced_choice"),
        not_converged_seeds=unsettled,
        diverged_seeds=diverged,
        cells=tuple(tables.keys[arm.label, seed] for seed in scores.seeds),
    )


def _other(frame: pl.DataFrame, column: str) -> Interval | None:
    return None if frame[column].null_count() else crossed_interval(wide(frame, column)[2], share=True)


def _required(skill: SkillPlan, scores: Scores, unsettled: dict[str, int]) -> tuple[RequiredRank, ...]:
    """Required rank at each share; `not converged` when dense, the denominator, still improved in most seeds.

    An adapter that still improved makes its required rank an upper bound at this budget; the flags name it.
    """
    ranks = {arm.rank: scores.by_arm[arm.label] for arm in skill.lora_arms}
    if not ranks or "dense" not in scores.by_arm:
        return ()
    not_converged = unsettled["dense"] > len(scores.seeds) / 2
    full = scores.by_arm.get("full")
    return tuple(
        required_rank(ranks, scores.by_arm["dense"], full, scores.reference_N, q, not_converged) for q in SHARES
    )


def evidence_of(
    skills: Iterable[SkillPlan], found: tuple[SkillFindings, ...], tables: Mapping[str, SkillTables]
) -> Evidence:
    """What claims are judged by: the findings, and the same scores put to any other level.

    What is judged at the usual level alone (dense below q of full, trainings that still improved) is left out there.
    """
    plans = {skill.key: skill for skill in skills}

    @functools.cache
    def alive(key: str, score: str = PRIMARY) -> tuple[SkillPlan, Scores]:
        skill = _without_dead_arms(plans[key], tables[key])
        return skill, scores_of(skill, tables[key], score or primary_column(skill))

    def required_at(one: SkillFindings, level: float) -> RequiredRank:
        skill, scores = alive(one.key)
        ranks = {arm.rank: scores.by_arm[arm.label] for arm in skill.lora_arms}
        return required_rank(ranks, scores.by_arm["dense"], None, scores.reference_N, SHARES[0], level=level)

    def gain_at(one: SkillFindings, arm: str, level: float) -> Interval:
        _, scores = alive(one.key)
        return gain_interval(scores.by_arm[arm], scores.reference_N, level)

    def contrast_SN(terms: Sequence[Term], score: str) -> np.ndarray:
        scored = [(alive(one.key, score)[1], arm, weight) for one, arm, weight in terms]
        seeds = [seed for seed in scored[0][0].seeds if all(seed in scores.seeds for scores, *_ in scored)]
        parts = [
            weight * (scores.by_arm[arm][[scores.seeds.index(seed) for seed in seeds]] - scores.reference_N)
            for scores, arm, weight in scored
        ]
        return np.asarray(np.sum(parts, axis=0))

    def role_values_SN(one: SkillFindings, arm: str, question: str, population: str) -> np.ndarray | None:
        read = {seed: frame for (label, seed), frame in tables[one.key].roles.items() if label == arm}
        asked = (pl.col("question") == question) & (pl.col("population") == population)
        values = [read[seed].filter(asked).sort("item")["value"].to_numpy() for seed in sorted(read)]
        return np.stack(values) if values and len(values[0]) else None

    def roles_judged(one: SkillFindings, arm: str, question: str) -> str:
        frames = [frame for (label, _), frame in tables[one.key].roles.items() if label == arm]
        named = [frame.filter(pl.col("question") == question)["roles"].unique().to_list() for frame in frames]
        return str(named[0][0]) if named and named[0] else ""

    @functools.cache
    def cut(key: str, control: Control) -> tuple[TruncationCurve, np.ndarray]:
        skill, scores = alive(key)
        wanted: set[Control] = {"energy", control}
        curves, reference_N = _curves_and_reference(skill, max(skill.functional), tables[key], scores, wanted)
        return curves[control], reference_N

    @functools.cache
    def drawn(key: str, control: Control, q: float) -> np.ndarray:
        return drawn_functional_ranks(*cut(key, control), q)

    def functional_SD(one: SkillFindings, control: Control, q: float) -> np.ndarray:
        return drawn(one.key, control, q)

    return Evidence(found, required_at, gain_at, contrast_SN, role_values_SN, roles_judged, functional_SD)


def _recovery(skill: SkillPlan, scores: Scores) -> tuple[Recovery, ...]:
    full = scores.by_arm.get("full")
    if full is None:
        return ()
    arms = [arm.label for arm in skill.arms if arm.label != "full"]
    return tuple(recovery(scores.by_arm[label], full, scores.reference_N, label) for label in arms)


def _functional(skill: SkillPlan, rank: int, tables: SkillTables, scores: Scores) -> tuple[FunctionalRank, ...]:
    """At every share of the gain; all have one curve, and the first holds it."""
    curves, reference_N = _curves_and_reference(skill, rank, tables, scores, skill.controls)
    first, *others = (functional_rank(LoraSpec(rank=rank).label, curves, reference_N, q) for q in SHARES)
    return (first, *(one.override(curve=()) for one in others))


def _curves_and_reference(
    skill: SkillPlan, rank: int, tables: SkillTables, scores: Scores, controls: Iterable[Control]
) -> tuple[dict[Control, TruncationCurve], np.ndarray]:
    """Truncations of the adapters of a rank by those of the controls that were tried, and the reference's scores."""
    frames = [tables.truncation[LoraSpec(rank=rank).label, seed] for seed in scores.seeds]
    tried = set(frames[0]["control"].unique())  # an earlier run may have had fewer
    curves = {one: truncation_curve(frames, one, primary_column(skill)) for one in controls if one in tried}
    return curves, scores.reference_N[: curves["energy"].scores_SKN.shape[2]]


def _spectral(arm: LoraSpec, tables: SkillTables, seeds: tuple[int, ...]) -> SpectralSummary:
    """Estimators over sites and seeds; an update that is zero counts as rank 0."""
    spectra = [_spectra(tables.folders[arm.label, seed]) for seed in seeds]
    sites = list(spectra[0])
    estimates = {
        name: np.array([[estimate_of(estimator, found[site]) for site in sites] for found in spectra])
        for name, estimator in ESTIMATORS.items()
    }
    return SpectralSummary(
        arm=arm.label,
        nominal_rank=arm.rank,
        estimators={name: crossed_interval(values_SL.mean(1, keepdims=True)) for name, values_SL in estimates.items()},
        by_site={
            site: {name: float(values_SL[:, index].mean()) for name, values_SL in estimates.items()}
            for index, site in enumerate(sites)
        },
        singular_values={site: tuple(np.mean([found[site] for found in spectra], axis=0).tolist()) for site in sites},
    )


def _spectra(folder: Path) -> dict[str, np.ndarray]:
    weights = read_adapter(folder / FINAL)
    return {site: singular_values(f.A_RI, f.B_OR, f.s).numpy() for site, f in weights.items()}


def estimate_of(estimator: Callable[[Tensor], Estimate], values: np.ndarray) -> Estimate | float:
    """The estimator of an array of singular values; 0 for an update that is zero."""
    try:
        return estimator(torch.from_numpy(values))
    except EmptySpectrum:
        return 0.0


def _flags(unsettled: dict[str, int], diverged: dict[str, int]) -> tuple[str, ...]:
    still = [f"{label} ({_seeds(count)})" for label, count in unsettled.items() if count]
    lost = [f"{label} ({_seeds(count)})" for label, count in diverged.items() if count]
    flags = []
    if still:
        flags.append(f"still improving by more than a point over the last fifth of training: {', '.join(still)}")
    if lost:
        flags.append(f"diverged, and left out in every arm: {', '.join(lost)}")
    return tuple(flags)


def _seeds(count: int) -> str:
    return "1 seed" if count == 1 else f"{count} seeds"
