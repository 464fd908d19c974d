"""Tables of tuned learning rates, committed beside the studies that use them."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

from pydantic import Field, ValidationError

from rankscope.base.atomic import write_json
from rankscope.base.config import Config
from rankscope.base.errors import BadFile, BadInput
from rankscope.rank.records import RateMap
from rankscope.studies.plan import SkillPlan
from rankscope.train.cell import FullSpec

FOLDER = Path(__file__).parent / "tuned"


class RateScore(Config):
    """Mean validation scores of one rate over tuning seeds; None where a cell diverged."""

    primary: float | None
    """Exact output, or -KL for planted skills."""
    nats: float | None
    """Log-probability of the completion, which decides between equal primary scores."""


class RateTable(Config):
    """What a tuning run found, and the settings under which it holds."""

    study: str
    base: str
    settings: dict[str, str]
    """`mode/name` -> hash of task, budget and base; a rate holds only there."""
    rates: dict[str, float]
    """`mode/name/arm` -> rate with the best validation score."""
    scores: dict[str, dict[str, RateScore]] = Field(default_factory=dict)
    """`mode/name/arm` -> rate -> validation score."""
    tuning_seeds: tuple[int, ...] = ()
    n_validation: int = 0


def settings_hash(base_hash: str, skill: SkillPlan) -> str:
    """16 hex digits over what a tuned rate depends on: base, task (or the one it was tuned as), budget, placement."""
    placements = {arm.placement for arm in skill.arms if not isinstance(arm, FullSpec)}
    identity = {
        "base": base_hash,
        "task": skill.tuned_as or skill.task,
        "budget": skill.budget.model_dump(mode="json"),
        "placements": sorted(placements),
    }
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]


def read_rates(tunings: Sequence[str]) -> RateTable | None:
    """The committed tables of tuning runs, such as `first_look:tune`, as one; None when none has been run yet.

    Raises BadInput where two of them tuned the same arm, or on other seeds or numbers of items.
    """
    paths = (FOLDER / f"{tuning.replace(':', '-')}.json" for tuning in tunings)
    tables = [read_rate_table(path) for path in paths if path.exists()]
    return _joined(tables) if tables else None


def _joined(tables: Sequence[RateTable]) -> RateTable:
    first, named = tables[0], " and ".join(table.study for table in tables)
    if len({(table.base, table.tuning_seeds, table.n_validation) for table in tables}) > 1:
        raise BadInput(f"{named} tuned on other bases, seeds or numbers of items. Tune them alike.")
    if len({key for table in tables for key in table.settings}) < sum(len(table.settings) for table in tables):
        raise BadInput(f"{named} tuned the same skill. Take its rates from one of them.")
    parts = {
        field: {key: found for table in tables for key, found in getattr(table, field).items()}
        for field in ("settings", "rates", "scores")
    }
    return RateTable(
        study=named, base=first.base, tuning_seeds=first.tuning_seeds, n_validation=first.n_validation, **parts
    )


def read_rate_table(path: Path) -> RateTable:
    """The table of a tuning run. Raises BadFile when it is none."""
    try:
        return RateTable.model_validate_json(path.read_text(encoding="utf-8"))
    except ValidationError as error:
        raise BadFile(
            f"{path} is no table of learning rates ({error.errors()[0]['msg']}). Restore it, or tune again."
        ) from None


def write_rates(path: Path, table: RateTable) -> None:
    """Writes a table as JSON, atomically."""
    write_json(path, table.model_dump(mode="json"))


def confounded_flags(table: RateTable, base_hash: str, skill: SkillPlan, used: dict[str, float]) -> tuple[str, ...]:
    """Why a skill's learning rates may not be comparable across its arms.

    Tuned under other settings; an arm without a tuned rate; a best rate left at the edge of its grid; one untuned
    rate for all ranks. `used` are the rates of the plan, by `rate_name`.
    """
    home = home_of(table, base_hash, skill)
    if home is None:
        return (f"confounded: the learning rates of {skill.key} were not tuned under these settings",)
    names = {arm.label: f"{home}/{arm.label}" for arm in skill.arms}
    flags = []
    stray = [label for label, name in names.items() if table.rates.get(name) != used[f"{skill.key}/{label}"]]
    if stray:
        flags.append(f"confounded: no tuned learning rate for {', '.join(stray)} of {skill.key}")
    open_ended = [label for label, name in names.items() if next_edge(table.scores.get(name, {})) is not None]
    if open_ended:
        flags.append(f"best learning rate at the edge of its grid: {', '.join(open_ended)} of {skill.key}")
    ranks = [names[arm.label] for arm in skill.lora_arms]
    untried = all(len(table.scores.get(name, {})) < 2 for name in ranks)
    if len(ranks) > 1 and untried and len({table.rates.get(name) for name in ranks}) == 1:
        flags.append(f"confounded: one untuned learning rate for all ranks of {skill.key}")
    return tuple(flags)


def rate_maps(
    table: RateTable, base_hash: str, skills: Sequence[SkillPlan], base_scores: Sequence[float]
) -> tuple[RateMap, ...]:
    """The part of the table that each skill takes its rates from, once for all skills that share it.

    base_scores: of the untrained base, by skill.
    """
    found: dict[str, RateMap] = {}
    for skill, base_score in zip(skills, base_scores, strict=True):
        home = home_of(table, base_hash, skill)
        names = {arm.label: f"{home}/{arm.label}" for arm in skill.arms}
        if home is None or not any(name in table.scores for name in names.values()):
            continue
        if home in found:
            found[home] = found[home].override(skills=(*found[home].skills, skill.key))
            continue
        tried = {label: table.scores[name] for label, name in names.items() if name in table.scores}
        found[home] = RateMap(
            skills=(skill.key,),
            is_share=skill.mode != "planted",
            base_score=base_score,
            ranks={arm.label: arm.rank for arm in skill.lora_arms if arm.label in tried},
            scores={label: {rate: score.primary for rate, score in scores.items()} for label, scores in tried.items()},
            used={label: table.rates[names[label]] for label in tried if names[label] in table.rates},
            n_seeds=len(table.tuning_seeds),
            n_items=table.n_validation,
        )
    return tuple(found.values())


def home_of(table: RateTable, base_hash: str, skill: SkillPlan) -> str | None:
    """The skill of the tuning run whose settings are this one's; None when there is none."""
    return next((key for key, found in table.settings.items() if found == settings_hash(base_hash, skill)), None)


def best_rate(tried: dict[str, RateScore]) -> float | None:
    """The rate with the best score, ties broken by nats, then by the smaller rate; None when all diverged."""
    sound = {float(rate): score for rate, score in tried.items() if score.primary is not None}
    if not sound:
        return None
    return min(sound, key=lambda rate: (-(sound[rate].primary or 0.0), -(sound[rate].nats or 0.0), rate))


def next_edge(tried: dict[str, RateScore]) -> float | None:
    """The rate beyond the edge at which the best one lies; None when the best lies inside.

    Where every rate diverged, half the smallest. With fewer than two rates there is no edge.
    """
    if len(tried) < 2:
        return None
    rates = sorted(float(rate) for rate in tried)
    best = best_rate(tried)
    if best is None:
        return rounded(rates[0] / 2)
    if rates[0] < best < rates[-1]:
        return None
    return rounded(best / 2 if best == rates[0] else best * 2)


def rounded(rate: float) -> float:
    """A rate to three digits, so that its text names it."""
    return float(f"{rate:.3g}")
