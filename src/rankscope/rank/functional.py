"""Functional rank: how far a trained adapter can be truncated before it loses its own gain."""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import polars as pl
import torch
from jaxtyping import Float
from scipy import stats
from torch import Tensor, nn
from transformers import PreTrainedModel

from rankscope.adapters.truncate import bottom, by_order, global_budget, noise, random_subspace, rescaled, truncated
from rankscope.adapters.weights import AdapterWeights, Factors
from rankscope.base.errors import BadInput
from rankscope.base.seeds import stream_seed
from rankscope.evals.completion_pass import iter_completion_logits, model_device
from rankscope.evals.score_table import variant_hash
from rankscope.evals.teacher_forced import Teacher, score_variants
from rankscope.rank.records import CONTROLS, Control, FunctionalRank, TruncationPoint
from rankscope.spectra.low_rank_svd import low_rank_svd
from rankscope.stats.crossed import crossed_interval
from rankscope.stats.over_items import t_ends
from rankscope.tasks.encoded import EncodedItems

EVERY_K_UP_TO = 16
EIGHTHS = (10, 12, 14, 16)
"""Budgets between a power of two from 8 on and the next, in eighths of it: steps of a quarter at most."""
LEVEL = 0.95
"""Two-sided: an adapter has a gain where its lower 97.5 % bound over items is above 0."""
MIN_SEEDS = 5


@dataclass(frozen=True)
class TruncationCurve:
    """Scores after truncation, for every seed, budget and item; the last budget is the whole adapter."""

    ks: tuple[float, ...]
    scores_SKN: Float[np.ndarray, "S K N"]


def k_grid(rank: int) -> tuple[int, ...]:
    """Budgets to try: every k up to a rank of 16, else 0 to 8, then four in every doubling, and the rank itself.

    On the coarse grid (8 10 12 14 16 20 24 28 32 40 ...) a functional rank above 8 is the smallest *tried* k; the
    true one may be up to a fifth smaller.
    """
    if rank <= EVERY_K_UP_TO:
        return tuple(range(rank + 1))
    coarse = (eighths * 2 ** (n - 3) for n in range(3, rank.bit_length()) for eighths in EIGHTHS)
    return (*range(9), *(k for k in coarse if k < rank), rank)


def truncation_curves(
    model: PreTrainedModel,
    weights: AdapterWeights,
    items: EncodedItems,
    ks: Sequence[int] | None = None,
    eval_seed: int = 0,
    controls: Sequence[Control] = ("energy", "random", "bottom", "rescaled", "global"),
    *,
    teacher: Teacher | None = None,
    order_on: EncodedItems | None = None,
    n_draws: int = 3,
    batch_size: int = 256,
    tell: Callable[[int, int], None] | None = None,
) -> pl.DataFrame:
    """Scores per item of the adapter cut to k directions per site, for all ks and controls.

    Columns: control, k, draw, variant, then `item` and the scores of `score_teacher_forced`. The model is the base.
    `random` has n_draws draws (a function of eval_seed), `fisher` orders directions on the items `order_on` (others
    than those scored), `global` allots a budget of k times the number of sites by energy, `noise` has one draw and no
    direction of the adapter. k = 0 (the base) and k = R (the whole adapter, but noise) are the same under every
    control, scored once and listed under each. `tell` hears how many models out of how many have been handed over to
    be scored.
    """
    ks = k_grid(weights.max_rank) if ks is None else tuple(sorted({0, *ks, weights.max_rank}))
    order = _order(model, weights, controls, order_on, batch_size)
    svd = SingularAdapter.of(weights)

    inner = [
        (control, k, draw)
        for control in controls
        for k in ks
        if k != 0 and (control == "noise" or k != weights.max_rank)
        for draw in range(n_draws if control == "random" else 1)
    ]
    cuts = (svd.cut(control, k, eval_seed, draw, order) for control, k, draw in inner)
    variants: Iterator[AdapterWeights] = itertools.chain((AdapterWeights({}), weights), cuts)
    if tell is not None:
        variants = _counted(variants, len(inner) + 2, tell)
    base, whole, *found = score_variants(model, variants, items, batch_size, teacher)
    scored = dict(zip(inner, found, strict=True))
    ends = {(control, k, 0): end for control in controls for k, end in ((0, base), (weights.max_rank, whole))}
    scored = ends | scored
    order_of = {control: number for number, control in enumerate(controls)}
    return pl.concat(
        _labelled(scored[control, k, draw], control, k, draw, eval_seed)
        for control, k, draw in sorted(scored, key=lambda place: (order_of[place[0]], *place[1:]))
    )


