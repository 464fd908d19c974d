"""Seconds for all single-site ablations of a model with 28 sites on 10,000 tokens, as JSON.

Twice: the ablations alone, and with what makes them worth reading (20 rescalings of every layer for the resolution,
random shifts, attribution). Beside them the plainest way of doing the first: one whole forward pass per site. The aim:
the ablations in under a minute on two cores.
"""

import argparse
from pathlib import Path

import torch

from rankscope.adapters.weights import AdapterWeights, Factors
from rankscope.base.atomic import write_json
from rankscope.base.machine import git_state, machine_facts
from rankscope.base.timing import seconds
from rankscope.engine.model import adapted
from rankscope.evals.completion_pass import iter_completion_logits
from rankscope.interpret.ablation import ablation
from rankscope.interpret.ablation_run import Asked
from rankscope.interpret.effects import effects
from rankscope.interpret.interventions import zeroed
from rankscope.interpret.role_masks import RoleMasks
from rankscope.lm.bases import load_base
from rankscope.lm.sites import linear_sites
from rankscope.tasks.catalog import load_role_items

HERE = Path(__file__).parent


def main() -> None:
    """Times all three, in turns, and writes one file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=HERE / "results" / "ablation.json")
    parser.add_argument("--base", default="tiny-qwen2")
    parser.add_argument("--task", default="reasoning")
    parser.add_argument("--tokens", type=int, default=10_000, help="about so many, prompts included")
    parser.add_argument("--repeats", type=int, default=3)
    asked = parser.parse_args()
    base = load_base(asked.base)
    items, roles = load_role_items(asked.task, "test", asked.tokens // 20, 0, base.tokenizer)
    items = items.take(slice(0, int((items.n_tokens_N.cumsum() <= asked.tokens).sum())))
    roles = None if roles is None else roles.take(slice(0, len(items)))
    full = _random_adapter(linear_sites(base.model))
    masks = RoleMasks.of(items, roles)
    single = Asked(units=("site",), hows=("zero",))

    def plainly() -> None:
        for site in full:
            with torch.no_grad(), adapted(base.model, zeroed(full, [site]).weights) as variant:
                for _ in iter_completion_logits(variant, items):
                    pass

    arms = {
        "one pass per site": plainly,
        "ablations": lambda: effects(base.model, full, [zeroed(full, [site]) for site in full], items, masks),
        "with resolution, random shifts and attribution": lambda: ablation(base.model, [full], items, roles, single),
    }
    taken: dict[str, list[float]] = {name: [] for name in arms}
    for _ in range(asked.repeats):
        for name, arm in arms.items():
            taken[name].append(seconds(arm))
    facts = {**machine_facts(), "git": git_state(HERE), "threads": torch.get_num_threads()}
    rows = [{"arm": name, "seconds": sorted(found)[len(found) // 2], "all": found} for name, found in taken.items()]
    sizes = {"n_sites": len(full), "n_items": len(items), "n_tokens": int(items.n_tokens_N.sum())}
    write_json(asked.out, {"facts": facts, **sizes, "rows": rows})


def _random_adapter(sites: dict[str, tuple[int, int]]) -> AdapterWeights:
    """Rank 1 on every site."""
    draw = torch.Generator().manual_seed(0)
    return AdapterWeights(
        {
            site: Factors(
                torch.randn(1, n_in, generator=draw) / n_in**0.5, torch.randn(n_out, 1, generator=draw) / 10, 1.0
            )
            for site, (n_out, n_in) in sites.items()
        }
    )


if __name__ == "__main__":
    main()
