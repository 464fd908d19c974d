"""Which rate wins, when the grid grows, and what a tuning writes."""

import math

from rankscope.lm.bases import load_base
from rankscope.studies import tuning
from rankscope.studies.plan import SkillPlan, StudyPlan, rate_name
from rankscope.studies.rates import RateScore, RateTable, settings_hash
from rankscope.studies.stages import Sitting
from rankscope.studies.tuning import run_tuning
from rankscope.train.cell import Budget, FullSpec, LoraSpec


def test_columns_try_each_rate_once_and_one_per_arm_at_a_time():
    columns = tuning._columns({"a": {0.02, 0.01}, "b": {0.3}})
    assert columns == [{"a": 0.01, "b": 0.3}, {"a": 0.02}]
    assert tuning._columns({}) == []


SKILL = SkillPlan(
    name="HashChain",
    mode="direct",
    task="hashchain",
    arms=(LoraSpec(rank=1), LoraSpec(rank=2), FullSpec()),
    seeds=(1000,),
    budget=Budget(n_items=64, batch_size=32),
    n_test=10,
)
PLAN = StudyPlan(
    study="made_up:tune",
    title="",
    base="tiny-gpt2",
    skills=(SKILL,),
    rates={rate_name(SKILL, arm): 0.01 for arm in SKILL.arms},
)
PEAKS = {"direct/HashChain/rank 1": 0.01, "direct/HashChain/rank 2": 0.08, "direct/HashChain/full": 1e-4}


def test_rates_are_chosen_by_score_and_an_open_edge_is_told(tmp_path, monkeypatch, capsys):
    tried: list[dict[str, float]] = []

    def score_by_distance(_plan, rates, _sitting, scores):
        tried.append(rates)
        for name, rate in rates.items():
            distance = -abs(math.log(rate / PEAKS[name]))
            scores.setdefault(name, {})[f"{rate:g}"] = RateScore(primary=distance, nats=None)

    monkeypatch.setattr(tuning, "_try_rates", score_by_distance)
    run_tuning(PLAN, Sitting(tmp_path, "cpu", 1))
    table = RateTable.model_validate_json((tmp_path / tuning.RATES_FILE).read_text())
    assert table.rates == {
        "direct/HashChain/rank 1": 0.01,
        "direct/HashChain/rank 2": 0.08,
        "direct/HashChain/full": 0.00125,
    }
    assert list(table.scores["direct/HashChain/rank 2"]) == ["0.005", "0.01", "0.02", "0.04", "0.08"]
    assert [len(rates) for rates in tried] == [3, 3, 3, 2, 2]
    assert table.settings == {SKILL.key: settings_hash(load_base("tiny-gpt2").content_hash, SKILL)}
    assert table.tuning_seeds == (1000,)
    said = capsys.readouterr().err
    assert "Still best at an edge after 3 rounds" in said
    assert "direct/HashChain/rank 1" not in said


def test_tuning_trains_only_arms_that_have_a_rate_to_try_and_truncates_nothing():
    part = tuning._only(SKILL.override(functional=(2,)), {"direct/HashChain/rank 2": 0.1})
    assert ([arm.label for arm in part.arms], part.functional, part.generate) == (["rank 2"], (), False)
    assert tuning._only(SKILL, {"direct/other/rank 2": 0.1}) is None
