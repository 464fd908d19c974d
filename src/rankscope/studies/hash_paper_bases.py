"""The bases of hash_paper: a small GPT-2 with its own tokenizer, then full fine-tuning stage by stage."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import cast

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from rankscope.adapters.dense import read_dense, with_parameters
from rankscope.base.errors import BadInput
from rankscope.lm.bases import load_base, quiet_transformers
from rankscope.lm.byte_bpe import build_byte_bpe
from rankscope.lm.text_gpt2 import TextGpt2Size, untrained_text_gpt2
from rankscope.studies.hash_paper import RAW, HashPaperPlan, Stage
from rankscope.tasks.catalog import load_task
from rankscope.tasks.paper import PaperTask
from rankscope.train.cell import Cell
from rankscope.train.events import Diverged, Event, Finished

BASES = "bases"
TOKENIZER_SEED = 0
Train = Callable[[list[Cell]], Iterator[Event]]
"""Trains cells and tells events."""


def make_bases(plan: HashPaperPlan, folder: Path, train: Train) -> dict[str, Path]:
    """Stage -> folder of its base; what is there already is kept. Stages that have their parents train together."""
    found = {RAW: Path(plan.base) if plan.base else raw_base(plan, folder)}
    waiting = list(plan.stages)
    while waiting:
        ready = [stage for stage in waiting if stage.parent in found]
        assert ready, f"no parent for {waiting}"
        found |= _train_stages(plan, ready, found, folder, train)
        waiting = [stage for stage in waiting if stage not in ready]
    return found


def raw_base(plan: HashPaperPlan, folder: Path) -> Path:
    """The untrained small GPT-2 with a tokenizer trained on the study's own texts."""
    target = folder / BASES / RAW

    def save(into: Path) -> None:
        size = plan.size
        tokenizer = build_byte_bpe(tokenizer_texts(plan), size.vocabulary, size.n_positions)
        shape = TextGpt2Size(size.width, size.n_layers, size.n_positions)
        _save(untrained_text_gpt2(tokenizer, shape, seed=0), tokenizer, into)

    return _made(target, save)


def tokenizer_texts(plan: HashPaperPlan) -> Iterator[str]:
    """Whole items of both tasks, from a stream that nothing else uses."""
    for name in plan.train.values():
        task = cast(PaperTask, load_task(name))
        yield from (item.full for item in task.items("tokenizer", plan.size.n_texts, TOKENIZER_SEED))


def _train_stages(
    plan: HashPaperPlan, stages: list[Stage], found: dict[str, Path], folder: Path, train: Train
) -> dict[str, Path]:
    cells = {plan.stage_cell(stage, str(found[stage.parent])): stage for stage in stages}
    done: dict[str, Path] = {}
    for event in train(list(cells)):
        if isinstance(event, Diverged):
            raise BadInput(f"The base stage {cells[event.cell].name!r} diverged at step {event.step}. Lower its rate.")
        if isinstance(event, Finished):
            stage = cells[event.cell]
            done[stage.name] = _trained_base(event, folder / BASES / stage.name.replace(" ", "-"))
    return done


def _trained_base(event: Finished, target: Path) -> Path:
    """The parent with the trained parameters in it, as a folder of its own."""

    def save(into: Path) -> None:
        parent = load_base(event.cell.base)
        with with_parameters(parent.model, read_dense(event.folder / "adapter").tensors) as model:
            _save(model, parent.tokenizer, into)

    return _made(target, save)


def _save(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, into: Path) -> None:
    with quiet_transformers():
        model.save_pretrained(into)
        tokenizer.save_pretrained(into)


def _made(target: Path, save: Callable[[Path], None]) -> Path:
    """The folder, filled beside its place and moved there whole; one that is there already is kept."""
    if not target.exists():
        beside = target.with_name(f".{target.name}.making")
        shutil.rmtree(beside, ignore_errors=True)
        beside.mkdir(parents=True)
        save(beside)
        os.replace(beside, target)
    return target
