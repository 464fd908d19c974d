"""What the page's explorer of directions draws, as JSON that is safe inside a script element."""

import json
from collections.abc import Mapping
from typing import Any

from rankscope.interpret.look_records import CausalCheck, Direction, Example, Lens, LensToken, LookRecord
from rankscope.report.look_words import CHANCE, causal_facts, causal_title, facts, minus_nats, names

Json = dict[str, Any]
Standings = dict[tuple[int, ...], int]
"""Section, surface and tags of a token -> number of that combination; few stand for many tokens."""
ESCAPES = {ord(mark): f"\\u{ord(mark):04x}" for mark in "<>&\u2028\u2029"}
DIGITS = 4
"""Significant digits of values on the page; look.json holds all."""


def embedded(value: Any) -> str:
    """JSON without any character that could end a script element or start markup; all that is not ASCII is escaped."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False).translate(ESCAPES)


def explorer_lines(record: LookRecord, labels: Mapping[str, str]) -> str:
    """One line for the list, then one per direction, which the page reads only when that direction is shown.

    Labels of directions that the record no longer holds are in it too, so that the page can give them back.
    """
    standings: Standings = {}
    shown = [_shown(one, standings) for one in record.directions]
    rows = {
        "adapter": record.adapter_hash,
        "words": record.words,
        "sections": record.section_names,
        "surfaces": record.surface_names,
        "tags": record.tag_names,
        "standings": list(standings),
        "labels": dict(labels),
        "directions": [_row(one) for one in record.directions],
    }
    return "\n".join(map(embedded, (rows, *shown)))


def short(x: float) -> float:
    """The number to four significant digits."""
    return float(f"{x:.{DIGITS}g}")


def _row(one: Direction) -> Json:
    ablation, role = one.ablation, one.role
    return {
        "slug": one.slug,
        "site": one.site,
        "layer": one.layer,
        "kind": one.kind,
        "sigma": short(one.sigma),
        "rms": short(one.rms),
        "role": None if role is None else role.role,
        "auroc": None if role is None else short(role.auroc),
        "tells": role is not None and role.q <= CHANCE,
        "kl": None if ablation is None else short(ablation.kl.estimate),
        "below": ablation is not None and ablation.below_resolution,
        "kl_text": "" if ablation is None else minus_nats(ablation),
        "acts": ablation is not None and ablation.significant,
    }


def _shown(one: Direction, standings: Standings) -> Json:
    return {
        "name": names(one),
        "norm": one.is_subspace,
        "facts": facts(one),
        "edges": [short(x) for x in one.bin_edges],
        "counts": one.bin_counts,
        "examples": [_example(example, standings) for example in one.examples],
        "lens": None if one.lens is None else _lens(one.lens),
        "causal": [_causal(check) for check in one.causal],
    }


def _example(one: Example, standings: Standings) -> Json:
    none = (0,) * len(one.tokens)
    keys = zip(one.sections, one.surfaces or none, one.tags or none, strict=True)
    return {
        "kind": one.kind,
        "item": one.item,
        "at": one.position,
        "value": short(one.value),
        "start": one.start,
        "words": one.tokens,
        "values": [float(f"{x:.3g}") for x in one.values],
        "standings": [standings.setdefault(key, len(standings)) for key in keys],
    }


def _lens(lens: Lens) -> Json:
    def rows(tokens: tuple[LensToken, ...]) -> list[tuple[str, float]]:
        return [(token.word, short(token.logit)) for token in tokens]

    sides = (
        ("Writes: raises", rows(lens.writes_up)),
        ("Writes: lowers", rows(lens.writes_down)),
        ("Reads, positive", rows(lens.reads_up)),
        ("Reads, negative", rows(lens.reads_down)),
    )
    return {"sides": [side for side in sides if side[1]], "missing": lens.missing}


def _causal(check: CausalCheck) -> Json:
    return {
        "title": causal_title(check),
        "facts": causal_facts(check),
        "texts": [(one.item, one.prompt, one.before, one.after) for one in check.examples],
    }
