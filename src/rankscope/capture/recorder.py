"""Records channels of an adapted model over items, into a capture folder that an interrupted call goes on with.

One forward pass per batch without the head. Where our decoder runs the base, taps see the sites' inputs and maps that
share an input are read at once; elsewhere hooks on transformers' modules do, and are removed whatever happens.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import PreTrainedModel

from rankscope.adapters.attach import check_fits_model
from rankscope.adapters.weights import AdapterWeights
from rankscope.base.errors import BadInput
from rankscope.capture.channels import (
    Channel,
    Fused,
    Population,
    adapter_channels,
    fused,
    mlp_channels,
    random_channels,
    residual_channels,
)
from rankscope.capture.site_inputs import See, inputs_seen
from rankscope.capture.store import (
    KIND,
    AdapterState,
    CaptureSpec,
    SiteColumns,
    StateDtype,
    check_room,
    open_capture,
    shard_path,
    shard_plan,
    write_shard,
    write_view,
)
from rankscope.capture.tokens import BYTES_BESIDE, item_names, tokens_of
from rankscope.capture.views import View, canonical_view, plain_view
from rankscope.lm.bases import Base
from rankscope.runs.folder import RunFolder
from rankscope.tasks.encoded import EncodedItems, check_fits
from rankscope.tasks.roles import RoleTable

PASS_TOKENS = 2**13
"""Tokens of one forward pass, padding included, unless one item is longer."""
SHARD_BYTES = 2**27
"""A shard is held in memory while it is filled."""
MOST_SHARD_TOKENS = 2**16

Read = Callable[[Tensor], Tensor]
"""tokens [N, T] -> recorded values [N, T, D]"""
Tell = Callable[[int, int], None]


def record(
    base: Base,
    weights: AdapterWeights,
    items: EncodedItems,
    roles: RoleTable | None,
    folder: Path,
    *,
    population: Population = "adapter",
    n_columns: int | None = None,
    seed: int = 0,
    dtype: StateDtype = "float32",
    tell: Tell | None = None,
) -> AdapterState:
    """Records one population of the adapted base over all tokens of the items; goes on where an earlier call stopped.

    `adapter` records raw A x; `mlp` a sample of `n_columns` hidden units; `residual` all that `n_columns` layers read
    (None: every layer); `random` as many directions as the adapter has, of the same inputs. `tell` hears how many
    tokens out of how many are done.
    Raises: BadInput when the folder was begun with another adapter, base or items, for values that are not finite or
    that float16 can not hold; OutOfSpace before anything is recorded.
    """
    check_fits_model(base.model, weights)
    check_fits(items, base.n_positions, base.name)
    channels = population_channels(base.model, weights, population, n_columns, seed)
    spec = capture_spec(base, weights, items, roles, channels, population, seed, dtype)
    names_N = item_names(items)
    plan = shard_plan(items.n_tokens_N, spec.tokens_per_shard)
    with RunFolder.open(folder, spec.model_dump(mode="json"), KIND) as run:
        missing = [number for number in range(len(plan)) if not shard_path(folder, number).is_dir()]
        if not run.finished:
            check_room(folder, spec, len(plan), len(plan) - len(missing))
            write_view(folder, view_of(weights, channels, population))
            with reading(base.model, weights, channels) as read:
                for number in missing:
                    rows = plan[number]
                    some, their_roles = items.take(rows), None if roles is None else roles.take(rows)
                    state_MD = shard_state(read, some, spec)
                    write_shard(folder, number, state_MD, tokens_of(some, their_roles, names_N[rows]))
                    if tell is not None:
                        tell(int(items.n_tokens_N[: rows.stop].sum()), spec.n_tokens)
            run.finish()
    return open_capture(folder)


def population_channels(
    model: PreTrainedModel, weights: AdapterWeights, population: Population, n_columns: int | None, seed: int
) -> tuple[Channel, ...]:
    """The channels of a population; see `record`."""
    match population:
        case "adapter":
            return adapter_channels(model, weights)
        case "random":
            return random_channels(adapter_channels(model, weights), seed)
        case "residual":
            return residual_channels(model, n_columns, seed)
        case "mlp":
            n_adapter = sum(factors.rank for factors in weights.values())
            return mlp_channels(model, n_adapter if n_columns is None else n_columns, seed)


def view_of(weights: AdapterWeights, channels: Sequence[Channel], population: Population) -> View:
    """The canonical view of an adapter's scalars; other columns as they are."""
    if population == "adapter":
        return canonical_view(weights, [channel.site for channel in channels])
    return plain_view([(channel.site, channel.units or range(channel.n_columns)) for channel in channels])


