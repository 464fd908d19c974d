"""What a calibration writes of its teachers and adapters: hand-made gains, and the places of the real plan."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
import torch
from calibration_makers import skill as found_skill

from rankscope.adapters.planted import teacher_of
from rankscope.adapters.weights import AdapterWeights, Factors
from rankscope.lm.bases import load_base
from rankscope.rank.calibration_records import OracleRecords, TeacherGains, calibration_rows, truths
from rankscope.rank.estimator_scores import AS_TUNED, LESS_NOISE, MORE_NOISE, NOISE, Estimated
from rankscope.rank.records import StudyFindings
from rankscope.studies import calibration, calibration_findings
from rankscope.studies.calibration_criteria import criteria
from rankscope.studies.calibration_findings import (
    ESTIMATED,
    estimated,
    estimates_of,
    kept_planted,
    nuisance_of,
    oracle_records,
)
from rankscope.studies.findings import SkillTables
from rankscope.studies.oracle import BEST, Oracle, exact_task, spec_of
from rankscope.studies.plan import SkillPlan

PLANNED = [skill for skill in calibration.plan("full").skills if skill.mode == "planted"]


def planned(k: int, noisy: bool = False) -> SkillPlan:
    """The first repeat of a teacher of k equal directions at one site."""
    condition = calibration.NOISY if noisy else calibration.PLAIN
    return next(skill for skill in PLANNED if skill.task == condition.task(k, 1))


def test_no_two_adapters_of_the_full_form_share_a_place() -> None:
    """A noisy repeat has the teacher, seeds and ranks of a plain one: only its nuisance tells them apart."""
    places = Counter(
        (nuisance_of(skill), exact_task(skill), seed, arm.rank)
        for skill in PLANNED
        for arm in skill.lora_arms
        for seed in skill.seeds
    )
    assert max(places.values()) == 1
    assert {nuisance_of(skill) for skill in PLANNED} == {*calibration.NUISANCES, LESS_NOISE, MORE_NOISE}
    noisy = [(nuisance_of(skill), spec_of(skill).samples) for skill in PLANNED if spec_of(skill).samples]
    assert Counter(noisy) == {(NOISE, 64): 23 + 6, (MORE_NOISE, 16): 12, (LESS_NOISE, 128): 15}, (
        "repeats, and a teacher learnt in six ways"
    )
    assert nuisance_of(planned(4)) == AS_TUNED
    assert exact_task(planned(4, noisy=True)) == exact_task(planned(4)) == planned(4).task


def test_the_noise_of_an_imitation_changes_nothing_of_what_is_planted() -> None:
    base = load_base("tiny-gpt2")
    exact, noisy = (teacher_of(base, planned(2, noisy=noisy).task) for noisy in (False, True))
    assert exact is not None
    assert noisy is not None
    assert list(exact) == list(noisy) == [calibration.SITE]
    (one,), (other,) = exact.values(), noisy.values()
    assert torch.equal(one.s * one.B_OR @ one.A_RI, other.s * other.B_OR @ other.A_RI)


class ByHand(Oracle):
    """An oracle whose measurements are numbers of ours, and counted."""

    asked: tuple[int, ...] = ()

    def _measured(self, skill: SkillPlan) -> dict[int, float]:
        return {0: 0.0, 1: 0.3, 2: 0.5, 3: 0.7, 4: 0.85, 5: 0.89, 6: 0.92, 7: 0.95, 8: 1.0}

    def _best_measured(self, skill: SkillPlan, rank: int) -> float:
        self.asked += (rank,)
        return {4: 0.93, 2: 0.6}[rank]


def test_the_needed_rank_on_gains_made_by_hand(tmp_path: Path) -> None:
    """The cut needs 6 of 8 directions, so 8 of the ranks trained; the best update of rank 4 suffices, of rank 2 not."""
    oracle, skill = ByHand(load_base("tiny-gpt2"), tmp_path), planned(8)
    assert oracle.rank(skill) == 6
    assert oracle.needed(skill, (1, 2, 4, 8, 16, 32)) == 4
    assert oracle.needed(planned(8, noisy=True), (1, 2, 4, 8, 16, 32)) == 4
    assert oracle.asked == (4, 2), "each best update is sought once per teacher, and none below the first that fails"
    record = oracle.record(skill)
    assert (record.k, record.strengths, record.exact_gain, record.best_gains) == (8, "equal", 1.0, {4: 0.93, 2: 0.6})
    assert record.sites == (calibration.SITE,)
    assert truths(record, (1, 2, 4, 8, 16, 32), 0.9) == (6, 4)
    again = ByHand(oracle.base, tmp_path)
    assert again.needed(skill, (1, 2, 4, 8, 16, 32)) == 4
    assert again.asked == ()


def test_estimates_of_an_update_with_a_known_spectrum() -> None:
    """Singular values 2 and 1 at one site, 1 at the other; the input's root turns the former into 2 and 4."""
    wide = Factors(torch.eye(2, 3), torch.diag(torch.tensor([2.0, 1.0])), 1.0)
    narrow = Factors(torch.eye(1, 3), torch.tensor([[1.0], [0.0]]), 1.0)
    roots = {"a": torch.diag(torch.tensor([1.0, 4.0, 1.0])).double(), "b": torch.eye(3).double()}
    found = estimates_of(AdapterWeights({"a": wide, "b": narrow}), roots)
    assert found["stable"] == pytest.approx((5 / 4 + 1) / 2)
    assert found["energy .90"] == (2 + 1) / 2
    assert found["stable, weighted by the input"] == pytest.approx((20 / 16 + 1) / 2)
    assert found["participation, weighted by the input"] == pytest.approx((20**2 / (16**2 + 4**2) + 1) / 2)
    assert found["count above 1e-5"] == 1.5


