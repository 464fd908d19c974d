"""Ways to train an adapter, as things that take a step when told to."""

import contextlib
import multiprocessing
import tempfile
import threading
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import peft
import torch
from torch import nn

from rankscope.base.precision import FP32, PrecisionPlan
from rankscope.bench.cases import LR, Case
from rankscope.engine.passes import Passes
from rankscope.engine.switches import ALL_ON, Switches
from rankscope.lm.sites import resolve_sites
from rankscope.train.arms import Arm, build_arm, copy_sharing_weights
from rankscope.train.batches import batch_stream
from rankscope.train.kinds import prefix_of, prefixes_of
from rankscope.train.loop_arms import build_loop_arm
from rankscope.train.loss import answer_loss
from rankscope.train.memory import BatchShape, bytes_needed, free_bytes
from rankscope.train.packed import Member, build_pack, pack_batches
from rankscope.train.work import largest_pass

Step = Callable[[], None]
"""One optimiser step of every adapter of an arm."""
CPU = torch.device("cpu")
PACKS_SHARE = 0.4
"""Of the free memory, for a pack; the other arms need some for their steps."""


def plain_loop(case: Case, arms: list[Arm], autocast: bool = False) -> Step:
    """The steps of a flat loop, one adapter after the other."""
    materials = case.materials()
    batch_at = batch_stream(materials.items, materials.cell.budget, 0, CPU)
    optimisers = [torch.optim.AdamW(arm.parameters.values(), lr=LR, weight_decay=0.0) for arm in arms]
    count = 0

    def step() -> None:
        nonlocal count
        batch = batch_at(count % materials.cell.budget.n_steps)
        count += 1
        for arm, optimiser in zip(arms, optimisers, strict=True):
            with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
                loss = answer_loss(arm.model, batch)
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(arm.parameters.values(), 1.0)
            optimiser.step()

    return step


def fused_gelu(arm: Arm) -> Arm:
    """The same arm with GPT-2's activation in one call."""
    for module in arm.model.modules():
        if type(getattr(module, "act", None)).__name__ == "NewGELUActivation":
            module.act = nn.GELU(approximate="tanh")
    return arm


def set_attention(arm: Arm, kernel: str) -> Arm:
    """The same arm with transformers' attention of that name."""
    config: Any = arm.model.config
    config._attn_implementation = kernel  # noqa: SLF001  transformers has no other way once a model is built
    return arm


def tuned_peft(case: Case, n_rows: int, kernel: str, autocast: bool) -> Step:
    """PEFT in a plain loop: logits where the loss is, fused activation."""
    arms = [
        set_attention(fused_gelu(build_arm(case.base, case.materials(row).cell.arm, row)), kernel)
        for row in range(n_rows)
    ]
    return plain_loop(case, arms, autocast)


def our_loop(case: Case, n_rows: int, switches: Switches = ALL_ON, plan: PrecisionPlan = FP32) -> Step:
    """Our decoder, one adapter after the other; they share one prefix."""
    materials = [case.materials(row) for row in range(n_rows)]
    prefix = prefix_of(materials[0], Path(tempfile.gettempdir()), switches)
    arms = [build_loop_arm(case.base, one.cell.arm, row, prefix, switches, plan) for row, one in enumerate(materials)]
    return plain_loop(case, arms)


def pass_items(case: Case, n_rows: int) -> int:
    """Items of a pack's pass: the batch, or the largest half, quarter, ... of it that fits beside the other arms."""
    cells = [case.materials(row).cell for row in range(n_rows)]

    def need(n_items: int) -> int:
        return bytes_needed(case.base, cells, BatchShape(n_items, case.n_tokens, case.n_answer), "loop")

    return largest_pass(need, case.batch_size, PACKS_SHARE * free_bytes(CPU)) or 1


