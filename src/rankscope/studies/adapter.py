"""Measurements on adapters that were trained anywhere: functional rank, and what a cut costs."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl

from rankscope.adapters.attach import check_fits_model
from rankscope.adapters.truncate import matrix_rank
from rankscope.adapters.weights import AdapterWeights
from rankscope.base.config import Config
from rankscope.base.errors import BadInput
from rankscope.evals.teacher_forced import score_variants
from rankscope.lm.bases import Base
from rankscope.rank.adapter_reading import adapter_reading, gain_over_items
from rankscope.rank.adapter_records import AdapterReading, ScoreName
from rankscope.rank.functional import truncation_curves
from rankscope.rank.records import CONTROLS, Control
from rankscope.rank.required import reference_scores
from rankscope.stats.interval import Interval
from rankscope.stats.over_items import difference_over_items
from rankscope.studies.evidence import SHARES
from rankscope.studies.held_out import HeldOut

Tell = Callable[[int, int], None]


class Loss(Config):
    """What a cut costs by one score, on held-out items."""

    score: ScoreName
    base: float
    reference: float
    """Mean score that gain is measured from: the base's, or chance where guessing is possible and better."""
    before: float
    """Mean score of the whole adapter."""
    after: float
    loss: Interval
    """before - after, paired by item, over items only."""
    share_kept: float | None
    """Gain after / gain before; None where the whole adapter has no gain that these items show (`gain_over_items`)."""


class Choice(Config):
    """The smallest k from which every larger one keeps q of the gain."""

    k: int
    q: float
    score: ScoreName
    """What the gain was measured by."""
    ks: tuple[int, ...]
    """Directions per site that were tried."""
    split: Literal["validation"] = "validation"
    n_items: int


def score_columns(held_out: HeldOut) -> tuple[ScoreName, ...]:
    """The scores that a rank can be read off, the preferred one first."""
    return ("exact_output", "nats") if held_out.items.objective == "answer" else ("nats",)


def check_adapters(base: Base, adapters: Sequence[AdapterWeights], names: Sequence[str | Path]) -> None:
    """Raises BadInput unless all fit the base and have the same sites and nominal ranks, as one training's seeds do."""
    for name, adapter in zip(names, adapters, strict=True):
        try:
            check_fits_model(base.model, adapter)
        except BadInput as error:
            raise BadInput(f"{name} does not fit {base.name}: {error}") from None
    ranks = [{site: factors.rank for site, factors in adapter.items()} for adapter in adapters]
    for name, found in zip(names, ranks, strict=True):
        if found != ranks[0]:
            raise BadInput(
                f"{name} has other sites or nominal ranks than {names[0]}, so they are not one training with several "
                "seeds. Measure them one at a time."
            )


def measured(
    base: Base,
    adapters: Sequence[AdapterWeights],
    test: HeldOut,
    order_on: HeldOut | None,
    seed: int = 0,
    tell: Tell | None = None,
) -> AdapterReading:
    """Functional rank of the adapters on the test items, under every control.

    order_on: other items than `test`, by which `fisher` orders directions; without them that control is left
    out. `random` is a function of the seed and the adapter's place. Adapters without a gain by any score are not cut.
    `tell` hears how many models out of how many are being scored.
    """
    controls: tuple[Control, ...] = tuple(name for name in CONTROLS if name != "fisher" or order_on is not None)

    def telling(place: int) -> Tell | None:
        return None if tell is None else lambda n, total: tell(place * total + n, len(adapters) * total)

    def read(frames: list[pl.DataFrame]) -> AdapterReading:
        return adapter_reading(frames, score_columns(test), SHARES, test.guess_N, adapters[0].max_rank, rank)

    rank = max(matrix_rank(factors) for adapter in adapters for factors in adapter.values())
    ends = [
        truncation_curves(base.model, adapter, test.items, (), controls=("energy",), teacher=test.teacher)
        for adapter in adapters
    ]
    whole = read(ends)
    if not any(score.gains for score in whole.scores):
        return whole
    return read(
        [
            truncation_curves(
                base.model,
                adapter,
                test.items,
                eval_seed=seed + place,
                controls=controls,
                teacher=test.teacher,
                order_on=None if order_on is None else order_on.items,
                tell=telling(place),
            )
            for place, adapter in enumerate(adapters)
        ]
    )


def chosen_k(base: Base, adapter: AdapterWeights, on: HeldOut, q: float, tell: Tell | None = None) -> Choice:
    """The smallest k from which every larger one keeps q of the adapter's gain, on items kept for choosing.

    By exact output where that shows a gain, else by log-probability (-KL on planted skills).
    Raises: BadInput when the adapter has no gain on these items, so that there is no share of it to keep.
    """
    frame = truncation_curves(base.model, adapter, on.items, controls=("energy",), teacher=on.teacher, tell=tell)
    reading = adapter_reading([frame], score_columns(on), (q,), on.guess_N, adapter.max_rank, adapter.max_rank)
    found = reading.primary
    if not found.gains:
        raise BadInput(
            f"The adapter has no gain on {reading.n_items} validation items of {on.items.task} (in nats per item it is "
            f"{_nats(reading)} above its base), so there is no share of a gain to keep. Check that base and task are "
            "those it was trained for; --to K cuts without measuring."
        )
    k = found.functional[0].by_seed[0]
    return Choice(k=k, q=q, score=found.score, ks=reading.ks, n_items=reading.n_items)


def _nats(reading: AdapterReading) -> str:
    gain = next(score.gain[0] for score in reading.scores if score.score == "nats")
    return f"{gain.estimate:.3g} [{gain.low:.3g}, {gain.high:.3g}]"


def measured_losses(base: Base, whole: AdapterWeights, cut: AdapterWeights, test: HeldOut) -> tuple[Loss, ...]:
    """What the cut costs by every score, on items that nothing was chosen by."""
    frames = score_variants(base.model, (AdapterWeights({}), whole, cut), test.items, teacher=test.teacher)
    return tuple(
        loss_by(column, [frame[column].cast(pl.Float64).to_numpy() for frame in frames], test.guess_N)
        for column in score_columns(test)
    )


def loss_by(column: ScoreName, scores: Sequence[np.ndarray], guess_N: np.ndarray | None) -> Loss:
    """What a cut costs by one score; scores are those of base, whole adapter and cut, each [N]."""
    base_N, before_N, after_N = scores
    is_share = column == "exact_output"
    reference_N = reference_scores(base_N, guess_N if is_share else None)
    gain = gain_over_items(before_N, reference_N, share=is_share)
    has_gain = gain.low is not None and gain.low > 0
    return Loss(
        score=column,
        base=float(base_N.mean()),
        reference=float(reference_N.mean()),
        before=float(before_N.mean()),
        after=float(after_N.mean()),
        loss=difference_over_items(before_N, after_N, share=is_share),
        share_kept=float((after_N - reference_N).mean() / gain.estimate) if has_gain else None,
    )