def capture_spec(
    base: Base,
    weights: AdapterWeights,
    items: EncodedItems,
    roles: RoleTable | None,
    channels: Sequence[Channel],
    population: Population,
    seed: int,
    dtype: StateDtype,
) -> CaptureSpec:
    """What is about to be recorded."""
    n_columns = sum(channel.n_columns for channel in channels)
    per_token = n_columns * np.dtype(dtype).itemsize + BYTES_BESIDE
    return CaptureSpec(
        population=population,
        adapter_hash=weights.content_hash,
        base=base.name,
        base_hash=base.content_hash,
        task=items.task,
        split=items.split,
        items_hash=items.content_hash,
        roles_hash=None if roles is None else roles_hash(roles),
        n_items=len(items),
        n_tokens=int(items.n_tokens_N.sum()),
        sites=tuple(SiteColumns(site=one.site, n_columns=one.n_columns, units=one.units) for one in channels),
        dtype=dtype,
        tokens_per_shard=min(MOST_SHARD_TOKENS, max(1, SHARD_BYTES // per_token)),
        seed=None if population == "adapter" else seed,
        surfaces=() if roles is None else roles.surfaces,
        tags=() if roles is None else roles.tags,
    )


def roles_hash(roles: RoleTable) -> str:
    """SHA-256 over names and arrays of the roles."""
    digest = hashlib.sha256(repr((roles.surfaces, roles.tags)).encode())
    for array in (roles.surface_NT, roles.tags_NT, roles.known_from_NG):
        digest.update(str(array.shape).encode() + np.ascontiguousarray(array, dtype=np.int64).tobytes())
    return digest.hexdigest()


@contextmanager
def reading(model: PreTrainedModel, weights: AdapterWeights, channels: Sequence[Channel]) -> Iterator[Read]:
    """A function from tokens to the channels' columns in the adapted model, which is as before afterwards."""
    groups = fused(model, channels)
    device = next(model.parameters()).device
    order_D = torch.from_numpy(np.argsort(np.concatenate([group.columns for group in groups]))).to(device)
    is_in_order = bool((order_D.diff() == 1).all())
    found: dict[str, Tensor] = {}

    with inputs_seen(model, weights, {group.site: _reader(group, found) for group in groups}) as run:

        @torch.no_grad()
        def read(tokens_NT: Tensor) -> Tensor:
            found.clear()
            run(tokens_NT.to(device))
            parts = [found[group.site].reshape(*tokens_NT.shape, -1) for group in groups]
            values_NTD = torch.cat(parts, dim=-1)
            return values_NTD if is_in_order else values_NTD.index_select(-1, order_D)

        yield read


def _reader(group: Fused, found: dict[str, Tensor]) -> See:
    def see(x: Tensor) -> None:
        found[group.site] = group.read(x)

    return see


def shard_state(read: Read, items: EncodedItems, spec: CaptureSpec) -> Float[np.ndarray, "M D"]:
    """Recorded values of every token of the items, in the items' order, in the capture's dtype."""
    state_MD = np.empty((int(items.n_tokens_N.sum()), spec.n_columns), dtype=spec.dtype)
    starts_N = np.cumsum(items.n_tokens_N) - items.n_tokens_N
    for rows_B in passes(items.n_tokens_N):
        length_B = items.n_tokens_N[rows_B]
        is_read_BT = np.arange(int(length_B.max())) < length_B[:, None]
        ids_BT = items.tokens_NT[rows_B, : is_read_BT.shape[1]]
        # Padding stands on the right, where causal attention never reaches it; any token will do there.
        ids_BT = np.where(is_read_BT, ids_BT, ids_BT[:, :1]).astype(np.int64)
        values_MD = _values(read, ids_BT, is_read_BT)
        _check_values(values_MD, spec)
        within_M = np.nonzero(is_read_BT)[1]
        state_MD[np.repeat(starts_N[rows_B], length_B) + within_M] = values_MD
    return state_MD


def _values(read: Read, ids_BT: np.ndarray, is_read_BT: np.ndarray) -> Float[np.ndarray, "M D"]:
    flat = read(torch.from_numpy(ids_BT)).flatten(0, 1)
    if not is_read_BT.all():
        flat = flat.index_select(0, torch.from_numpy(np.flatnonzero(is_read_BT)).to(flat.device))
    return flat.float().cpu().numpy()


def _check_values(values_MD: np.ndarray, spec: CaptureSpec) -> None:
    """Raises BadInput for values that are not finite, or too large for the dtype."""
    largest = float(np.abs(values_MD).max())
    if not np.isfinite(largest):
        raise BadInput("A recorded value is not finite: base or adapter overflow on these items. Check both.")
    most = float(np.finfo(spec.dtype).max)
    if largest > most:
        raise BadInput(
            f"A recorded value of {largest:.3g} is too large for {spec.dtype}, which holds at most "
            f"{most:.3g}. Record in float32, in a new folder."
        )


def passes(n_tokens_N: Int[np.ndarray, " N"], pass_tokens: int = PASS_TOKENS) -> Iterator[Int[np.ndarray, " B"]]:
    """Rows of each forward pass, items of like length together; at most `pass_tokens` with padding, or one item."""
    order_N = np.argsort(n_tokens_N, kind="stable")
    first = 0
    while first < len(order_N):
        last = first + 1
        while last < len(order_N) and (last + 1 - first) * int(n_tokens_N[order_N[last]]) <= pass_tokens:
            last += 1
        yield order_N[first:last]
        first = last
