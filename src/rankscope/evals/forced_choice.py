"""Forced choice: is the true answer the likeliest of the candidates, after the gold trace?"""

from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from rankscope.evals.completion_pass import iter_completion_logits
from rankscope.tasks.encoded import NO_TOKEN, EncodedItems


def has_single_tokens(items: EncodedItems) -> bool:
    """Whether every candidate is one token, so that the pass over the gold completion already decides."""
    candidates = items.candidates_NCA
    return candidates is not None and bool((candidates[:, :, 1:] == NO_TOKEN).all())


def single_token_nats(
    log_probs_MV: Float[Tensor, "M V"], candidates_MC: Int[np.ndarray, "M C"]
) -> Float[np.ndarray, "M C"]:
    """Log-probability of each one-token candidate, given the distribution at the answer; -inf where there is none."""
    ids_MC = torch.from_numpy(np.maximum(candidates_MC, 0).astype(np.int64)).to(log_probs_MV.device)
    nats_MC = log_probs_MV.gather(1, ids_MC).cpu().double().numpy()
    return np.where(candidates_MC == NO_TOKEN, -np.inf, nats_MC)


@torch.no_grad()
def candidate_nats(model: nn.Module, items: EncodedItems, batch_size: int = 256) -> Float[np.ndarray, "N C"]:
    """Total log-probability of each candidate answer after the gold trace; -inf where there is none.

    One sequence is scored per candidate, of any length. The stop token is not counted.
    """
    there_NC, asked = _one_item_per_candidate(items)
    nats_E = np.zeros(len(asked))
    for batch in iter_completion_logits(model, asked, batch_size):
        gold_P = batch.log_probs_PV.gather(1, batch.target_P[:, None])[:, 0].cpu().double().numpy()
        nats_E[batch.rows_M] = np.add.reduceat(gold_P, batch.starts_M)
    nats_NC = np.full(there_NC.shape, -np.inf)
    nats_NC[there_NC] = nats_E
    return nats_NC


def _one_item_per_candidate(items: EncodedItems) -> tuple[Bool[np.ndarray, "N C"], EncodedItems]:
    """Which candidates exist, and an item for each of them: gold text up to the answer, then the candidate."""
    assert items.candidates_NCA is not None
    there_NC = items.candidates_NCA[:, :, 0] != NO_TOKEN
    candidates_EA = items.candidates_NCA[there_NC]
    rows_E = np.nonzero(there_NC)[0]
    start_E = items.answer_start_N[rows_E]
    length_E = (candidates_EA != NO_TOKEN).sum(1)
    tokens_ET = np.pad(items.tokens_NT[rows_E], ((0, 0), (0, candidates_EA.shape[1])))
    row_K, column_K = np.nonzero(candidates_EA != NO_TOKEN)
    tokens_ET[row_K, start_E[row_K] + column_K] = candidates_EA[row_K, column_K]
    asked = replace(
        items.take(rows_E),
        tokens_NT=tokens_ET,
        n_prompt_N=start_E,
        n_tokens_N=start_E + length_E,
        answer_end_N=start_E + length_E,
        candidates_NCA=None,
    )
    return there_NC, asked


def true_is_likeliest(nats_NC: Float[np.ndarray, "N C"]) -> Bool[np.ndarray, " N"]:
    """Whether the first (true) candidate beats every other strictly; a tie counts as wrong."""
    others_NC = np.where(np.arange(nats_NC.shape[1]) == 0, -np.inf, nats_NC)
    return nats_NC[:, 0] > others_NC.max(1)
