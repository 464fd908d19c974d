"""The page of hash_paper: the table of defects, what stands behind it, and the paper's figures beside ours."""

from collections.abc import Sequence
from pathlib import Path

from rankscope.base.atomic import write_text
from rankscope.rank.paper_records import (
    ConfigurationNumbers,
    HashPaperFindings,
    SweepPoint,
    TaskNumbers,
    read_paper_findings,
)
from rankscope.report import paper_figures
from rankscope.report.formats import (
    DASH,
    count,
    interval_cell,
    minus,
    missing,
    number_cell,
    percent,
    plain,
    plural,
    span_text,
    text_cell,
)
from rankscope.report.page import environment
from rankscope.report.parts import (
    Block,
    Cell,
    Column,
    Commands,
    Facts,
    Figure,
    Key,
    Panel,
    Part,
    Prose,
    Section,
    Table,
    Tile,
    Tiles,
)
from rankscope.stats.interval import Interval

TASKS = (("planning", "Planning (HashHop)"), ("reasoning", "Reasoning (HashChain)"))
SWITCHES = (
    (
        "Ban in decoding",
        (
            "No pair of tokens may be written twice, and the prompt counts. Answers have to be copied from the "
            "prompt, so most true ones are forbidden. Off: plain greedy decoding of the same trainings."
        ),
    ),
    (
        "Fuzzy scoring",
        (
            "Three characters of four are enough: at either offset in HashHop, the first three in HashChain. Off: all "
            "characters, the same generated text."
        ),
    ),
    (
        "Leak by line count",
        (
            "The number of lines of a HashChain map gives the length of its shortest chain away. Off: a detached chain "
            "fills every map to the same number of lines; reasoning adapters are trained again."
        ),
    ),
    (
        "Padding in the loss",
        (
            "The loss covers the colon before the answer and all padding behind it. Off: the answer and one stop "
            "token; all adapters are trained again."
        ),
    ),
    (
        "Different bases",
        (
            "Planning and reasoning adapters start from bases with different histories. Off: one base trained on both "
            "tasks; all adapters are trained again."
        ),
    ),
)


def render_paper(findings: HashPaperFindings) -> str:
    """The whole page as HTML."""
    sections = (
        _section("answer", "Answer", answer(findings)),
        _section(
            "defects", "What each defect does", defects(findings), "One switch flipped at a time, then all of them."
        ),
        _section("oracle", "What the ban forbids before any model", oracle(findings)),
        _section("sweep", "Accuracy and effective rank against rank", sweep(findings), "Trained as published."),
        _section("groups", "By hops and by shortest length", groups(findings), "Trained as published, largest rank."),
        _section("published", "The paper's figures beside ours", published(findings)),
        _section("reproduce", "Reproduce, provenance, limits", reproduce(findings)),
    )
    return (
        environment().get_template("page.html").render(findings=findings, committed=None, sections=sections, partial="")
    )


def write_paper_report(findings_path: Path, out_path: Path) -> None:
    """Reads findings and writes the page atomically; BadFile when the findings can not be read."""
    write_text(out_path, render_paper(read_paper_findings(findings_path)))


def _section(slug: str, title: str, parts: tuple[Part, ...], lede: str = "") -> Section:
    return Section(slug, title, (Block("", False, parts),), lede)


def answer(findings: HashPaperFindings) -> tuple[Part, ...]:
    """What came out, the key numbers, what was run."""
    published, clean = findings.configuration("published"), findings.configuration("clean")
    return (
        Prose(findings.answer, "lead"),
        Tiles(
            (
                *_tiles("as published", published, findings.largest),
                *_tiles("all five mended", clean, findings.largest),
            )
        ),
        Prose(findings.setting, "callout", "What was run"),
    )


def _tiles(when: str, row: ConfigurationNumbers, largest: int) -> tuple[Tile, ...]:
    def one(name: str, numbers: TaskNumbers) -> Tile:
        gain = signed_points(numbers.gain)
        return Tile(name, percent(numbers.accuracy.estimate), "%", when, "info", (f"gain over its base {gain} points",))

    ratio = row.ratio(largest)
    told = f"both are the nominal rank, {largest}" if ratio is None else "the paper claims 2 to 3"
    shown = DASH if ratio is None else f"{ratio:.2f}"
    return (
        one("planning", row.planning),
        one("reasoning", row.reasoning),
        Tile("effective ranks, planning / reasoning", shown, "", when, "info", (told,)),
    )


def signed_points(interval: Interval) -> str:
    """A difference of shares in points, with its sign and interval: `+3.4 [−0.2, 7.0]`."""
    return f"{minus(f'{100 * interval.estimate:+.1f}')} {span_text(interval, percent)}"


def defects(findings: HashPaperFindings) -> tuple[Part, ...]:
    """One table per task, the table of ranks, and what each switch is."""
    told = Prose(tuple(f"{name}. {text}" for name, text in SWITCHES), "list", "The switches")
    return (
        *(_accuracy_table(findings, task, title) for task, title in TASKS),
        _rank_table(findings),
        told,
    )


