"""What can and what can't be concluded from one adapter's truncations, in plain sentences made from the reading."""

from dataclasses import dataclass

from rankscope.rank.adapter_records import AdapterReading, ScoreName, ScoreReading
from rankscope.report.formats import count, listing, plural
from rankscope.report.words import FEW_SEEDS

FEW_ITEMS = 100
NOT_REQUIRED = (
    "This is what the training behind the adapter uses. How much rank the skill needs (required rank) does not follow "
    "from it: that takes trainings at several ranks beside full-rank training (rankscope required)."
)
ONE_TRAINING = (
    "The interval is over items only: another seed may give another number. Adapters of other seeds can be given "
    "beside this one."
)
LIKELY = (
    "Likely reasons: another base than the adapter was trained on, another task or another form of its prompts and "
    "answers, or a training that did not take."
)
ORDER_IS_IDLE = (
    "Random directions keep about as much of the gain as those with the largest singular values: the order by "
    "singular value carries nothing here."
)


@dataclass(frozen=True)
class Conclusion:
    """Sentences on what the measurement says, and on what it leaves open."""

    says: tuple[str, ...]
    leaves_open: tuple[str, ...]


def score_words(reading: AdapterReading, score: ScoreName) -> str:
    """The score as it is called in a sentence."""
    if score == "exact_output":
        return "exact output"
    return "-KL(teacher || model)" if reading.is_planted else "log-probability"


def amount(score: ScoreName, value: float) -> str:
    """A score or a gain: per cent of items, or nats per item."""
    return f"{value:.1%}" if score == "exact_output" else f"{value:.3f}"


def conclusion(reading: AdapterReading) -> Conclusion:
    """The sentences, in the order in which they should be read."""
    if not reading.primary.gains:
        return Conclusion(_no_gain(reading), (_nothing_about_rank(reading), LIKELY, *_few_items(reading)))
    says = (*_functional(reading), *_other_score(reading))
    return Conclusion(says, (NOT_REQUIRED, *_trainings(reading), *_few_items(reading), *_order(reading)))


def _subject(reading: AdapterReading) -> str:
    return "the adapter" if reading.n_adapters == 1 else f"the median of {reading.n_adapters} adapters"


def _no_gain(reading: AdapterReading) -> tuple[str, ...]:
    return tuple(_no_gain_by(reading, score) for score in reading.scores)


def _no_gain_by(reading: AdapterReading, score: ScoreReading) -> str:
    name = score_words(reading, score.score)
    found = "worse than its base" if score.is_worse else "no gain"
    whole = listing([amount(score.score, value) for value in score.whole])
    against = amount(score.score, score.reference)
    reference = "base" if score.reference == score.base else "chance"
    gain = score.gain[0]
    span = (
        f"; gain {amount(score.score, gain.estimate)} [{amount(score.score, gain.low or 0)}, "
        f"{amount(score.score, gain.high or 0)}]"
        if reading.n_adapters == 1
        else ""
    )
    return f"By {name}: {found} on {plural(reading.n_items, 'test item')} ({whole}, {reference} {against}{span})."


def _nothing_about_rank(reading: AdapterReading) -> str:
    return f"The functional rank of {_subject(reading)} on this task is 0 by rule, and says nothing about rank."


def _functional(reading: AdapterReading) -> tuple[str, ...]:
    primary, nominal = reading.primary, reading.nominal_rank
    found = primary.functional[0]
    kept = f"{found.q:.0%} of {'its own gain' if reading.n_adapters == 1 else 'their own gains'}"
    name = f"By {score_words(reading, primary.score)}"
    if reading.n_adapters > 1:
        none = " (0 stands for no gain)" if 0 in found.by_seed else ""
        first = (
            f"{name}, {reading.n_adapters} adapters of nominal rank {nominal} keep {kept} with the "
            f"{listing([str(k) for k in found.by_seed])} largest directions per site{none}: functional rank "
            f"{count(found.median or 0)} (median)."
        )
    elif nominal == 1:
        first = f"{name}, the adapter has a gain; with one direction per site there is nothing to cut."
    elif found.by_seed[0] == nominal:
        below = _tried_below(reading, nominal)
        how_many = f"all of its {nominal}" if below == nominal - 1 else f"more than {below} of its {nominal}"
        first = f"{name}, the adapter keeps {kept} only with {how_many} directions per site."
    else:
        first = (
            f"{name}, the adapter keeps {kept} with the {found.by_seed[0]} largest of its {nominal} directions per "
            f"site: functional rank {found.by_seed[0]}."
        )
    return (first, *_limits(reading), *_over_sites(reading))


