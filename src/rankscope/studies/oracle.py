"""The truth about planted skills: the planted update cut to fewer directions, and the best update of a rank."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from torch import Tensor

from rankscope.adapters.planted import oracle_truncation, second_moments, teacher_of
from rankscope.adapters.weights import AdapterWeights
from rankscope.base.atomic import write_json
from rankscope.evals.teacher_forced import score_variants
from rankscope.lm.bases import Base
from rankscope.rank.calibration import needed_rank, oracle_rank
from rankscope.rank.calibration_records import TeacherGains
from rankscope.spectra.low_rank_svd import square_root
from rankscope.studies.best_update import MOST_STEPS, N_ITEMS, SEED, best_update
from rankscope.studies.plan import SkillPlan
from rankscope.studies.scoring import items_to_test, planted_teacher
from rankscope.tasks.catalog import load_items, split_name
from rankscope.tasks.planted import teacher_knobs
from rankscope.tasks.planted_spec import PlantedSpec

Q = 0.9
BEST = f"{N_ITEMS} items of seed {SEED}, {MOST_STEPS} steps"
"""How the best update of a rank is sought."""


class Oracle:
    """The truth about planted skills on one base; what was measured once of a teacher is kept."""

    def __init__(self, base: Base, folder: Path | None = None) -> None:
        """With a folder, what takes minutes to find is kept there."""
        self.base, self._folder = base, folder
        self._gains: dict[tuple[str, int], dict[int, float]] = {}
        self._best: dict[tuple[str, int], dict[int, float]] = {}
        self._roots: dict[str, Tensor] = {}
        self._updates: dict[str, AdapterWeights] = {}

    def know(self, measured: TeacherGains) -> None:
        """Takes over what an earlier run measured of a teacher, so that it is not sought again."""
        key = (measured.teacher, measured.n_items)
        self._gains[key] = dict(measured.cut_gains)
        self._best[key] = self._best.get(key, {}) | measured.best_gains

    def gains(self, skill: SkillPlan) -> dict[int, float]:
        """Rank r -> gain, in nats, of the planted update cut to its best r directions, on the skill's test items."""
        key = (exact_task(skill), skill.n_test)
        if key not in self._gains:
            self._gains[key] = self._measured(skill)
        return self._gains[key]

    def rank(self, skill: SkillPlan, q: float = Q) -> int:
        """The fewest planted directions that keep q of the exact gain."""
        gains = self.gains(skill)
        return oracle_rank(gains, gains[max(gains)], q)

    def needed(self, skill: SkillPlan, ranks: Sequence[int], q: float = Q) -> int:
        """The smallest of these ranks of which the best update keeps q of the exact gain: the truth about training."""
        return needed_rank(self.gains(skill), lambda rank: self.best_gain(skill, rank), ranks, q)

    def best_gain(self, skill: SkillPlan, rank: int) -> float:
        """Gain, in nats, of the best update of that rank, on the skill's test items."""
        known = self._best.setdefault((exact_task(skill), skill.n_test), {})
        if rank not in known:
            known[rank] = self._best_kept(skill, rank)
        return known[rank]

    def record(self, skill: SkillPlan) -> TeacherGains:
        """What has been measured of the skill's teacher so far."""
        gains, spec = self.gains(skill), spec_of(skill)
        return TeacherGains(
            teacher=exact_task(skill),
            k=spec.k,
            strengths="equal" if spec.decay == "equal" else f"{spec.decay:g}",
            sites=tuple(self.update(skill)),
            n_items=skill.n_test,
            exact_gain=gains[max(gains)],
            cut_gains=gains,
            best_gains=self._best.get((exact_task(skill), skill.n_test), {}),
        )

    def _best_kept(self, skill: SkillPlan, rank: int) -> float:
        """The same from the file that it was kept in, or measured and kept there."""
        identity = f"{self.base.content_hash}|{exact_task(skill)}|{skill.n_test} test items|rank {rank}|{BEST}"
        if self._folder is None:
            return self._best_measured(skill, rank)
        path = self._folder / f"{hashlib.sha256(identity.encode()).hexdigest()[:20]}.json"
        if not path.exists():
            write_json(path, {"of": identity, "gain": self._best_measured(skill, rank)})
        return float(json.loads(path.read_text(encoding="utf-8"))["gain"])

    def _best_measured(self, skill: SkillPlan, rank: int) -> float:
        test, update = items_to_test(self.base, skill), self.update(skill)
        moments = second_moments(self.base.model, list(update), test.tokens_NT, test.n_tokens_N)
        items = load_items(exact_task(skill), "train", N_ITEMS, SEED, self.base.tokenizer)
        found = best_update(self.base, items, update, oracle_truncation(update, rank, moments))
        teacher = planted_teacher(self.base, test)
        frames = score_variants(self.base.model, [AdapterWeights({}), found], test, teacher=teacher)
        untouched, best = (float(np.mean(frame["nats"].to_numpy())) for frame in frames)
        return best - untouched

    def _measured(self, skill: SkillPlan) -> dict[int, float]:
        items, update = items_to_test(self.base, skill), self.update(skill)
        teacher = planted_teacher(self.base, items)
        moments = second_moments(self.base.model, list(update), items.tokens_NT, items.n_tokens_N)

        cuts = [oracle_truncation(update, r, moments) for r in range(1, spec_of(skill).k + 1)]
        frames = score_variants(self.base.model, [AdapterWeights({}), *cuts], items, teacher=teacher)
        untouched, *cut_nats = (float(np.mean(frame["nats"].to_numpy())) for frame in frames)
        return {0: 0.0} | {r: nats - untouched for r, nats in enumerate(cut_nats, 1)}

    def update(self, skill: SkillPlan) -> AdapterWeights:
        """What was planted; the noise of its imitation changes nothing of it."""
        task = exact_task(skill)
        if task not in self._updates:
            update = teacher_of(self.base, task)
            assert update is not None
            self._updates[task] = update
        return self._updates[task]

    def roots(self, skill: SkillPlan) -> dict[str, Tensor]:
        """Site -> square root of the second moment of the base's input there."""
        sites = [site for site in self.update(skill) if site not in self._roots]
        if sites:
            items = items_to_test(self.base, skill)
            moments = second_moments(self.base.model, sites, items.tokens_NT, items.n_tokens_N)
            self._roots |= {site: square_root(moment) for site, moment in moments.items()}
        return {site: self._roots[site] for site in self.update(skill)}


def spec_of(skill: SkillPlan) -> PlantedSpec:
    """What is planted, as the task's name says."""
    return PlantedSpec.parse(teacher_knobs(split_name(skill.task)[1]))


def exact_task(skill: SkillPlan) -> str:
    """The planted task with exact targets: what decides the planted update, without the noise of its imitation."""
    kind, knobs = split_name(skill.task)
    told = ",".join(f"{key}={value}" for key, value in knobs.items() if key != "samples")
    return f"{kind}:{told}"
