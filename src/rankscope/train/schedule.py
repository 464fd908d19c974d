"""The learning rate of each step."""

from rankscope.train.cell import OptimiserSpec


def lr_at(step: int, n_steps: int, optimiser: OptimiserSpec) -> float:
    """Learning rate of step 0 <= step < n_steps: a linear rise to the peak, then a linear fall that ends at 0.

    Check: without warm-up, 4 steps run at 1, 3/4, 2/4 and 1/4 of the peak; no step runs at 0.
    """
    n_warmup = round(optimiser.warmup_frac * n_steps)
    if step < n_warmup:
        return optimiser.lr * (step + 1) / n_warmup
    return optimiser.lr * (n_steps - step) / (n_steps - n_warmup)