def _accuracy_table(findings: HashPaperFindings, task: str, title: str) -> Table:
    columns = (
        Column("setting", "Setting"),
        Column("accuracy", "Accuracy, %", "interval", "share of test items right, by the setting's own rule"),
        Column("change", "Change, points", "interval", "against as published"),
        Column("base", "Its base, %", "interval"),
        Column("gain", "Gain, points", "interval", "accuracy less that of the base, paired by item"),
    )
    rows = tuple(
        _accuracy_row(row, row.planning if task == "planning" else row.reasoning) for row in findings.configurations
    )
    note = (
        "95 % intervals over items alone. Rows without trainings of their own read the published trainings another way."
    )
    return Table(f"defects_{task}", title, columns, rows, note)


def _accuracy_row(row: ConfigurationNumbers, numbers: TaskNumbers) -> dict[str, Cell]:
    return {
        "setting": Cell(row.title, detail="trained again" if numbers.retrained else "", csv=row.key),
        "accuracy": interval_cell(numbers.accuracy, percent, ""),
        "change": _signed_cell(numbers.change, "this is what the others are compared with"),
        "base": interval_cell(numbers.base, percent, ""),
        "gain": _signed_cell(numbers.gain, ""),
    }


def _signed_cell(interval: Interval | None, why: str) -> Cell:
    if interval is None:
        return missing(why)
    cell = interval_cell(interval, percent, why)
    return Cell(
        minus(f"{100 * interval.estimate:+.1f}"), cell.detail, cell.title, csv=cell.csv, low=cell.low, high=cell.high
    )


def _rank_table(findings: HashPaperFindings) -> Table:
    largest = max(point.rank for point in findings.sweep)
    columns = (
        Column("setting", "Setting"),
        Column("planning", "Effective rank, planning", "number", "N(1e-3), mean over layers and seeds"),
        Column("reasoning", "Effective rank, reasoning", "number", "N(1e-3), mean over layers and seeds"),
        Column("ratio", "Ratio", "number", "planning / reasoning; the paper claims 2 to 3"),
        Column("functional_planning", "Functional rank, planning", title="by seed; keeps 90 % of the adapter's gain"),
        Column("functional_reasoning", "Functional rank, reasoning", title="by seed; keeps 90 % of the adapter's gain"),
    )
    rows = tuple(
        {
            "setting": Cell(row.title, csv=row.key),
            "planning": number_cell(row.planning.effective_rank, plain, "", _layers(row.planning)),
            "reasoning": number_cell(row.reasoning.effective_rank, plain, "", _layers(row.reasoning)),
            "ratio": number_cell(row.ratio(largest), plain, "both are the nominal rank"),
            "functional_planning": text_cell(", ".join(map(str, row.planning.functional))),
            "functional_reasoning": text_cell(", ".join(map(str, row.reasoning.functional))),
        }
        for row in findings.configurations
    )
    note = (
        f"All adapters have nominal rank {largest}. Effective rank sees singular values alone; functional rank is "
        "measured by exact output of truncated adapters without the ban, and is 0 where there is no clear gain."
    )
    return Table("ranks", "Effective and functional rank", columns, rows, note)


def _layers(numbers: TaskNumbers) -> str:
    return f"by layer: {', '.join(map(count, numbers.by_layer))}"


def oracle(findings: HashPaperFindings) -> tuple[Part, ...]:
    """How many true answers the ban lets be written."""
    columns = (
        Column("task", "Task"),
        Column("tokens", "Tokens per hash", "number", "as the answer, with its space"),
        Column("differ", "Split differently after a space, %", "number"),
        Column("whole", "Whole answer allowed, %", "interval", "the most an oracle can score by the exact rule"),
        Column("three", "First three characters allowed, %", "interval"),
    )
    rows = tuple(
        {
            "task": Cell(fact.task, csv=fact.task),
            "tokens": number_cell(fact.tokens_per_hash, plain, ""),
            "differ": number_cell(fact.splits_differ, percent, ""),
            "whole": interval_cell(fact.whole_allowed, percent, ""),
            "three": interval_cell(fact.first_three_allowed, percent, ""),
        }
        for fact in findings.tokens
    )
    note = "Published, with GPT-2's tokenizer: 3.06 tokens per hash, 17.5 % split differently, 26 % and 61 % allowed."
    text = (
        "Without the ban an oracle scores 100 %. With it, only answers whose tokens follow each other nowhere in the "
        "prompt can be written as they are; the rest is lost, or rescued when another token happens to spell the same "
        "characters."
    )
    return Prose((text,)), Table("oracle", "True answers that the ban lets be written", columns, rows, note)


