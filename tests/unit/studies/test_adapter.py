"""What a cut costs, on scores made by hand: a share of the gain is named only where there is a gain."""

import numpy as np
import pytest

from rankscope.studies.adapter import loss_by

N_ITEMS = 20


def by_exact_output(*right):
    """The loss where base, whole adapter and cut have so many items right."""
    return loss_by("exact_output", [(np.arange(N_ITEMS) < n).astype(float) for n in right], None)


def by_nats(*means, spread):
    """The loss where base, whole adapter and cut have these means, the adapters with a spread over items."""
    wobble_N = np.linspace(-spread, spread, N_ITEMS)
    return loss_by("nats", [np.full(N_ITEMS, means[0]), *(mean + wobble_N for mean in means[1:])], None)


def test_a_gain_that_is_noise_has_no_share_to_keep():
    """Of 1 item in 20, and of 0.1 nats where items differ by 1, the cut would keep 300 %."""
    for loss in (by_exact_output(0, 1, 3), by_nats(-3.0, -2.9, -2.7, spread=1)):
        assert loss.before > loss.reference
        assert loss.share_kept is None


def test_a_clear_gain_has_one():
    assert by_exact_output(0, 10, 8).share_kept == pytest.approx(0.8)
    assert by_nats(-3.0, -1.0, -1.5, spread=0.1).share_kept == pytest.approx(0.75)


def test_a_share_is_named_from_as_many_items_as_rank_calls_a_gain():
    named = [by_exact_output(0, n, n).share_kept is not None for n in range(N_ITEMS + 1)]
    assert named == [n >= 4 for n in range(N_ITEMS + 1)]
