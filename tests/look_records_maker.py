"""Made-up looks of any size: the same every time, and full of texts that a page must not take for markup.

What was taken out is what a real look at as many sites takes out: every unit in every way, each by every role.
"""

import random

from rankscope.interpret.ablation_records import Ablation, AblationReading, How, RoleEffect, Screen
from rankscope.interpret.look_records import (
    CausalCheck,
    Direction,
    Example,
    ExampleKind,
    Lens,
    LensToken,
    LookCard,
    LookRecord,
    Population,
    RoleScore,
    TextChange,
)
from rankscope.stats.interval import Interval

HOSTILE = (
    "<script>alert(1)</script>",
    "</script><img src=x onerror=alert(2)>",
    "<!--<script>",
    "\"'&amp;",
    "\u2028\u2029",
    "\u202eabc",
    "שלום",
    "👩‍💻",
    "\n",
    " ",
    "\x00",
)
KINDS = ("self_attn.q_proj", "self_attn.v_proj", "self_attn.o_proj", "mlp.up_proj", "mlp.gate_proj", "mlp.down_proj")
SECTIONS, SURFACES, TAGS = (
    ("prompt", "trace", "answer", "stop"),
    ("none", "mark", "key", "value", "step", "answer"),
    ("on_path", "distractor", "leaf"),
)
ROLES = ("section:trace", "surface:step", "tag:on_path", "tag:leaf")
HOWS: tuple[How, ...] = ("zero", "mean", "keep only")
UNIT_ROLES = tuple(
    dict.fromkeys((*ROLES, *(f"tag:{name}" for name in TAGS), *(f"surface:{name}" for name in SURFACES[1:])))
)
EXAMPLE_KINDS: tuple[ExampleKind, ...] = ("positive", "negative", "decile", "random", "near zero")


def about(x: float, half: float) -> Interval:
    return Interval(
        estimate=x, low=x - half, high=x + half, method="t over items, 1 seed x 64 items", n_seeds=1, n_items=64
    )


def words() -> tuple[str, ...]:
    symbols = [f"{letter}{digit}" for letter in "abcdefghij" for digit in range(10)]
    return (*symbols, "=>", "Map:", "Start:", "Target:", "answer", "wait", "▁token", *HOSTILE)


