"""Everything about one adapter in one go, cheapest parts first; each part is on the page as soon as it is there.

```
look.json, report.html     what was found so far, and its page
labels.json                what people typed; read, never replaced
ablation.json              the ablations, with hashes of what they are of
records/                   examples, and role scores of every population, as Parquet tables
capture/adapter, mlp, ...  adapter states
```

Stopped at any point, the same call goes on: captures after their last whole shard, ablations once they are whole. A
folder with ablations or a look of anything else is refused and stays as it is. Where the disk has no room for another
population, what can be told without it is told, and the page says what is missing.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from rankscope.adapters.weights import AdapterWeights
from rankscope.base.errors import BadInput, NotSupported, OutOfSpace
from rankscope.capture.channels import POPULATION_NAMES, Population, residual_channels
from rankscope.capture.recorder import record
from rankscope.capture.store import AdapterState
from rankscope.capture.views import Direction
from rankscope.interpret import look_records as records
from rankscope.interpret.ablation import ablation
from rankscope.interpret.ablation_records import (
    ABLATION_FILE,
    Ablation,
    AblationReading,
    AblationRecord,
    AblationSubject,
    check_subject,
    read_ablation,
    write_ablation,
)
from rankscope.interpret.ablation_run import Asked, subject_of
from rankscope.interpret.causal import causal_checks, usual_changes
from rankscope.interpret.direction_facts import Distribution, distribution, ids_around, shown_examples
from rankscope.interpret.examples import ExampleRule, examples
from rankscope.interpret.lens import lens, residual_rms
from rankscope.interpret.populations import score_populations
from rankscope.interpret.role_claims import QUESTIONS, RoleClaim, judge_one
from rankscope.interpret.role_scores import PopulationScores
from rankscope.interpret.slugs import slug_of
from rankscope.interpret.tables import write_examples, write_role_scores
from rankscope.lm.bases import Base
from rankscope.lm.read_decoder import read_decoder, why_not_decodable
from rankscope.lm.sites import place_of
from rankscope.report.ablation_words import answer as ablation_answer
from rankscope.report.look_page import write_look_page
from rankscope.studies.provenance import run_facts
from rankscope.tasks.encoded import SECTIONS, EncodedItems
from rankscope.tasks.roles import RoleTable

RECORDS = "records"
RULE = ExampleRule(n_strongest=10, n_near_zero=4, n_random=4, n_per_decile=1, per_item=1)
CAUSAL_ITEMS, CAUSAL_DIRECTIONS = 40, 8
"""Causal checks generate text: for the directions that cost most when taken out, on the first items."""
POPULATIONS: tuple[Population, ...] = ("adapter", "mlp", "residual", "random")
RESIDUAL_COLUMNS = 8
"""Columns of the residual stream that are recorded for every component wanted, whole layers and one at least."""
Tell = Callable[[str, int, int], None]
"""(what is being done, how much of it, out of how much)."""


@dataclass
class Look:
    """One adapter being looked at, and what was found so far."""

    base: Base
    weights: AdapterWeights
    items: EncodedItems
    roles: RoleTable | None
    folder: Path
    adapter: str
    command: str
    device: str
    tell: Tell
    most_sites: int | None = None
    """Only so many single sites are taken out, chosen by a screen; None is all."""
    started: float = field(default_factory=time.monotonic)
    missing: list[str] = field(default_factory=list)
    examples: dict[int, tuple[records.Example, ...]] = field(default_factory=dict)
    words: tuple[str, ...] = ()
    values: Distribution | None = None
    reading: AblationReading | None = None
    scores: dict[Population, PopulationScores] = field(default_factory=dict)
    claims: list[RoleClaim] = field(default_factory=list)
    lenses: dict[int, records.Lens] = field(default_factory=dict)
    causal: dict[int, tuple[records.CausalCheck, ...]] = field(default_factory=dict)


def look_at(look: Look) -> Path:
    """Finds everything there is to find and returns the page.

    Raises: BadInput for a folder with results of anything else, and what captures and ablations raise.
    """
    earlier = earlier_ablations(look)
    state = _captured(look, "adapter")
    directions = state.view.directions
    _find_examples(look, state)
    _find_lenses(look, directions)
    _write(look, directions, ("Ablations", "role scores", "causal checks"))
    look.reading = _new_ablations(look) if earlier is None else earlier
    _write(look, directions, ("Role scores", "causal checks"))
    _find_roles(look, state)
    _write(look, directions, ("Causal checks",))
    _find_causes(look, directions)
    return _write(look, directions, ())


def _captured(look: Look, population: Population) -> AdapterState:
    return record(
        look.base,
        look.weights,
        look.items,
        look.roles,
        look.folder / "capture" / population,
        population=population,
        n_columns=_n_columns(look, population),
        tell=lambda done, total: look.tell(f"recording {population}", done, total),
    )


def _n_columns(look: Look, population: Population) -> int | None:
    """Of `mlp`, as many units as the adapter has directions; of `residual`, layers, drawn by seed, with 8 columns for
    each direction, so that its capture stays a small multiple of the adapter's where a layer is no wider than that.
    """
    n_shown = sum(factors.rank for factors in look.weights.values())
    if population != "residual":
        return n_shown if population == "mlp" else None
    layers = residual_channels(look.base.model)
    width = layers[0].n_columns
    return min(len(layers), max(-(-n_shown // width), RESIDUAL_COLUMNS * n_shown // width))


def _find_examples(look: Look, state: AdapterState) -> None:
    """Examples, histograms, and the text of the tokens around them."""
    look.values = distribution(state.iter_shown(), state.iter_shown())
    table = examples(state.iter_shown(), RULE)
    write_examples(look.folder / RECORDS / "examples.parquet", table)
    ids = ids_around(table, state.iter_raw())
    look.words = tuple(str(look.base.tokenizer.decode([token])) for token in ids)
    places = {token: place for place, token in enumerate(ids)}
    look.examples = shown_examples(table, state.iter_shown(), places, look.roles is not None)


def _find_lenses(look: Look, directions: Sequence[Direction]) -> None:
    """Lenses of single directions, where our decoder says what stands beside a site."""
    why_not = why_not_decodable(look.base.model)
    if why_not is not None:
        look.missing.append(f"No logit lens and no causal checks: our decoder does not run this base ({why_not}).")
        return
    assert look.values is not None
    decoder = read_decoder(look.base.model)
    size = residual_rms(look.base.model, look.weights, look.items.take(slice(0, CAUSAL_ITEMS)))
    words = [str(look.base.tokenizer.decode([token])) for token in range(len(decoder.embedding_VD))]
    for place, one in enumerate(directions):
        if not one.is_subspace:
            typical = float(look.values.rms_F[place])
            factors = look.weights[one.site]
            look.lenses[place] = lens(decoder, one.site, factors, one.indices[0], typical, size, words)


def asked_ablations(look: Look) -> Asked:
    """Single directions too, where a site has several."""
    return Asked(directions=any(factors.rank > 1 for factors in look.weights.values()), most_sites=look.most_sites)


def earlier_ablations(look: Look) -> AblationReading | None:
    """The ablations of an earlier call; None where there are none.

    Raises: BadInput when the folder holds ablations of anything else, or a look at another adapter.
    """
    page = look.folder / records.LOOK_FILE
    if page.exists() and records.read_look(page).adapter_hash != look.weights.content_hash:
        raise BadInput(f"{page} is a look at another adapter, and is not replaced. Choose another folder.")
    path = look.folder / ABLATION_FILE
    if not path.exists():
        return None
    earlier = read_ablation(path)
    check_subject(path, earlier.subject, _subject(look))
    return earlier.reading


def _subject(look: Look) -> AblationSubject:
    return subject_of(look.base, [look.weights], look.items, look.roles, asked_ablations(look))


def _new_ablations(look: Look) -> AblationReading:
    """Every ablation, which the folder then holds."""
    reading = ablation(
        look.base.model,
        [look.weights],
        look.items,
        look.roles,
        asked_ablations(look),
        lambda done, total: look.tell("ablating", done, total),
    )
    write_ablation(
        look.folder / ABLATION_FILE,
        AblationRecord(
            title="Where the adapter acts",
            base=look.base.name,
            task=look.items.task,
            adapters=(look.adapter,),
            subject=_subject(look),
            reading=reading,
            reproduce={"this look": look.command},
            provenance=_facts(look),
        ),
    )
    return reading


def _find_roles(look: Look, state: AdapterState) -> None:
    """Role scores of matched populations and what follows from them."""
    if look.roles is None:
        look.missing.append("No role scores: the items carry no roles, so nothing says what a token is.")
        return
    states: dict[Population, AdapterState] = {"adapter": state}
    for population in POPULATIONS[1:]:
        try:
            states[population] = _captured(look, population)
        except (NotSupported, BadInput, OutOfSpace) as error:
            look.missing.append(f"{population} is not among the populations: {error}")
    try:
        look.scores = score_populations(
            states, tell=lambda done, total: look.tell("scoring roles of populations", done, total)
        )
    except BadInput as error:
        look.missing.append(f"No role scores: {error}")
        return
    for scores in look.scores.values():
        write_role_scores(look.folder / RECORDS, scores)
    for question in QUESTIONS:
        try:
            look.claims.append(judge_one(question, look.scores))
        except BadInput as error:
            look.missing.append(f"A claim could not be judged: {error}")


def _find_causes(look: Look, directions: Sequence[Direction]) -> None:
    """Causal checks of the directions that cost most when taken out."""
    if why_not_decodable(look.base.model) is not None or look.reading is None or look.values is None:
        return
    found = {place: _cost(look, single) for place, single in enumerate(directions)}
    costs = {place: cost.kl.estimate for place, cost in found.items() if cost is not None}
    chosen = sorted(costs, key=lambda place: -costs[place])[:CAUSAL_DIRECTIONS]
    few, tokenizer = look.items.take(slice(0, CAUSAL_ITEMS)), look.base.tokenizer
    for done, place in enumerate(chosen):
        one = directions[place]
        changes = usual_changes(float(look.values.rms_F[place]))
        where = (one.site, one.indices[0])
        look.causal[place] = causal_checks(
            look.base.model, look.weights, *where, changes, few, lambda ids: str(tokenizer.decode(list(ids)))
        )
        look.tell("causal checks", done + 1, len(chosen))


def _cost(look: Look, one: Direction) -> Ablation | None:
    """What taking a direction out costs; None for a subspace, and where it was not measured."""
    if look.reading is None or one.is_subspace:
        return None
    single = look.weights[one.site].rank == 1
    name = one.site if single else f"{one.site} #{one.indices[0]}"
    found = look.reading.of("site" if single else "direction")
    return next((row for row in found if row.name == name), None)


def _write(look: Look, directions: Sequence[Direction], to_come: tuple[str, ...]) -> Path:
    """The record and its page, with a word on what is still to come."""
    coming = (f"{', '.join(to_come)}: still being measured; run the same command to go on.",) if to_come else ()
    first = next(iter(look.scores.values()), None)
    record = records.LookRecord(
        title="What the adapter learnt",
        base=look.base.name,
        base_hash=look.base.content_hash,
        task=look.items.task,
        adapter=look.adapter,
        adapter_hash=look.weights.content_hash,
        n_items=len(look.items),
        n_tokens=int(look.items.n_tokens_N.sum()),
        answer=_answer(look, directions),
        words=look.words,
        section_names=SECTIONS,
        surface_names=() if look.roles is None else look.roles.surfaces,
        tag_names=() if look.roles is None else look.roles.tags,
        reading=look.reading,
        populations=tuple(_population(name, scores) for name, scores in look.scores.items()),
        cards=tuple(_card(claim) for claim in look.claims),
        directions=tuple(_direction(look, place, one) for place, one in enumerate(directions)),
        missing=(*look.missing, *coming),
        reproduce={"this page": look.command},
        provenance=_facts(look) | ({} if first is None else {"shifts per role": str(first.n_shifts)}),
    )
    records.write_look(look.folder / records.LOOK_FILE, record)
    return write_look_page(look.folder)


def _facts(look: Look) -> dict[str, str]:
    return run_facts(look.device, "fp32", time.monotonic() - look.started)


def _answer(look: Look, directions: Sequence[Direction]) -> tuple[str, ...]:
    sites = len({one.site for one in directions})
    merged = sum(one.is_subspace for one in directions)
    also = f", {merged} of them subspaces of directions that can not be told apart" if merged else ""
    told = [f"{len(directions)} directions at {sites} sites{also}, read on {len(look.items)} items."]
    if look.reading is not None:
        told = [*ablation_answer(look.reading), *told]
    return tuple(told)


def _direction(look: Look, place: int, one: Direction) -> records.Direction:
    at, values = place_of(one.site), look.values
    assert values is not None
    return records.Direction(
        slug=slug_of(one),
        site=one.site,
        layer=at.layer,
        kind=at.kind,
        indices=one.indices,
        sigma=sum(sigma**2 for sigma in one.strengths) ** 0.5,
        mean=float(values.mean_F[place]),
        rms=float(values.rms_F[place]),
        bin_edges=tuple(float(f"{edge:.5g}") for edge in values.edges_FE[place]),
        bin_counts=tuple(values.counts_FB[place].tolist()),
        examples=look.examples.get(place, ()),
        role=_role(look, place),
        ablation=_cost(look, one),
        lens=look.lenses.get(place),
        causal=look.causal.get(place, ()),
    )


def _role(look: Look, place: int) -> records.RoleScore | None:
    """The direction's role, chosen on half of the items and scored on the other."""
    scores = look.scores.get("adapter")
    if scores is None:
        return None
    best = scores.best.row(place, named=True)
    if best["role"] is None:
        return None
    alone = scores.roles.row(by_predicate=pl.col("role") == best["role"], named=True)
    return records.RoleScore(
        role=best["role"],
        sign=1 if best["sign"] > 0 else -1,
        auroc=best["auroc"],
        q=best["p_bh"],
        position_only=alone["position_auroc"],
        token_within=alone["token_auroc_within"],
    )


def _population(name: Population, scores: PopulationScores) -> records.Population:
    auroc = scores.best["auroc"].drop_nulls()
    return records.Population(
        name=POPULATION_NAMES[name],
        n=len(scores.best),
        share_significant=scores.share_significant,
        median_auroc=float(auroc.median() or 0.5),  # type: ignore[arg-type]
        auroc=tuple(auroc.to_list()),
    )


def _card(claim: RoleClaim) -> records.LookCard:
    means = ", ".join(f"{name} {mean:.3f}" for name, mean in claim.mean_scores.items())
    return records.LookCard(
        claim=f"{claim.claim[0].upper()}{claim.claim[1:]}.",
        rule=claim.rule,
        verdict="underpowered",
        estimate=f"mean role scores: {means}",
        because=claim.because,
        limits=claim.limits,
    )
