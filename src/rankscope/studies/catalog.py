"""Studies by name: `NAME` is the full form, `NAME:FORM` another (such as quick or smoke)."""

from collections.abc import Callable
from dataclasses import dataclass

from rankscope.base.errors import BadInput, UnknownName, near_matches
from rankscope.rank.records import ClaimCard, StudyFindings
from rankscope.studies import calibration, first_look, hash_paper, hash_rank, rank1
from rankscope.studies.answers import calibration_answer, first_look_answer
from rankscope.studies.claims import first_look_claims
from rankscope.studies.evidence import Evidence
from rankscope.studies.hash_paper import HashPaperPlan
from rankscope.studies.hash_rank_answer import hash_rank_answer
from rankscope.studies.hash_rank_claims import hash_rank_claims
from rankscope.studies.plan import StudyPlan
from rankscope.studies.rank1_claims import rank1_answer, rank1_claims


@dataclass(frozen=True)
class StudyEntry:
    """A study that can be run."""

    name: str
    asks: str
    """The question it answers, in a line."""
    forms: tuple[str, ...]
    plan: Callable[[str], StudyPlan | HashPaperPlan]
    """form -> plan."""


@dataclass(frozen=True)
class RankStudy(StudyEntry):
    """A study of required rank, with the claims that it declares."""

    claims: Callable[[Evidence, str], tuple[ClaimCard, ...]]
    """(what was found, the command that repeats it) -> a card per claim that the study declares."""
    answer: Callable[[StudyFindings], tuple[str, ...]]
    """The plain-language answer, from everything else that was found."""


@dataclass(frozen=True)
class ProtocolStudy(StudyEntry):
    """A published protocol, repeated on a base of its own or on a given one."""

    plan_on: Callable[[str, str], HashPaperPlan]
    """(form, folder of a base) -> plan."""


STUDIES = {
    entry.name: entry
    for entry in (
        RankStudy(
            "first_look",
            "How much rank do HashHop (planning) and HashChain (reasoning) need, on the same maps?",
            ("full", "quick", "smoke", "tune", "tune_quick"),
            first_look.plan,
            first_look_claims,
            lambda found: first_look_answer(found.skills, found.claims, found.calibration),
        ),
        RankStudy(
            "hash_rank",
            "Does reasoning need 2 to 3 times less rank than planning, as arXiv 2412.00029 has it?",
            tuple(hash_rank.FORMS),
            hash_rank.plan,
            hash_rank_claims,
            lambda found: hash_rank_answer(found.skills, found.claims, found.calibration, found.one_rate),
        ),
        RankStudy(
            "rank1",
            "How much of full fine-tuning does a rank-1 adapter recover on reasoning, as arXiv 2511.06739 has it?",
            tuple(rank1.FORMS),
            rank1.plan,
            rank1_claims,
            lambda found: rank1_answer(found.skills, found.claims),
        ),
        RankStudy(
            "calibration",
            "Does the same procedure find the rank where it is known?",
            tuple(calibration.FORMS),
            calibration.plan,
            lambda _evidence, _command: (),
            calibration_answer,
        ),
        ProtocolStudy(
            "hash_paper",
            "What does each defect of arXiv 2412.00029 do to its headline numbers?",
            ("full", "quick", "smoke"),
            hash_paper.plan,
            hash_paper.plan,
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


def find_plan(name: str) -> StudyPlan | HashPaperPlan:
    """The plan of `name[:form]`, or of `name:form,base=FOLDER` where the study runs on any base."""
    named, comma, option = name.partition(",")
    entry, form = find_study(named)
    if not comma:
        return entry.plan(form)
    key, _, folder = option.partition("=")
    if key != "base" or not folder or not isinstance(entry, ProtocolStudy):
        takes = "base=FOLDER" if isinstance(entry, ProtocolStudy) else "none"
        raise BadInput(f"{option!r} is no option of the study {entry.name}, which takes {takes}.")
    return entry.plan_on(form, folder)
