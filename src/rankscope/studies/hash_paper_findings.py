"""From the tables of hash_paper to its findings: scores by each rule, spectra, and what each switch changes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np
import polars as pl

from rankscope.adapters.read import read_adapter
from rankscope.evals.paper_generations import allowed_shares
from rankscope.evals.paper_scores import is_exact, is_fuzzy_chain, is_fuzzy_hop, read_answer
from rankscope.rank.functional import functional_rank, truncation_curve
from rankscope.rank.paper_records import (
    ConfigurationNumbers,
    GroupPoint,
    SweepPoint,
    TaskNumbers,
    TokenFacts,
)
from rankscope.runs.tables import read_table
from rankscope.spectra.estimators import P1_THRESHOLDS, absolute_count, relative_count, top5_nuclear_share
from rankscope.spectra.low_rank_svd import singular_values
from rankscope.stats.interval import Interval
from rankscope.stats.over_items import paired_over_items, share_over_items, unpaired_over_items
from rankscope.studies.hash_paper import (
    CONFIGURATIONS,
    TASK_KINDS,
    Configuration,
    HashPaperPlan,
    Switches,
    TaskKind,
)
from rankscope.studies.hash_paper_measure import Adapter, Tables, adapters_of, read_generations, test_items
from rankscope.studies.hash_paper_published import published_share
from rankscope.tasks.catalog import load_task

Q = 0.9
HEADLINE = 1e-3
GROUP = {"planning": "hops", "reasoning": "shortest_length"}
CLEAN_READING = {"ban": False, "fuzzy": False}
"""The switches that only read the same trainings another way."""
Rule = Callable[[str, str], bool]


def right_N(frame: pl.DataFrame, kind: TaskKind, switches: Switches, n_symbols: int) -> np.ndarray:
    """Whether each item is right by the rule and the way of decoding that the switches say."""
    rule = _rule(kind, switches)
    rows = frame.filter(pl.col("ban") == switches.ban).sort("item")
    pairs = zip(rows["text"], rows["gold"], strict=True)
    return np.array([rule(read_answer(text, n_symbols), gold) for text, gold in pairs])


def _rule(kind: TaskKind, switches: Switches) -> Rule:
    if not switches.fuzzy:
        return is_exact
    return is_fuzzy_hop if kind == "planning" else is_fuzzy_chain


@dataclass(frozen=True)
class Evidence:
    """Plan, trained adapters and tables: all that findings are made from."""

    plan: HashPaperPlan
    adapters: Sequence[Adapter]
    tables: Tables

    @cached_property
    def n_symbols(self) -> int:
        """Symbols of a hash."""
        knobs: Any = load_task(self.plan.train["planning"])
        return int(knobs.knobs.symbols)

    def adapter_scores(self, kind: TaskKind, switches: Switches, rank: int) -> np.ndarray:
        """Scores [seeds, items] of a rank's adapters."""
        task = self.plan.task(kind, "test", switches)
        found = [
            right_N(read_generations(self.tables, one.key, task), kind, switches, self.n_symbols)
            for one in adapters_of(self.plan, self.adapters, kind, switches)
            if one.rank == rank
        ]
        return np.stack(found)

    def base_scores(self, kind: TaskKind, switches: Switches) -> np.ndarray:
        """Scores [1, items] of the base that the task's adapters start from."""
        task, stage = self.plan.task(kind, "test", switches), self.plan.base_of(kind, switches)
        return right_N(read_generations(self.tables, stage, task), kind, switches, self.n_symbols)[None]

    def spectra(self, kind: TaskKind, switches: Switches, rank: int) -> list[list[Any]]:
        """Singular values of A B, without the scale as in the paper: a list of layers per seed."""
        return [
            [singular_values(f.A_RI, f.B_OR, 1.0) for f in read_adapter(one.folder / "adapter").values()]
            for one in adapters_of(self.plan, self.adapters, kind, switches)
            if one.rank == rank
        ]


def configuration_rows(evidence: Evidence) -> tuple[ConfigurationNumbers, ...]:
    """The table of defects."""
    published = CONFIGURATIONS[0]
    return tuple(
        ConfigurationNumbers(
            key=one.key,
            title=one.title,
            planning=_numbers(evidence, "planning", one, published),
            reasoning=_numbers(evidence, "reasoning", one, published),
        )
        for one in CONFIGURATIONS
    )


def _numbers(evidence: Evidence, kind: TaskKind, one: Configuration, published: Configuration) -> TaskNumbers:
    rank = evidence.plan.largest
    scores_SN = evidence.adapter_scores(kind, one.switches, rank)
    base_SN = evidence.base_scores(kind, one.switches)
    spectra = evidence.spectra(kind, one.switches, rank)
    by_layer = np.mean([[relative_count(s_R, HEADLINE) for s_R in layers] for layers in spectra], axis=0)
    return TaskNumbers(
        retrained=evidence.plan.identity(kind, one.switches) != evidence.plan.identity(kind, published.switches),
        accuracy=share_over_items(scores_SN),
        change=None if one is published else _change(evidence, kind, one.switches, published.switches),
        base=share_over_items(base_SN),
        gain=paired_over_items(scores_SN, base_SN),
        effective_rank=float(by_layer.mean()),
        by_layer=tuple(map(float, by_layer)),
        functional=_functional(evidence, kind, one.switches),
    )


