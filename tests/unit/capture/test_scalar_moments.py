"""Second moments of adapter scalars against inputs caught one by one from the model that carries the adapter."""

import numpy as np
import pytest
import torch
from hand_items import random_items
from tiny_models import tiny_model, tiny_opt

from rankscope.adapters.attach import attached
from rankscope.adapters.weights import AdapterWeights, Factors
from rankscope.base.errors import BadInput
from rankscope.capture.recorder import passes
from rankscope.capture.scalar_moments import scalar_moments
from rankscope.spectra.low_rank_svd import weighted_singular_values

SITES = {
    "qwen2": {"model.layers.0.mlp.up_proj": (24, 16), "model.layers.1.mlp.down_proj": (16, 24)},
    "opt": {"model.decoder.layers.0.fc1": (24, 16), "model.decoder.layers.1.fc2": (16, 24)},
}


@pytest.mark.parametrize("family", ["qwen2", "opt"])
def test_weighted_spectra_are_those_of_inputs_caught_by_hand(family, monkeypatch):
    monkeypatch.setattr("rankscope.capture.scalar_moments.passes", lambda n_tokens_N: passes(n_tokens_N, 40))
    model, items, draw = tiny_opt() if family == "opt" else tiny_model(family), random_items(0, 9), torch.Generator()
    full = AdapterWeights({
        site: Factors(torch.randn(3, n_in, generator=draw), torch.randn(n_out, 3, generator=draw) / 5, 0.5)
        for site, (n_out, n_in) in SITES[family].items()
    })  # fmt: skip
    caught = {site: [] for site in full}
    with attached(model, full), torch.no_grad():
        hooks = [
            model.get_submodule(site).register_forward_pre_hook(
                lambda _module, inputs, site=site: caught[site].append(inputs[0].reshape(-1, inputs[0].shape[-1]))
            )
            for site in full
        ]
        for row in range(len(items)):
            model(input_ids=torch.from_numpy(items.tokens_NT[row : row + 1, : items.n_tokens_N[row]]))
        for hook in hooks:
            hook.remove()
    heard = []
    moments = scalar_moments(model, full, items, tell=lambda done, total: heard.append((done, total)))
    assert list(moments) == list(full)
    for site, factors in full.items():
        x_MI = torch.cat(caught[site]).double().numpy()
        assert len(x_MI) == items.n_tokens_N.sum()
        values_I, vectors_II = np.linalg.eigh(x_MI.T @ x_MI / len(x_MI))
        root_II = vectors_II @ np.diag(np.sqrt(values_I.clip(0))) @ vectors_II.T
        update_OI = factors.s * (factors.B_OR @ factors.A_RI).double().numpy()
        expected = np.linalg.svd(update_OI @ root_II, compute_uv=False)[:3]
        found = weighted_singular_values(factors.B_OR, factors.s, moments[site])
        np.testing.assert_allclose(found.numpy(), expected, rtol=1e-4)
    assert heard[-1] == (9, 9)
    assert len(heard) > 1


def test_one_site_alone_and_an_input_that_is_not_finite():
    model, items = tiny_model("qwen2"), random_items(0, 4)
    first, last = SITES["qwen2"]
    full = AdapterWeights({first: Factors(torch.ones(1, 16), torch.ones(24, 1), 1.0),
                           last: Factors(torch.ones(1, 24), torch.ones(16, 1), 1.0)})  # fmt: skip
    assert list(scalar_moments(model, full, items, [last])) == [last]
    full[first].B_OR.fill_(torch.inf)
    with pytest.raises(BadInput, match="not finite"):
        scalar_moments(model, full, items, [last])
