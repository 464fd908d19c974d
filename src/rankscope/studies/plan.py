"""A study as data: skills, arms, seeds and learning rates, from which every cell follows."""

from collections.abc import Collection, Iterator
from typing import Any, Literal, Self

from pydantic import Field, NonNegativeInt, PositiveInt

from rankscope.base.config import Config
from rankscope.base.errors import BadInput
from rankscope.base.precision import Precision
from rankscope.base.seeds import Seeds
from rankscope.rank.records import CONTROLS, Control
from rankscope.train.cell import ArmSpec, Budget, Cell, LoraSpec, OptimiserSpec

USUAL_CONTROLS: tuple[Control, ...] = tuple(one for one in CONTROLS if one != "noise")
"""All but `noise`, which holds nothing of the adapter."""


class SkillPlan(Config):
    """One skill in one mode, with everything that is trained on it."""

    name: str
    """Short label, such as `HashHop`; one per plan and mode."""
    mode: str
    """`matched`, `trace`, `direct`, `reasoning`, `control`, `null`, `planted`, `relabel`, `difficulty`, `one rate`,
    `swapped rate`, `longer` or `own`."""
    task: str
    """Task name with knobs."""
    arms: tuple[ArmSpec, ...]
    seeds: tuple[int, ...]
    budget: Budget
    n_test: PositiveInt
    """Test items, frozen and shared by all cells."""
    scored_on: Literal["test", "validation"] = "test"
    """`validation` where a choice is made by the scores, such as of a difficulty; then results never see them."""
    n_validation: PositiveInt = 300
    """Validation items that convergence is judged on, and learning rates are chosen by."""
    scored_as: str | None = None
    """The task that is scored, where that is not the trained one: a part of it, or what it is a control for."""
    leaves_of: str | None = None
    """Keep only items at whose index this HashHop task ends at a leaf: tested and validated twins share their maps."""
    functional: tuple[int, ...] = ()
    """Nominal ranks whose adapters are truncated to find the functional rank."""
    controls: tuple[Control, ...] = USUAL_CONTROLS
    n_truncation: PositiveInt = 150
    """Test items on which truncations are scored (the first ones)."""
    read: tuple[int, ...] = ()
    """Nominal ranks whose adapters are read: whether their directions tell the roles of tokens."""
    n_read: PositiveInt = 200
    """Test items that they are read on (the first ones)."""
    generate: bool = True
    """Whether answers after the model's own trace are generated too."""
    descriptive: bool = False
    """True where nothing is claimed."""
    repeats: str = ""
    """What this skill repeats with another teacher, or varies; a page shows the first of those alike."""
    varies: str = ""
    """How the training differs from the tuned one, where that is the question; nothing is then claimed of its rates."""
    tuned_as: str | None = None
    """The task whose tuned rates this skill uses, where that is another one (a null, a repeat)."""

    @property
    def key(self) -> str:
        """Mode and name, unique within a plan."""
        return f"{self.mode}/{self.name}"

    @property
    def lora_arms(self) -> list[LoraSpec]:
        """LoRA arms by rising rank."""
        return sorted((arm for arm in self.arms if isinstance(arm, LoraSpec)), key=lambda arm: arm.rank)


class StudyPlan(Config):
    """A whole study. `rates` holds one learning rate per skill and arm."""

    study: str
    """Name and form, such as `first_look:quick`."""
    title: str
    base: str
    skills: tuple[SkillPlan, ...]
    rates: dict[str, float]
    """`mode/name/arm` -> peak learning rate."""
    tuned_by: tuple[str, ...] = ()
    """The tuning runs whose committed tables the rates come from; none for a tuning run itself."""
    precision: Precision = "fp32"
    simulated: NonNegativeInt = 0
    """Rank curves to simulate per family, and nulls per test, where a study calibrates the procedure itself."""
    shows: tuple[str, ...] = Field(default=())
    """Committed studies whose results stand beside this one's in the report."""

    def __init__(self, **fields: Any) -> None:
        """Raises BadInput when an arm has no rate, or two skills share a mode and a name."""
        super().__init__(**fields)
        self._check()

    def _check(self) -> None:
        keys = [skill.key for skill in self.skills]
        if len(set(keys)) != len(keys):
            raise BadInput(f"Two skills of {self.study} share a mode and a name: {keys}.")
        missing = [
            name for skill in self.skills for arm in skill.arms if (name := rate_name(skill, arm)) not in self.rates
        ]
        if missing:
            raise BadInput(f"{self.study} has no learning rate for {', '.join(missing)}. Run its tuning first.")

    @property
    def n_seeds(self) -> int:
        """Seeds of the skill that has most."""
        return max((len(skill.seeds) for skill in self.skills), default=0)

    def first_seeds(self, n: int, whole: Collection[str] = ()) -> Self:
        """The same study with the first n seeds of every skill but those whose keys are in `whole`."""
        skills = [one if one.key in whole else one.override(seeds=one.seeds[:n]) for one in self.skills]
        return self.override(skills=[one.model_dump() for one in skills])

    def without(self, keys: Collection[str]) -> Self:
        """The same study without some of its skills."""
        return self.override(skills=[one.model_dump() for one in self.skills if one.key not in keys])

    def cell(self, skill: SkillPlan, arm: ArmSpec, seed: int) -> Cell:
        """The training of one arm with one study seed."""
        return Cell(
            base=self.base,
            task=skill.task,
            arm=arm,
            optimiser=OptimiserSpec(lr=self.rates[rate_name(skill, arm)]),
            budget=skill.budget,
            seeds=Seeds.all(seed),
            precision=self.precision,
        )

    def cells(self) -> Iterator[tuple[SkillPlan, ArmSpec, int, Cell]]:
        """Every training, seed by seed, so that an interrupted study holds whole seeds."""
        seeds = sorted({seed for skill in self.skills for seed in skill.seeds})
        for seed in seeds:
            for skill in self.skills:
                if seed in skill.seeds:
                    for arm in skill.arms:
                        yield skill, arm, seed, self.cell(skill, arm, seed)


def rate_name(skill: SkillPlan, arm: ArmSpec) -> str:
    """Key of an arm's learning rate."""
    return f"{skill.key}/{arm.label}"
