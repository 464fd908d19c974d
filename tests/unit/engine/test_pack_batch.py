"""A pass of a pack's batch keeps each position's teacher."""

import numpy as np
import pytest
import torch

from rankscope.engine.pack_step import PackBatch
from rankscope.engine.passes import Passes

LENGTHS = np.array([5, 9, 4, 8])


@pytest.mark.parametrize("n_rows", [None, 3])
def test_teacher_and_residual_go_with_their_positions(n_rows, monkeypatch):
    """Teachers and residuals are numbered by item and position, for all rows together or each its own."""
    monkeypatch.setattr("rankscope.engine.passes.PASS_TOKENS", 0)
    shape = (4, 9) if n_rows is None else (n_rows, 4, 9)
    place = torch.arange(np.prod(shape)).view(shape)
    predicts = torch.zeros(shape, dtype=torch.bool)
    for item, length in enumerate(LENGTHS):
        predicts[..., item, 2 : length - 1] = True
    whole = PackBatch(place, predicts, LENGTHS, place[predicts][:, None].float(), place[..., None].float(), 1)
    parts = Passes(by_length=True).of(LENGTHS)
    assert len(parts) == 4
    seen = [whole.part(part) for part in parts]
    for one in seen:
        assert torch.equal(one.teacher_PV[:, 0].long(), one.tokens[one.predicts])
        assert torch.equal(one.residual[..., 0].long(), one.tokens)
        assert one.tokens.shape[-1] == one.length_N.max()
    assert sum(len(one.teacher_PV) for one in seen) == int(predicts.sum())