def sweep(findings: HashPaperFindings) -> tuple[Part, ...]:
    """Accuracy against rank read in two ways, N(t) as a curve, the other readings of the spectrum."""
    panels = tuple(
        Panel(
            title,
            f"{plural(mine[0].clean.n_items, 'item')}",
            paper_figures.accuracy(mine),
            "; ".join(
                f"rank {p.rank}: {percent(p.as_published.estimate)} %, clean {percent(p.clean.estimate)} %"
                for p in mine
            ),
        )
        for task, title in TASKS
        for mine in ([point for point in findings.sweep if point.task == task],)
    )
    legend = (
        Key("read as published (ban, fuzzy)", "c1"),
        Key("same trainings, no ban, exact", "c2", shape="square"),
        Key("95 % interval over items", "ink", shape="bar"),
    )
    curves = tuple(
        Panel(title, "", paper_figures.thresholds(mine), _curve_alt(mine))
        for task, title in TASKS
        for mine in ([point for point in findings.sweep if point.task == task and point.rank],)
    )
    ranks = sorted({point.rank for point in findings.sweep if point.rank})
    colours = tuple(
        Key(
            f"rank {rank}",
            "c3",
            shape="line" if rank < max(ranks) else "circle",
            opacity=paper_figures.strength(rank, ranks),
        )
        for rank in ranks
    )
    return (
        Figure("Rank 0 is the base that the adapters start from.", panels, legend, "Accuracy"),
        Figure(
            "Singular values above t times the largest, mean over layers and seeds. The paper's headline is t = 1e-3.",
            curves,
            colours,
            "Effective rank by threshold",
        ),
        _spectrum_table(findings.sweep),
    )


def _curve_alt(points: Sequence[SweepPoint]) -> str:
    return "; ".join(
        f"rank {point.rank}: " + ", ".join(f"{plain(point.thresholds[t])} at {t}" for t in point.falling)
        for point in points
    )


def _spectrum_table(points: Sequence[SweepPoint]) -> Table:
    shown = [point for point in points if point.rank]
    thresholds = shown[0].falling
    columns = (
        Column("task", "Task"),
        Column("rank", "Nominal rank", "number"),
        *(Column(f"t{t}", f"N({t})", "number") for t in thresholds),
        Column("absolute", "Above 1e-5", "number", "singular values above an absolute threshold"),
        Column("top5", "Top-5 share, %", "number", "of the sum of singular values"),
    )
    rows = tuple(
        {
            "task": Cell(point.task, csv=point.task),
            "rank": number_cell(point.rank, count, ""),
            **{f"t{t}": number_cell(point.thresholds[t], plain, "") for t in thresholds},
            "absolute": number_cell(point.absolute_count, plain, ""),
            "top5": number_cell(point.top5_share, percent, ""),
        }
        for point in shown
    )
    return Table(
        "spectra", "Readings of the spectrum", columns, rows, "Means over layers and seeds, of A B without its scale."
    )


def groups(findings: HashPaperFindings) -> tuple[Part, ...]:
    """Accuracy by hops and by shortest length."""
    return tuple(_group_table(findings, task, title) for task, title in TASKS)


def _group_table(findings: HashPaperFindings, task: str, title: str) -> Table:
    label = "Hops" if task == "planning" else "Shortest length"
    columns = (
        Column("group", label, "number"),
        Column("items", "Items", "number"),
        Column("trained", "In the adapters' training"),
        Column("base", "Base, %", "interval", "read as published"),
        Column("published", "Adapter, as published, %", "interval"),
        Column("clean", "Adapter, no ban, exact, %", "interval", "the same trainings"),
        Column("paper", "The paper's rank 256, %", "number", "from its stored outputs; larger maps, its own base"),
    )
    rows = tuple(
        {
            "group": number_cell(point.group, count, ""),
            "items": number_cell(point.n_items, count, ""),
            "trained": text_cell("yes" if point.trained else "no"),
            "base": interval_cell(point.base, percent, ""),
            "published": interval_cell(point.as_published, percent, ""),
            "clean": interval_cell(point.clean, percent, ""),
            "paper": number_cell(point.paper, percent, "no such figure is stored"),
        }
        for point in findings.groups
        if point.task == task
    )
    return Table(f"groups_{task}", title, columns, rows)


def published(findings: HashPaperFindings) -> tuple[Part, ...]:
    """The paper's figures beside ours."""
    columns = (
        Column("name", "Figure"),
        Column("published", "Paper"),
        Column("ours", "Here, as published"),
        Column("note", "Note", "prose"),
    )
    rows = tuple(
        {
            "name": text_cell(number.name),
            "published": text_cell(number.published),
            "ours": text_cell(number.ours),
            "note": text_cell(number.note, "nothing to add"),
        }
        for number in findings.published
    )
    note = "Paper: arXiv 2412.00029 and its public repository at 91a9c90. Sizes differ, so levels are not comparable."
    return (Table("published", "Published and ours", columns, rows, note),)


def reproduce(findings: HashPaperFindings) -> tuple[Part, ...]:
    """Commands, provenance and limits."""
    facts = (("study", findings.study), ("base", findings.base), *findings.provenance.items())
    return Commands(tuple(findings.reproduce.items())), Facts(facts), Prose(findings.limits, "list", "Limits")
