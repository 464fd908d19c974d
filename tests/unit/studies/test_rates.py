"""Tables of learning rates: kept whole, and telling when they hold no longer."""

import pytest

from rankscope.base.errors import BadFile
from rankscope.studies import rates
from rankscope.studies.plan import SkillPlan, rate_name
from rankscope.studies.rates import RateTable, confounded_flags, read_rates, settings_hash, write_rates
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


def table(chosen: tuple[float, float, float], n_tried: int = 3, **changes: object) -> RateTable:
    names = [rate_name(SKILL, arm) for arm in SKILL.arms]
    fields = {
        "study": "made_up:tune",
        "base": "tiny-gpt2",
        "settings": {SKILL.key: settings_hash("b", SKILL)},
        "rates": dict(zip(names, chosen, strict=True)),
        "scores": {name: {f"{n}": 0.5 for n in range(n_tried)} for name in names},
    }
    return RateTable.model_validate(fields | changes)


def test_a_table_reads_back_as_it_was_written(tmp_path, monkeypatch):
    monkeypatch.setattr(rates, "FOLDER", tmp_path)
    assert read_rates("made_up") is None
    write_rates(tmp_path / "made_up.json", table((0.01, 0.02, 0.003)))
    assert read_rates("made_up") == table((0.01, 0.02, 0.003))
    (tmp_path / "made_up.json").write_text('{"study": 1}')
    with pytest.raises(BadFile, match="no table of learning rates"):
        read_rates("made_up")


def test_a_rate_holds_for_its_base_task_and_budget_alone():
    here = settings_hash("b", SKILL)
    assert settings_hash("b", SKILL.override(n_test=99, seeds=(5,), arms=())) == here
    others = [
        settings_hash("other", SKILL),
        settings_hash("b", SKILL.override(task="hashchain")),
        settings_hash("b", SKILL.override(budget=Budget(n_items=128, batch_size=32))),
    ]
    assert len({here, *others}) == 4


def test_rates_of_other_settings_confound():
    tuned = table((0.01, 0.02, 0.003))
    assert confounded_flags(tuned, "b", (SKILL,)) == ()
    (flag,) = confounded_flags(tuned, "b", (SKILL.override(task="hashchain"),))
    assert flag == "confounded: the learning rates of matched/HashChain were tuned under other settings"
    assert len(confounded_flags(tuned, "another base", (SKILL,))) == 1


def test_a_skill_that_is_not_in_the_table_is_told_once():
    (flag,) = confounded_flags(table((0.01, 0.02, 0.003)), "b", (SKILL.override(name="HashHop"),))
    assert "matched/HashHop were tuned under other settings" in flag


@pytest.mark.parametrize(("changes", "flagged"), [({}, False), ({"n_tried": 1}, True), ({"scores": {}}, True)])
def test_one_rate_for_all_ranks_confounds_unless_a_grid_chose_it(changes, flagged):
    same = table((0.01, 0.01, 0.003), **changes)
    assert any("one untuned learning rate" in flag for flag in confounded_flags(same, "b", (SKILL,))) == flagged
    assert not confounded_flags(table((0.01, 0.02, 0.003), **changes), "b", (SKILL,))
