"""Made-up but plausible findings that hold every edge case the page has to show."""

import math

from rankscope.rank.records import (
    CalibrationRow,
    ClaimCard,
    CurvePoint,
    EstimatorScore,
    FunctionalRank,
    NullTest,
    OneRateNeed,
    RateMap,
    Recovery,
    RequiredRank,
    Resolution,
    SimulatedSets,
    SkillFindings,
    SpectralSummary,
    StudyFindings,
    TruncationPoint,
)
from rankscope.stats.interval import Interval

HOSTILE = '<script>alert("x")</script>&'
RANKS = (1, 2, 4, 8, 16, 32)
SITES = tuple(
    f"transformer.h.{layer}.{kind}"
    for layer in range(4)
    for kind in ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj")
)
OFFSETS = (-0.03, 0.02, 0.012, -0.018, 0.016, 0.0, -0.01, 0.01)


def about(
    x: float,
    seeds: int,
    items: int,
    half: float = 0.05,
    bounded: bool = True,
    lowest: float = 0.0,
    highest: float = 1.0,
) -> Interval:
    return Interval(
        estimate=x,
        low=max(lowest, x - half) if bounded else None,
        high=min(highest, x + half) if bounded else None,
        method=f"crossed t, {seeds} seeds x {items} items",
        n_seeds=seeds,
        n_items=items,
        by_seed=tuple(min(highest, max(lowest, x + o)) for o in OFFSETS[:seeds]),
    )


def point(arm: str, rank: int | None, score: float, seeds: int, items: int, **more: object) -> CurvePoint:
    half = 0.02 + 0.08 * math.sqrt(max(score * (1 - score), 0.0))
    near = [about(min(1.0, score * f + 0.04), seeds, items, half) for f in (1.02, 1.05, 0.3, 0.8)]
    values = {
        "arm": arm,
        "rank": rank,
        "lr": 0.008 / (1 + (rank or 40) / 12),
        "score": about(score, seeds, items, half, bounded=seeds > 2),
        "gain": about(score, seeds, items, half, bounded=seeds > 2, lowest=-1),
        "answer_correct": near[0],
        "answer_given_trace": near[1],
        "decisions_right": about(0.66 + 0.3 * score, seeds, items, 0.01),
        "forced_choice": near[3] if rank != 1 else None,
        "cells": tuple(f"{rank or 0:04x}{s:03x}c0ffee" for s in range(seeds)),
    }
    return CurvePoint.model_validate(values | more)


def curve(scores: tuple[float, ...], dense: float, full: float, seeds: int, items: int) -> tuple[CurvePoint, ...]:
    ranked = [
        point(f"rank {r}", r, s, seeds, items, not_converged_seeds=int(r == 2))
        for r, s in zip(RANKS, scores, strict=True)
    ]
    return (
        *ranked,
        point("dense", None, dense, seeds, items),
        point("full", None, full, seeds, items, diverged_seeds=1),
    )


def required(
    q: float,
    verdict: str,
    low: int | None,
    high: int | None,
    scores: tuple[float, ...],
    dense: float,
    seeds: int,
    sentence: str,
) -> RequiredRank:
    verdicts = {
        r: "insufficient" if low and r < low else "sufficient" if high and r >= high else "undecided" for r in RANKS
    }
    return RequiredRank.model_validate(
        {
            "q": q,
            "verdict": verdict,
            "low": low,
            "high": high,
            "by_rank": verdicts,
            "contrast": {
                r: about(s - q * dense, seeds, 500, 0.04, lowest=-1) for r, s in zip(RANKS, scores, strict=True)
            },
            "sentence": sentence,
            "seeds_missing": 6 if verdict == "underpowered" else None,
            "resolution": {
                r: Resolution(n_seeds=seeds, seen=0.012, detectable=0.034, more_seeds=9 if r > 2 else None).model_dump()
                for r, found in verdicts.items()
                if found == "undecided"
            },
        }
    )


def truncations(score: float, rank: int, seeds: int, items: int) -> tuple[TruncationPoint, ...]:
    speeds = {"energy": 1.1, "fisher": 1.25, "global": 1.35, "rescaled": 0.95, "random": 0.12, "bottom": 0.03}
    ks = [0, *(r for r in RANKS if r <= rank)]
    return tuple(
        TruncationPoint.model_validate(
            {
                "control": control,
                "k": k + 0.4 if control == "global" and 0 < k < rank else k,
                "score": about(
                    score * (1.0 if k == rank else 1 - math.exp(-speed * k)), seeds, items, 0.04, bounded=seeds > 2
                ),
                "share_of_gain": None if score == 0 else 1 - math.exp(-speed * k),
            }
        )
        for control, speed in speeds.items()
        for k in ks
    )


