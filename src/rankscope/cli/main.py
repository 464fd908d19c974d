"""`rankscope`: the command line. Heavy imports stand inside the commands, so that --help is quick."""

import os
import sys
import traceback
from typing import Annotated

import typer

from rankscope import __version__
from rankscope.base.errors import RankscopeError, is_out_of_memory
from rankscope.cli import (
    ablate,
    base,
    bench,
    capture,
    doctor,
    look,
    rank,
    report,
    required,
    steer,
    study,
    task,
    train,
    truncate,
)
from rankscope.cli.console import err, print_line

BAD_INPUT, OUR_FAULT, INTERRUPTED = 2, 70, 130
GOING_ON = (("study",), ("required",), ("train",), ("capture",), ("look",), ("base", "build"))
"""Commands that go on where they stopped."""

app = typer.Typer(
    name="rankscope",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Measures how much rank a skill needs, and shows what a low-rank adapter learnt with it.",
    epilog="Exit codes: 0 done, 1 a check failed, 2 bad input, 70 a fault of rankscope's own, 130 interrupted. "
    "RANKSCOPE_DEBUG=1 shows tracebacks.",
)
app.command("doctor")(doctor.doctor)
app.command("required")(required.required)
app.command("rank")(rank.rank)
app.command("truncate")(truncate.truncate)
app.command("look")(look.look)
app.command("ablate")(ablate.ablate)
app.command("steer")(steer.steer)
app.command("train")(train.train)
app.command("capture")(capture.capture)
app.add_typer(task.app, name="task")
app.add_typer(base.app, name="base")
app.command("studies")(study.studies)
app.command("study")(study.study)
app.command("report")(report.report)
app.command("bench")(bench.bench)


def _print_version(asked: bool | None) -> None:
    if asked:
        typer.echo(f"rankscope {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool | None, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = None,
) -> None:
    """Measures how much rank a skill needs, and shows what a low-rank adapter learnt with it."""


def main() -> None:
    """Runs the command; a mistake of the user's is one sentence on stderr and exit code 2, never a traceback.

    Any other error keeps its traceback and exits with 70, so that it never looks like a check that failed.
    """
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_VERBOSITY", "error")
    try:
        app()
    except SystemExit as stop:
        if stop.code == INTERRUPTED:
            print_line(f"\n{interrupted(sys.argv[1:])}", err())
        raise
    except Exception as error:  # noqa: BLE001  the one place that gives every error its exit code
        if os.environ.get("RANKSCOPE_DEBUG") or not is_users(error):
            traceback.print_exception(error)
        else:
            print_line(sentence(error), err(), style="bold red")
        sys.exit(BAD_INPUT if is_users(error) else OUR_FAULT)


def interrupted(arguments: list[str]) -> str:
    """What an interrupted command leaves: only some keep what they had done."""
    words = [word for word in arguments if not word.startswith("-")]
    if any(tuple(words[: len(names)]) == names for names in GOING_ON):
        return "Interrupted. Run the same command again to go on from where it stopped."
    return "Interrupted. This command keeps nothing of what it had begun; run again, it starts from the beginning."


def is_users(error: Exception) -> bool:
    """True for what the user can mend: rankscope's own errors, refused settings, files out of reach, full memory."""
    return (
        isinstance(error, RankscopeError | OSError)
        or is_out_of_memory(error)
        or type(error).__name__
        in (
            "ValidationError",
            "JSONDecodeError",
        )
    )


def sentence(error: Exception) -> str:
    """The error in one line; of a refused configuration, each setting and what is wrong with it."""
    problems = getattr(error, "errors", None)
    if type(error).__name__ == "ValidationError" and callable(problems):
        parts = (f"{'.'.join(map(str, part['loc'])) or 'value'}: {part['msg']}" for part in problems())
        return f"Not a valid setting: {'; '.join(parts)}."
    if not isinstance(error, RankscopeError) and is_out_of_memory(error):
        return "There is too little memory for this. Ask for fewer items, or for a smaller batch or base."
    if isinstance(error, OSError) and error.filename and error.strerror:
        return f"{error.filename} can not be used: {error.strerror}. Check the path and its permissions."
    return " ".join(str(error).split())
