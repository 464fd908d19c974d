"""`rankscope required`: the rank that a skill of your own needs, measured by training."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rankscope.cli.console import out, plain_table, print_json, print_line
from rankscope.cli.options import MOST_ITEMS, Device, Json, Precision, Workers

if TYPE_CHECKING:
    from rankscope.rank.records import SkillFindings, StudyFindings


def required(
    task: Annotated[str, typer.Option("--task", help="Task with its knobs, or FILE.jsonl.")],
    base: Annotated[str, typer.Option("--base", help="Shipped base, model folder, or Hugging Face name.")],
    folder: Annotated[Path, typer.Option("--out", help="Run folder.")],
    ranks: Annotated[str, typer.Option("--ranks", help="Ranks to train, with commas.")] = "1,2,4,8,16",
    sites: Annotated[
        list[str] | None,
        typer.Option("--sites", help="Glob over the base's linear maps; may repeat. Default: all.", metavar="GLOB"),
    ] = None,
    n_seeds: Annotated[int, typer.Option("--seeds", help="Five allow a verdict; one is a look.", min=1, max=900)] = 5,
    n_items: Annotated[
        int | None,
        typer.Option(
            "--items",
            help="Training items of each training; by default 32,000, or what a file has.",
            min=1,
            max=MOST_ITEMS,
        ),
    ] = None,
    n_epochs: Annotated[int, typer.Option("--epochs", help="How often each item is seen.", min=1)] = 1,
    batch: Annotated[int, typer.Option("--batch", help="Items per step.", min=1)] = 64,
    workers: Workers = 0,
    device: Device = "auto",
    precision: Precision = "auto",
    as_json: Json = False,
) -> None:
    """Measures the rank that a skill needs: every rank, dense and full, each at a tuned learning rate, over seeds.

    Says first what it will cost. Stopped at any point, the same command goes on; with more --seeds it adds those.
    """
    from rankscope.rank.records import read_findings
    from rankscope.studies.page import FINDINGS, REPORT
    from rankscope.studies.required import Question
    from rankscope.studies.required_run import measure_required_rank

    question = Question(
        task=task,
        base=base,
        ranks=parse_ranks(ranks),
        placement=tuple(sites or ("*",)),
        n_items=n_items,
        n_epochs=n_epochs,
        batch_size=batch,
    )
    measure_required_rank(question, folder, n_seeds, workers, device, precision)
    found = read_findings(folder / FINDINGS)
    if as_json:
        print_json(found.model_dump(mode="json"))
    else:
        show(found, folder / REPORT)


def parse_ranks(text: str) -> tuple[int, ...]:
    """Whole numbers above 0, with commas between them."""
    from rankscope.base.errors import BadInput

    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() and int(part) for part in parts):
        raise BadInput(f"--ranks takes whole numbers above 0 with commas, such as 1,2,4,8, not {text!r}.")
    return tuple(sorted({int(part) for part in parts}))


def show(found: "StudyFindings", page: Path) -> None:
    """Prints what was trained with its scores, the answer, flags, and where the page lies."""
    console = out()
    (skill,) = found.skills
    console.print(arms_table(skill))
    size = f"{skill.n_seeds} seed{'' if skill.n_seeds == 1 else 's'}, {skill.n_items} test items"
    print_line(f"\nBudget: {skill.budget}; {size}.", console, style="dim")
    for sentence in (*found.answer, *(f"Flag: {flag}." for flag in skill.flags)):
        print_line(f"\n{sentence}", console)
    print_line(f"\nReport: {page}", console)


def arms_table(skill: "SkillFindings") -> Any:
    """A row per arm: learning rate, score, gain, and whether it is enough."""
    table = plain_table("trained", "learning rate", "exact output", "gain", "95 %", "enough", right=(1, 2, 3, 4))
    enough = {f"rank {rank}": verdict for rank, verdict in skill.required[0].by_rank.items()} if skill.required else {}
    for point in skill.curve:
        gain = point.gain
        interval = "-" if gain.low is None or gain.high is None else f"{100 * gain.low:.1f} to {100 * gain.high:.1f}"
        table.add_row(
            point.arm,
            f"{point.lr:g}",
            f"{point.score.estimate:.1%}",
            f"{100 * gain.estimate:.1f}",
            interval,
            enough.get(point.arm, ""),
        )
    return table