def example(draw: random.Random, kind: ExampleKind, n_tokens: int, n_words: int, roles: bool, signed: bool) -> Example:
    values = [draw.gauss(0, 1) for _ in range(n_tokens)]
    marked = draw.randrange(n_tokens)
    values[marked] = {"positive": 4.0, "negative": -3.5, "near zero": 0.001}.get(kind, 1.5) + draw.random()
    values = values if signed else [abs(value) for value in values]
    start = draw.randrange(60)
    return Example(
        kind=kind,
        item=draw.randrange(64),
        position=start + marked,
        value=values[marked],
        start=start,
        tokens=tuple(draw.randrange(n_words) for _ in range(n_tokens)),
        values=tuple(values),
        sections=tuple(min(3, 5 * at // n_tokens) for at in range(n_tokens)),
        surfaces=tuple(draw.randrange(len(SURFACES)) for _ in range(n_tokens)) if roles else (),
        tags=tuple(draw.randrange(2 ** len(TAGS)) for _ in range(n_tokens)) if roles else (),
    )


def ablation(
    draw: random.Random, unit: str, name: str, layer: int | None, kind: str | None, how: How = "zero"
) -> Ablation:
    out, kl = how == "zero", 10 ** draw.uniform(-6, -0.5)
    return Ablation(
        unit=unit,
        name=name,
        how=how,
        layer=layer,
        kind=kind,
        n_sites=1,
        kl=about(kl, kl / 3),
        floor=1e-5,
        exact_loss=about(kl, kl / 2),
        nats_loss=about(10 * kl, kl),
        random_kl=kl / 4 if out else None,
        excess=about(kl / 2, kl / 3) if out else None,
        p=draw.choice([0.004, 0.4]) if out else None,
        attributed=9 * kl if out else None,
    )


def causal(draw: random.Random) -> tuple[CausalCheck, ...]:
    before = "b2 q7 m0 answer m0"
    changes = (
        TextChange(item=3, prompt="Map:\nq7=>m0\nb2=>q7\nStart: b2", before=before, after="b2 q7 a1 answer a1"),
        TextChange(item=9, prompt=HOSTILE[0], before=HOSTILE[1], after=HOSTILE[1]),
    )
    return tuple(
        CausalCheck(
            how=how,
            value=value,
            exact=about(draw.random(), 0.1),
            exact_change=about(-draw.random() / 2, 0.1),
            answer_correct=about(draw.random(), 0.1),
            answer_correct_change=about(-draw.random() / 2, 0.1),
            text_changed=about(draw.random(), 0.1),
            trace_changed=about(0.375, 0.125),
            answer_changed=about(0.25, 0.0625),
            examples=changes,
        )
        for how, value in (("scale", 0.0), ("scale", 2.0), ("steer", -3.0))
    )


def holding(word: int, one: Example) -> Example:
    """The example with another second token: every hostile word is shown by some direction, whatever is drawn."""
    return one.override(tokens=(one.tokens[0], word, *one.tokens[2:]))


def direction(draw: random.Random, place: int, n_examples: int, n_tokens: int, n_words: int, roles: bool) -> Direction:
    layer, kind = divmod(place, len(KINDS))
    site, several = f"model.layers.{layer}.{KINDS[kind]}", place % 7 == 3
    counts = [round(4000 / (1 + (at - 12) ** 4)) for at in range(24)]
    edges = tuple((0.0 if several else -4.0) + at / (6 if several else 3) for at in range(25))
    kinds = [EXAMPLE_KINDS[at * len(EXAMPLE_KINDS) // n_examples] for at in range(n_examples)]
    if several:
        kinds = ["positive" if one == "negative" else one for one in kinds]
    role = RoleScore(
        role=draw.choice(ROLES),
        sign=draw.choice([1, -1]),
        auroc=draw.uniform(0.45, 1),
        q=draw.choice([0.001, 0.5]),
        position_only=0.6,
        token_within=0.7,
    )
    examples = tuple(example(draw, one, n_tokens, n_words, roles, not several) for one in kinds)
    rise = tuple(LensToken(word=word, logit=draw.random()) for word in ("wait", *HOSTILE[:3], "m0"))
    return Direction(
        slug=f"L{layer}.{KINDS[kind]}.0",
        site=site,
        layer=layer,
        kind=KINDS[kind],
        indices=(0, 1) if several else (0,),
        sigma=draw.uniform(0.2, 5),
        mean=0.02,
        rms=draw.uniform(0.1, 2),
        bin_edges=edges,
        bin_counts=tuple(counts),
        examples=tuple(holding(n_words - 1 - place % len(HOSTILE), one) for one in examples),
        role=role if roles else None,
        ablation=ablation(draw, "site", site, layer, KINDS[kind]),
        lens=Lens(writes_up=rise, writes_down=tuple(LensToken(word=one.word, logit=-one.logit) for one in rise))
        if place % 2 == 0
        else Lens(missing=("Its site does not write into the residual stream.",)),
        causal=causal(draw) if place % 5 == 0 else (),
    )


def reading(draw: random.Random, directions: tuple[Direction, ...]) -> AblationReading:
    sites = [one.ablation for one in directions if one.ablation is not None]
    layers = sorted({row.layer for row in sites if row.layer is not None})
    units = [
        *(("part", name, None, None) for name in ("attention", "MLP")),
        *(("block", f"layers {first}-{first + 7}", None, None) for first in layers[::8]),
        *(("kind", name, None, name) for name in KINDS),
        *(("layer", f"layer {one}", one, None) for one in layers),
    ]
    rows = [ablation(draw, *unit, how) for unit in units for how in HOWS]
    rows += sites
    rows += [ablation(draw, "site", row.name, row.layer, row.kind, how) for row in sites for how in HOWS[1:]]
    effects = [
        RoleEffect(
            unit=row.unit, name=row.name, how=row.how, role=role, kl=draw.random(), floor=draw.choice([0.1, 1e-6]),
            n_tokens=99,
        )
        for row in rows
        for role in UNIT_ROLES
    ]  # fmt: skip
    screen = Screen(n=len(sites), rank_correlation=0.8, share_of_top=0.75)
    return AblationReading(
        n_adapters=1, n_items=64, n_tokens=1024, base=0.02, whole=0.93, ablations=tuple(rows), roles=tuple(effects),
        screen=screen,
    )  # fmt: skip


def look_record(n: int = 12, n_examples: int = 10, n_tokens: int = 25, roles: bool = True) -> LookRecord:
    """A look at n directions."""
    draw = random.Random(n)
    shown = words()
    directions = tuple(direction(draw, place, n_examples, n_tokens, len(shown), roles) for place in range(n))
    scores = {name: tuple(draw.uniform(0.45, top) for _ in range(n)) for name, top in (
        ("adapter directions", 1.0), ("MLP hidden units", 0.9), ("residual principal components", 0.95),
        ("random directions", 0.7),
    )}  # fmt: skip
    populations = tuple(
        Population(
            name=name, n=n, share_significant=0.4, median_auroc=sorted(auroc)[n // 2], auroc=auroc
        ) for name, auroc in scores.items()
    )  # fmt: skip
    card = LookCard(
        claim="Adapter directions tell roles better than MLP hidden units do.",
        rule="Supported when the lower end of the difference of median AUROC is above 0.",
        verdict="undecided",
        estimate="Median AUROC 0.72 against 0.68.",
        because=f"The interval holds 0. {HOSTILE[0]}",
        limits=("One adapter.",),
    )
    return LookRecord(
        title=f"Look at a made-up adapter {HOSTILE[0]}",
        base="tiny-qwen2",
        base_hash="b" * 40,
        task="hashhop:mode=trace",
        adapter="runs/lora/adapter",
        adapter_hash="a" * 40,
        n_items=64,
        n_tokens=4096,
        answer=(f"The adapter acts in the MLPs of the upper layers. {HOSTILE[0]}", "Most directions tell a role."),
        words=shown,
        section_names=SECTIONS,
        surface_names=SURFACES if roles else (),
        tag_names=TAGS if roles else (),
        reading=reading(draw, directions),
        populations=populations if roles else (),
        cards=(card,) if roles else (),
        directions=directions,
        missing=() if roles else ("The items have no roles, so no direction has a role score.",),
        reproduce={"this page": "rankscope look runs/lora/adapter --out runs/look"},
        provenance={"commit": "0" * 10},
    )
