"""The table of all scores of one skill: every arm, with the base and the chance level."""

from rankscope.rank.records import CurvePoint, SkillFindings
from rankscope.report.formats import (
    interval_cell,
    is_share,
    missing,
    number_cell,
    percent,
    rate,
    raw,
    score_format,
    size_text,
    skill_label,
    text_cell,
    unit,
)
from rankscope.report.parts import Cell, Column, Table

OTHER_SCORES = {
    "answer_correct": ("Answer, own trace", "Answer after the model's own, freely generated trace"),
    "answer_given_trace": ("Answer, gold trace", "Answer when the gold trace is given"),
    "decisions_right": ("Decisions right", "Share of completion tokens that are right given the gold prefix"),
    "forced_choice": ("Forced choice", "Right answer scored above every other candidate"),
}


def task_words(skill: SkillFindings) -> str:
    """Which task was trained, and which was scored where that is another one."""
    if skill.scored_as in (None, skill.task):
        return f"Task: {skill.task}."
    return f"Trained on {skill.task}, scored on {skill.scored_as}."


def score_table(skill: SkillFindings) -> Table:
    """Every score of every arm of one skill, with the base and the chance level in the first rows."""
    columns = (
        Column("arm", "Arm"),
        Column("lr", "Learning rate", "number"),
        Column("score", f"Exact output, {unit(skill)}" if is_share(skill) else "−KL, nats", "interval"),
        Column("gain", f"Gain, {'points' if is_share(skill) else 'nats'}", "interval"),
        *(Column(key, f"{label}, %", "interval", title) for key, (label, title) in OTHER_SCORES.items()),
        Column("seeds", "Not converged / diverged"),
        Column("cells", "Cells"),
    )
    rows = (chance_row(skill), base_row(skill), *(arm_row(skill, point) for point in skill.curve))
    note = f"{size_text(skill)}; {skill.budget}. {task_words(skill)}"
    return Table(f"scores-{skill.name}-{skill.mode}", f"All scores of {skill_label(skill)}", columns, rows, note)


def chance_row(skill: SkillFindings) -> dict[str, Cell]:
    """Chance levels, where they are defined."""
    blank = missing("chance has no such value")
    write = score_format(skill)
    return {
        "arm": Cell("chance", csv="chance"),
        "lr": blank,
        "score": number_cell(skill.chance, write, "chance has no level on this score"),
        "gain": blank,
        **{key: missing("chance is not known for this score") for key in OTHER_SCORES},
        "forced_choice": number_cell(skill.chance_forced, percent, "the items have no candidates"),
        "seeds": blank,
        "cells": blank,
    }


def base_row(skill: SkillFindings) -> dict[str, Cell]:
    """The frozen base on the same items; it has no seeds, hence no interval over seeds."""
    why = "the base was not scored this way"
    title = "the frozen base on the same items; not trained, so no spread over seeds"
    blank = missing("the base is not trained")
    return {
        "arm": Cell("base", csv="base", title=title),
        "lr": blank,
        "score": number_cell(skill.base_score, score_format(skill), why, title),
        "gain": blank,
        **{key: number_cell(skill.base_scores.get(key), percent, why, title) for key in OTHER_SCORES},
        "seeds": blank,
        "cells": blank,
    }


def arm_row(skill: SkillFindings, point: CurvePoint) -> dict[str, Cell]:
    """One arm's scores."""
    write = score_format(skill)
    why = "this score was not taken for this arm"
    trouble = point.not_converged_seeds + point.diverged_seeds
    text = f"{point.not_converged_seeds} / {point.diverged_seeds}"
    return {
        "arm": text_cell(point.arm),
        "lr": Cell(rate(point.lr), csv=raw(point.lr)),
        "score": interval_cell(point.score, write, why),
        "gain": interval_cell(point.gain, write, why),
        **{key: interval_cell(getattr(point, key), percent, why) for key in OTHER_SCORES},
        "seeds": Cell(text, csv=text, tone="open", title="seeds still improving / seeds that diverged")
        if trouble
        else Cell(text, csv=text),
        "cells": cells_cell(point),
    }


def cells_cell(point: CurvePoint) -> Cell:
    """The first letters of each cell key; all of them in the CSV file."""
    if not point.cells:
        return missing("no cell keys were recorded")
    return Cell(" ".join(key[:6] for key in point.cells), csv=" ".join(point.cells), title="\n".join(point.cells))
