"""What a calibration measured of its teachers and its adapters, as two small files, and the tables that follow."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import polars as pl

from rankscope.base.atomic import write_text
from rankscope.base.config import Config
from rankscope.base.errors import BadFile
from rankscope.rank.calibration import Planted, Repeat, calibration_row, needed_rank, null_row, oracle_rank
from rankscope.rank.estimator_scores import Estimated, estimator_scores
from rankscope.rank.records import CalibrationRow, EstimatorScore, SkillFindings, read_record
from rankscope.runs.tables import read_table, write_table

ORACLE, ESTIMATES = "oracle.json", "estimates.parquet"
_KEYS = {
    "teacher": pl.String,
    "nominal": pl.Int64,
    "seed": pl.Int64,
    "planted": pl.Int64,
    "functional": pl.Int64,
    "nuisance": pl.String,
}
"""Columns of the estimates beside those of the estimators."""


class TeacherGains(Config):
    """What was measured of one planted update; gains are in nats, on the test items that its students are scored on."""

    teacher: str
    """The task with exact targets, from which the update is drawn again."""
    k: int
    """Directions planted at every site."""
    strengths: str
    """`equal`, or the ratio of each direction's strength to the one before."""
    sites: tuple[str, ...]
    n_items: int
    exact_gain: float
    """Of the whole update: what a perfect student gains."""
    cut_gains: dict[int, float]
    """r -> gain of the update cut to its best r directions, from 0 to k."""
    best_gains: dict[int, float]
    """r -> gain of the best update of rank r, where it was sought: from large to small, up to the first that falls
    short."""


class PlantedRepeat(Config):
    """One teacher and way of learning it, put through the procedure."""

    skill: str
    """Key of the skill in the findings."""
    teacher: str
    noise: str
    """`none`, or how many tokens of the teacher's each training target was drawn as."""
    ranks: tuple[int, ...]
    """Ranks that were trained."""
    oracle_rank: int
    """The fewest planted directions that keep q of the exact gain."""
    needed_rank: int
    """The smallest trained rank of which the best update keeps q of it."""


class OracleRecords(Config):
    """`oracle.json`: the truth about every planted skill, and what it was read off."""

    version: Literal[1] = 1
    q: float
    best_update: str
    """How the best update of a rank was sought."""
    teachers: tuple[TeacherGains, ...]
    repeats: tuple[PlantedRepeat, ...]


@dataclass(frozen=True)
class KeptPlanted:
    """What the two files of an earlier run hold of one planted skill."""

    teacher: TeacherGains
    estimated: tuple[Estimated, ...]


def truths(gains: TeacherGains, ranks: Sequence[int], q: float) -> tuple[int, int]:
    """The oracle's rank, and the rank that the best update needs. Raises BadFile when the latter can not be told."""
    try:
        needed = needed_rank(gains.cut_gains, gains.best_gains.__getitem__, ranks, q)
    except KeyError as error:
        raise BadFile(
            f"The records of {gains.teacher} lack the gain of the best update of rank {error}. Run the study again."
        ) from error
    return oracle_rank(gains.cut_gains, gains.exact_gain, q), needed


def write_oracle(records: Path, oracle: OracleRecords) -> None:
    """Writes `oracle.json`, atomically."""
    write_text(records / ORACLE, oracle.model_dump_json(indent=1) + "\n")


def read_oracle(records: Path) -> OracleRecords:
    """Reads `oracle.json`; BadFile when it is missing, malformed, or says a rank that its gains do not give."""
    oracle = read_record(records / ORACLE, OracleRecords, "not a file of planted truths")
    gains = {one.teacher: one for one in oracle.teachers}
    for repeat in oracle.repeats:
        if repeat.teacher not in gains:
            raise BadFile(f"{records / ORACLE} has no gains of {repeat.teacher}. Run the study again.")
        found, said = truths(gains[repeat.teacher], repeat.ranks, oracle.q), (repeat.oracle_rank, repeat.needed_rank)
        if found != said:
            raise BadFile(
                f"{records / ORACLE} says {said} of {repeat.skill}, but its gains give {found} "
                "(oracle's rank, needed rank). It was edited; run the study again."
            )
    return oracle


def write_estimates(records: Path, cells: Sequence[Estimated]) -> None:
    """Writes `estimates.parquet`: a row per adapter, a column per estimator, empty where it has no answer."""
    names = list(dict.fromkeys(name for cell in cells for name in cell.estimates))
    columns = {key: pl.Series(key, [getattr(cell, key) for cell in cells], dtype) for key, dtype in _KEYS.items()}
    told = {name: pl.Series(name, [cell.estimates.get(name) for cell in cells], pl.Float64) for name in names}
    write_table(records / ESTIMATES, pl.DataFrame(columns | told))


def read_estimates(records: Path) -> list[Estimated]:
    """Reads `estimates.parquet`; BadFile when it is missing or malformed."""
    frame = read_table(records / ESTIMATES, _KEYS)
    return [
        Estimated(
            **{key: row[key] for key in _KEYS},
            estimates={name: value for name, value in row.items() if name not in _KEYS and value is not None},
        )
        for row in frame.iter_rows(named=True)
    ]


def recomputed(
    records: Path, skills: Sequence[SkillFindings]
) -> tuple[tuple[CalibrationRow, ...], tuple[EstimatorScore, ...]]:
    """The calibration's rows and the estimators' from the two files and the skills of its findings.

    Of the skills only the sets of required rank, functional ranks by seed and dense's gain are read. The study itself
    makes its tables here. Raises BadFile when a file is missing or malformed, or the findings lack a skill.
    """
    return calibration_rows(read_oracle(records), skills), estimator_scores(read_estimates(records))


def calibration_rows(oracle: OracleRecords, skills: Sequence[SkillFindings]) -> tuple[CalibrationRow, ...]:
    """A row per planted update and way of learning it, then the null."""
    alike: dict[Planted, list[Repeat]] = {}
    for repeat in repeats_of(oracle, skills):
        alike.setdefault(repeat.planted, []).append(repeat)
    largest = max((rank for repeat in oracle.repeats for rank in repeat.ranks), default=1)
    nulls = [skill.functional[0] for skill in skills if skill.mode == "null" and skill.functional]
    return (*(calibration_row(repeats, largest) for repeats in alike.values()), *map(null_row, nulls))


def repeats_of(oracle: OracleRecords, skills: Sequence[SkillFindings]) -> list[Repeat]:
    """Every planted teacher that was put through the procedure, its truth beside what was found."""
    gains, found = {one.teacher: one for one in oracle.teachers}, {skill.key: skill for skill in skills}
    missing = [repeat.skill for repeat in oracle.repeats if repeat.skill not in found]
    if missing:
        raise BadFile(f"The findings lack {', '.join(missing)}, which {ORACLE} names: they are of another study.")
    return [_repeat(one, gains[one.teacher], found[one.skill]) for one in oracle.repeats]


def _repeat(repeat: PlantedRepeat, gains: TeacherGains, found: SkillFindings) -> Repeat:
    dense = next(point for point in found.curve if point.arm == "dense")
    return Repeat(
        planted=Planted(gains.k, gains.strengths, gains.sites, repeat.noise),
        oracle=repeat.oracle_rank,
        truth=repeat.needed_rank,
        dense_share=dense.gain.estimate / gains.exact_gain,
        required=found.required[0],
        functional=found.functional[0],
    )
