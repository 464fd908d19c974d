"""Hand-made pieces of a calibration: teachers, skills as findings, adapters with estimates."""

from rankscope.rank.calibration_records import OracleRecords, PlantedRepeat, TeacherGains
from rankscope.rank.records import CurvePoint, FunctionalRank, RequiredRank, SkillFindings
from rankscope.stats.interval import Interval

RANKS = (1, 2, 4)


def interval(estimate: float) -> Interval:
    return Interval(estimate=estimate, low=None, high=None, method="", n_seeds=5, n_items=9)


def teacher(name: str, cuts: list[float], best: dict[int, float] | None = None, **more) -> TeacherGains:
    """A teacher of as many directions as cuts; the last cut is the whole update."""
    fields = {"k": len(cuts), "strengths": "equal", "sites": ("h.3",), "n_items": 9, "exact_gain": cuts[-1]}
    gains = {0: 0.0} | dict(enumerate(cuts, 1))
    return TeacherGains(**(fields | more), teacher=name, cut_gains=gains, best_gains=best or {})


def repeat(skill: str, teacher: str, oracle: int, needed: int, noise: str = "none") -> PlantedRepeat:
    return PlantedRepeat(
        skill=f"planted/{skill}", teacher=teacher, noise=noise, ranks=RANKS, oracle_rank=oracle, needed_rank=needed
    )


def oracle(*parts: TeacherGains | PlantedRepeat) -> OracleRecords:
    return OracleRecords(
        q=0.9,
        best_update="made by hand",
        teachers=tuple(part for part in parts if isinstance(part, TeacherGains)),
        repeats=tuple(part for part in parts if isinstance(part, PlantedRepeat)),
    )


def functional(arm: str, *by_seed: int) -> FunctionalRank:
    return FunctionalRank(arm=arm, q=0.9, no_gain=False, median=None, by_seed=by_seed, low=None, high=None)


def required(low: int | None, high: int | None) -> RequiredRank:
    by_rank = dict.fromkeys(RANKS, "undecided")
    return RequiredRank(q=0.9, verdict="estimated", low=low, high=high, by_rank=by_rank, contrast={}, sentence="")


def skill(name: str, mode: str = "planted", ends=None, dense: float = 1.0, ranks=(), score=1.0, **more):
    """A skill with a set of required ranks, dense's gain and functional ranks by seed."""
    points = (("dense", dense), ("rank 4", score))
    fields = {
        "name": name,
        "task": "hashchain",
        "mode": mode,
        "n_seeds": 5,
        "n_items": 9,
        "budget": "",
        "chance": None,
        "chance_forced": None,
        "base_score": 0.0,
        "curve": tuple(
            CurvePoint(arm=arm, rank=None, lr=0.1, score=interval(x), gain=interval(x)) for arm, x in points
        ),
        "required": () if ends is None else (required(*ends),),
        "functional": (functional("rank 4", *ranks),) if ranks else (),
    }
    return SkillFindings(**(fields | more))
