"""Adapters whose functional rank is known: a planted update itself, with directions beside it that it leaves unused."""

from pathlib import Path

import torch

from rankscope.adapters.planted import teacher_of
from rankscope.adapters.weights import AdapterWeights, Factors
from rankscope.adapters.write import write_adapter
from rankscope.lm.bases import load_base

PLANTED_RANK = 2
PLANTED = f"planted:k={PLANTED_RANK},lines=8,chains=2,nats=0.3,decay=0.7"


def write_planted(folder: Path, base: Path, nominal_rank: int) -> AdapterWeights:
    """The teacher of PLANTED on that base as a PEFT adapter of a larger nominal rank."""
    teacher = teacher_of(load_base(str(base)), PLANTED)
    assert teacher is not None
    weights = AdapterWeights({site: _widened(factors, nominal_rank) for site, factors in teacher.items()})
    write_adapter(folder, weights, str(base))
    return weights


def _widened(factors: Factors, rank: int) -> Factors:
    more, draw = rank - factors.rank, torch.Generator().manual_seed(0)
    A_MI = torch.randn(more, factors.A_RI.shape[1], generator=draw)
    B_OM = torch.zeros(factors.B_OR.shape[0], more)
    return Factors(torch.cat([factors.A_RI, A_MI]), torch.cat([factors.B_OR, B_OM], dim=1), factors.s)
