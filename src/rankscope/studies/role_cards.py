"""Claim cards about roles over several adapters of one arm; their rules stand in interpret/role_claims.py."""

import numpy as np

from rankscope.capture.channels import POPULATION_NAMES, Population
from rankscope.interpret.role_claims import LIMITS, QUESTIONS, RoleQuestion, interval_words
from rankscope.rank.records import ClaimCard, SkillFindings
from rankscope.rank.required import contrast_resolution
from rankscope.stats.crossed import crossed_interval
from rankscope.stats.interval import Interval
from rankscope.studies.evidence import (
    DECIDED,
    LEVEL,
    MIN_SEEDS,
    Evidence,
    blocked_words,
    few_words,
    improved_in_most,
    incomparable_words,
    p_value_of,
    resolution_words,
)

PAPER = "arXiv 2511.06739"
SOURCES = {
    "any role": f"{PAPER}: adapter directions are about as interpretable as MLP neurons, judged by a language model",
    "reasoning roles": f"{PAPER}: directions fire for reasoning-specific tokens, by reading examples",
}


def role_cards(evidence: Evidence, skill: SkillFindings, arm: str, command: str) -> tuple[ClaimCard, ...]:
    """A card per question about roles that the arm's adapters were read for; none where they were not read."""
    cards = (_card(evidence, skill, arm, question, command) for question in QUESTIONS)
    return tuple(card for card in cards if card is not None)


def _card(evidence: Evidence, skill: SkillFindings, arm: str, question: RoleQuestion, command: str) -> ClaimCard | None:
    values = {name: evidence.role_values_SN(skill, arm, question.key, name) for name in question.populations}
    found = {name: value_SN for name, value_SN in values.items() if value_SN is not None}
    if len(found) < len(values):
        return None
    contrasts = {name: found["adapter"] - found[name] for name in question.against}
    n_seeds = len(found["adapter"])

    def intervals(level: float) -> list[Interval]:
        return [crossed_interval(contrast_SN, level) for contrast_SN in contrasts.values()]

    def verdict_at(level: float) -> str:
        return question.verdict_of(intervals(level))

    few, doubt = n_seeds < MIN_SEEDS, _doubt(skill, arm)
    verdict = verdict_at(LEVEL)
    before = ""
    if few:
        verdict, before = "underpowered", f"{few_words(n_seeds)} "
    elif doubt and verdict in DECIDED:
        verdict, before = "undecided", f"It would be {verdict}, but {doubt}. "
    told = zip(question.against, intervals(LEVEL), strict=True)
    means = ", ".join(f"{POPULATION_NAMES[name]} {value_SN.mean():.3f}" for name, value_SN in found.items())
    judged = evidence.roles_judged(skill, arm, question.key)
    by_seed = ", ".join(f"{mean:.3f}" for mean in found["adapter"].mean(1))
    return ClaimCard(
        claim=question.claim,
        source=SOURCES[question.key],
        rule=question.rule,
        estimate=f"{arm} of {skill.name}, mean role score less that of "
        + "; ".join(f"{POPULATION_NAMES[name]} {interval_words(one)}" for name, one in told),
        verdict=verdict,
        because=f"{before}Mean role scores: {means}. Of the adapters by seed: "
        f"{by_seed}. Scored on {found['adapter'].shape[1]} items, roles chosen on as many others"
        + (f": {judged}." if judged else "."),
        limits=(*LIMITS, *(f"{skill.name}: {flag}" for flag in skill.flags)),
        command=command,
        p_value=None if few or doubt else p_value_of(verdict_at),
        power="" if verdict in DECIDED else _power(contrasts, question.bar, doubt),
    )


def _doubt(skill: SkillFindings, arm: str) -> str | None:
    """What forbids a verdict though the intervals allow one: untuned rates, trainings that still improved."""
    if confounded := incomparable_words((skill,)):
        return confounded
    if improved_in_most(skill, skill.point(arm)):
        return f"{arm} of {skill.name} was still improving in most seeds when the budget ended"
    return None


def _power(contrasts: dict[Population, np.ndarray], bar: float, doubt: str | None) -> str:
    """What these seeds and items could see of each difference's distance from the bar, if seeds are what is missing."""
    told = [
        (f"Less {POPULATION_NAMES[name]}, measured from {bar:g}", contrast_resolution(contrast_SN - bar))
        for name, contrast_SN in contrasts.items()
    ]
    if doubt:
        return blocked_words(doubt, told, 1, "AUROC")
    words = [f"{name}: {resolution_words(found, 1, 'of AUROC')}" for name, found in told if found is not None]
    return " ".join(words) or "One seed says nothing about the spread over seeds, so not how many would decide it."
