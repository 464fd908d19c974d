"""Initial adapter factors, drawn per site, so that ranks are nested and placements paired."""

import math

import torch

from rankscope.adapters.weights import Factors
from rankscope.base.seeds import torch_stream


def initial_factors(site: str, out_features: int, in_features: int, rank: int, scale: float, init_seed: int) -> Factors:
    """PEFT's default start in float32: A uniform on +-1 / sqrt(I) (Kaiming with a = sqrt(5)), B zero.

    The draw depends on the seed and the site alone, and row by row: rank r holds the first r rows of any
    larger rank, and a site's draw does not depend on which other sites there are.
    """
    generator = torch_stream("init", init_seed, site)
    bound = 1.0 / math.sqrt(in_features)
    A_RI = torch.empty(rank, in_features)
    for row_I in A_RI:
        row_I.uniform_(-bound, bound, generator=generator)
    return Factors(A_RI, torch.zeros(out_features, rank), scale)


def paper_factors(site: str, out_features: int, in_features: int, rank: int, scale: float, init_seed: int) -> Factors:
    """The start of arXiv 2412.00029: A normal with standard deviation 1 / R whatever the fan-in, B zero.

    So A's norm falls as 1 / sqrt(R), and with it the size of early updates: nominal rank and step size are confounded.
    Rank r holds the first r rows of any larger rank, times the ratio of the ranks.
    """
    generator = torch_stream("init", init_seed, site)
    A_RI = torch.empty(rank, in_features)
    for row_I in A_RI:
        row_I.normal_(0.0, 1.0, generator=generator)
    return Factors(A_RI / rank, torch.zeros(out_features, rank), scale)
