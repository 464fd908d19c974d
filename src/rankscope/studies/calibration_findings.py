"""What the planted skills of a study say about the procedure: the oracle's truth beside sets and estimates."""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from rankscope.adapters.planted import oracle_truncation, second_moments, teacher_of
from rankscope.adapters.read import read_adapter
from rankscope.adapters.weights import AdapterWeights
from rankscope.base.atomic import write_json
from rankscope.evals.teacher_forced import score_variants
from rankscope.lm.bases import Base
from rankscope.rank.calibration import (
    Planted,
    Repeat,
    calibration_row,
    null_row,
    oracle_rank,
    trained_truth,
)
from rankscope.rank.estimator_scores import AS_TUNED, Estimated, estimator_scores, mean_estimates
from rankscope.rank.records import CalibrationRow, EstimatorScore, SkillFindings, StudyFindings
from rankscope.spectra.estimators import ESTIMATORS, absolute_count, noise_cut_rank
from rankscope.spectra.low_rank_svd import singular_values, square_root
from rankscope.stats.proportion import clopper_pearson
from rankscope.studies.best_update import MOST_STEPS, N_ITEMS, SEED, best_update
from rankscope.studies.findings import SkillTables, estimate_of, whole_seeds
from rankscope.studies.plan import SkillPlan, StudyPlan
from rankscope.studies.scoring import items_to_test, planted_teacher
from rankscope.tasks.catalog import load_items, load_task, split_name
from rankscope.tasks.planted import teacher_knobs
from rankscope.tasks.planted_spec import PlantedSpec
from rankscope.tasks.relabel import RelabelTask
from rankscope.train.training import FINAL

SUMMARY = "summary.json"
WEIGHTED = (", weighted by the input", ("energy .90", "energy .99", "entropy", "stable", "participation", "N(1e-3)"))
"""Estimators that are also taken of the spectrum weighted by the second moment of the site's input."""
Q = 0.9
BEST = f"{N_ITEMS} items of seed {SEED}, {MOST_STEPS} steps"
"""How the best update of a rank is sought."""
Estimator = Callable[[Tensor], float | None]


class Oracle:
    """The truth about planted skills on one base; what was measured once of a teacher is kept."""

    def __init__(self, base: Base, folder: Path | None = None) -> None:
        """With a folder, what takes minutes to find is kept there."""
        self.base, self._folder = base, folder
        self._gains: dict[tuple[object, ...], dict[int, float]] = {}
        self._roots: dict[str, Tensor] = {}
        self._best: dict[str, float] = {}

    def gains(self, skill: SkillPlan) -> dict[int, float]:
        """Rank r -> gain, in nats, of the planted update cut to its best r directions, on the skill's test items."""
        key = (_teacher(skill), skill.n_test)
        if key not in self._gains:
            self._gains[key] = self._measured(skill)
        return self._gains[key]

    def rank(self, skill: SkillPlan, q: float = Q) -> int:
        """The fewest planted directions that keep q of the exact gain."""
        gains = self.gains(skill)
        return oracle_rank(gains, gains[max(gains)], q)

    def needed(self, skill: SkillPlan, ranks: Sequence[int], q: float = Q) -> int:
        """The smallest of these ranks of which the best update keeps q of the exact gain: the truth about training.

        Never more than the planted directions that keep it, and less where a better update of fewer directions does.
        """
        gains = self.gains(skill)
        truth = trained_truth(self.rank(skill, q), ranks)
        for rank in sorted((rank for rank in ranks if rank < truth), reverse=True):
            if self.best_gain(skill, rank) < q * gains[max(gains)]:
                break
            truth = rank
        return truth

    def best_gain(self, skill: SkillPlan, rank: int) -> float:
        """Gain, in nats, of the best update of that rank, on the skill's test items."""
        identity = f"{self.base.content_hash}|{_exact_task(skill)}|{skill.n_test} test items|rank {rank}|{BEST}"
        key = hashlib.sha256(identity.encode()).hexdigest()[:20]
        if key not in self._best:
            path = None if self._folder is None else self._folder / f"{key}.json"
            if path is not None and path.exists():
                self._best[key] = float(json.loads(path.read_text(encoding="utf-8"))["gain"])
            else:
                self._best[key] = self._best_measured(skill, rank)
                if path is not None:
                    write_json(path, {"of": identity, "gain": self._best[key]})
        return self._best[key]

    def _best_measured(self, skill: SkillPlan, rank: int) -> float:
        test, update = items_to_test(self.base, skill), self.update(skill)
        moments = second_moments(self.base.model, list(update), test.tokens_NT, test.n_tokens_N)
        items = load_items(_exact_task(skill), "train", N_ITEMS, SEED, self.base.tokenizer)
        found = best_update(self.base, items, update, oracle_truncation(update, rank, moments))
        teacher = planted_teacher(self.base, test)
        frames = score_variants(self.base.model, [AdapterWeights({}), found], test, teacher=teacher)
        untouched, best = (float(np.mean(frame["nats"].to_numpy())) for frame in frames)
        return best - untouched

    def _measured(self, skill: SkillPlan) -> dict[int, float]:
        items, update = items_to_test(self.base, skill), self.update(skill)
        teacher = planted_teacher(self.base, items)
        moments = second_moments(self.base.model, list(update), items.tokens_NT, items.n_tokens_N)

        cuts = [oracle_truncation(update, r, moments) for r in range(1, _spec(skill).k + 1)]
        frames = score_variants(self.base.model, [AdapterWeights({}), *cuts], items, teacher=teacher)
        untouched, *cut_nats = (float(np.mean(frame["nats"].to_numpy())) for frame in frames)
        return {0: 0.0} | {r: nats - untouched for r, nats in enumerate(cut_nats, 1)}

    def update(self, skill: SkillPlan) -> AdapterWeights:
        """What was planted."""
        update = teacher_of(self.base, skill.task)
        assert update is not None
        return update

    def roots(self, skill: SkillPlan) -> dict[str, Tensor]:
        """Site -> square root of the second moment of the base's input there."""
        sites = [site for site in self.update(skill) if site not in self._roots]
        if sites:
            items = items_to_test(self.base, skill)
            moments = second_moments(self.base.model, sites, items.tokens_NT, items.n_tokens_N)
            self._roots |= {site: square_root(moment) for site, moment in moments.items()}
        return {site: self._roots[site] for site in self.update(skill)}