def _counted(
    variants: Iterator[AdapterWeights], total: int, tell: Callable[[int, int], None]
) -> Iterator[AdapterWeights]:
    for done, variant in enumerate(variants):
        tell(done, total)
        yield variant
    tell(total, total)


@dataclass(frozen=True)
class SingularAdapter:
    """An adapter decomposed once: site -> U, S, V. Cuts then work on the small diagonal cores alone."""

    parts: dict[str, tuple[Tensor, Tensor, Tensor]]

    @classmethod
    def of(cls, weights: AdapterWeights) -> "SingularAdapter":
        """The decomposition of every site; sites of rank 0 are left out."""
        return cls({site: low_rank_svd(f.A_RI, f.B_OR, f.s) for site, f in weights.items() if f.rank > 0})

    def cut(
        self,
        control: Control,
        k: int,
        eval_seed: int = 0,
        draw: int = 0,
        order: Mapping[str, Sequence[int]] | None = None,
    ) -> AdapterWeights:
        """The adapter cut to k directions per site; `random` uses eval_seed and draw, `fisher` the order."""
        seed = stream_seed("truncation", eval_seed, draw)
        if control == "noise":
            return _cut(self.whole(), control, k, seed, {})
        core = AdapterWeights(
            {site: Factors(torch.eye(len(S_K)), S_K.diag().float(), 1.0) for site, (_, S_K, _) in self.parts.items()}
        )
        cut = _cut(core, control, k, seed, order or {})
        return AdapterWeights(
            {
                site: Factors(cut[site].A_RI @ V_KI.float(), U_OK.float() @ cut[site].B_OR, cut[site].s)
                for site, (U_OK, _, V_KI) in self.parts.items()
            }
        )

    def whole(self) -> AdapterWeights:
        """The adapter put together again."""
        return AdapterWeights(
            {site: Factors(V.float(), (U * S).float(), 1.0) for site, (U, S, V) in self.parts.items()}
        )


def _cut(
    weights: AdapterWeights, control: Control, k: int, seed: int, order: Mapping[str, Sequence[int]]
) -> AdapterWeights:
    match control:
        case "energy":
            return truncated(weights, k)
        case "bottom":
            return bottom(weights, k)
        case "rescaled":
            return rescaled(weights, k)
        case "global":
            return global_budget(weights, k)
        case "fisher":
            return by_order(weights, order, k)
        case "random":
            return random_subspace(weights, k, seed)
        case "noise":
            return noise(weights, k, seed)


def _order(
    model: PreTrainedModel,
    weights: AdapterWeights,
    controls: Sequence[Control],
    order_on: EncodedItems | None,
    batch_size: int,
) -> dict[str, list[int]]:
    unknown = set(controls) - set(CONTROLS)
    if unknown:
        raise BadInput(f"Controls are {', '.join(CONTROLS)}, not {', '.join(sorted(unknown))}.")
    if "fisher" not in controls:
        return {}
    if order_on is None:
        raise BadInput("The control `fisher` needs items to order directions by: pass order_on.")
    information = direction_information(model, weights, order_on, batch_size)
    return {site: found_K.argsort(descending=True, stable=True).tolist() for site, found_K in information.items()}


def _labelled(scores: pl.DataFrame, control: Control, k: int, draw: int, eval_seed: int) -> pl.DataFrame:
    intervention = {"truncate": k, "control": control} | (
        {"draw": [eval_seed, draw]} if control in ("random", "noise") else {}
    )
    return scores.select(
        pl.lit(control).alias("control"),
        pl.lit(k, dtype=pl.Int32).alias("k"),
        pl.lit(draw, dtype=pl.Int32).alias("draw"),
        pl.lit(variant_hash(intervention)).alias("variant"),
        pl.all(),
    )


def direction_information(
    model: PreTrainedModel, weights: AdapterWeights, items: EncodedItems, batch_size: int = 256
) -> dict[str, Float[Tensor, " K"]]:
    """How much items react to every singular direction, per site, in squared nats: an empirical Fisher information.

    The mean over items of the squared derivative of the completion's log-probability by a factor on the direction, as
    in Fisher pruning (Theis et al. 2018, arXiv 1801.05787). A mean of the derivatives themselves vanishes where
    training has converged, squares do not. Directions are in descending order of singular value. The model is the base.
    """
    with _gated(model, weights) as gates, torch.enable_grad():
        total: dict[str, Tensor] = {}
        for batch in iter_completion_logits(model, items, batch_size):
            score = batch.log_probs_PV.gather(1, batch.target_P[:, None]).sum()
            for site, slope_MK in zip(gates, torch.autograd.grad(score, list(gates.values())), strict=True):
                total[site] = total.get(site, 0) + slope_MK.square().sum(0)
    return {site: (sum_K / len(items)).cpu() for site, sum_K in total.items()}


