import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rankscope.engine.passes import Passes
from rankscope.lm.bases import load_base
from rankscope.tasks.catalog import load_items
from rankscope.train.batches import batch_of
from rankscope.train.teacher import LOG_ZERO, drawn_shares, teacher_targets

CPU = torch.device("cpu")
MAPS = "lines=4,chains=2,max_length=3,distractors=1"


def test_shares_by_hand() -> None:
    """Of .2, .5, .3 the numbers .1, .6, .69, .95 fall on the first, second, second and third token."""
    log_probs = torch.tensor([[0.2, 0.5, 0.3]]).log()
    found = drawn_shares(log_probs, torch.tensor([[0.1, 0.6, 0.69, 0.95]], dtype=torch.float64))
    assert found.exp().tolist() == [[0.25, 0.5, 0.25]]
    never = drawn_shares(log_probs, torch.tensor([[0.1, 0.1]], dtype=torch.float64))
    assert never.tolist() == [[0.0, LOG_ZERO, LOG_ZERO]]


@given(st.integers(0, 2**32 - 1))
def test_what_is_never_drawn_adds_nothing_to_the_divergence(seed: int) -> None:
    rng = torch.Generator().manual_seed(seed)
    log_probs = (4 * torch.randn(3, 7, generator=rng)).log_softmax(-1)
    student = torch.randn(3, 7, generator=rng).log_softmax(-1)
    target = drawn_shares(log_probs, torch.rand(3, 5, generator=rng, dtype=torch.float64))
    by_hand = torch.where(target.exp() > 0, target.exp() * (target - student), 0.0).sum()
    whole = torch.nn.functional.kl_div(student, target, reduction="sum", log_target=True)
    assert whole.item() == pytest.approx(by_hand.item(), rel=1e-5, abs=1e-6)
    assert target.exp().sum(-1).tolist() == pytest.approx([1.0] * 3, rel=1e-6)


def test_many_draws_come_to_the_teacher_and_few_do_not() -> None:
    base = load_base("tiny-gpt2")
    found = {}
    for samples in ("", ",samples=4", ",samples=4000"):
        items = load_items(f"planted:k=1,{MAPS}{samples}", "train", 4, 0, base.tokenizer)
        with teacher_targets(base, items) as targets:
            assert targets is not None
            found[samples] = targets(batch_of(items, np.arange(4), CPU)).exp()
    off = {samples: (found[samples] - found[""]).abs().mean() for samples in found}
    assert off[",samples=4000"] < 0.2 * off[",samples=4"]


def test_an_items_draw_is_the_same_in_every_batch() -> None:
    base = load_base("tiny-gpt2")
    items = load_items(f"planted:k=1,{MAPS},samples=3", "train", 8, 0, base.tokenizer)
    with teacher_targets(base, items) as targets:
        assert targets is not None
        whole = batch_of(items, np.arange(8), CPU)
        pieces = [targets(part) for part, _ in whole.parts(Passes(3))]
        torch.testing.assert_close(torch.cat(pieces), targets(whole), rtol=1e-5, atol=1e-6)
        turned = targets(batch_of(items, np.arange(8)[::-1].copy(), CPU))
    n_each = whole.predicts_NT.sum(1).tolist()
    backwards = torch.cat(turned.split(n_each[::-1])[::-1])
    torch.testing.assert_close(backwards, torch.cat(pieces), rtol=1e-5, atol=1e-6)
