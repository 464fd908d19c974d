"""rank1:smoke whole: shared trainings scored on every skill, controls on their own items too, claims and page."""

import pytest

from rankscope.rank.records import read_findings
from rankscope.runs.folder import verify_finished
from rankscope.studies import rank1
from rankscope.studies.page import FINDINGS, REPORT
from rankscope.studies.run import run_study


@pytest.mark.slow
def test_the_smoke_form_goes_from_training_to_claims_and_page(tmp_path) -> None:
    finished = run_study("rank1:smoke", tmp_path / "run", workers=1, device="cpu")
    verify_finished(finished)
    found, plan = read_findings(finished / FINDINGS), rank1.plan("smoke")
    assert {skill.key for skill in found.skills} == {skill.key for skill in plan.skills}
    assert [(claim.verdict, claim.n_declared) for claim in found.claims] == [("underpowered", 2)] * 2
    by_name = {skill.name: skill for skill in found.skills}
    trained = {
        tuple(point.cells)
        for name in ("mix, all maps", "hop, all maps", "star, all maps")
        for point in by_name[name].curve
        if point.arm == "rank 1"
    }
    assert len(trained) == 1, "every skill is a part of one training's score"
    assert by_name["hop, all maps"].scored_as == "reasoning:skill=hop,wrong=0"
    own = by_name["mix, non-reasoning data, own items"]
    assert own.curve[0].cells == by_name["mix, non-reasoning data"].curve[0].cells
    assert own.scored_as == "reasoning:skill=copy,wrong=0"
    page = (finished / REPORT).read_text(encoding="utf-8")
    assert "Trained on reasoning:trace=shuffled, scored on reasoning:wrong=0." in page
    assert "% recovered by rank 1" in page
