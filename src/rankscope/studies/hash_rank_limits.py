"""What every claim card of hash_rank says of its limits."""

from rankscope.rank.records import SkillFindings
from rankscope.studies.evidence import Evidence
from rankscope.studies.hash_rank_ratios import largest_functional
from rankscope.studies.hash_rank_twins import PRIMARY, pairs_of


def card_limits(evidence: Evidence, mode: str) -> tuple[str, ...]:
    """Base, mode, budget and items, and the flags of every skill of that mode."""
    some = next(pair for pair in pairs_of(evidence, mode).values())[0]
    flags = (f"{skill.name}: {flag}" for skill in evidence.skills if skill.mode == mode for flag in skill.flags)
    further = ("Learning rates of the further levels are those tuned at the middle one.",)
    return (
        f"One base that knows one-hop lookup and nothing else; {mode} mode; {some.budget}.",
        "HashHop is judged on items that end at a leaf, as HashChain always does: seeing it can replace counting.",
        "At the middle level HashHop writes paths of 1 or 2 hops, HashChain of 1 to 3; they differ elsewhere too.",
        *_cut_on(some),
        "Required rank is an upper bound set by this optimiser and budget: more steps may need less rank.",
        *(further if set(pairs_of(evidence, mode)) - set(PRIMARY) else ()),
        *flags,
    )


def _cut_on(skill: SkillFindings) -> tuple[str, ...]:
    """On how many items functional ranks are read, where those are not all."""
    found = largest_functional(skill)
    n_items = skill.n_cut_on(found.arm) if found else skill.n_items
    return (f"Functional ranks are read on {n_items} of the {skill.n_items} test items.",) * (n_items < skill.n_items)