def _spec(skill: SkillPlan) -> PlantedSpec:
    return PlantedSpec.parse(teacher_knobs(split_name(skill.task)[1]))


def _teacher(skill: SkillPlan) -> PlantedSpec:
    """What decides the planted update: all but the noise of its imitation."""
    return _spec(skill).override(samples=None)


def _exact_task(skill: SkillPlan) -> str:
    """The planted task with exact targets."""
    kind, knobs = split_name(skill.task)
    told = ",".join(f"{key}={value}" for key, value in knobs.items() if key != "samples")
    return f"{kind}:{told}"


def planted_of(skill: SkillPlan, oracle: Oracle) -> Planted:
    """What a planted skill's teacher is, and how noisy its targets are."""
    spec = _spec(skill)
    strengths = "equal" if spec.decay == "equal" else f"{spec.decay:g}"
    noise = "none" if spec.samples is None else f"{spec.samples} tokens drawn"
    return Planted(spec.k, strengths, tuple(oracle.update(skill)), noise)


def calibration_rows(plan: StudyPlan, oracle: Oracle, found: Mapping[str, SkillFindings]) -> tuple[CalibrationRow, ...]:
    """A row per planted update and way of learning it, then the null."""
    alike: dict[Planted, list[Repeat]] = {}
    largest = 1
    for skill in plan.skills:
        if skill.mode == "planted" and not skill.descriptive:
            repeat = _repeat(oracle, skill, found[skill.key])
            alike.setdefault(repeat.planted, []).append(repeat)
            largest = max(largest, *(arm.rank for arm in skill.lora_arms))
    nulls = [found[skill.key] for skill in plan.skills if skill.mode == "null"]
    rows = [calibration_row(repeats, largest) for repeats in alike.values()]
    return (*rows, *(null_row(null.functional[0]) for null in nulls if null.functional))


def _repeat(oracle: Oracle, skill: SkillPlan, found: SkillFindings) -> Repeat:
    gains = oracle.gains(skill)
    required = found.required[0]
    dense = next(point for point in found.curve if point.arm == "dense")
    return Repeat(
        planted=planted_of(skill, oracle),
        oracle=oracle.rank(skill, required.q),
        truth=oracle.needed(skill, list(required.by_rank), required.q),
        dense_share=dense.gain.estimate / gains[max(gains)],
        required=required,
        functional=found.functional[0],
    )


def estimator_rows(
    plan: StudyPlan, oracle: Oracle, found: Mapping[str, SkillFindings], tables: Mapping[str, SkillTables]
) -> tuple[EstimatorScore, ...]:
    """Every estimator held against the oracle's rank and the adapters' functional rank."""
    planted = [skill for skill in plan.skills if skill.mode == "planted"]
    return estimator_scores([cell for s in planted for cell in _estimated(oracle, s, found[s.key], tables[s.key])])


