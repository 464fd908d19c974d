"""Tables of learning rates: kept whole, and telling when they hold no longer."""

import pytest

from rankscope.base.errors import BadFile
from rankscope.studies import rates
from rankscope.studies.plan import SkillPlan, rate_name
from rankscope.studies.rates import (
    RateScore,
    RateTable,
    best_rate,
    confounded_flags,
    next_edge,
    read_rates,
    settings_hash,
    write_rates,
)
from rankscope.train.cell import Budget, DenseSpec, LoraSpec

SKILL = SkillPlan(
    name="HashChain",
    mode="matched",
    task="hashchain:mode=matched",
    arms=(LoraSpec(rank=1), LoraSpec(rank=4), DenseSpec()),
    seeds=(1,),
    budget=Budget(n_items=64, batch_size=32),
    n_test=10,
)
NAMES = [rate_name(SKILL, arm) for arm in SKILL.arms]


def score(primary: float | None, nats: float | None = None) -> dict[str, float | None]:
    return {"primary": primary, "nats": nats}


def bracketed(rate: float) -> dict[str, object]:
    """A grid on which this rate is best and lies inside."""
    return {f"{rate / 2:g}": score(0.1), f"{rate:g}": score(0.5), f"{rate * 2:g}": score(0.1)}


def table(*chosen: float, **changes: object) -> RateTable:
    fields = {
        "study": "made_up:tune",
        "base": "tiny-gpt2",
        "settings": {SKILL.key: settings_hash("b", SKILL)},
        "rates": dict(zip(NAMES, chosen, strict=True)),
        "scores": {name: bracketed(rate) for name, rate in zip(NAMES, chosen, strict=True)},
    }
    return RateTable.model_validate(fields | changes)


def flags(found: RateTable, skill: SkillPlan = SKILL, base: str = "b", **used: float) -> tuple[str, ...]:
    plan_rates = {f"{skill.key}/{label.rsplit('/', 1)[1]}": rate for label, rate in found.rates.items()} | used
    return confounded_flags(found, base, skill, plan_rates)


def test_a_table_reads_back_as_it_was_written(tmp_path, monkeypatch):
    monkeypatch.setattr(rates, "FOLDER", tmp_path)
    assert read_rates(("made_up",)) is None
    write_rates(tmp_path / "made_up.json", table(0.01, 0.02, 0.003))
    assert read_rates(("made_up",)) == table(0.01, 0.02, 0.003)
    (tmp_path / "made_up.json").write_text('{"study": 1}')
    with pytest.raises(BadFile, match="no table of learning rates"):
        read_rates(("made_up",))


def test_a_rate_holds_for_its_base_task_budget_and_placement_alone():
    here = settings_hash("b", SKILL)
    assert settings_hash("b", SKILL.override(n_test=99, seeds=(5,))) == here
    assert settings_hash("b", SKILL.override(task="a null of it", tuned_as=SKILL.task)) == here
    others = [
        settings_hash("other", SKILL),
        settings_hash("b", SKILL.override(task="hashchain")),
        settings_hash("b", SKILL.override(budget=Budget(n_items=128, batch_size=32))),
        settings_hash("b", SKILL.override(arms=(LoraSpec(rank=1, placement=("*.mlp.*",)),))),
    ]
    assert len({here, *others}) == 5


def test_rates_of_other_settings_confound():
    tuned = table(0.01, 0.02, 0.003)
    assert flags(tuned) == ()
    (flag,) = flags(tuned, SKILL.override(task="hashchain"))
    assert flag == "confounded: the learning rates of matched/HashChain were not tuned under these settings"
    assert len(flags(tuned, base="another base")) == 1


def test_rates_tuned_on_another_skill_serve_the_one_that_says_so():
    null = SKILL.override(name="shuffled", mode="null", task="a null of it", tuned_as=SKILL.task)
    assert flags(table(0.01, 0.02, 0.003), null) == ()


def test_an_arm_whose_rate_was_not_tuned_confounds():
    (flag,) = flags(table(0.01, 0.02, 0.003), **{f"{SKILL.key}/rank 4": 0.5})
    assert flag == "confounded: no tuned learning rate for rank 4 of matched/HashChain"


def test_a_best_rate_at_an_edge_is_told():
    scores = {name: bracketed(rate) for name, rate in zip(NAMES, (0.01, 0.02, 0.003), strict=True)}
    scores[NAMES[1]] = {"0.02": score(0.9), "0.04": score(0.5)}
    (flag,) = flags(table(0.01, 0.02, 0.003, scores=scores))
    assert flag == "best learning rate at the edge of its grid: rank 4 of matched/HashChain"


def test_one_rate_for_all_ranks_confounds_unless_a_grid_chose_it():
    assert flags(table(0.01, 0.01, 0.003)) == ()
    assert any("one untuned learning rate" in flag for flag in flags(table(0.01, 0.01, 0.003, scores={})))
    assert flags(table(0.01, 0.02, 0.003, scores={})) == ()


def tried(*scores: tuple[float | None, float | None]) -> dict[str, RateScore]:
    return {
        rate: RateScore(primary=primary, nats=nats)
        for rate, (primary, nats) in zip(("0.01", "0.02", "0.04"), scores, strict=True)
    }


@pytest.mark.parametrize(
    ("scores", "best", "edge"),
    [
        (((0.5, -3), (0.7, -2), (0.6, -1)), 0.02, None),
        (((0.9, -1), (0.7, -2), (0.6, -3)), 0.01, 0.005),
        (((0.5, -3), (0.7, -2), (0.8, -1)), 0.04, 0.08),
        (((0.0, -9), (0.0, -5), (0.0, -7)), 0.02, None),
        (((0.0, -9), (0.0, -8), (0.0, -7)), 0.04, 0.08),
        (((0.7, -2), (0.7, -2), (0.6, -3)), 0.01, 0.005),
        (((0.1, -4), (None, None), (None, None)), 0.01, 0.005),
        (((None, None), (None, None), (None, None)), None, 0.005),
    ],
)
def test_best_score_then_nats_then_the_smaller_rate_and_the_grid_grows_beyond_an_edge(scores, best, edge):
    assert best_rate(tried(*scores)) == best
    assert next_edge(tried(*scores)) == edge
