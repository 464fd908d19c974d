"""What ablations say, in plain sentences made from the reading."""

from collections.abc import Sequence

from rankscope.interpret.ablation_records import Ablation, AblationReading, RoleEffect
from rankscope.interpret.wrong_steps import WrongSteps
from rankscope.report.formats import listing, percent, plural, span_text

FEW_ITEMS = 100


def nats(x: float) -> str:
    """A KL: three digits, powers of ten where it is small."""
    return "0" if x == 0 else f"{x:.1e}" if abs(x) < 1e-3 else f"{x:.3g}"


def size(reading: AblationReading) -> str:
    """How much was read."""
    adapters = "" if reading.n_adapters == 1 else f"{reading.n_adapters} adapters, "
    return f"{adapters}{plural(reading.n_items, 'item')} with {plural(reading.n_tokens, 'completion token')}"


def answer(reading: AblationReading) -> tuple[str, ...]:
    """Where the adapter acts, how much of it can be told, how good the screen is, what is missing."""
    return (
        (
            f"Exact output: {percent(reading.whole)} % with the adapter, {percent(reading.base)} % without it "
            f"({size(reading)})."
        ),
        *wrong_steps_sentence(reading.wrong_steps),
        *parts_sentence(reading.of("part")),
        *_resolved(reading.of("site")),
        *_screened(reading),
        *_checked(reading),
        *_over_what(reading),
        *reading.missing,
    )


def wrong_steps_sentence(found: WrongSteps | None) -> tuple[str, ...]:
    """How many items nobody could write exactly, and the score on the others."""
    if found is None:
        return ()
    told = (
        f"{found.n} of {plural(found.n_items, 'item')} {'holds' if found.n == 1 else 'hold'} a wrong step that can not "
    )
    if found.exact_elsewhere is None:
        return (f"{told}be foreseen, so exact output is out of reach.",)
    return (f"{told}be foreseen; exact output on the others: {percent(found.exact_elsewhere)} % with the adapter.",)


def parts_sentence(parts: Sequence[Ablation]) -> tuple[str, ...]:
    """MLP against attention, where the adapter has both."""
    if len(parts) < 2:
        return ()
    costs = [
        f"{part.name} {nats(part.kl.estimate)} {span_text(part.kl, nats)} nats per token and "
        f"{percent(part.exact_loss.estimate)} points of exact output"
        for part in parts
    ]
    return (f"What taking it out costs: {listing(costs)}.",)


def _resolved(sites: Sequence[Ablation]) -> tuple[str, ...]:
    if not sites:
        return ()
    n_below, n_sure = sum(one.below_resolution for one in sites), sum(one.significant for one in sites)
    floor = max(one.floor for one in sites)
    below = f"{n_below} {'is' if n_below == 1 else 'are'} below the resolution of the arithmetic"
    above = f"{n_sure} {'moves' if n_sure == 1 else 'move'} the model more than random shifts of the same size do"
    sentence = (
        f"Of {plural(len(sites), 'single site')} taken out, {below} (at most {nats(floor)} nats), and {above} (5 %, "
        "corrected by Holm)."
    )
    return (sentence,)


def _screened(reading: AblationReading) -> tuple[str, ...]:
    screen = reading.screen
    if screen is None or screen.rank_correlation is None:
        return ()
    return (
        (
            f"First-order attribution ranks the {screen.n} sites as real ablation does with a rank correlation of "
            f"{screen.rank_correlation:.2f}, and names {screen.share_of_top:.0%} of the quarter that costs most."
        ),
    )


def _checked(reading: AblationReading) -> tuple[str, ...]:
    """What a screen may have missed."""
    check = reading.check
    if check is None:
        return ()
    than = f"more than {check.n_cheaper} of the chosen" if check.n_cheaper else "no more than any of the chosen"
    return (
        (
            f"The screen chose {plural(check.n_chosen, 'site')} and left {check.n_left_out} out. To check it, "
            f"{check.n_drawn} of those, drawn at random, were taken out too: the costliest, {check.costliest}, costs "
            f"{nats(check.kl)} nats per token, {than}."
        ),
    )


def _over_what(reading: AblationReading) -> tuple[str, ...]:
    few = () if reading.n_items >= FEW_ITEMS else (f"With fewer than {FEW_ITEMS} items all of this is rough.",)
    if reading.n_adapters == 1:
        return ("Intervals are over items only: an adapter of another seed may act elsewhere.", *few)
    return few


def effect_alt(rows: Sequence[Ablation]) -> str:
    """The largest effects in words."""
    top = sorted(rows, key=lambda row: -row.kl.estimate)[:5]
    return f"Largest KL: {listing([f'{row.name} {nats(row.kl.estimate)}' for row in top])}."


def shown_kl(row: Ablation | RoleEffect) -> str:
    """A KL as a cell shows it."""
    kl = row.kl if isinstance(row, RoleEffect) else row.kl.estimate
    return "below resolution" if row.below_resolution else nats(kl)


def chance(p: float) -> str:
    """A p-value."""
    return "< 1e-4" if p < 1e-4 else f"{p:.2g}"
