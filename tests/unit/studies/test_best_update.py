"""The best update of a rank: it beats the cut, at the planted rank it is exact, and both ways to run it agree."""

import torch

from rankscope.adapters.planted import oracle_truncation, second_moments, teacher_of
from rankscope.adapters.weights import AdapterWeights
from rankscope.evals.teacher_forced import score_variants
from rankscope.lm.bases import load_base
from rankscope.studies import best_update as module
from rankscope.studies.best_update import best_update
from rankscope.studies.scoring import planted_teacher
from rankscope.tasks.catalog import load_items

TASK = "planted:k=3,lines=6,chains=2,max_length=4"


def nats(base, items, update):
    teacher = planted_teacher(base, items)
    return float(score_variants(base.model, [update], items, teacher=teacher)[0]["nats"].to_numpy().mean())


def test_the_best_of_a_rank_beats_the_cut_and_the_whole_is_exact(monkeypatch):
    monkeypatch.setattr(module, "MOST_STEPS", 25)
    base = load_base("tiny-gpt2")
    items = load_items(TASK, "train", 48, 5, base.tokenizer)
    update = teacher_of(base, TASK)
    moments = second_moments(base.model, list(update), items.tokens_NT, items.n_tokens_N)
    cut = oracle_truncation(update, 1, moments)
    found = best_update(base, items, update, cut)
    assert {site: factors.rank for site, factors in found.items()} == dict.fromkeys(update, 1)
    assert nats(base, items, AdapterWeights({})) < nats(base, items, cut) < nats(base, items, found) - 1e-3
    whole = best_update(base, items, update, oracle_truncation(update, 3, moments))
    assert abs(nats(base, items, whole)) < 1e-5


def test_the_short_way_through_the_last_map_is_the_long_one():
    base = load_base("tiny-gpt2")
    items = load_items(TASK, "train", 6, 5, base.tokenizer)
    update = teacher_of(base, TASK)
    (last,) = update
    short = module._tail(base, items, [last])(update)
    beside = "transformer.h.2.mlp.c_proj"
    more = AdapterWeights({beside: module.Factors(torch.zeros(1, 512), torch.zeros(128, 1), 1.0), last: update[last]})
    long = module._tail(base, items, [beside, last])(more)
    assert torch.allclose(short, long, atol=1e-5)
