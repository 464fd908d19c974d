"""hash_rank:smoke whole, taken from its own records, and a grown study stopped after a seed, read, and finished."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest

from rankscope.base.errors import BadInput
from rankscope.rank.records import read_findings
from rankscope.runs.folder import is_finished, verify_finished
from rankscope.runs.tables import write_table
from rankscope.studies import by_seed, catalog, hash_rank
from rankscope.studies import run as run_module
from rankscope.studies.other_rates import ON_PURPOSE
from rankscope.studies.page import FINDINGS, REPORT, rewrite_page
from rankscope.studies.plan import StudyPlan, rate_name
from rankscope.studies.stages import CELLS, SCORES, TRUNCATION


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run_module.run_study("hash_rank:smoke", tmp_path_factory.mktemp("smoke") / "run", workers=1, device="cpu")


def in_catalog(monkeypatch: pytest.MonkeyPatch, plan: StudyPlan) -> None:
    """Every form of hash_rank is this plan, for the length of a test."""
    entry = catalog.STUDIES["hash_rank"]
    fields = {name: getattr(entry, name) for name in ("name", "asks", "forms", "claims", "answer")}
    monkeypatch.setitem(catalog.STUDIES, "hash_rank", catalog.RankStudy(plan=lambda _form: plan, **fields))


def test_the_smoke_form_goes_from_training_to_claims_and_page(finished: Path) -> None:
    verify_finished(finished)
    found, plan = read_findings(finished / FINDINGS), hash_rank.plan("smoke")
    assert {skill.key for skill in found.skills} == {skill.key for skill in plan.skills}
    assert len({cell for *_, cell in plan.cells()}) < len(list(plan.cells())), "placements share full fine-tuning"
    assert [(claim.verdict, claim.p_value, claim.n_declared) for claim in found.claims] == [
        ("underpowered", None, 6)
    ] * 6
    by_name = {skill.name: skill for skill in found.skills if skill.mode == "matched"}
    full = {tuple(point.cells) for name in ("HashHop, c_proj", "HashHop, attention", "HashHop, all maps")
            for point in by_name[name].curve if point.arm == "full"}  # fmt: skip
    assert len(full) == 1
    assert [(one.skill, [*one.need.by_rank]) for one in found.one_rate] == [
        ("matched/HashHop, attention", [2]), ("matched/HashChain, attention", [2])
    ]  # fmt: skip
    other_rates = [skill for skill in found.skills if skill.mode in ON_PURPOSE]
    assert [skill.flags[-1] for skill in other_rates] == [ON_PURPOSE[skill.mode] for skill in other_rates]
    assert len(other_rates) == 8
    controls = {point.control for one in by_name["HashChain, c_proj"].functional for point in one.curve}
    assert "noise" in controls
    assert any("random directions of the trained norm" in sentence for sentence in found.answer)
    page = (finished / REPORT).read_text()
    assert "What the seeds can see" in page
    assert "Partial:" not in page
    assert found.reproduce["the calibration shown"] == "rankscope study calibration:full --precision 'fp32'"


@pytest.mark.slow
def test_a_study_takes_what_a_finished_run_holds_and_comes_out_the_same(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    again = run_module.run_study("hash_rank:smoke", tmp_path / "run", workers=1, device="cpu", taken_from=[finished])
    assert not list((again / "cells").glob("*")), "nothing is trained"
    first, second = read_findings(finished / FINDINGS), read_findings(again / FINDINGS)
    for was, now in zip(first.skills, second.skills, strict=True):
        flags = [
            flag for flag in now.flags if not flag.startswith("taken from an earlier run: hash_rank:smoke (commit ")
        ]
        assert len(flags) == len(now.flags) - 1
        assert now.base_scores == pytest.approx(was.base_scores, abs=1e-4), "log-probabilities are kept rounded"
        assert now.override(flags=flags, base_scores=was.base_scores) == was
    assert [card.override(limits=()) for card in second.claims] == [card.override(limits=()) for card in first.claims]
    assert second.answer == first.answer
    for table in (CELLS, SCORES, TRUNCATION):
        rows = [pl.read_parquet(folder / table) for folder in (finished, again)]
        assert rows[0].sort(rows[0].columns).equals(rows[1].sort(rows[0].columns)), table
    assert set(second.taken) == {skill.key for skill in second.skills}
    assert "taken from hash_rank:smoke" in (again / REPORT).read_text()
    third = tmp_path / "third"
    run_module.run_study("hash_rank:smoke", third, workers=1, device="cpu", taken_from=[again])
    assert read_findings(third / FINDINGS).taken == second.taken, "where it was trained, not where it was last kept"
    for source, is_other in ((again, False), (finished, True)):
        capsys.readouterr()
        run_module.run_study("hash_rank:smoke", third, workers=1, device="cpu", taken_from=[source])
        told = " ".join(capsys.readouterr().err.split())
        assert ("was started with other records than those given now, and keeps to them" in told) == is_other


def test_only_what_was_trained_otherwise_is_trained_again(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = hash_rank.plan("smoke")
    few = [skill.model_dump() for skill in whole.skills[:2]]
    changed = rate_name(whole.skills[0], whole.skills[0].arms[0])
    plan = whole.override(skills=few, rates=whole.rates | {changed: 0.0123})
    in_catalog(monkeypatch, plan)
    run = run_module.run_study("hash_rank:smoke", tmp_path / "run", workers=1, device="cpu", taken_from=[finished])
    found = read_findings(run / FINDINGS)
    assert set(found.taken) == {plan.skills[1].key}
    assert found.skills[0].curve[0].lr == 0.0123
    assert len(list((run / "cells").glob("*/done.json"))) == len(plan.skills[0].arms)
    both = rate_name(whole.skills[1], whole.skills[1].arms[0])
    in_catalog(monkeypatch, plan.override(rates=plan.rates | {both: 0.0123}))
    with pytest.raises(BadInput, match=r"rank 2 of seed 21 was trained otherwise .* 0\.0123 here"):
        run_module.run_study("hash_rank:smoke", tmp_path / "other", workers=1, device="cpu", taken_from=[finished])
    assert not (tmp_path / "other").exists()


def test_other_test_items_are_noticed(finished: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(finished / "records", copy / "records")
    scores = pl.read_parquet(copy / SCORES)
    is_base = pl.col("cell") == "base"
    write_table(copy / SCORES, scores.with_columns(pl.when(is_base).then(pl.col("nats") - 0.01).otherwise("nats")))
    with pytest.raises(BadInput, match="does not score the test items of matched/HashHop, c_proj as in"):
        run_module.run_study("hash_rank:smoke", tmp_path / "run", workers=1, device="cpu", taken_from=[copy])
    assert not (tmp_path / "run" / "cells").exists(), "noticed before anything is trained"


def test_a_tuning_takes_nothing(tmp_path: Path) -> None:
    for study in ("hash_rank:tune_c_proj", "hash_paper:smoke"):
        with pytest.raises(BadInput, match=f"{study} makes no findings on skills"):
            run_module.run_study(study, tmp_path / "run", workers=1, device="cpu", taken_from=[tmp_path])


class Stopped(Exception):
    pass


@pytest.fixture
def two_seeds(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A study of two skills and two seeds, in the catalog for the length of a test."""
    whole = hash_rank.plan("smoke")
    few = [skill.override(seeds=(21, 22)).model_dump() for skill in whole.skills[:2]]
    in_catalog(monkeypatch, whole.override(skills=few))
    return "hash_rank:smoke"