def functional(arm: str, rank: int, score: float, by_seed: tuple[int, ...], q: float, items: int) -> FunctionalRank:
    median = sorted(by_seed)[len(by_seed) // 2]
    many = len(by_seed) >= 5
    return FunctionalRank(
        arm=arm,
        q=q,
        no_gain=score == 0,
        median=median,
        by_seed=by_seed,
        low=min(by_seed) if many else None,
        high=max(by_seed) if many else None,
        global_mean=median * 0.8,
        curve=truncations(score, rank, len(by_seed), items) if q == 0.9 else (),
    )


def spectral(rank: int, seeds: int, items: int) -> SpectralSummary:
    values = {
        site: tuple((1.4 + 0.25 * (i % 5)) * math.exp(-0.9 * j / (1 + i % 3)) for j in range(rank))
        for i, site in enumerate(SITES)
    }
    names = {
        "energy rank .90": 0.35,
        "energy rank .99": 0.6,
        "entropy rank": 0.4,
        "stable rank": 0.15,
        "participation ratio": 0.25,
    }
    estimators = {
        name: about(max(1.0, share * rank), seeds, items, 0.3, lowest=0, highest=rank) for name, share in names.items()
    }
    return SpectralSummary(arm=f"rank {rank}", nominal_rank=rank, estimators=estimators, singular_values=values)


def chained(
    name: str,
    mode: str,
    scores: tuple[float, ...],
    set_90: tuple[int | None, int | None],
    verdict: str,
    seeds: int,
    items: int,
) -> SkillFindings:
    dense, full = 0.96, 0.97
    lowest = "below 1" if set_90[0] is None else str(set_90[0])
    sentence = f"Verdict {verdict}: of the ranks trained the data leave {lowest} to {set_90[1]}."
    best = (2, 2, 3, 2, 4, 2, 3, 2)[:seeds]
    recoveries = [
        Recovery(
            arm=f"rank {r}",
            ratio=about(s / full, seeds, items, 0.06, highest=2),
            refused=None,
            contrast=about(s - 0.9 * full, seeds, items, 0.06, lowest=-1),
        )
        for r, s in zip(RANKS, scores, strict=True)
    ]
    return SkillFindings(
        name=name,
        task=f"{name.lower()}:mode={mode},m=3,lengths=3-5,lines=12",
        mode=mode,
        descriptive=mode == "trace",
        n_seeds=seeds,
        n_items=items,
        budget="800 steps of 128 items, each seen once",
        chance=0.0,
        chance_forced=0.25,
        shortcuts={"any leaf of a chain": 0.031, "first line": 0.012},
        base_score=0.0,
        base_scores={"forced_choice": 0.262, "decisions_right": 0.41, "answer_given_trace": 0.11},
        curve=curve(scores, dense, full, seeds, items),
        required=(
            required(0.9, verdict, *set_90, scores, dense, seeds, sentence),
            required(0.95, verdict, set_90[0], None, scores, dense, seeds, sentence),
        ),
        functional=(
            functional("rank 16", 16, scores[4], best, 0.9, items),
            functional("rank 32", 32, scores[5], best, 0.9, items),
            functional("rank 32", 32, scores[5], tuple(k + 1 for k in best), 0.95, items),
        ),
        spectral=(spectral(8, seeds, items), spectral(32, seeds, items)),
        recovery=tuple(recoveries),
        flags=("confounded: one lr for all ranks",) if mode == "trace" else (),
    )


def null_skill(seeds: int, items: int) -> SkillFindings:
    points = tuple(point(f"rank {r}", r, 0.0, seeds, items) for r in RANKS[:3])
    refusal = "The 99 % lower bound of the full gain is under 2 points, so a ratio would divide by noise."
    return SkillFindings(
        name="HashHop",
        task="hashhop:mode=matched,labels=shuffled",
        mode="null",
        n_seeds=seeds,
        n_items=items,
        budget="300 steps of 128 items, each seen once",
        chance=0.0,
        chance_forced=0.25,
        base_score=0.0,
        curve=(*points, point("full", None, 0.004, seeds, items)),
        required=(
            required(
                0.9,
                "no headroom",
                None,
                None,
                (0.0,) * 6,
                0.0,
                seeds,
                "Dense has no gain, so there is nothing to reach.",
            ),
        ),
        functional=(functional("rank 4", 4, 0.0, (0,) * seeds, 0.9, items),),
        recovery=(
            Recovery(arm="rank 4", ratio=None, refused=refusal, contrast=about(0.0, seeds, items, 0.01, lowest=-1)),
        ),
    )


def planted_skill(seeds: int, items: int) -> SkillFindings:
    def nats(arm: str, rank: int | None, x: float) -> CurvePoint:
        interval = about(x, seeds, items, 0.05, lowest=-9, highest=0)
        return CurvePoint(
            arm=arm, rank=rank, lr=0.01, score=interval, gain=about(2.41 + x, seeds, items, 0.05, highest=3)
        )

    curve_points = tuple(nats(f"rank {r}", r, x) for r, x in zip(RANKS[:4], (-0.75, -0.37, -0.12, -0.1), strict=True))
    return SkillFindings(
        name="Planted rank 4",
        task="planted:k=4,strength=equal",
        mode="planted",
        n_seeds=seeds,
        n_items=items,
        budget="300 steps of 32 maps, each seen once",
        chance=None,
        chance_forced=None,
        base_score=-2.41,
        curve=(*curve_points, nats("dense", None, -0.06)),
        required=(
            RequiredRank(
                q=0.9,
                verdict="censored below",
                low=None,
                high=1,
                by_rank={1: "sufficient", 2: "sufficient", 4: "sufficient", 8: "sufficient"},
                contrast={},
                sentence="The lowest rank trained already suffices, so the set is bounded above only.",
            ),
        ),
    )


def hostile_skill() -> SkillFindings:
    return SkillFindings(
        name=HOSTILE,
        task=HOSTILE,
        mode="direct",
        n_seeds=1,
        n_items=200,
        budget=HOSTILE,
        chance=0.1667,
        chance_forced=0.1667,
        shortcuts={HOSTILE: 0.3},
        base_score=0.17,
        curve=tuple(point(f"rank {2**i}", 2**i, 0.17 + 0.02 * i, 1, 200) for i in range(9)),
        required=(
            RequiredRank(
                q=0.9,
                verdict="not reached",
                low=None,
                high=None,
                by_rank={256: "insufficient"},
                contrast={},
                sentence=HOSTILE,
            ),
        ),
        flags=(HOSTILE,),
    )


def claim(verdict: str, estimate: str) -> ClaimCard:
    return ClaimCard(
        claim="Reasoning needs more adapter rank than planning.",
        source="Planning vs Reasoning: Ablations to Test Capabilities of LoRA layers (arXiv 2412.00029), section 4",
        rule="Supported if the one-sided 97.5 % lower bound of log2(required rank of HashChain / HashHop) on "
        "matched traces is above 0; "
        "refuted if its upper bound is below 0; underpowered below 5 seeds.",
        estimate=estimate,
        verdict=verdict,
        because="On matched traces HashChain reaches 90 % of dense's gain at a lower rank than HashHop, in every seed.",
        limits=(
            "One base of 4 layers trained on one-hop lookup.",
            "All maps of the base adapted; nothing is said of other placements.",
        ),
        command="rankscope study first_look claims=planning_reasoning --seeds 8 --out runs/first_look",
        p_value=0.004 if verdict == "refuted" else None,
        p_holm=0.008 if verdict == "refuted" else None,
        n_declared=2,
        power="HashHop, rank 4: with 3 seeds this design sees a contrast of 3.4 points; it saw 1.2; about 9 more seeds "
        "would decide it.",
    )


def calibration_row(truth, repeats, judged, covered, ends, doublings, functional_rank, note=""):
    return CalibrationRow(
        truth=truth,
        n_repeats=repeats,
        n_judged=judged,
        covered=covered,
        coverage_low=ends[0],
        coverage_high=ends[1],
        median_doublings=doublings,
        functional_rank=functional_rank,
        note=note,
    )


CALIBRATION = (
    calibration_row("planted rank 2", 12, 11, 11, (0.715, 1.0), 1.0, "2 (all 11)"),
    calibration_row("planted rank 4", 12, 12, 11, (0.615, 0.998), 0.0, "4 (11), 3 (1)"),
    calibration_row(
        "planted rank 8", 6, 0, 0, (None, None), None, "", "Dense stayed under 0.98 of the exact gain in all."
    ),
    calibration_row("shuffled labels", 6, 6, 6, (0.541, 1.0), None, "0 (all 6)", "Nothing to learn but the format."),
)


SIMULATED = (
    SimulatedSets(
        family="smooth curves",
        n_seeds=5,
        n_items=200,
        n_curves=2000,
        covered=1990,
        coverage_low=0.991,
        coverage_high=0.998,
        median_doublings=1.0,
    ),
)
NULLS = (NullTest(test="two arms that are alike", n_nulls=1000, rejected=49, low=0.036, high=0.064),)


def estimator(name, target, error, correlation, moved_by):
    return EstimatorScore(
        estimator=name,
        target=target,
        n_cells=40,
        error_doublings=Interval(
            estimate=error,
            low=error - 0.1,
            high=error + 0.1,
            method="crossed t, 8 seeds x 1 items",
            n_seeds=8,
            n_items=1,
        ),
        bias_doublings=-error,
        correlation=correlation,
        moved_by=moved_by,
    )


ESTIMATORS = (
    estimator("energy .90, weighted by the input", "planted", 0.3, 0.9, {"nominal rank": 0.1, "noise": 0.2}),
    estimator("count above 1e-5", "planted", 2.5, None, {"nominal rank": 2.0}),
    estimator("energy .90", "functional", 0.4, 0.8, {}),
)
RATE_MAPS = (
    RateMap(
        skills=("matched/HashHop", "matched/HashHop again"),
        is_share=True,
        base_score=0.01,
        ranks={"rank 1": 1, "rank 2": 2},
        scores={
            "rank 1": {"0.01": 0.5, "0.02": None},
            "rank 2": {"0.005": 0.4, "0.01": 0.7, "0.02": 0.6},
            "dense": {"0.001": 0.7},
        },
        used={"rank 1": 0.01, "rank 2": 0.01, "dense": 0.001},
        n_seeds=1,
        n_items=300,
    ),
)


def example(seeds: int = 3, items: int = 400, study: str = "first_look:quick", hostile: bool = True) -> StudyFindings:
    """Findings of a quick run (3 seeds) or, with 8 seeds, of a full one."""
    decided = "estimated" if seeds >= 5 else "underpowered"
    skills = (
        chained(
            "HashHop",
            "trace",
            (0.93, 0.95, 0.96, 0.97, 0.97, 0.97),
            (1, 1) if seeds >= 5 else (None, 1),
            decided,
            seeds,
            items,
        ),
        chained("HashChain", "trace", (0.01, 0.05, 0.22, 0.69, 0.91, 0.94), (16, 16), decided, seeds, items),
        chained("HashHop", "matched", (0.0, 0.02, 0.09, 0.31, 0.57, 0.9), (32, 32), decided, seeds, items),
        chained("HashChain", "matched", (0.02, 0.11, 0.34, 0.62, 0.88, 0.93), (8, 16), decided, seeds, items),
        null_skill(seeds, items),
        planted_skill(seeds, items),
        *((hostile_skill(),) if hostile else ()),
    )
    return StudyFindings(
        study=study,
        title="How much rank do planning and reasoning need?",
        answer=(
            "On matched traces reasoning (HashChain) needs less rank than planning (HashHop): 8 to 16 against 32.",
            "On unmatched traces it looks the other way round: a HashHop trace is short, a HashChain trace long.",
            "Trained adapters cut to 2 or 3 directions per site keep 90 % of their gain, whatever their rank.",
        ),
        base="tiny-gpt2",
        base_hash="9f31c2ab77d0e4516a2b",
        skills=skills,
        claims=(
            claim(
                "refuted" if seeds >= 5 else "underpowered",
                "Ratio of required ranks, HashChain to HashHop: 0.35 [0.25, 0.50].",
            ),
        ),
        calibration=CALIBRATION,
        calibration_source="calibration:full, 12 repeats",
        simulated=SIMULATED,
        nulls=NULLS,
        estimators=ESTIMATORS,
        rate_maps=RATE_MAPS,
        one_rate=(
            OneRateNeed(
                skill="matched/HashChain", rate=0.01, need=next(iter(skills[3].required)).override(low=16, high=16)
            ),
        ),
        reproduce={
            "This study": "rankscope study first_look",
            "This page": "rankscope report runs/first_look",
            "Calibration": "rankscope study calibration --repeats 12",
        },
        provenance={
            "rankscope": "0.1.0",
            "commit": "4f2a9c1 (clean)",
            "torch": "2.13.0",
            "machine": "2 cores, 8 GB",
            "precision": "fp32",
            "executor": "reference",
            "time": "9 min 40 s",
        },
        notes=("Learning rates come from the table of tuned rates of the same settings.",),
    )