def our_pack(case: Case, n_rows: int, n_items: int | None = None) -> Step:
    """Our decoder, all adapters together, in passes of `n_items` items of each; without it of the whole batch."""
    members = [Member(case.materials(row), Path()) for row in range(n_rows)]
    trainer, rows = build_pack(members, CPU)
    prefixes = prefixes_of([member.materials for member in members], Path(tempfile.gettempdir()))
    lr_K = torch.full((n_rows,), LR, dtype=torch.float64)
    batches = contextlib.ExitStack()
    batch_at = batches.enter_context(pack_batches(rows, CPU, prefixes))
    n_steps, count = members[0].cell.budget.n_steps, 0

    def step() -> None:
        nonlocal count
        trainer.step_(batch_at(count % n_steps), lr_K, Passes(n_items))
        count += 1

    return step


@contextlib.contextmanager
def in_processes(build: Callable[[Case, int], Step], case: Case, n_processes: int) -> Iterator[Step]:
    """A step of `build(case, 1)` in each of several one-thread processes at once; `build` is importable by name."""
    context = multiprocessing.get_context("spawn")
    pipes = []
    workers = []
    for _ in range(n_processes):
        ours, theirs = context.Pipe()
        workers.append(context.Process(target=_serve_steps, args=(build, replace(case), theirs), daemon=True))
        workers[-1].start()
        theirs.close()
        pipes.append(ours)
    for pipe in pipes:
        pipe.recv()

    def step() -> None:
        for pipe in pipes:
            pipe.send(None)
        for pipe in pipes:
            pipe.recv()

    try:
        yield step
    finally:
        for worker, pipe in zip(workers, pipes, strict=True):
            worker.kill()
            worker.join()
            pipe.close()


def _serve_steps(build: Callable[[Case, int], Step], case: Case, pipe: Connection) -> None:
    torch.set_num_threads(1)
    step = build(case, 1)
    with contextlib.suppress(EOFError):
        while True:
            pipe.send(None)
            pipe.recv()
            step()


@contextlib.contextmanager
def peft_with_trainer(case: Case, kernel: str) -> Iterator[Step]:
    """PEFT and transformers' Trainer as a user would write them, held before each step until it is called for."""
    from transformers import Trainer, TrainerCallback, TrainingArguments

    go, done = threading.Semaphore(0), threading.Semaphore(0)
    stop = threading.Event()

    class Held(TrainerCallback):
        """Waits after every step until the next one is wanted."""

        def on_train_begin(self, *_: Any, **__: Any) -> None:
            go.acquire()

        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> Any:  # noqa: ARG002
            done.release()
            go.acquire()
            control.should_training_stop = stop.is_set()
            return control

    model: Any = copy_sharing_weights(case.base.model)
    model.config._attn_implementation = kernel  # noqa: SLF001
    sites = resolve_sites(model, case.placement)
    config = peft.LoraConfig(
        r=case.rank, lora_alpha=2 * case.rank, target_modules=sites, fan_in_fan_out=True, task_type="CAUSAL_LM"
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecations between PEFT and transformers
        adapted = peft.get_peft_model(model, config)
    tokens = torch.from_numpy(case.items.tokens_NT)
    labels = torch.where(torch.from_numpy(case.items.completion_mask_NT), tokens, -100)
    rows = [{"input_ids": one, "labels": label} for one, label in zip(tokens, labels, strict=True)]
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            folder,
            per_device_train_batch_size=case.batch_size,
            max_steps=100_000,
            learning_rate=LR,
            weight_decay=0.0,
            max_grad_norm=1.0,
            save_strategy="no",
            logging_strategy="no",
            report_to=[],
            disable_tqdm=True,
            use_cpu=True,
            dataloader_num_workers=0,
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            trainer = Trainer(model=adapted, args=arguments, train_dataset=rows, callbacks=[Held()])
        n_threads = torch.get_num_threads()

        def run() -> None:
            torch.set_num_threads(n_threads)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                trainer.train()

        worker = threading.Thread(target=run, daemon=True)
        worker.start()

        def step() -> None:
            go.release()
            while not done.acquire(timeout=1.0):
                if not worker.is_alive():
                    raise RuntimeError("The Trainer stopped before its step was done.")

        yield step
        stop.set()
        go.release()
        worker.join()
