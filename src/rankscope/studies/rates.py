"""Tables of tuned learning rates, committed beside the studies that use them."""

import hashlib
import json
from pathlib import Path

from pydantic import Field, ValidationError

from rankscope.base.atomic import write_json
from rankscope.base.config import Config
from rankscope.base.errors import BadFile
from rankscope.studies.plan import SkillPlan, rate_name

FOLDER = Path(__file__).parent / "tuned"


class RateTable(Config):
    """What a tuning run found, and the settings under which it holds."""

    study: str
    base: str
    settings: dict[str, str]
    """`mode/name` -> hash of task, budget and base; a rate holds only there."""
    rates: dict[str, float]
    """`mode/name/arm` -> rate with the best validation score."""
    scores: dict[str, dict[str, float]] = Field(default_factory=dict)
    """`mode/name/arm` -> rate -> mean validation score over tuning seeds."""
    tuning_seeds: tuple[int, ...] = ()
    n_validation: int = 0


def settings_hash(base_hash: str, skill: SkillPlan) -> str:
    """16 hex digits over what a tuned rate depends on: base, task and budget."""
    identity = {"base": base_hash, "task": skill.task, "budget": skill.budget.model_dump(mode="json")}
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]


def read_rates(name: str) -> RateTable | None:
    """The committed table of a study; None when it has not been tuned yet."""
    path = FOLDER / f"{name}.json"
    if not path.exists():
        return None
    try:
        return RateTable.model_validate_json(path.read_text(encoding="utf-8"))
    except ValidationError as error:
        raise BadFile(
            f"{path} is no table of learning rates ({error.errors()[0]['msg']}). Restore it from git."
        ) from None


def write_rates(path: Path, table: RateTable) -> None:
    """Writes a table as JSON, atomically."""
    write_json(path, table.model_dump(mode="json"))


def confounded_flags(table: RateTable, base_hash: str, skills: tuple[SkillPlan, ...]) -> tuple[str, ...]:
    """Why learning rates may not be comparable: tuned under other settings, or one rate for all ranks."""
    flags = []
    for skill in skills:
        found = table.settings.get(skill.key)
        if found != settings_hash(base_hash, skill):
            flags.append(f"confounded: the learning rates of {skill.key} were tuned under other settings")
        chosen = {table.rates.get(rate_name(skill, arm)) for arm in skill.lora_arms}
        grids = {name: len(scores) for name, scores in table.scores.items() if name.startswith(f"{skill.key}/")}
        one_for_all = len(skill.lora_arms) > 1 and len(chosen) == 1 and None not in chosen
        if one_for_all and (not grids or min(grids.values()) < 2):
            flags.append(f"confounded: one untuned learning rate for all ranks of {skill.key}")
    return tuple(flags)
