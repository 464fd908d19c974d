"""What is said of a direction, in words and short lines made from its record."""

from collections.abc import Sequence

from rankscope.interpret.ablation_records import Ablation
from rankscope.interpret.look_records import CausalCheck, Direction, LookRecord, Population, RoleScore
from rankscope.report.ablation_words import chance, nats
from rankscope.report.formats import minus, percent, plain, plural, span_text
from rankscope.stats.interval import Interval

CHANCE = 0.05
"""The error at which a role score counts as more than chance."""
Fact = tuple[str, str, str]
"""Name, value, and what is said on hovering."""


def names(one: Direction) -> str:
    """What a direction is: its kind of map, layer and place among the singular directions."""
    where = one.kind if one.layer is None else f"{one.kind} in layer {one.layer}"
    places = [index + 1 for index in one.indices]
    if not one.is_subspace:
        return f"{where}, singular direction {places[0]}"
    return f"{where}, singular directions {', '.join(map(str, places))} as one subspace"


def facts(one: Direction) -> list[Fact]:
    """Size, role and what taking it out costs; what was not measured says so."""
    sigma = "Singular value" if not one.is_subspace else "Singular values together"
    why = "the root of their sum of squares" if one.is_subspace else "how strongly the update uses this direction"
    rms = f"{plain(one.rms)} root mean square, mean {plain(one.mean)}"
    return [
        (sigma, plain(one.sigma), why),
        ("Values", rms, "over all tokens; a value is sigma times the input along the direction"),
        *_role_facts(one.role),
        *_ablation_facts(one.ablation),
    ]


def _role_facts(role: RoleScore | None) -> list[Fact]:
    if role is None:
        return [("Best role", "not measured", "the answer on top says why")]
    side = "high" if role.sign == 1 else "low"
    alone = f"AUROC {role.token_within:.2f} by the token itself; 0.50 by its position, by construction"
    why = (
        "the same role on the same tokens, without looking at the direction, stratified by position too; over all "
        f"positions together position alone has {role.position_only:.2f}"
    )
    return [
        ("Best role", f"{role.role} where the value is {side}", "chosen on half the items"),
        (
            "AUROC",
            f"{role.auroc:.2f}, q = {chance(role.q)}",
            "on the other half, stratified by position, 0.5 is chance; q from circular shifts, over all pairs",
        ),
        ("Without it", alone, why),
    ]


def _ablation_facts(row: Ablation | None) -> list[Fact]:
    if row is None:
        return [("Taken out", "not measured", "no ablation of this direction was made")]
    kl = f"KL {nats(row.kl.estimate)} {span_text(row.kl, nats)} nats per token"
    verdict = "below resolution" if row.below_resolution else "more than a random shift" if row.significant else ""
    shift = "none drawn" if row.random_kl is None else f"KL {nats(row.random_kl)}"
    return [
        ("Taken out", f"{kl}{': ' + verdict if verdict else ''}", row.kl.method),
        ("Resolution", f"KL {nats(row.floor)}", "99th percentile of rescalings that change no function"),
        ("Random shift", shift if row.p is None else f"{shift}, p = {chance(row.p)}", "of the same rank and norm"),
        ("Exact output lost", f"{change_text(row.exact_loss, sign='')}", row.exact_loss.method),
        (
            "Log-probability lost",
            f"{plain(row.nats_loss.estimate)} {span_text(row.nats_loss, plain)} nats per item",
            "",
        ),
    ]


def minus_nats(row: Ablation) -> str:
    """A KL for a list: the number, or that it can't be told from rounding."""
    return "below resolution" if row.below_resolution else nats(row.kl.estimate)


def causal_title(check: CausalCheck) -> str:
    """What was done: `Scaled by 0` or `Steered by +2`."""
    if check.how == "scale":
        return "Switched off" if check.value == 0 else f"Scaled by {plain(check.value)}"
    return f"Steered: {minus(f'{check.value:+.3g}')} at every token"


def causal_facts(check: CausalCheck) -> list[Fact]:
    """What became of scores, trace and answer."""
    paired = "paired by item, against the adapter left alone"
    differs = "share of items whose greedy text differs from the adapter's left alone"
    trace = check.trace_changed
    return [
        ("Exact output", share_text(check.exact), check.exact.method),
        ("Its change", change_text(check.exact_change), paired),
        ("Right answers", share_text(check.answer_correct), "after the trace that the model itself wrote"),
        ("Their change", change_text(check.answer_correct_change), paired),
        ("Other text", share_text(check.text_changed), differs),
        *([] if trace is None else [("Other trace", share_text(trace), "of what stands before the answer")]),
        ("Other answer", share_text(check.answer_changed), "of what the text ends in, right or wrong"),
    ]


def share_text(share: Interval) -> str:
    """A share in per cent, with its interval."""
    return f"{percent(share.estimate)} % {span_text(share, percent)}"


def change_text(interval: Interval, sign: str = "+") -> str:
    """A difference of shares in points, with its interval."""
    return f"{minus(f'{100 * interval.estimate:{sign}.1f}')} points {span_text(interval, percent)}"


def population_alt(populations: Sequence[Population]) -> str:
    """The figure of populations in words."""
    told = "; ".join(f"{one.name}: median {one.median_auroc:.2f} of {one.n}" for one in populations)
    return f"Held-out AUROC of every member's best role. {told}."


def size(record: LookRecord) -> str:
    """How much was looked at."""
    n = plural(len(record.directions), "direction")
    return f"{n} on {plural(record.n_items, 'item')} with {plural(record.n_tokens, 'token')}."
