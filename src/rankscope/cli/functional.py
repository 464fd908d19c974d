"""The functional part of `rankscope rank`: measured on a task, shown as tables and sentences."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rankscope.cli.console import out, plain_table, print_line
from rankscope.cli.on_task import OnTask, truncation_bar

if TYPE_CHECKING:
    from rich.console import Console

    from rankscope.adapters.weights import AdapterWeights
    from rankscope.rank.adapter_records import AdapterReading, ScoreReading
    from rankscope.stats.interval import Interval

NO_FISHER = "The control `fisher` is left out: the task has no validation items to order directions by."


def measured_on(where: OnTask, adapters: "Sequence[AdapterWeights]", n_items: int, seed: int) -> "AdapterReading":
    """Functional rank of the adapters on the task's test items; `fisher` is ordered on validation items."""
    from rankscope.studies.adapter import measured
    from rankscope.studies.held_out import held_out, n_available

    test = held_out(where.task, where.base, n_items)
    has_others = n_available(where.task, "validation", n_items) > 0
    order_on = held_out(where.task, where.base, n_items, "validation", fewest=1) if has_others else None
    with truncation_bar() as tell:
        return measured(where.base, adapters, test, order_on, seed, tell)


def as_document(where: OnTask, folders: Sequence[Path], reading: "AdapterReading") -> dict[str, Any]:
    """What --json prints of it."""
    from rankscope.report.adapter_words import conclusion

    said = conclusion(reading)
    return {
        "adapters": [str(folder) for folder in folders],
        "base": where.base.name,
        "base_hash": where.base.content_hash,
        "task": where.task,
        **reading.model_dump(mode="json"),
        "conclusion": {"says": list(said.says), "leaves_open": list(said.leaves_open)},
    }


def show(where: OnTask, folders: Sequence[Path], reading: "AdapterReading") -> None:
    """Prints scores, functional ranks, the controls of the primary score, and what follows from them."""
    from rankscope.report.adapter_words import conclusion

    console = out()
    print_line(f"On {where.task}, base {where.base.name}, {reading.n_items} test items:\n", console, style="bold")
    console.print(score_table(reading))
    if len(folders) > 1:
        console.print()
        console.print(adapter_table(folders, reading))
    if reading.primary.gains:
        show_controls(reading, console)
    said = conclusion(reading)
    print_line("", console)
    for sentence in said.says:
        print_line(sentence, console)
    for sentence in said.leaves_open:
        print_line(sentence, console, style="yellow")


def score_table(reading: "AdapterReading") -> Any:
    """A column per score: base, adapter, gain, and the functional rank at every q."""
    from rankscope.report.adapter_words import amount

    several = reading.n_adapters > 1
    table = plain_table("", *(heading(reading, score) for score in reading.scores), right=(1, 2))

    def add(label: str, *values: str) -> None:
        table.add_row(label, *values)

    add("base", *(amount(score.score, score.base) for score in reading.scores))
    if any(score.reference != score.base for score in reading.scores):
        add("chance", *(amount(s.score, s.reference) if s.reference != s.base else "-" for s in reading.scores))
    add("adapters, mean" if several else "adapter", *(amount(s.score, mean(s.whole)) for s in reading.scores))
    add("gain" if several else "gain, 95 % over items", *(gain_text(score, several) for score in reading.scores))
    for index, found in enumerate(reading.primary.functional):
        ranks = (over_seeds(s, index) if several else over_items(s.over_items[index][0]) for s in reading.scores)
        add(f"functional rank, q {found.q:g}", *ranks)
    return table


def heading(reading: "AdapterReading", score: "ScoreReading") -> str:
    """The score's name above a column."""
    from rankscope.report.adapter_words import score_words

    name = score_words(reading, score.score)
    return name if score.score == "exact_output" else f"{name}, nats"


def mean(values: Sequence[float]) -> float:
    """Plain mean."""
    return sum(values) / len(values)


def gain_text(score: "ScoreReading", several: bool) -> str:
    """The gain, for one adapter with its ends over items."""
    from rankscope.report.adapter_words import amount

    if several:
        return amount(score.score, mean([gain.estimate for gain in score.gain]))
    gain = score.gain[0]
    low, high = (amount(score.score, end or 0) for end in (gain.low, gain.high))
    return f"{amount(score.score, gain.estimate)} [{low}, {high}]"


def over_items(found: "Interval | None") -> str:
    """A functional rank with its ends over items; 0 without a gain."""
    return "0 (no gain)" if found is None else f"{found.estimate:g} [{found.low:g}, {found.high:g}]"


def over_seeds(score: "ScoreReading", index: int) -> str:
    """The median over adapters, with its ends over seeds where there are enough."""
    found = score.functional[index]
    if found.no_gain:
        return "0 (no gain)"
    ends = "" if found.low is None else f" [{found.low:g}, {found.high:g}]"
    return f"{found.median:g}{ends}"


def adapter_table(folders: Sequence[Path], reading: "AdapterReading") -> Any:
    """A row per adapter: functional rank by the primary score at every q, with ends over items."""
    primary = reading.primary
    qs = [f"q {found.q:g}" for found in primary.functional]
    table = plain_table(f"by {heading(reading, primary)}", *qs, right=tuple(range(1, len(qs) + 1)))
    for place, folder in enumerate(folders):
        table.add_row(str(folder), *(over_items(found[place]) for found in primary.over_items))
    return table


def show_controls(reading: "AdapterReading", console: "Console") -> None:
    """Prints the share of gain kept at every k under every control."""
    from rankscope.report.adapter_words import score_words

    name = score_words(reading, reading.primary.score)
    print_line(f"\nShare of the gain by {name} kept with k directions per site:", console)
    console.print(control_table(reading))
    if all(point.control != "fisher" for point in reading.primary.functional[0].curve):
        print_line(NO_FISHER, console, style="yellow")


def control_table(reading: "AdapterReading") -> Any:
    """K down, controls across; the score under `energy` stands first, and what functional rank is read at is marked."""
    from rankscope.report.adapter_words import amount

    primary = reading.primary
    points = {(point.control, point.k): point for point in primary.functional[0].curve}
    controls = list(dict.fromkeys(point.control for point in primary.functional[0].curve))
    marks: dict[float | None, list[str]] = {}
    for found in primary.functional:
        marks.setdefault(found.median, []).append(f"{found.q:g}".lstrip("0"))
    table = plain_table("k", "score", *controls, "rank at q", right=tuple(range(len(controls) + 2)))
    for k in reading.ks:
        shares = (points[control, k].share_of_gain for control in controls)
        score = amount(primary.score, points["energy", k].score.estimate)
        mark = " ".join(marks.get(k, ()))
        table.add_row(str(k), score, *("-" if s is None else f"{s:.0%}" for s in shares), mark)
    return table
