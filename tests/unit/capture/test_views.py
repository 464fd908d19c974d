"""Views of adapters as they are stored: 16-bit factors on wide maps, and updates that change nothing."""

import numpy as np
import pytest
import torch

from rankscope.adapters.weights import AdapterWeights, Factors
from rankscope.base.errors import BadInput
from rankscope.capture.views import View, canonical_view


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_16_bit_adapter_on_a_wide_map_shows_every_direction(dtype):
    """Strengths 4 and 2 of unit vectors, which every dtype holds exactly."""
    A_RI, B_OR = torch.eye(2, 2048, dtype=dtype), torch.eye(1024, 2, dtype=dtype) * torch.tensor([4, 2], dtype=dtype)
    view = canonical_view(AdapterWeights({"map": Factors(A_RI, B_OR, 1.0)}), ["map"])
    assert [one.strengths for one in view.directions] == [(4.0,), (2.0,)]
    np.testing.assert_allclose(view.of(np.array([[1.0, -3.0]])), [[4.0, -6.0]])


def test_an_update_of_zero_shows_nothing_and_says_so():
    idle, at_work = Factors(torch.ones(2, 8), torch.zeros(8, 2), 1.0), Factors(torch.eye(1, 8), torch.eye(8, 1), 1.0)
    with pytest.raises(BadInput, match="The adapter changes nothing"):
        canonical_view(AdapterWeights({"a": idle, "b": idle}), ["a", "b"])
    view = canonical_view(AdapterWeights({"a": idle, "b": at_work}), ["a", "b"])
    assert [one.site for one in view.directions] == ["b"]
    np.testing.assert_allclose(view.of(np.array([[7.0, 7.0, 5.0]])), [[5.0]])


def test_a_capture_that_shows_nothing_says_so():
    with pytest.raises(BadInput, match="Record it again in a new folder"):
        View(()).of(np.ones((2, 3)))
