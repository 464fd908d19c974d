"""How the shipped bases are made: trained on one-hop lookup over twin maps, and on nothing else."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import NonNegativeInt, PositiveFloat, PositiveInt
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional
from transformers import PreTrainedModel

from rankscope.base.atomic import atomic_path, disk_errors, write_json, write_text
from rankscope.base.config import Config
from rankscope.base.errors import BadFile, BadInput, UnknownName, near_matches
from rankscope.base.seeds import numpy_stream
from rankscope.lm.bases import quiet_transformers
from rankscope.lm.lookup_bases import FAMILIES, UNTRAINED
from rankscope.lm.word_tokenizer import build_word_tokenizer
from rankscope.tasks.lookup import LookupBatch, draw_lookups
from rankscope.train.checkpoint import MOMENTS

CHECKPOINT = "training.safetensors"
RECIPE_FILE = "recipe.json"
CHECKPOINT_EVERY = 100
"""Steps."""


class LookupRecipe(Config):
    """Everything that decides a base's weights, given the machine's arithmetic."""

    architecture: Literal["tiny-gpt2", "small-gpt2", "tiny-qwen2"] = "tiny-gpt2"
    """Which untrained model of `rankscope.lm.lookup_bases`."""
    seed: NonNegativeInt = 0
    n_steps: PositiveInt = 500
    batch_size: PositiveInt = 64
    n_lookups: PositiveInt = 16
    """Lookups asked after each map."""
    lines: tuple[PositiveInt, ...] = (4, 6, 8, 10, 12, 14)
    """Lines of the maps, one size per step, in turn at random."""
    lr: PositiveFloat = 1e-3
    """Peak rate of Adam; 20 steps of warm-up, then linear decay to a hundredth."""
    beta2: PositiveFloat = 0.98
    n_threads: PositiveInt = 1


RECIPES = {
    "tiny-gpt2": LookupRecipe(),
    "small-gpt2": LookupRecipe(architecture="small-gpt2", n_steps=300, lr=5e-4),
    "tiny-qwen2": LookupRecipe(architecture="tiny-qwen2", n_steps=300),
}


def recipe_of(name: str) -> LookupRecipe:
    """The recipe of a shipped base. Raises UnknownName with near matches."""
    if name not in RECIPES:
        raise UnknownName(f"There is no recipe for a base named {name!r}. {near_matches(name, RECIPES)}")
    return RECIPES[name]


def build_base(
    name: str, out: Path, recipe: LookupRecipe | None = None, on_step: Callable[[int, int, float], None] | None = None
) -> dict[str, float]:
    """Trains a base from its recipe into the folder `out` and returns its lookup accuracies.

    Interrupted, the same call goes on from the last checkpoint. `on_step` gets step, number of steps and loss.
    The folder holds safetensors, tokenizer, model card and `recipe.json`, which is written last.
    """
    recipe = recipe or recipe_of(name)
    if (out / RECIPE_FILE).exists():
        raise BadInput(f"{out} already holds a finished base. Choose another folder, or delete it first.")
    _refuse_strangers(out)
    with disk_errors(out):
        out.mkdir(parents=True, exist_ok=True)
    before = torch.get_num_threads()
    torch.set_num_threads(recipe.n_threads)
    try:
        model = _trained(recipe, out / CHECKPOINT, on_step)
        accuracies = {f"one_hop_{lines}_lines": lookup_accuracy(model, lines) for lines in recipe.lines}
    finally:
        torch.set_num_threads(before)
    _save(name, out, recipe, model, accuracies)
    (out / CHECKPOINT).unlink(missing_ok=True)
    return accuracies


def _refuse_strangers(out: Path) -> None:
    """Raises when the folder holds a model that no build left there; an interrupted one leaves its checkpoint."""
    if (out / CHECKPOINT).exists():
        return
    strangers = sorted(path.name for pattern in ("config.json", "*.safetensors") for path in out.glob(pattern))
    if strangers:
        raise BadInput(
            f"{out} holds a model that is not from this recipe ({strangers[0]}), which would be overwritten. "
            "Choose another folder."
        )


def _trained(
    recipe: LookupRecipe, checkpoint: Path, on_step: Callable[[int, int, float], None] | None
) -> PreTrainedModel:
    model = UNTRAINED[recipe.architecture](recipe.seed)
    parameters = dict(model.named_parameters())
    adam = torch.optim.Adam(parameters.values(), lr=recipe.lr, betas=(0.9, recipe.beta2))
    first = _resume_(checkpoint, recipe, parameters, adam)
    for step in range(first, recipe.n_steps):
        lines = int(numpy_stream("base lines", recipe.seed, step).choice(recipe.lines))
        batch = draw_lookups(lines, recipe.batch_size, recipe.n_lookups, "train", recipe.seed, step)
        for group in adam.param_groups:
            group["lr"] = recipe.lr * min((step + 1) / 20, max(0.01, 1 - step / recipe.n_steps))
        loss = lookup_loss(model, batch)
        adam.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(parameters.values(), 1.0)
        adam.step()
        if on_step:
            on_step(step + 1, recipe.n_steps, loss.item())
        if (step + 1) % CHECKPOINT_EVERY == 0 and step + 1 < recipe.n_steps:
            _checkpoint(checkpoint, recipe, parameters, adam, step + 1)
    return model.eval()


def lookup_loss(model: PreTrainedModel, batch: LookupBatch) -> torch.Tensor:
    """Mean cross-entropy, in nats, of the answers of lookups."""
    tokens, asked = torch.from_numpy(batch.tokens_NT), torch.from_numpy(batch.asked_NT)[:, 1:]
    logits = model(input_ids=tokens[:, :-1]).logits
    return functional.cross_entropy(logits[asked], tokens[:, 1:][asked])


def lookup_accuracy(model: PreTrainedModel, lines: int, n: int = 500) -> float:
    """Share of first lookups answered rightly on held-out maps."""
    batch = draw_lookups(lines, n, 1, "held out")
    tokens = torch.from_numpy(batch.tokens_NT)
    with torch.no_grad():
        answers = model(input_ids=tokens[:, :-1]).logits[:, -1].argmax(-1)
    return float((answers == tokens[:, -1]).float().mean())


def _checkpoint(
    path: Path, recipe: LookupRecipe, parameters: dict[str, nn.Parameter], adam: torch.optim.Adam, step: int
) -> None:
    tensors = {"steps_done": torch.tensor(step)}
    for name, parameter in parameters.items():
        tensors[name] = parameter.detach()
        tensors |= {f"{name}|{moment}": tensor for moment, tensor in adam.state.get(parameter, {}).items()}
    with atomic_path(path) as temporary:
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, temporary, _stamp(recipe))


def _stamp(recipe: LookupRecipe) -> dict[str, str]:
    """What a checkpoint says of the recipe that made it."""
    return {"recipe": recipe.model_dump_json()}


def _resume_(path: Path, recipe: LookupRecipe, parameters: dict[str, nn.Parameter], adam: torch.optim.Adam) -> int:
    """Loads a checkpoint of the same recipe, if there is one, and returns the steps done."""
    if not path.exists():
        return 0
    try:
        with safe_open(path, "pt") as opened:
            stamp = opened.metadata()
        tensors = load_file(path)
    except SafetensorError as error:
        raise BadFile(f"{path} is damaged ({error}). Delete it; the base is then trained from step 0.") from error
    if stamp != _stamp(recipe):
        raise BadInput(f"{path} was left by another recipe. Choose another folder, or delete it first.")
    for name, parameter in parameters.items():
        parameter.data.copy_(tensors[name])
        if f"{name}|step" in tensors:
            adam.state[parameter] = {moment: tensors[f"{name}|{moment}"] for moment in MOMENTS}
    return int(tensors["steps_done"])


def _save(name: str, out: Path, recipe: LookupRecipe, model: PreTrainedModel, accuracies: dict[str, float]) -> None:
    with quiet_transformers():
        model.save_pretrained(out)
    build_word_tokenizer().save_pretrained(out)
    digest = hashlib.sha256((out / "model.safetensors").read_bytes()).hexdigest()
    write_text(out / "README.md", _card(name, recipe, accuracies, model, digest))
    write_json(
        out / RECIPE_FILE,
        {"recipe": recipe.model_dump(mode="json"), "accuracy": accuracies, "model.safetensors": {"sha256": digest}},
    )


def _card(name: str, recipe: LookupRecipe, accuracies: dict[str, float], model: PreTrainedModel, digest: str) -> str:
    config: Any = model.config
    n_parameters = sum(parameter.numel() for parameter in model.parameters())
    family = FAMILIES[config.model_type]
    parts = f"{n_parameters:,} parameters, {config.num_hidden_layers} layers of\nwidth {config.hidden_size}"
    rows = "\n".join(f"| {key.split('_')[2]} | {value:.1%} |" for key, value in accuracies.items())
    return f"""---
license: apache-2.0
library_name: transformers
tags: [rankscope, synthetic]
---
# {name}

A base for studies of low-rank adapters: Hugging Face's {family.name} architecture, {parts}, tied embeddings, \
a word-level tokenizer of 256 words. It was trained by `rankscope base build {name}` on
one-hop lookup over twin maps and on nothing else: it has never seen a path, a question or a target of HashHop or
HashChain. Synthetic data only. It is of no use outside such studies.

{family.placed}; the table in
`rankscope/lm/lookup_{config.model_type}.py` gives the distribution of every first weight.
{family.loading}
| map lines | one-hop lookup, 500 held-out maps |
|---|---|
{rows}

Recipe: `{json.dumps(recipe.model_dump(mode="json"))}`

SHA-256 of model.safetensors: `{digest}`. Another machine's arithmetic gives slightly other weights.
"""
