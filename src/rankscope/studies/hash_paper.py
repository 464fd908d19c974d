"""hash_paper: the protocol of arXiv 2412.00029 at reduced size, each of its defects a switch.

Kept from the paper: generators, layout, prompt and answer in several tokens per hash, adapters (LoRA on every block's
down-projection, alpha = rank / 2, A with standard deviation 1 / rank), AdamW with its defaults and a rate that falls
linearly to 0 without warm-up or clipping, loss, decoding, scoring, thresholds. Reduced: base, maps, ranks, steps.
"""

from collections.abc import Iterator
from typing import Literal

from pydantic import PositiveFloat, PositiveInt

from rankscope.base.config import Config
from rankscope.base.errors import BadInput
from rankscope.base.seeds import Seeds
from rankscope.train.cell import Budget, Cell, FullSpec, LoraSpec, OptimiserSpec

TaskKind = Literal["planning", "reasoning"]
TASK_KINDS: tuple[TaskKind, ...] = ("planning", "reasoning")
PLACEMENT = ("*.mlp.c_proj",)
NO_CLIPPING = 1e9
TRAVEL = 0.56
"""Sum of the learning rates over a training: 37,520 steps falling linearly from 3e-5 to 0, as in the paper."""
RAW, SHARED = "raw", "shared"


class Switches(Config):
    """The paper's defects; all on is as published, all off is clean."""

    ban: bool = True
    """Decoding never writes a pair of tokens twice, the prompt's included."""
    fuzzy: bool = True
    """Three characters of four are enough, by a rule of its own for each task."""
    leak: bool = True
    """The number of lines of a HashChain map gives its shortest length away."""
    padding: bool = True
    """The loss covers the colon before the answer and all padding behind it."""
    different_bases: bool = True
    """Planning and reasoning adapters start from different bases with different histories."""


class Configuration(Config):
    """A setting of the switches, under a name for people."""

    key: str
    title: str
    switches: Switches


CONFIGURATIONS = (
    Configuration(key="published", title="as published", switches=Switches()),
    Configuration(key="ban", title="no ban in decoding", switches=Switches(ban=False)),
    Configuration(key="fuzzy", title="exact scoring", switches=Switches(fuzzy=False)),
    Configuration(key="leak", title="line count says nothing", switches=Switches(leak=False)),
    Configuration(key="padding", title="loss on answer and stop only", switches=Switches(padding=False)),
    Configuration(key="bases", title="one shared base", switches=Switches(different_bases=False)),
    Configuration(
        key="clean",
        title="all five mended",
        switches=Switches(ban=False, fuzzy=False, leak=False, padding=False, different_bases=False),
    ),
)
"""As published, each switch flipped alone, and all of them."""


class BaseSize(Config):
    """The small GPT-2 that stands in for the published one."""

    width: PositiveInt = 112
    n_layers: PositiveInt = 3
    n_positions: PositiveInt = 192
    vocabulary: PositiveInt = 600
    """Tokens of the byte-level BPE."""
    n_texts: PositiveInt = 2000
    """Texts of each task that the BPE is trained on."""


class Stage(Config):
    """One stage in the making of a base: full fine-tuning of its parent."""

    name: str
    parent: str
    task: str
    n_items: PositiveInt
    batch_size: PositiveInt
    lr: PositiveFloat


class HashPaperPlan(Config):
    """The whole study as data; every training follows from it."""

    study: str
    title: str
    base: str | None = None
    """Folder of a GPT-2 to start from; by default a small one made here."""
    size: BaseSize
    stages: tuple[Stage, ...]
    """In order: a stage comes after its parent."""
    based_on: dict[TaskKind, str]
    """The stage that each task's adapters start from when their bases differ."""
    train: dict[TaskKind, str]
    """Task name of the adapters' training, as published."""
    test: dict[TaskKind, str]
    """Task name of the test items, as published."""
    lines: PositiveInt
    """Lines of every HashChain map without the leak; more than any has with it."""
    ranks: tuple[PositiveInt, ...]
    seeds: tuple[int, ...]
    budget: Budget
    n_test: PositiveInt
    """Test items of each task."""
    functional_test: PositiveInt
    """Test items on which truncated adapters are scored."""

    @property
    def largest(self) -> int:
        """The rank that spectra are read at, as the paper reads them at its largest."""
        return max(self.ranks)

    def task(self, kind: TaskKind, split: Literal["train", "test"], switches: Switches) -> str:
        """Task name with the knobs that the switches set."""
        name = (self.train if split == "train" else self.test)[kind]
        if kind == "reasoning" and not switches.leak:
            name += f",lines={self.lines}"
        return f"{name},loss={'paper' if split == 'train' and switches.padding else 'answer'}"

    def base_of(self, kind: TaskKind, switches: Switches) -> str:
        """The stage that the adapters of a task start from."""
        return self.based_on[kind] if switches.different_bases else SHARED

    def stage_cell(self, stage: Stage, base: str) -> Cell:
        """Full fine-tuning of a stage; `base` is its parent's folder."""
        return Cell(
            base=base,
            task=stage.task,
            arm=FullSpec(),
            optimiser=OptimiserSpec(lr=stage.lr, beta2=0.98),
            budget=Budget(n_items=stage.n_items, batch_size=stage.batch_size),
        )

    def adapter_cell(self, kind: TaskKind, switches: Switches, rank: int, seed: int, base: str) -> Cell:
        """An adapter's training in the paper's way; `base` is a folder."""
        return Cell(
            base=base,
            task=self.task(kind, "train", switches),
            arm=LoraSpec(kind="paper", rank=rank, placement=PLACEMENT),
            optimiser=OptimiserSpec(
                lr=2 * TRAVEL / self.budget.n_steps, warmup_frac=0.0, weight_decay=0.01, beta2=0.999, clip=NO_CLIPPING
            ),
            budget=self.budget,
            seeds=Seeds.all(seed),
        )

    def wanted(self) -> Iterator[tuple[Switches, TaskKind, int, int]]:
        """Switches, task, rank and seed of every adapter, each training once, seed by seed.

        As published at every rank; with a switch that changes training flipped, at the largest.
        """
        for seed in self.seeds:
            seen = set()
            for configuration in CONFIGURATIONS:
                for kind in TASK_KINDS:
                    ranks = self.ranks if configuration.key == "published" else (self.largest,)
                    for rank in ranks:
                        same = (self.identity(kind, configuration.switches), rank)
                        if same not in seen:
                            seen.add(same)
                            yield configuration.switches, kind, rank, seed

    def identity(self, kind: TaskKind, switches: Switches) -> tuple[str, str]:
        """What of the switches a task's training depends on: its items and its base."""
        return self.task(kind, "train", switches), self.base_of(kind, switches)


