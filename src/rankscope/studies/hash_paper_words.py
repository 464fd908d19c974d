"""What hash_paper says in sentences: its answer, what was run, what it can not say."""

from collections.abc import Mapping, Sequence

from rankscope.rank.paper_records import ConfigurationNumbers, SweepPoint, TokenFacts
from rankscope.stats.interval import Interval
from rankscope.studies.hash_paper import HashPaperPlan


def answer(
    configurations: Sequence[ConfigurationNumbers], sweep: Sequence[SweepPoint], tokens: Sequence[TokenFacts]
) -> tuple[str, ...]:
    """What came out, a sentence per finding."""
    rows = {row.key: row for row in configurations}
    facts = {fact.task: fact for fact in tokens}
    largest = max(point.rank for point in sweep)
    return (
        *_gains(configurations, largest),
        (
            f"With the ban a model that knows every answer could score at most "
            f"{facts['planning'].whole_allowed.estimate:.0%} on planning and "
            f"{facts['reasoning'].whole_allowed.estimate:.0%} on reasoning by the exact rule; without it, 100 %."
        ),
        *(_switch_sentence(rows[key], largest) for key in ("ban", "fuzzy", "leak", "padding", "bases") if key in rows),
        _ratios_sentence({row.title: row.ratio(largest) for row in configurations}, largest),
        (
            "What the same adapters need of their rank to keep 90 % of their gain, planning and reasoning: "
            f"{_functional(rows['published'])} as published, {_functional(rows['clean'])} with all five mended "
            "(0: no clear gain)."
        ),
    )


def _gains(configurations: Sequence[ConfigurationNumbers], largest: int) -> tuple[str, ...]:
    """What the adapters gain over their base; what follows where none does."""
    if not any(row.gains for row in configurations):
        sentence = (
            "No adapter is surely better than its base, in any setting: at this size and budget nothing was learnt. "
            "What a switch changes below is how base and adapter alike are read, and with one shared base or another "
            "line count the base or the items, not what adapters learn."
        )
        return (sentence,)
    told = [(row, task, getattr(row, task).gain) for row in configurations for task in ("planning", "reasoning")]
    published = " and ".join(_change_words(task, gain) for row, task, gain in told if row.key == "published")
    clear = "; ".join(f"{row.title}, {_change_words(task, gain)}" for row, task, gain in told if _is_clear(gain))
    sentence = (
        f"Gain of the rank-{largest} adapters over their base, as published: {published}. Clear of 0: {clear}. "
        "Elsewhere what a switch changes is how base and adapter alike are read, or the base or the items."
    )
    return (sentence,)


def _ratios_sentence(ratios: Mapping[str, float | None], largest: int) -> str:
    told = {title: ratio for title, ratio in ratios.items() if ratio is not None}
    count = f"The headline effective rank, N(1e-3) of the rank-{largest} adapters,"
    if not told:
        return (
            f"{count} is {largest} on both tasks in every setting: it counts the nominal rank, and its ratio, which "
            "the paper claims to be 2 to 3, says nothing here."
        )
    each = "; ".join(f"{title}, {ratio:.2f}" for title, ratio in told.items())
    sentence = f"{count} gives a ratio of planning to reasoning in {len(told)} of {len(ratios)} settings ({each})"
    if blind := len(ratios) - len(told):
        sentence += f"; in the other {blind} it is {largest} on both tasks, the nominal rank, and says nothing"
    return f"{sentence}. The paper's claim is 2 to 3."


def _switch_sentence(row: ConfigurationNumbers, largest: int) -> str:
    parts = (_change_words("planning", row.planning.change), _change_words("reasoning", row.reasoning.change))
    ratio = row.ratio(largest)
    ranks = "" if ratio is None else f"; ratio of effective ranks {ratio:.2f}"
    return f"{row.title[0].upper()}{row.title[1:]}: {' and '.join(parts)}{ranks}."


def _change_words(name: str, change: Interval | None) -> str:
    if change is None or change.low == change.high == 0:
        return f"{name} as it was"
    points = f"{100 * change.estimate:+.1f}".replace("-", "−")
    return f"{name} {points} points{'' if _is_clear(change) else ' (not clear of 0)'}"


def _is_clear(change: Interval) -> bool:
    """Whether the interval leaves out 0."""
    assert change.low is not None
    assert change.high is not None
    return change.low > 0 or change.high < 0


def _functional(row: ConfigurationNumbers) -> str:
    return " and ".join("/".join(map(str, task.functional)) for task in (row.planning, row.reasoning))


def setting(plan: HashPaperPlan) -> tuple[str, ...]:
    """What was run, in sentences."""
    size, budget = plan.size, plan.budget
    steps = "; ".join(
        f"{stage.name}: {stage.n_items // stage.batch_size} steps of {stage.batch_size}" for stage in plan.stages
    )
    base = (
        f"Base from {plan.base}."
        if plan.base
        else f"Base: a GPT-2 of {size.n_layers} layers of width {size.width}, with a byte-level BPE of at most "
        f"{size.vocabulary} tokens trained on the tasks' text."
    )
    return (
        base,
        f"Full fine-tuning makes the bases ({steps}).",
        (
            f"Adapters of rank {', '.join(map(str, plan.ranks))} on every block's down-projection, "
            f"{budget.n_steps} steps of {budget.batch_size} fresh items, {_seeds(plan)}; "
            f"the table of switches is at rank {plan.largest}."
        ),
        (
            f"Planning: trained on {plan.train['planning']}, tested on {plan.test['planning']}. "
            f"Reasoning: trained on {plan.train['reasoning']}, tested on {plan.test['reasoning']}. "
            "As in the paper, the tests reach beyond what the adapters are trained on."
        ),
        f"{plan.n_test} test items per task.",
    )


def limits(plan: HashPaperPlan) -> tuple[str, ...]:
    """What this page can not say."""
    return (
        f"{_seeds(plan).capitalize()} per cell: intervals are over items alone and say nothing about other trainings.",
        (
            "The base is small and made for these maps; the size of each effect is a statement about it, and only the "
            "direction and the mechanism carry over to published GPT-2."
        ),
        (
            "Maps, hops, ranks and steps are smaller than the paper's; rates are scaled so that their sum over "
            "a training is the paper's. No dropout; decoding is greedy where the paper samples at temperature 0.01."
        ),
        (
            "A switch acts on the adapters' training and on the measurement; the bases' own histories change only with "
            "one shared base."
        ),
        (
            "Effective ranks describe one update and carry no interval over items; functional ranks see "
            f"{plan.functional_test} items."
        ),
    )


def _seeds(plan: HashPaperPlan) -> str:
    return "1 seed" if len(plan.seeds) == 1 else f"{len(plan.seeds)} seeds"