def test_a_planted_skill_is_taken_only_with_its_teacher_and_all_its_adapters() -> None:
    skill, noisy = planned(2), planned(2, noisy=True)
    gains = TeacherGains(
        teacher=exact_task(skill), k=2, strengths="equal", sites=(calibration.SITE,), n_items=skill.n_test,
        exact_gain=1.0, cut_gains={0: 0.0, 1: 0.5, 2: 1.0}, best_gains={1: 0.6},
    )  # fmt: skip
    oracle = OracleRecords(q=0.9, best_update=BEST, teachers=(gains,), repeats=())
    scored = {(arm.label, seed): pl.DataFrame() for arm in skill.arms for seed in skill.seeds}
    tables = SkillTables(pl.DataFrame(), scored, {}, {}, {}, {})
    estimates = dict.fromkeys(ESTIMATED, 1.0)
    cells = [
        Estimated(exact_task(skill), rank, seed, 2, None, AS_TUNED, estimates)
        for rank in calibration.RANKS
        for seed in skill.seeds
    ]
    kept = kept_planted(skill, tables, oracle, cells)
    assert kept is not None
    assert (kept.teacher, list(kept.estimated)) == (gains, cells)
    assert kept_planted(skill, tables, oracle, cells[1:]) is None, "an adapter is missing"
    assert kept_planted(noisy, tables, oracle, cells) is None, "the same teacher, but adapters trained otherwise"
    assert kept_planted(skill, tables, oracle.override(best_update="otherwise"), cells) is None
    assert kept_planted(planned(4), tables, oracle, cells) is None
    fewer = [replace(cell, estimates={"stable": 1.0}) for cell in cells]
    assert kept_planted(skill, tables, oracle, fewer) is None, "other estimators"


def test_a_repeat_without_dense_or_without_its_cut_adapter_is_left_out(tmp_path: Path) -> None:
    """Every seed of dense diverged in one repeat, of the adapter that is cut in another: neither is judged."""
    whole, no_dense, uncut = [skill for skill in PLANNED if skill.repeats == "rank 8, one site"][:3]
    skills = (
        found_skill(whole.name, ends=(4, 4), ranks=(6,)),
        found_skill(no_dense.name, ranks=(6,), curve=()),
        found_skill(uncut.name, ends=(4, 4)),
    )
    oracle = ByHand(load_base("tiny-gpt2"), tmp_path)
    records = oracle_records(oracle, (whole, no_dense, uncut), {one.key: one for one in skills})
    assert [one.skill for one in records.repeats] == [whole.key]
    assert len(records.teachers) == 3
    (row,) = rows = calibration_rows(records, skills)
    assert (row.n_repeats, row.n_judged, row.covered) == (1, 1, 1)
    fields = {"study": "", "title": "", "answer": (), "base": "", "base_hash": ""}
    left_out = criteria(StudyFindings(**fields, skills=skills, calibration=rows))[0]
    assert (left_out.found, left_out.verdict) == ("1 of 3", "unmet")
    assert left_out.remark.endswith(f"diverged in every seed: {no_dense.name}; {uncut.name}.")


def test_adapters_that_diverged_in_every_seed_are_neither_estimated_nor_missed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rank 32 is in no table; the estimates of all others are there, and kept."""
    skill = planned(8)
    places = [(arm.label, seed) for arm in skill.arms for seed in skill.seeds if arm.label != "rank 32"]
    scored = dict.fromkeys(places, pl.DataFrame())
    tables = SkillTables(pl.DataFrame(), scored, {}, {}, dict.fromkeys(places, tmp_path), {})
    monkeypatch.setattr(calibration_findings, "read_adapter", lambda folder: AdapterWeights({}))
    monkeypatch.setattr(calibration_findings, "estimates_of", lambda *_: dict.fromkeys(ESTIMATED, 1.0))
    monkeypatch.setattr(ByHand, "roots", lambda *_: {})
    oracle = ByHand(load_base("tiny-gpt2"), tmp_path)
    cells = list(estimated(oracle, skill, found_skill(skill.name), tables))
    assert [(cell.nominal, cell.seed) for cell in cells] == [(r, s) for r in (1, 2, 4, 8, 16) for s in skill.seeds]
    records = OracleRecords(q=0.9, best_update=BEST, teachers=(oracle.record(skill),), repeats=())
    assert kept_planted(skill, tables, records, cells) is not None
    assert kept_planted(skill, tables, records, cells[1:]) is None


def test_what_is_known_of_a_teacher_is_not_measured_again() -> None:
    """Cut, 2 of 4 keep .8 of the gain and 3 keep .95; of the best updates rank 2 keeps .92, rank 1 .6."""
    skill = planned(4)
    gains = TeacherGains(
        teacher=exact_task(skill), k=4, strengths="equal", sites=(calibration.SITE,), n_items=skill.n_test,
        exact_gain=1.0, cut_gains={0: 0.0, 1: 0.4, 2: 0.8, 3: 0.95, 4: 1.0}, best_gains={2: 0.92, 1: 0.6},
    )  # fmt: skip
    oracle = Unable(load_base("tiny-gpt2"))
    oracle.know(gains)
    assert (oracle.rank(skill), oracle.needed(skill, (1, 2, 4, 8))) == (3, 2)
    assert oracle.record(skill) == gains


class Unable(Oracle):
    """An oracle that must not measure anything."""

    def _measured(self, skill: SkillPlan) -> dict[int, float]:
        raise AssertionError(skill.key)

    def _best_measured(self, skill: SkillPlan, rank: int) -> float:
        raise AssertionError((skill.key, rank))
