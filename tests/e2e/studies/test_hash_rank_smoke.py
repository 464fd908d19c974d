"""hash_rank:smoke whole, and a study of two seeds stopped after the first, read as partial, and finished."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from rankscope.rank.records import read_findings
from rankscope.runs.folder import is_finished, verify_finished
from rankscope.studies import catalog, hash_rank
from rankscope.studies import run as run_module
from rankscope.studies.page import FINDINGS, REPORT, rewrite_page
from rankscope.studies.plan import StudyPlan


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run_module.run_study("hash_rank:smoke", tmp_path_factory.mktemp("smoke") / "run", workers=1, device="cpu")


def test_the_smoke_form_goes_from_training_to_claims_and_page(finished: Path) -> None:
    verify_finished(finished)
    found, plan = read_findings(finished / FINDINGS), hash_rank.plan("smoke")
    assert {skill.key for skill in found.skills} == {skill.key for skill in plan.skills}
    assert len({cell for *_, cell in plan.cells()}) < len(list(plan.cells())), "placements share full fine-tuning"
    assert [(claim.verdict, claim.p_value, claim.n_declared) for claim in found.claims] == [
        ("underpowered", None, 6)
    ] * 6
    by_name = {skill.name: skill for skill in found.skills}
    full = {tuple(point.cells) for name in ("HashHop, c_proj", "HashHop, attention", "HashHop, all maps")
            for point in by_name[name].curve if point.arm == "full"}  # fmt: skip
    assert len(full) == 1
    controls = {point.control for one in by_name["HashChain, c_proj"].functional for point in one.curve}
    assert "noise" in controls
    assert any("random directions of the trained norm" in sentence for sentence in found.answer)
    page = (finished / REPORT).read_text()
    assert "What the seeds can see" in page
    assert "Partial:" not in page


class Stopped(Exception):
    pass


@pytest.fixture
def two_seeds(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A study of two skills and two seeds, in the catalog for the length of a test."""
    whole = hash_rank.plan("smoke")
    few = [skill.override(seeds=(21, 22)).model_dump() for skill in whole.skills[:2]]

    def plan(form: str) -> StudyPlan:
        return whole.override(skills=few)

    entry = catalog.STUDIES["hash_rank"]
    fields = {name: getattr(entry, name) for name in ("name", "asks", "forms", "claims", "answer")}
    monkeypatch.setitem(catalog.STUDIES, "hash_rank", catalog.RankStudy(plan=plan, **fields))
    return "hash_rank:smoke"


def test_whole_seeds_can_be_read_before_the_study_is_finished(
    two_seeds: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, real = tmp_path / "run", run_module.train_stage

    def stops(plan: StudyPlan, sitting: object, label: str) -> object:
        if plan.n_seeds == 2:
            raise Stopped
        return real(plan, sitting, label)

    monkeypatch.setattr(run_module, "train_stage", stops)
    with pytest.raises(Stopped):
        run_module.run_study(two_seeds, run, workers=1, device="cpu")
    found = read_findings(run / FINDINGS)
    assert (found.partial, {skill.n_seeds for skill in found.skills}) == ("1 of 2 seeds", {1})
    (run / REPORT).unlink()
    assert "Partial: 1 of 2 seeds are finished" in rewrite_page(run).read_text()
    assert not is_finished(run)
    monkeypatch.setattr(run_module, "train_stage", real)
    run_module.run_study(two_seeds, run, workers=1, device="cpu")
    found = read_findings(run / FINDINGS)
    assert (found.partial, {skill.n_seeds for skill in found.skills}) == ("", {2})
    assert "Partial:" not in (run / REPORT).read_text()
    verify_finished(run)
