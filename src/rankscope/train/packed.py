"""A pack of cells trained together: every step is one pass of all of them over the base."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from rankscope.adapters.write import write_adapter
from rankscope.base.precision import PrecisionPlan
from rankscope.engine.pack import Pack
from rankscope.engine.pack_step import PackBatch, PackTrainer
from rankscope.engine.prefix import PrefixCache
from rankscope.engine.row_adamw import Moments, RowSettings
from rankscope.lm.bases import Base
from rankscope.lm.read_decoder import read_decoder
from rankscope.lm.sites import is_transposed
from rankscope.runs.folder import is_finished
from rankscope.runs.metrics import MetricsLog
from rankscope.train.arms import initial_adapter
from rankscope.train.batches import Batch, batch_stream
from rankscope.train.cell import Cell, LoraSpec
from rankscope.train.events import Diverged, Event, Finished, Progress
from rankscope.train.kinds import NO_PREFIXES, in_full_precision, passes_of, prefixes_of
from rankscope.train.materials import Materials
from rankscope.train.pack_checkpoint import PackProgress, read_pack_checkpoint, write_pack_checkpoint
from rankscope.train.schedule import lr_at
from rankscope.train.teacher import Targets, teacher_targets
from rankscope.train.training import DIVERGED, EARLY, FINAL, METRICS, PREFIX, TrainingSettings, conclude, early_step_of

PACK_CHECKPOINT = "checkpoint.safetensors"


@dataclass(frozen=True, eq=False)
class Member:
    """One cell of a pack, with its folder."""

    materials: Materials
    folder: Path

    @property
    def cell(self) -> Cell:
        """The cell itself."""
        return self.materials.cell

    @property
    def spec(self) -> LoraSpec:
        """Its adapter."""
        assert isinstance(self.cell.arm, LoraSpec)
        return self.cell.arm


def build_pack(members: Sequence[Member], device: torch.device) -> tuple[PackTrainer, list[Member]]:
    """The pack at its start, and its members in the order of the rows."""
    base = members[0].materials.base
    decoder = read_decoder(base.model).in_precision(PrecisionPlan.of(members[0].cell.precision))
    starts = [initial_adapter(base.model, member.spec, member.cell.seeds.init) for member in members]
    pack = Pack(starts, device, decoder.embedding_VD.dtype)
    slots = {slot: members[start] for start, slot in pack.slot_of.items()}
    rows = [slots[slot] for slot in range(len(members))]
    buckets = [rows[b.first_row : b.first_row + b.n_rows] for b in pack.buckets]
    trainer = PackTrainer(
        decoder,
        pack,
        [_settings(members_of, device) for members_of in buckets],
        [Moments.zero(bucket.theta_KP) for bucket in pack.buckets],
        torch.ones(len(members), dtype=torch.bool, device=device),
    )
    return trainer, rows


def _settings(members: Sequence[Member], device: torch.device) -> RowSettings:
    def column(name: str) -> Tensor:
        values = [[getattr(member.cell.optimiser, name)] for member in members]
        return torch.tensor(values, dtype=torch.float64, device=device)

    return RowSettings(**{name: column(name) for name in ("weight_decay", "beta1", "beta2", "eps", "clip")})


@contextmanager
def pack_batches(
    rows: Sequence[Member], device: torch.device, prefixes: Mapping[str, PrefixCache] = NO_PREFIXES
) -> Iterator[Callable[[int], PackBatch]]:
    """Step -> what the rows see: one batch where all have the same items in the same order, else one each.

    Prefixes, by the items' hash, say what lies below every row's lowest layer.
    """
    streams = {
        _stream_of(member): batch_stream(member.materials.items, member.cell.budget, member.cell.seeds.order, device)
        for member in rows
    }
    items_of = {member.materials.items.content_hash: member.materials.items for member in rows}
    base = rows[0].materials.base
    with ExitStack() as stack:
        targets = {
            key: stack.enter_context(
                teacher_targets(base, items, in_full_precision(prefixes.get(key), rows[0].materials.cell))
            )
            for key, items in items_of.items()
        }

        def batch_at(step: int) -> PackBatch:
            found = {key: _seen(stream(step), targets[key[0]], prefixes.get(key[0])) for key, stream in streams.items()}
            if len(found) == 1:
                return found[_stream_of(rows[0])]
            return _stacked([found[_stream_of(member)] for member in rows])

        yield batch_at


def _stream_of(member: Member) -> tuple[str, int]:
    """Which items, in which order; rows with the same one see the same batches."""
    return member.materials.items.content_hash, member.cell.seeds.order


@torch.no_grad()
def _seen(batch: Batch, targets: Targets | None, prefix: PrefixCache | None) -> PackBatch:
    found = PackBatch(batch.tokens_NT, batch.predicts_NT, batch.length_N, None if targets is None else targets(batch))
    if prefix is None:
        return found
    return replace(found, residual=prefix.residual(batch.rows_N, batch.tokens_NT), start_layer=prefix.layer)


def _stacked(batches: Sequence[PackBatch]) -> PackBatch:
    """One batch per row, filled up on the right to the widest."""
    width = max(batch.tokens.shape[1] for batch in batches)

    def stacked(tensors: Sequence[Tensor]) -> Tensor:
        return torch.stack([F.pad(t, (0, 0) * (t.ndim - 2) + (0, width - t.shape[1])) for t in tensors])

    teachers = [batch.teacher_PV for batch in batches if batch.teacher_PV is not None]
    residuals = [batch.residual for batch in batches if batch.residual is not None]
    return PackBatch(
        stacked([batch.tokens for batch in batches]),
        stacked([batch.predicts for batch in batches]),
        np.max([batch.length_N for batch in batches], axis=0),
        torch.cat(teachers) if teachers else None,
        stacked(residuals) if residuals else None,
        batches[0].start_layer,
    )


class _Rows:
    """What the rows of a pack leave in their folders; those that are finished already are left alone."""

    def __init__(self, rows: Sequence[Member], trainer: PackTrainer, stack: ExitStack, resume_step: int | None) -> None:
        self.rows, self.trainer = rows, trainer
        self.open_slots = [slot for slot, member in enumerate(rows) if not is_finished(member.folder)]
        self.logs = {
            slot: stack.enter_context(MetricsLog(rows[slot].folder / METRICS, resume_step)) for slot in self.open_slots
        }
        for slot in self.open_slots:
            (rows[slot].folder / DIVERGED).unlink(missing_ok=True)

    def living(self) -> list[int]:
        """Unfinished rows whose numbers are finite."""
        alive = self.trainer.alive_K.tolist()
        return [slot for slot in self.open_slots if alive[slot]]

    def log(self, step: int, losses: list[list[float]], rates: list[float], norm_K: Tensor) -> Iterator[Event]:
        """A row of metrics and an event for each."""
        for slot in self.living():
            member = self.rows[slot]
            mean_loss = sum(losses[slot]) / len(losses[slot])
            self.logs[slot].write(step, loss_nats=mean_loss, lr=rates[slot], grad_norm=norm_K[slot].item())
            yield Progress(member.materials.key, step, member.cell.budget.n_steps, mean_loss)

    def write(self, snapshot: str) -> None:
        """The adapters as they are now."""
        for slot in self.living():
            _write(self.rows[slot], self.trainer.pack, slot, snapshot)

    def conclude(self, step: int, died_at: dict[int, int], time_s: float, device: torch.device) -> Iterator[Event]:
        """The last files of every row, and how it ended."""
        for slot in self.open_slots:
            member = self.rows[slot]
            finite = slot not in died_at and all(
                bool(torch.isfinite(tensor).all()) for tensor in self.trainer.pack.tensors(slot).values()
            )
            died = died_at.get(slot, step)
            if finite:
                _write(member, self.trainer.pack, slot, FINAL)
            conclude(member.folder, died, None if finite else died, time_s, device)
            end = (member.materials.key, member.cell, member.folder, "packed")
            yield Finished(*end, was_cached=False) if finite else Diverged(*end, died)


def train_pack(
    members: Sequence[Member], pack_folder: Path, settings: TrainingSettings, micro_batch: int | None = None
) -> Iterator[Event]:
    """Trains the members from the pack's checkpoint, or from the start, until each has its `done.json`.

    All of them share base, budget and kind. A row whose numbers stop being finite keeps its slot and changes no
    more; the others are not touched by it. A member that is finished already is trained along and not written.
    """
    device, n_steps = torch.device(settings.device), members[0].cell.budget.n_steps
    passes = passes_of("packed", device, micro_batch, settings.switches)
    early_step = early_step_of(n_steps, settings.early_frac)
    trainer, rows = build_pack(members, device)
    keys = [member.materials.key for member in rows]
    checkpoint = pack_folder / PACK_CHECKPOINT
    found = read_pack_checkpoint(checkpoint, trainer, keys)
    step, time_before_s = (found.step, found.time_s) if found else (0, 0.0)
    losses = found.pending_losses if found else [[] for _ in rows]
    died_at = {slot: step for slot, lives in enumerate(trainer.alive_K.tolist()) if not lives}
    started = checkpointed = time.monotonic()

    with ExitStack() as stack:
        prefixes = prefixes_of([m.materials for m in rows], pack_folder.parents[1] / PREFIX, settings.switches)
        batch_at = stack.enter_context(pack_batches(rows, device, prefixes))
        written = _Rows(rows, trainer, stack, found.step if found else None)
        while step < n_steps and len(died_at) < len(rows):
            rates = [lr_at(step, n_steps, member.cell.optimiser) for member in rows]
            lr_K = torch.tensor(rates, dtype=torch.float64, device=device)
            loss_K, norm_K = trainer.step_(batch_at(step), lr_K, passes)
            dead = [slot for slot, lives in enumerate(trainer.alive_K.tolist()) if not lives]
            died_at |= {slot: step for slot in dead if slot not in died_at}
            step += 1
            losses = [[*row, loss] for row, loss in zip(losses, loss_K.tolist(), strict=True)]
            if step % settings.log_every == 0 or step == n_steps:
                yield from written.log(step, losses, rates, norm_K)
                losses = [[] for _ in rows]
            if step == early_step:
                written.write(EARLY)
            if time.monotonic() - checkpointed >= settings.checkpoint_every_s and step < n_steps:
                for log in written.logs.values():
                    log.sync()
                time_s = time_before_s + time.monotonic() - started
                write_pack_checkpoint(checkpoint, trainer, keys, PackProgress(step, losses, time_s))
                checkpointed = time.monotonic()
    time_s = (time_before_s + time.monotonic() - started) / len(rows)
    yield from written.conclude(step, died_at, time_s, device)
    checkpoint.unlink(missing_ok=True)


def _write(member: Member, pack: Pack, slot: int, snapshot: str) -> None:
    base: Base = member.materials.base
    site = next(iter(pack.ranks[slot]))
    write_adapter(member.folder / snapshot, pack.adapter(slot), member.cell.base, is_transposed(base.model, site))
