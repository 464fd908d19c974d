"""The plain-language answer on top of a report, made from its numbers."""

from rankscope.rank.calibration import Totals, totals
from rankscope.rank.records import CalibrationRow, ClaimCard, SkillFindings, StudyFindings
from rankscope.studies.calibration_criteria import overlaps, relabel_rows, relabel_words


def first_look_answer(
    skills: tuple[SkillFindings, ...], claims: tuple[ClaimCard, ...], calibration: tuple[CalibrationRow, ...]
) -> tuple[str, ...]:
    """Each task's required rank, the claim, what unmatched traces say, and how far to trust it."""
    sentences = [_required_sentence(skill) for skill in skills if skill.mode == "matched" and skill.required]
    sentences += [f'"{claim.claim.capitalize()}": {claim.verdict}.' for claim in claims]
    trace = [skill for skill in skills if skill.mode == "trace"]
    if len(trace) == 2:
        sentences.append(_trace_sentence(trace[0], trace[1]))
    null = next((skill for skill in skills if skill.mode == "null" and skill.functional), None)
    if null:
        found = null.functional[0]
        sentences.append(
            f"With shuffled labels the functional rank comes out {found.median:g}"
            + (", as it must." if found.median == 0 else ", though there is nothing to learn: a warning.")
        )
    sentences += held_words(calibration)
    return tuple(sentences)


def held_words(calibration: tuple[CalibrationRow, ...]) -> tuple[str, ...]:
    """How often the sets held a rank that is known, where a calibration stands beside a study."""
    planted = [row for row in calibration if row.truth.startswith("planted")]
    if not planted:
        return ()
    held, judged, n = (sum(getattr(row, name) for row in planted) for name in ("covered", "n_judged", "n_repeats"))
    left = f" ({n - judged} of {n} repeats could not be judged)" if judged < n else ""
    found = totals(planted)
    first = f", in {found.covered_by_cut} by the truth that was chosen first" if found.by_cut_interval else ""
    return (
        f"Where the rank is known, the same procedure's 95 % sets held it in {held} of {judged} repeats{first}{left}.",
    )


def _required_sentence(skill: SkillFindings) -> str:
    return f"{skill.name} (matched): {skill.required[0].sentence}"


def _trace_sentence(first: SkillFindings, second: SkillFindings) -> str:
    def low(skill: SkillFindings) -> tuple[str, float]:
        point = min((point for point in skill.curve if point.rank), key=lambda point: point.rank or 0)
        return point.arm, point.score.estimate

    (arm, a), (_, b) = low(first), low(second)
    return (
        f"When each task writes its own trace instead, {first.name} reaches {a:.0%} at {arm}, "
        f"{second.name} {b:.0%}; "
        "those traces differ in length and content, so this compares traces, not planning and reasoning."
    )


def calibration_answer(findings: StudyFindings) -> tuple[str, ...]:
    """What the calibration found: sets, functional rank, the null, permutations, simulations, estimators."""
    planted = [row for row in findings.calibration if row.planted_k is not None]
    nulls = [row for row in findings.calibration if row.planted_k is None]
    return (
        *_sets_sentences(planted),
        *(f"{row.truth.capitalize()}: functional rank {row.functional_rank}." for row in nulls),
        *_relabel_sentences(findings),
        *_simulated_sentences(findings),
        *_estimator_sentences(findings),
    )


def _sets_sentences(rows: list[CalibrationRow]) -> tuple[str, ...]:
    found = totals(rows)
    if found.interval is None:
        n = found.n_repeats
        return (f"None of {n} repeats could be judged: dense training never came close enough to the exact gain.",)
    low, high = found.interval
    widths = [row.median_doublings for row in rows if row.median_doublings is not None]
    lost = found.n_repeats - found.n_judged
    left = f"; {lost} more could not be judged" if lost else ""
    off = found.n_functional - found.functional_within_one
    return (
        (
            f"The 95 % sets held the rank that the best update needs in {found.covered} of {found.n_judged} repeats "
            f"({low:.2%} to {high:.2%}){left}. {_width_words(widths)}"
        ),
        *_by_cut_sentences(found),
        (
            f"Functional rank was the oracle's, or one off, in {found.functional_within_one} of {found.n_functional} "
            f"adapters{f'; {off} are off by more' if off else ''}."
        ),
    )


def _by_cut_sentences(found: Totals) -> tuple[str, ...]:
    if found.covered_by_cut is None or found.by_cut_interval is None:
        return ()
    low, high = found.by_cut_interval
    return (
        (
            f"Against the planted update cut to its best directions, the truth that was chosen first, they held it in "
            f"{found.covered_by_cut} of {found.n_judged} ({low:.2%} to {high:.2%})."
        ),
    )


def _width_words(widths: list[float]) -> str:
    """How wide the median set of each condition is; a set of one rank spans no doubling."""
    low, high = min(widths), max(widths)
    if high == 0:
        return "The median set is a single rank in every condition."
    return f"The median set spans {f'{low:g} to {high:g}' if low < high else f'{low:g}'} doublings."


def _relabel_sentences(findings: StudyFindings) -> tuple[str, ...]:
    rows = relabel_rows(findings.skills)
    if len(rows) < 2:
        return ()
    not_shown = "".join(
        f" Between {below} and {above} no rise is shown: the sets overlap." for below, above in overlaps(rows)
    )
    return (f"Answers exchanged by a permutation P: required rank {relabel_words(rows)} (rank of P - I).{not_shown}",)


def _simulated_sentences(findings: StudyFindings) -> tuple[str, ...]:
    if not findings.simulated:
        return ()
    rates = [row.covered / row.n_curves for row in findings.simulated]
    shares = [row.rejected / row.n_nulls for row in findings.nulls]
    n_curves = sum(row.n_curves for row in findings.simulated)
    return (
        (
            f"Of {n_curves:,} simulated rank curves the sets held the truth in {min(rates):.1%} to {max(rates):.1%} "
            f"by kind of curve; two-sided 5 % tests rejected a true null in {min(shares):.1%} to {max(shares):.1%}."
        ),
    )


def _estimator_sentences(findings: StudyFindings) -> tuple[str, ...]:
    rows = [row for row in findings.estimators if row.target == "planted"]
    if not rows:
        return ()
    best, paper = rows[0], next((row for row in rows if row.estimator == "N(1e-3)"), None)
    told = f"Of the estimators that see singular values alone, {best.estimator} comes closest to the planted rank"
    rest = f"; the count above 0.001 is off by {paper.error_doublings.estimate:.2f}" if paper else ""
    return (f"{told}: off by {best.error_doublings.estimate:.2f} doublings on average{rest}.",)
