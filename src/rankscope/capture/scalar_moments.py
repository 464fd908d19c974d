"""Second moments of an adapter's raw scalars A x: all that weighting its spectrum by the input's needs."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor
from transformers import PreTrainedModel

from rankscope.adapters.weights import AdapterWeights
from rankscope.base.errors import BadInput
from rankscope.capture.recorder import passes
from rankscope.capture.site_inputs import See, inputs_seen
from rankscope.tasks.encoded import EncodedItems

Tell = Callable[[int, int], None]


@torch.no_grad()
def scalar_moments(
    model: PreTrainedModel,
    full: AdapterWeights,
    items: EncodedItems,
    sites: Sequence[str] | None = None,
    tell: Tell | None = None,
) -> dict[str, Float[Tensor, "R R"]]:
    """Site -> C = E[(A x)(A x)^T] = A M A^T, the mean over all tokens but padding, with the adapter at work.

    M = E[x x^T] is the second moment of the site's input; C takes R^2 numbers where M takes I^2. Float64, on the CPU.
    sites: all by default. `tell` hears items done, and in all.
    Raises: BadInput for scalars that are not finite.
    """
    sums: dict[str, Tensor] = {}
    device, n_done = next(model.parameters()).device, 0
    for rows_B in passes(items.n_tokens_N):
        length_B = items.n_tokens_N[rows_B]
        is_read_BT = np.arange(int(length_B.max())) < length_B[:, None]
        ids_BT = items.tokens_NT[rows_B, : is_read_BT.shape[1]]
        # Padding stands on the right, where causal attention never reaches it; any token will do there.
        ids_BT = np.where(is_read_BT, ids_BT, ids_BT[:, :1]).astype(np.int64)
        is_read = torch.from_numpy(is_read_BT).to(device)
        see = {site: _summing(site, full[site].A_RI, sums, is_read) for site in sites or list(full)}
        with inputs_seen(model, full, see) as run:
            run(torch.from_numpy(ids_BT).to(device))
        n_done += len(rows_B)
        if tell is not None:
            tell(n_done, len(items))
    n_tokens = int(items.n_tokens_N.sum())
    for site, total in sums.items():
        if not bool(torch.isfinite(total).all()):
            raise BadInput(f"What {site} reads is not finite: base or adapter overflow on these items. Check both.")
    return {site: total / n_tokens for site, total in sums.items()}


def _summing(site: str, A_RI: Float[Tensor, "R I"], sums: dict[str, Tensor], is_read_BT: Bool[Tensor, "B T"]) -> See:
    def see(x: Tensor) -> None:
        x_MI = x.reshape(*is_read_BT.shape, -1)[is_read_BT]  # some models flatten tokens
        scalar_MR = (x_MI.float() @ A_RI.to(x_MI.device).float().T).cpu().double()
        moment_RR = scalar_MR.T @ scalar_MR
        sums[site] = sums[site] + moment_RR if site in sums else moment_RR

    return see