def _limits(reading: AdapterReading) -> tuple[str, ...]:
    """Where the number is an end rather than a value: nothing left to cut, or ranks that were not tried."""
    by_seed, nominal = reading.primary.functional[0].by_seed, reading.nominal_rank
    limits = []
    if nominal in by_seed and _tried_below(reading, nominal) == nominal - 1:
        which = "Its nominal rank" if reading.n_adapters == 1 else f"Where that is {nominal}, the nominal rank"
        limits.append(f"{which} is the limit (censored): trained with more, it may use more.")
    for k in sorted(set(by_seed) - {0}):
        below = _tried_below(reading, k)
        if k - below > 1:
            limits.append(f"Nothing between {below} and {k} was tried: {k} is the upper end of {below + 1} to {k}.")
    return tuple(limits)


def _tried_below(reading: AdapterReading, k: int) -> int:
    """The largest number of directions below k that was tried."""
    return max(tried for tried in reading.ks if tried < k)


def _over_sites(reading: AdapterReading) -> tuple[str, ...]:
    """What a budget allotted over all sites saves, where it saves anything."""
    found = reading.primary.functional[0]
    if found.global_mean is None or found.median is None or found.global_mean >= found.median:
        return ()
    return (f"Allotted over all sites by energy, {count(found.global_mean)} per site on average keep as much.",)


def _other_score(reading: AdapterReading) -> tuple[str, ...]:
    sentences = []
    for score in reading.scores[1:]:
        if score.gains:
            ranks = listing([str(k) for k in score.functional[0].by_seed])
            sentences.append(f"By {score_words(reading, score.score)} it is {ranks}.")
        else:
            sentences.append(_no_gain_by(reading, score))
    return tuple(sentences)


def _trainings(reading: AdapterReading) -> tuple[str, ...]:
    if reading.n_adapters == 1:
        return (ONE_TRAINING,)
    found = reading.primary.functional[0]
    if found.low is None or found.high is None:
        return (f"Fewer than {FEW_SEEDS} trainings give no interval over seeds; those above are over items only.",)
    level = "93.75%" if reading.n_adapters == FEW_SEEDS else "95%"
    ends = f"{count(found.low)} to {count(found.high)}"
    return (f"Over seeds, the median lies in {ends} ({level} interval, {reading.n_adapters} trainings).",)


def _order(reading: AdapterReading) -> tuple[str, ...]:
    """What the order by singular value is not worth, or not shown to be."""
    primary = reading.primary
    lead = primary.order_lead
    if lead is None or primary.order_tells:
        return ()
    if primary.order_is_idle:
        return (ORDER_IS_IDLE,)
    found, low, high = (amount(primary.score, end or 0) for end in (lead.estimate, lead.low, lead.high))
    unit = "" if primary.score == "exact_output" else " nats"
    sentence = (
        f"With {plural(reading.n_items, 'item')} the directions with the largest singular values are not shown to keep "
        f"more than random ones: over these cuts they are ahead by {found}{unit} [{low}, {high}]."
    )
    return (sentence,)


def _few_items(reading: AdapterReading) -> tuple[str, ...]:
    if reading.n_items >= FEW_ITEMS:
        return ()
    return (f"With {plural(reading.n_items, 'item')} all of this is rough; {FEW_ITEMS} or more would be better.",)
