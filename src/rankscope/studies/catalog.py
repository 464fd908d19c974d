"""Studies by name: `NAME` is the full form, `NAME:FORM` another (quick, smoke, tune, tune_quick)."""

from collections.abc import Callable
from dataclasses import dataclass

from rankscope.base.errors import UnknownName, near_matches
from rankscope.studies import calibration, first_look
from rankscope.studies.plan import StudyPlan


@dataclass(frozen=True)
class StudyEntry:
    """A study that can be run."""

    name: str
    asks: str
    """The question it answers, in a line."""
    forms: tuple[str, ...]
    plan: Callable[[str], StudyPlan]
    """form -> plan."""


STUDIES = {
    entry.name: entry
    for entry in (
        StudyEntry(
            "first_look",
            "How much rank do HashHop (planning) and HashChain (reasoning) need, on the same maps?",
            ("full", "quick", "smoke", "tune", "tune_quick"),
            first_look.plan,
        ),
        StudyEntry(
            "calibration",
            "Does the same procedure find the rank where it is known?",
            ("full", "quick", "smoke", "tune"),
            calibration.plan,
        ),
    )
}


def find_study(name: str) -> tuple[StudyEntry, str]:
    """Entry and form of `name` or `name:form`. Raises UnknownName with near matches."""
    stem, _, form = name.partition(":")
    if stem not in STUDIES:
        raise UnknownName(f"There is no study named {stem!r}. {near_matches(stem, STUDIES)}")
    entry = STUDIES[stem]
    form = form or entry.forms[0]
    if form not in entry.forms:
        raise UnknownName(f"The study {stem} has no form {form!r}. {near_matches(form, entry.forms)}")
    return entry, form