def _estimated(oracle: Oracle, skill: SkillPlan, found: SkillFindings, tables: SkillTables) -> Iterator[Estimated]:
    functional = {
        (one.arm, seed): rank
        for one in found.functional
        if one.q == Q
        for seed, rank in _by_seed(skill, tables, one.by_seed)
    }
    for arm in skill.lora_arms:
        for seed in whole_seeds(skill, tables):
            yield Estimated(
                teacher=_teacher(skill).model_dump_json(),
                nominal=arm.rank,
                seed=seed,
                planted=oracle.rank(skill),
                functional=functional.get((arm.label, seed)),
                nuisance=skill.varies or AS_TUNED,
                estimates=estimates_of(read_adapter(tables.folders[arm.label, seed] / FINAL), oracle.roots(skill)),
            )


def _by_seed(skill: SkillPlan, tables: SkillTables, ranks: tuple[int, ...]) -> Iterator[tuple[int, int]]:
    return zip(whole_seeds(skill, tables), ranks, strict=True)


def estimates_of(weights: AdapterWeights, roots: Mapping[str, Tensor]) -> dict[str, float]:
    """Every estimator's mean over the adapter's sites, of plain and of weighted singular values."""
    plain = [singular_values(f.A_RI, f.B_OR, f.s).numpy() for f in weights.values()]
    weighted = [singular_values(f.A_RI.double() @ roots[site], f.B_OR, f.s).numpy() for site, f in weights.items()]
    shapes = [(f.B_OR.shape[0], f.A_RI.shape[1]) for f in weights.values()]
    suffix, chosen = WEIGHTED
    on_plain: dict[str, Estimator] = {**ESTIMATORS, "count above 1e-5": absolute_count}
    if len(set(shapes)) == 1:
        on_plain["noise cut"] = partial(noise_cut_rank, shape_OI=shapes[0])
    on_weighted: dict[str, Estimator] = {f"{name}{suffix}": ESTIMATORS[name] for name in chosen}
    return _means(plain, on_plain) | _means(weighted, on_weighted)


def _means(spectra: list[np.ndarray], estimators: dict[str, Estimator]) -> dict[str, float]:
    return mean_estimates(spectra, {name: partial(estimate_of, one) for name, one in estimators.items()})


def write_summary(folder: Path, findings: StudyFindings) -> None:
    """`summary.json`: the calibration in one small file, for machines and for those who check it."""
    judged = [row for row in findings.calibration if row.planted_k is not None]
    n, covered = (sum(getattr(row, name) for row in judged) for name in ("n_judged", "covered"))
    within, functional = (
        sum(getattr(row, name) for row in judged) for name in ("functional_within_one", "n_functional")
    )
    low, high = clopper_pearson(covered, n) if n else (None, None)
    document = {
        "study": findings.study,
        "provenance": findings.provenance,
        "rows": [_summary_row(row) for row in judged],
        "all": {
            "repeats": sum(row.n_repeats for row in judged),
            "judged": n,
            "covered": covered,
            "interval": [low, high],
            "functional_within_one": within,
            "functional": functional,
        },
        "shuffled": [row.functional_rank for row in findings.calibration if row.planted_k is None],
        "relabel": relabel_rows(findings),
        "simulated": [row.model_dump(mode="json") for row in findings.simulated],
        "nulls": [row.model_dump(mode="json") for row in findings.nulls],
        "estimators": [row.model_dump(mode="json") for row in findings.estimators],
    }
    write_json(folder / SUMMARY, document)


def _summary_row(row: CalibrationRow) -> dict[str, Any]:
    return {
        "planted_k": row.planted_k,
        "strengths": row.strengths,
        "sites": list(row.sites),
        "noise": row.noise,
        "repeats": row.n_repeats,
        "judged": row.n_judged,
        "covered": row.covered,
        "interval": [row.coverage_low, row.coverage_high],
        "median_doublings": row.median_doublings,
        "oracle_ranks": list(row.oracle_ranks),
        "needed_ranks": list(row.needed_ranks),
        "functional_rank": row.functional_rank,
        "functional_within_one": row.functional_within_one,
        "functional": row.n_functional,
    }


def relabel_rows(findings: StudyFindings) -> list[dict[str, Any]]:
    """Rank of P - I beside the required rank, by rising rank."""
    rows = []
    for skill in findings.skills:
        task = load_task(skill.task)
        if isinstance(task, RelabelTask) and skill.required:
            required = skill.required[0]
            rank = task.relabelling.rank
            rows.append({"rank": rank, "low": required.low, "high": required.high, "verdict": required.verdict})
    return sorted(rows, key=lambda row: row["rank"])