class _Form(Config):
    """What the forms differ in."""

    first: PositiveInt
    """Steps of the lookup stage."""
    later: PositiveInt
    """Steps of the other stages."""
    ranks: tuple[PositiveInt, ...]
    seeds: tuple[int, ...]
    steps: PositiveInt
    """Steps of an adapter."""
    n_test: PositiveInt
    size: BaseSize = BaseSize()


_FORMS = {
    "full": _Form(first=6000, later=2000, ranks=(2, 4, 8, 16, 32), seeds=(1, 2), steps=800, n_test=1000),
    "quick": _Form(first=1500, later=500, ranks=(2, 8, 32), seeds=(1,), steps=250, n_test=400),
    "smoke": _Form(
        first=3, later=2, ranks=(2, 4), seeds=(1,), steps=3, n_test=24, size=BaseSize(n_layers=2, n_texts=200)
    ),
}
BATCH = 16
_HOP, _CHAIN = "paper-hop:nodes=6,hops", "paper-chain:lengths"


def plan(form: str, base: str | None = None) -> HashPaperPlan:
    """The study in one of its forms; `base` is a folder with a GPT-2 to start from instead of the small one."""
    if form not in _FORMS:
        raise BadInput(f"hash_paper has the forms {', '.join(_FORMS)}, not {form!r}.")
    sizes = _FORMS[form]
    return HashPaperPlan(
        study=f"hash_paper:{form}",
        title="What the defects of arXiv 2412.00029 do to its headline numbers",
        base=base,
        size=sizes.size,
        stages=_stages(sizes, from_scratch=base is None),
        based_on={"planning": "planning", "reasoning": "reasoning"},
        train={"planning": f"{_HOP}=1-2", "reasoning": f"{_CHAIN}=2-4,chains=3"},
        test={"planning": f"{_HOP}=1-3", "reasoning": f"{_CHAIN}=2-5,chains=3"},
        lines=12,
        ranks=sizes.ranks,
        seeds=sizes.seeds,
        budget=Budget(n_items=BATCH * sizes.steps, batch_size=BATCH),
        n_test=sizes.n_test,
        functional_test=min(sizes.n_test, 200),
    )


def _stages(sizes: _Form, from_scratch: bool) -> tuple[Stage, ...]:
    """The lineage: lookup (for a base from scratch), then a planning line, a reasoning line of two, and a mixture."""
    root, lr = ("lookup", 1e-3) if from_scratch else (RAW, 3e-5)

    def stage(name: str, parent: str, task: str, n_steps: int, rate: float) -> Stage:
        return Stage(name=name, parent=parent, task=task, n_items=n_steps * BATCH, batch_size=BATCH, lr=rate)

    lookup = stage(root, RAW, "paper-lookup:nodes=3-6,queries=4", sizes.first, 3 * lr)
    return (
        *((lookup,) if from_scratch else ()),
        stage("planning", root, f"{_HOP}=1-3", sizes.later, lr),
        stage("older reasoning", root, f"{_CHAIN}=2-4,chains=2", sizes.later, lr),
        stage("reasoning", "older reasoning", f"{_CHAIN}=2-4,chains=3", sizes.later, lr),
        stage(SHARED, root, "paper-mix:nodes=6,hops=1-3,lengths=2-4,chains=3", sizes.later, lr),
    )
