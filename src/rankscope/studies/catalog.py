"""Studies by name: `NAME` is the full form, `NAME:FORM` another (such as quick or smoke)."""

from collections.abc import Callable
from dataclasses import dataclass

from rankscope.base.errors import UnknownName, near_matches
from rankscope.rank.records import ClaimCard, StudyFindings
from rankscope.studies import calibration, first_look, hash_rank
from rankscope.studies.answers import calibration_answer, first_look_answer
from rankscope.studies.claims import first_look_claims
from rankscope.studies.evidence import Evidence
from rankscope.studies.hash_rank_answer import hash_rank_answer
from rankscope.studies.hash_rank_claims import hash_rank_claims
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
    claims: Callable[[Evidence, str], tuple[ClaimCard, ...]]
    """(what was found, the command that repeats it) -> a card per claim that the study declares."""
    answer: Callable[[StudyFindings], tuple[str, ...]]
    """The plain-language answer, from everything else that was found."""


STUDIES = {
    entry.name: entry
    for entry in (
        StudyEntry(
            "first_look",
            "How much rank do HashHop (planning) and HashChain (reasoning) need, on the same maps?",
            ("full", "quick", "smoke", "tune", "tune_quick"),
            first_look.plan,
            first_look_claims,
            lambda found: first_look_answer(found.skills, found.claims, found.calibration),
        ),
        StudyEntry(
            "hash_rank",
            "Does reasoning need 2 to 3 times less rank than planning, as arXiv 2412.00029 has it?",
            ("full", "direct", "quick", "smoke", "difficulty", "tune", "tune_direct", "tune_quick"),
            hash_rank.plan,
            hash_rank_claims,
            lambda found: hash_rank_answer(found.skills, found.claims, found.calibration),
        ),
        StudyEntry(
            "calibration",
            "Does the same procedure find the rank where it is known?",
            ("full", "quick", "smoke", "tune"),
            calibration.plan,
            lambda _evidence, _command: (),
            calibration_answer,
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
