import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from rankscope.train.batches import batch_rows
from rankscope.train.cell import Budget, OptimiserSpec
from rankscope.train.schedule import lr_at


@given(st.integers(1, 60), st.integers(1, 20), st.integers(1, 3), st.integers(0, 2**31))
def test_every_epoch_is_a_set_of_distinct_items_in_whole_batches(n: int, size: int, epochs: int, seed: int) -> None:
    budget = Budget(n_items=n, batch_size=size, n_epochs=epochs)
    per_epoch = n // size
    for epoch in range(epochs if per_epoch else 0):
        rows = [batch_rows(budget, seed, epoch * per_epoch + b) for b in range(per_epoch)]
        assert all(len(r) == size for r in rows)
        seen = np.concatenate(rows)
        assert len(set(seen.tolist())) == len(seen)
        assert set(seen.tolist()) <= set(range(n))


@given(st.integers(1, 500), st.floats(0, 0.99), st.floats(1e-6, 1.0))
def test_the_rate_is_positive_and_peaks_at_its_peak(n_steps: int, warmup: float, lr: float) -> None:
    spec = OptimiserSpec(lr=lr, warmup_frac=warmup)
    rates = [lr_at(step, n_steps, spec) for step in range(n_steps)]
    assert min(rates) > 0
    assert max(rates) <= lr * (1 + 1e-12)
    peak = rates.index(max(rates))
    assert rates[:peak] == sorted(rates[:peak])
    assert rates[peak:] == sorted(rates[peak:], reverse=True)