@pytest.mark.slow
def test_a_grown_study_is_read_while_it_runs_and_goes_on_without_what_it_was_grown_from(
    two_seeds: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    both, real = catalog.STUDIES["hash_rank"].plan("smoke"), by_seed.train_stage
    assert isinstance(both, StudyPlan)
    in_catalog(monkeypatch, both.without([both.skills[1].key]))
    source = run_module.run_study(two_seeds, tmp_path / "source", workers=1, device="cpu", precision="fp32")

    def stops(plan: StudyPlan, sitting: object, label: str) -> object:
        if plan.n_seeds == 2:
            raise Stopped
        return real(plan, sitting, label)

    in_catalog(monkeypatch, both)
    monkeypatch.setattr(by_seed, "train_stage", stops)
    run = tmp_path / "run"
    with pytest.raises(Stopped):
        run_module.run_study(two_seeds, run, workers=1, device="cpu", precision="bf16", taken_from=[source])
    found = read_findings(run / FINDINGS)
    assert (found.partial, [skill.n_seeds for skill in found.skills]) == ("1 of 2 seeds", [2, 1])
    assert [skill.precision.partition(" ")[0] for skill in found.skills] == ["fp32", "products=bf16"]
    (run / REPORT).unlink()
    assert "Partial: 1 of 2 seeds are finished" in rewrite_page(run).read_text()
    assert not is_finished(run)
    shutil.rmtree(source)
    monkeypatch.setattr(by_seed, "train_stage", real)
    for _ in range(2):
        run_module.run_study(two_seeds, run, workers=1, device="cpu", precision="bf16")
    found = read_findings(run / FINDINGS)
    assert (found.partial, [skill.n_seeds for skill in found.skills]) == ("", [2, 2])
    assert "Partial:" not in (run / REPORT).read_text()
    assert pl.read_parquet(run / CELLS).group_by("precision").len().height == 2
    (taken,) = (
        line for name, line in found.reproduce.items() if name.startswith("what was taken from hash_rank:smoke")
    )
    assert taken == "rankscope study hash_rank:smoke --precision 'fp32'"
    verify_finished(run)