def _change(evidence: Evidence, kind: TaskKind, switches: Switches, published: Switches) -> Interval:
    """What the switches change, paired where the test items are the same."""
    plan, rank = evidence.plan, evidence.plan.largest
    now, then = (evidence.adapter_scores(kind, each, rank) for each in (switches, published))
    same = plan.task(kind, "test", switches) == plan.task(kind, "test", published)
    return paired_over_items(now, then) if same else unpaired_over_items(now, then)


def _functional(evidence: Evidence, kind: TaskKind, switches: Switches) -> tuple[int, ...]:
    found = [
        read_table(evidence.tables.truncation(one.key), {"control": pl.String, "k": pl.Int32, "item": pl.Int64})
        for one in adapters_of(evidence.plan, evidence.adapters, kind, switches)
        if one.rank == evidence.plan.largest
    ]
    curve = truncation_curve(found, "energy", "exact_output")
    arm = f"rank {evidence.plan.largest}"
    return functional_rank(arm, {"energy": curve}, curve.scores_SKN[:, 0].mean(0), Q).by_seed


def sweep_points(evidence: Evidence) -> tuple[SweepPoint, ...]:
    """Accuracy and spectra against rank, trained as published; rank 0 is the base."""
    published = CONFIGURATIONS[0].switches
    clean = published.override(**CLEAN_READING)
    found = []
    for kind in TASK_KINDS:
        for rank in (0, *evidence.plan.ranks):
            both = [
                evidence.base_scores(kind, each) if rank == 0 else evidence.adapter_scores(kind, each, rank)
                for each in (published, clean)
            ]
            layers = [] if rank == 0 else [s_R for one in evidence.spectra(kind, published, rank) for s_R in one]
            found.append(
                SweepPoint(
                    task=kind,
                    rank=rank,
                    as_published=share_over_items(both[0]),
                    clean=share_over_items(both[1]),
                    thresholds={_power(t): _mean(layers, partial(relative_count, threshold=t)) for t in P1_THRESHOLDS}
                    if layers
                    else {},
                    absolute_count=_mean(layers, absolute_count) if layers else None,
                    top5_share=_mean(layers, top5_nuclear_share) if layers else None,
                )
            )
    return tuple(found)


def _power(threshold: float) -> str:
    """A power of ten as people write it: `1e-3`."""
    return f"{threshold:.0e}".replace("e-0", "e-")


def _mean(layers: Sequence[Any], reading: Callable[[Any], float]) -> float:
    return float(np.mean([reading(s_R) for s_R in layers]))


def group_points(evidence: Evidence) -> tuple[GroupPoint, ...]:
    """Accuracy by hops and by shortest length at the largest rank, trained as published."""
    published = CONFIGURATIONS[0].switches
    clean = published.override(**CLEAN_READING)
    found = []
    for kind in TASK_KINDS:
        name = GROUP[kind]
        groups_N = np.array(
            [item.groups[name] for item in test_items(evidence.plan, evidence.plan.task(kind, "test", published))]
        )
        base = evidence.base_scores(kind, published)
        ours = [evidence.adapter_scores(kind, each, evidence.plan.largest) for each in (published, clean)]
        for group in sorted(set(groups_N.tolist())):
            chosen = groups_N == group
            if chosen.sum() >= 2:
                found.append(
                    GroupPoint(
                        task=kind,
                        group=group,
                        n_items=int(chosen.sum()),
                        trained=group in _trained_groups(evidence.plan, kind),
                        base=share_over_items(base[:, chosen]),
                        as_published=share_over_items(ours[0][:, chosen]),
                        clean=share_over_items(ours[1][:, chosen]),
                        paper=published_share(kind, group),
                    )
                )
    return tuple(found)


def _trained_groups(plan: HashPaperPlan, kind: TaskKind) -> set[int]:
    """Hops, or shortest lengths, that the adapters' training has."""
    task: Any = load_task(plan.train[kind])
    low, high = task.knobs.hops if kind == "planning" else task.knobs.lengths
    return set(range(low, high + (kind == "planning")))


def token_facts(evidence: Evidence, tokenizer: Any) -> tuple[TokenFacts, ...]:
    """What tokenizer and ban do to the answers, before any model."""
    published = CONFIGURATIONS[0].switches
    return tuple(_facts_of(evidence, kind, published, tokenizer) for kind in TASK_KINDS)


def _facts_of(evidence: Evidence, kind: TaskKind, published: Switches, tokenizer: Any) -> TokenFacts:
    items = test_items(evidence.plan, evidence.plan.task(kind, "test", published))
    spaced, bare = (
        tokenizer([f"{space}{item.answer}" for item in items], add_special_tokens=False)["input_ids"]
        for space in (" ", "")
    )
    differ = [_pieces(a, tokenizer) != _pieces(b, tokenizer) for a, b in zip(spaced, bare, strict=True)]
    allowed = allowed_shares(items, tokenizer, (3, evidence.n_symbols))
    return TokenFacts(
        task=kind,
        tokens_per_hash=float(np.mean([len(ids) for ids in spaced])),
        splits_differ=float(np.mean(differ)),
        whole_allowed=share_over_items(np.array(allowed[evidence.n_symbols])[None]),
        first_three_allowed=share_over_items(np.array(allowed[3])[None]),
    )


def _pieces(ids: list[int], tokenizer: Any) -> list[str]:
    return [tokenizer.decode([token]).strip() for token in ids]