@dataclass(frozen=True)
class _GatedUpdate:
    """A forward hook that adds an adapter's output, each direction times a gate of 1 of every item's own."""

    site: str
    US_OK: Tensor
    V_KI: Tensor
    gates: dict[str, Tensor]

    def __call__(self, _module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        states_MTK = inputs[0].float() @ self.V_KI.T
        gate_MK = torch.ones_like(states_MTK[:, 0]).requires_grad_()
        self.gates[self.site] = gate_MK
        return output + ((states_MTK * gate_MK[:, None]) @ self.US_OK.T).to(output.dtype)


@contextmanager
def _gated(model: PreTrainedModel, weights: AdapterWeights) -> Iterator[dict[str, Float[Tensor, "M K"]]]:
    """The adapter on the model with gates on its singular directions; yields those of the last batch, by site."""
    gates: dict[str, Tensor] = {}
    handles = []
    for site, parts in SingularAdapter.of(weights).parts.items():
        U_OK, S_K, V_KI = (part.float().to(model_device(model)) for part in parts)
        hook = _GatedUpdate(site, U_OK * S_K, V_KI, gates)
        handles.append(model.get_submodule(site).register_forward_hook(hook))
    try:
        yield gates
    finally:
        for handle in handles:
            handle.remove()


def truncation_curve(frames: Sequence[pl.DataFrame], control: Control, column: str) -> TruncationCurve:
    """One control's scores as [seeds, budgets, items], from the `truncation_curves` of every seed's adapter.

    Draws are averaged per item. Raises: BadInput when seeds differ in budgets or items, or a score is missing.
    """
    tables = [_budget_table(frame, control, column) for frame in frames]
    if not tables:
        raise BadInput("There are no truncations to put together: pass one frame per seed.")
    ks, items, _ = tables[0]
    if any(table[0] != ks or not np.array_equal(table[1], items) for table in tables):
        raise BadInput(f"The seeds' `{control}` truncations differ in their budgets or items. Score all alike.")
    return TruncationCurve(ks, np.stack([scores_KN for _, _, scores_KN in tables]))


def _budget_table(
    frame: pl.DataFrame, control: Control, column: str
) -> tuple[tuple[float, ...], np.ndarray, np.ndarray]:
    rows = frame.filter(pl.col("control") == control)
    if rows.is_empty() or rows[column].null_count():
        raise BadInput(f"There are no whole `{column}` scores of `{control}` truncations. Score that control first.")
    means = rows.group_by("k", "item", maintain_order=True).agg(pl.col(column).cast(pl.Float64).mean())
    by_k = {float(part["k"][0]): part for part in means.partition_by("k", maintain_order=True)}
    ks = tuple(sorted(by_k))
    items = by_k[ks[0]]["item"].to_numpy()
    if any(not np.array_equal(part["item"].to_numpy(), items) for part in by_k.values()):
        raise BadInput(f"The `{control}` truncations are not all scored on the same items. Score all alike.")
    return ks, items, np.stack([by_k[k][column].to_numpy() for k in ks])


def functional_rank(
    arm: str, curves: Mapping[Control, TruncationCurve], reference_N: Float[np.ndarray, " N"], q: float = 0.9
) -> FunctionalRank:
    """Smallest k from which every larger k keeps q of the adapter's own gain over the reference.

    A seed whose gain has a lower 97.5 % bound over items (t) not above 0 counts as rank 0; no_gain says that the
    median seed does. The interval of the median over seeds is distribution-free: the narrowest pair of order
    statistics that holds it with 95 %; at 5 seeds the whole range, 93.75 %; below 5 seeds None. Its low end reaches
    down to the smallest k that the budgets tried leave open.
    Raises: BadInput when `energy` is missing, a curve lacks k = 0, or shapes disagree.
    """
    _check_curves(curves, reference_N, q)
    energy = curves["energy"]
    whole = float((energy.scores_SKN[:, -1] - reference_N).mean())
    by_seed = tuple(int(k) for k in smallest_budgets(energy, reference_N, q))
    median = float(np.median(by_seed))
    low, high = median_interval(by_seed) if len(by_seed) >= MIN_SEEDS else (None, None)
    shared = tuple(smallest_budgets(curves["global"], reference_N, q).tolist()) if "global" in curves else ()
    return FunctionalRank(
        arm=arm,
        q=q,
        no_gain=median == 0,
        median=median,
        by_seed=by_seed,
        low=None if low is None else _least_open(energy.ks, low),
        high=high,
        global_mean=float(np.median(shared)) if shared else None,
        global_by_seed=shared,
        curve=tuple(
            point
            for name, curve in curves.items()
            for point in _points(name, curve, reference_N, whole if median > 0 else 0.0)
        ),
    )


def _least_open(ks: Sequence[float], rank: float) -> float:
    """The smallest rank that may have been needed when `rank` is the first of the budgets tried that was enough."""
    return min(rank, max((k + 1 for k in ks if k < rank), default=rank))


def _check_curves(curves: Mapping[Control, TruncationCurve], reference_N: np.ndarray, q: float) -> None:
    if "energy" not in curves:
        raise BadInput("A functional rank needs the `energy` truncations; the other controls stand beside it.")
    if not 0 < q <= 1:
        raise BadInput(f"q is the share of the gain to keep, above 0 and at most 1, not {q}.")
    for name, curve in curves.items():
        wanted = (curves["energy"].scores_SKN.shape[0], len(curve.ks), len(reference_N))
        if curve.scores_SKN.shape != wanted or curve.ks[0] != 0 or list(curve.ks) != sorted(set(curve.ks)):
            raise BadInput(
                f"The `{name}` curve should have ascending budgets from 0 and scores of shape {wanted} "
                f"[seeds, budgets, items], but has budgets {curve.ks} and shape {curve.scores_SKN.shape}."
            )
    if len(reference_N) < 2:
        raise BadInput("A functional rank needs at least two items to tell a gain from none.")


def smallest_budgets(curve: TruncationCurve, reference_N: Float[np.ndarray, " N"], q: float) -> Float[np.ndarray, " S"]:
    """Per seed the smallest budget from which every larger one keeps q of the gain; 0 where there is no gain."""
    gain_SKN = curve.scores_SKN - reference_N
    return np.where(has_gain(gain_SKN[:, -1]), smallest_kept(curve.ks, gain_SKN.mean(2), q), 0.0)


def smallest_kept(ks: Sequence[float], gain_MK: Float[np.ndarray, "M K"], q: float) -> Float[np.ndarray, " M"]:
    """Per row the smallest budget from which every larger one keeps q of the last one's gain; 0 unless that is above 0.

    Gains may be sums as well as means.
    """
    keeps_MK = gain_MK >= q * gain_MK[:, -1:]
    keeps_onwards_MK = np.logical_and.accumulate(keeps_MK[:, ::-1], axis=1)[:, ::-1]
    return np.where(gain_MK[:, -1] > 0, np.array(ks, dtype=float)[keeps_onwards_MK.argmax(1)], 0.0)


def has_gain(gain_SN: Float[np.ndarray, "S N"]) -> np.ndarray:
    """Per seed whether the lower 97.5 % bound of its mean gain over items is above 0."""
    return np.array([t_ends(gain_N, LEVEL)[1] > 0 for gain_N in gain_SN])


def median_interval(values: Sequence[float], level: float = LEVEL) -> tuple[float, float]:
    """Order statistics that hold the population's median with the level, or the whole range where none can.

    Check: of 6 values the range (96.9 %); of 9 the second and the eighth (96.1 %).
    """
    ordered, n = sorted(values), len(values)
    depth = max(1, int(stats.binom.ppf((1 - level) / 2, n, 0.5)))
    return float(ordered[depth - 1]), float(ordered[n - depth])


def _points(
    control: Control, curve: TruncationCurve, reference_N: np.ndarray, whole: float
) -> Iterator[TruncationPoint]:
    """Points of one control; `whole` is the whole adapter's gain, 0 where it has none."""
    for index, k in enumerate(curve.ks):
        scores_SN = curve.scores_SKN[:, index]
        yield TruncationPoint(
            control=control,
            k=k,
            score=crossed_interval(scores_SN, share=bool(np.isin(scores_SN, (0, 1)).all())),
            share_of_gain=float((scores_SN - reference_N).mean()) / whole if whole > 0 else None,
        )
