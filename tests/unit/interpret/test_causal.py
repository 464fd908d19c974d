"""Causal checks of a direction that a trained model needs, against greedy decoding of models changed by hand.

The whole is a tiny model trained on the items; two singular directions of one of its own maps are the adapter, and the
model without them is the base. So by hand every change is another weight matrix, or a constant added by a hook.

1. Texts, scores, their changes with signs, and what differs are those of the hand-made models, item by item.
2. Switching the direction off loses score, its whole self (factor 1) changes nothing.
"""

from collections.abc import Sequence

import numpy as np
import pytest
import torch

from rankscope.adapters.weights import AdapterWeights, Factors
from rankscope.base.errors import BadInput
from rankscope.interpret.causal import Change, causal_checks, usual_changes
from tests.hand_items import STOP, items_of, train_briefly
from tests.tiny_models import tiny_model

MARK, LIMIT = 7, 6
CHANGES = (
    Change("scale", 0.0),
    Change("scale", 1.0),
    Change("scale", -1.0),
    Change("steer", 4.0),
    Change("steer", -4.0),
)
NEEDED, HARMFUL = ("model.layers.0.self_attn.v_proj", 0), ("model.layers.0.mlp.down_proj", 1)


def rows() -> list[tuple[list[int], list[int], list[int]]]:
    """Two numbers; the trace names the second, the answer says whether the first is odd."""
    draw = np.random.default_rng(0)
    pairs = [(int(a), int(b)) for a, b in draw.integers(10, 16, (24, 2))]
    return [([a, b], [b, MARK], [20 + a % 2]) for a, b in pairs]


@pytest.fixture(scope="module")
def trained() -> dict[str, torch.Tensor]:
    model = tiny_model("qwen2")
    train_briefly(model, items_of(rows()), 60)
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


def split(weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """The rest of a matrix and its two largest directions u, sigma, v, with the largest entry of u positive."""
    U, S, V = torch.linalg.svd(weight.double(), full_matrices=False)
    sign = torch.stack([u[u.abs().argmax()].sign() for u in U.T[:2]])
    u_O2, v_2I = U[:, :2] * sign, V[:2] * sign[:, None]
    return weight - (u_O2 * S[:2] @ v_2I).float(), u_O2, S[:2], v_2I


def by_hand(trained: dict[str, torch.Tensor], site: str, index: int, change: Change | None) -> list[list[int]]:
    """What the changed model writes, item after item, each token from a whole new pass."""
    model = tiny_model("qwen2")
    model.load_state_dict(trained)
    module = model.get_submodule(site)
    _, u_O2, S_2, v_2I = split(trained[f"{site}.weight"])
    u_O = u_O2[:, index]
    if change is not None and change.how == "scale":
        module.weight.data += ((change.value - 1) * S_2[index] * torch.outer(u_O, v_2I[index])).float()
    elif change is not None:
        push_O = (change.value * u_O).float()
        module.register_forward_hook(lambda _module, _inputs, out: out + push_O)
    return [greedy(model, prompt) for prompt, *_ in rows()]


@torch.no_grad()
def greedy(model: torch.nn.Module, prompt: list[int]) -> list[int]:
    text = list(prompt)
    while len(text) < len(prompt) + LIMIT and (len(text) == len(prompt) or text[-1] != STOP):
        text.append(int(model(input_ids=torch.tensor([text])).logits[0, -1].argmax()))
    return text[len(prompt) :]


def exact(texts: list[list[int]]) -> list[bool]:
    return [text == [*trace, *answer, STOP] for text, (_, trace, answer) in zip(texts, rows(), strict=True)]


def right(texts: list[list[int]]) -> list[bool]:
    return [text[-3:] == [MARK, *answer, STOP] for text, (*_, answer) in zip(texts, rows(), strict=True)]


def parts(text: list[int]) -> tuple[list[int], list[int]]:
    """Trace and answer: up to the last mark, and what follows it; without a mark all but the stop is trace."""
    if MARK not in text:
        at = len(text) - (STOP in text)
        return text[:at], text[at:]
    last = len(text) - text[::-1].index(MARK)
    return text[:last], text[last:]


def share(first: Sequence[object], other: Sequence[object]) -> float:
    return float(np.mean([a != b for a, b in zip(first, other, strict=True)]))


@pytest.mark.parametrize(("site", "index"), [NEEDED, HARMFUL])
def test_scores_and_texts_are_those_of_models_changed_by_hand(trained, site, index):
    base = tiny_model("qwen2")
    rest, u_O2, S_2, v_2I = split(trained[f"{site}.weight"])
    base.load_state_dict(trained | {f"{site}.weight": rest})
    mix = torch.tensor([[1.0, 2.0], [-1.0, 3.0]], dtype=torch.float64)
    full = AdapterWeights({site: Factors((mix @ v_2I).float(), (u_O2 * S_2 @ mix.inverse() / 0.5).float(), 0.5)})
    checks = causal_checks(base, full, site, index, CHANGES, items_of(rows()), lambda ids: " ".join(map(str, ids)))
    whole = by_hand(trained, site, index, None)
    for change, check in zip(CHANGES, checks, strict=True):
        texts = by_hand(trained, site, index, change)
        assert (check.how, check.value) == change
        assert check.exact.estimate == pytest.approx(np.mean(exact(texts)))
        assert check.exact_change.estimate == pytest.approx(np.mean(exact(texts)) - np.mean(exact(whole)))
        assert check.answer_correct.estimate == pytest.approx(np.mean(right(texts)))
        assert check.answer_correct_change.estimate == pytest.approx(np.mean(right(texts)) - np.mean(right(whole)))
        assert check.text_changed.estimate == share(texts, whole)
        assert check.trace_changed.estimate == share(*([parts(one)[0] for one in some] for some in (texts, whole)))
        assert check.answer_changed.estimate == share(*([parts(one)[1] for one in some] for some in (texts, whole)))
        for one in check.examples:
            assert one.before == " ".join(map(str, whole[one.item]))
            assert one.after == " ".join(map(str, texts[one.item])) != one.before
    off, same, turned, up, down = checks
    assert same.text_changed.estimate == same.exact_change.estimate == same.answer_changed.estimate == 0
    assert min(one.text_changed.estimate for one in (off, turned, up, down)) > 0
    if (site, index) == NEEDED:
        assert off.exact_change.high < 0
        assert off.answer_correct_change.high < 0
        assert off.exact.high < same.exact.estimate
    else:
        assert off.answer_correct_change.estimate > 0


def test_the_usual_changes_and_refusals():
    assert usual_changes(0.5) == (
        ("scale", 0.0), ("scale", -1.0), ("scale", 3.0), ("steer", 1.5), ("steer", -1.5),
    )  # fmt: skip
    full = AdapterWeights({NEEDED[0]: Factors(torch.ones(1, 16), torch.ones(8, 1), 1.0)})
    items = items_of(rows())
    with pytest.raises(BadInput, match="a change and two items, not 0 and 24"):
        causal_checks(tiny_model("qwen2"), full, NEEDED[0], 0, (), items, str)
    with pytest.raises(BadInput, match="directions 0 to 0, not 3"):
        causal_checks(tiny_model("qwen2"), full, NEEDED[0], 3, CHANGES, items, str)
