"""What a rank study found: frozen, versioned, torch-free. The report reads these and nothing else."""

from pathlib import Path
from typing import Literal, TypeVar, get_args

from pydantic import Field, ValidationError

from rankscope.base.atomic import write_text
from rankscope.base.config import Config
from rankscope.base.errors import BadFile
from rankscope.stats.interval import Interval

VERSION = 1
Record = TypeVar("Record", bound=Config)

Control = Literal["energy", "random", "bottom", "rescaled", "fisher", "global", "noise"]
"""What is kept of an adapter that is cut (GLOSSARY.md); functional rank is read at `energy`."""
CONTROLS: tuple[Control, ...] = get_args(Control)
SufficiencyVerdict = Literal["sufficient", "insufficient", "undecided"]
RequiredVerdict = Literal[
    "estimated",
    "censored below",
    "not reached",
    "placement-limited",
    "no headroom",
    "underpowered",
    "not converged",
]


class CurvePoint(Config):
    """Score of one arm of one skill."""

    arm: str
    """`rank 4`, `dense` or `full`."""
    rank: int | None
    """Nominal rank; None for dense and full."""
    lr: float
    score: Interval
    """Primary score (exact output), a share of items between 0 and 1; -KL in nats for planted skills."""
    gain: Interval
    """score - max(score(base), chance) on the same items."""
    answer_correct: Interval | None = None
    """Answer after the model's own trace."""
    answer_given_trace: Interval | None = None
    decisions_right: Interval | None = None
    """Share of completion tokens that are right given the gold prefix."""
    forced_choice: Interval | None = None
    not_converged_seeds: int = 0
    """Seeds still improving by more than a point over the last fifth of training."""
    diverged_seeds: int = 0
    cells: tuple[str, ...] = ()
    """Cell keys, in seed order."""


class Resolution(Config):
    """What a number of seeds could see of one contrast, and what it saw; in the unit of the score."""

    n_seeds: int
    seen: float
    """The contrast's estimate."""
    detectable: float
    """Smallest true contrast that these seeds and items tell from 0 with 80 % power."""
    more_seeds: int | None
    """About how many more seeds would tell `seen` from 0, were it true; None where more seeds alone would not."""


class RequiredRank(Config):
    """The set of ranks that the data can not exclude as the smallest sufficient one."""

    q: float
    """Share of dense's gain that must be reached."""
    verdict: RequiredVerdict
    low: int | None
    """Smallest trained rank not shown insufficient; None: below the lowest trained rank can not be excluded."""
    high: int | None
    """Smallest trained rank from which all larger ones are sufficient; None: no such rank."""
    by_rank: dict[int, SufficiencyVerdict]
    contrast: dict[int, Interval]
    """gain_r - q * gain_dense per rank, with its interval."""
    sentence: str
    """The verdict in plain words."""
    seeds_missing: int | None = None
    """When underpowered or undecided: about how many more seeds would decide it."""
    resolution: dict[int, Resolution] = Field(default_factory=dict)
    """What could be seen of every undecided rank's contrast; empty with one seed, or where there is no gain."""


class TruncationPoint(Config):
    """Gain left after an adapter is cut to k directions per site."""

    control: Control | Literal["sensitivity"]
    """`energy`: best k by singular value. The rest are controls; `global` allots a budget over sites. `sensitivity` is
    in records of before 2026-11-22 alone: `fisher` took its place."""
    k: float
    """Directions per site (a mean for `global`)."""
    score: Interval
    share_of_gain: float | None
    """Gain at k / gain of the whole adapter; None when the adapter has no gain."""


class FunctionalRank(Config):
    """Smallest k from which every larger k keeps q of the adapter's own gain."""

    arm: str
    q: float
    no_gain: bool
    """True when the adapter's gain is not above 0; then the rank is 0."""
    median: float | None
    by_seed: tuple[int, ...]
    low: float | None
    high: float | None
    """Interval over seeds of the median (None below 5 seeds)."""
    global_mean: float | None = None
    """Mean directions per site when a global budget is allotted by energy; median over seeds."""
    global_by_seed: tuple[float, ...] = ()
    """The same by seed; empty where no global budget was tried, and in records of before 2026-11-22."""
    curve: tuple[TruncationPoint, ...] = ()


class SpectralSummary(Config):
    """Estimators from singular values alone, averaged over sites, then over seeds."""

    arm: str
    nominal_rank: int
    estimators: dict[str, Interval]
    """Name of the estimator -> mean over sites, interval over seeds."""
    by_site: dict[str, dict[str, float]] = Field(default_factory=dict)
    """site -> estimator -> mean over seeds."""
    singular_values: dict[str, tuple[float, ...]] = Field(default_factory=dict)
    """site -> mean singular values over seeds, descending."""


class Recovery(Config):
    """gain(adapter) / gain(full), or a refusal that says why it can not be told."""

    arm: str
    ratio: Interval | None
    refused: str | None
    contrast: Interval
    """gain_adapter - q * gain_full."""
    q: float = 0.9


class SkillFindings(Config):
    """Everything about one skill in one mode."""

    name: str
    """Short label, such as `HashHop`."""
    task: str
    """The full name, with knobs, of the task that was trained."""
    scored_as: str | None = None
    """The task that was scored, where that is another one."""
    mode: str
    """`matched`, `trace`, `direct`, `reasoning`, `control`, `null`, `planted`, `relabel`, `difficulty`, `own`, or
    one of those at other rates or for more steps."""
    repeats: str = ""
    """What this skill repeats with another teacher, or varies; a page shows the first of those alike."""
    descriptive: bool = False
    """True where nothing is claimed (trace mode, few seeds)."""
    n_seeds: int
    n_items: int
    budget: str
    """Such as `500 steps of 64 items, each seen once`."""
    precision: str = ""
    """Precision plan that it was trained in; empty in records of an earlier version."""
    chance: float | None
    """Chance level of the primary score."""
    chance_forced: float | None
    """Chance level of forced choice among candidates."""
    shortcuts: dict[str, float] = Field(default_factory=dict)
    """Scores of known shortcuts on the same items, such as `any leaf`."""
    base_score: float
    base_scores: dict[str, float] = Field(default_factory=dict)
    """The base on every other score."""
    curve: tuple[CurvePoint, ...]
    required: tuple[RequiredRank, ...]
    functional: tuple[FunctionalRank, ...] = ()
    spectral: tuple[SpectralSummary, ...] = ()
    recovery: tuple[Recovery, ...] = ()
    flags: tuple[str, ...] = ()
    """Such as `confounded: one lr for all ranks`."""

    @property
    def key(self) -> str:
        """Mode and name, unique within a study."""
        return f"{self.mode}/{self.name}"

    def point(self, arm: str) -> CurvePoint | None:
        """What the arm scored; None where it diverged in every seed, or was not trained."""
        return next((one for one in self.curve if one.arm == arm), None)

    def n_cut_on(self, arm: str) -> int:
        """Test items that the truncations of an arm's adapters are scored on; all of them where no curve is kept."""
        cut = (one.curve[0].score.n_items for one in self.functional if one.arm == arm and one.curve)
        return next(cut, self.n_items)


class ClaimCard(Config):
    """A claim, our estimate, its interval, the verdict, its limits, the command that repeats it."""

    claim: str
    source: str
    """Where the claim was made."""
    rule: str
    """The verdict rule, declared before the results."""
    estimate: str
    """The estimate in words and numbers, with its interval."""
    verdict: str
    """supported | refuted | undecided | underpowered | not tested"""
    because: str
    limits: tuple[str, ...]
    command: str
    p_value: float | None = None
    """Smallest error (one minus level) at which the rule still decides; None where it can not at any level."""
    p_holm: float | None = None
    """The same after Holm's correction over all claims that the study declares; decided verdicts have 0.05 or less."""
    n_declared: int = 1
    """Claims that the study declares; one that can not be told counts with p = 1."""
    power: str = ""
    """Where undecided: what the design could see, what it saw, and how many more seeds would decide."""


class CalibrationRow(Config):
    """How the procedure did where the rank is known."""

    truth: str
    """Such as `planted rank 2` or `shuffled labels`."""
    planted_k: int | None = None
    """Directions planted at every site; None where nothing was planted."""
    strengths: str = ""
    """`equal`, or the ratio of each direction's strength to the one before."""
    sites: tuple[str, ...] = ()
    """Where they were planted, and the students adapted."""
    noise: str = ""
    """`none`, or how many tokens of the teacher's each training target was drawn as."""
    n_repeats: int
    n_judged: int
    """Repeats whose dense training came close enough to the exact gain to be judged."""
    covered: int
    """Judged repeats whose 95 % set holds the rank that the best update needs; of shuffled labels, adapters whose
    functional rank is 0."""
    coverage_low: float | None
    coverage_high: float | None
    covered_by_cut: int | None = None
    """Judged repeats whose 95 % set holds the smallest trained rank that is at least the oracle's, which was to be the
    truth at first (decision 15); None where nothing was planted, and in rows of an earlier version."""
    by_cut_low: float | None = None
    by_cut_high: float | None = None
    median_doublings: float | None
    """Median width of the set in doublings; 0 is a single rank."""
    oracle_ranks: tuple[int, ...] = ()
    """Of every judged repeat: the fewest planted directions that keep q of the exact gain."""
    needed_ranks: tuple[int, ...] = ()
    """Of every judged repeat: the smallest trained rank of which the best update keeps q of the exact gain."""
    functional_rank: str
    """Functional ranks found, such as `2 (all 6)`."""
    n_functional: int = 0
    """Adapters whose functional rank was taken, one per seed of a judged repeat."""
    functional_within_one: int = 0
    """Those of them whose functional rank is the oracle's, or one off."""
    note: str = ""


class Criterion(Config):
    """What was asked of the procedure where the answer is known, and whether it came out so."""

    asked: str
    """In words, with the number that was asked for."""
    found: str
    """In words and numbers, with an interval where there is one."""
    verdict: Literal["met", "exceeded", "unmet", "not shown"]
    """`exceeded`: a rate is clearly above the one promised, so that the sets are wider than they need be."""
    remark: str = ""
    """What the outcome does not say."""


class SimulatedSets(Config):
    """How often the sets of required rank hold the truth of simulated curves."""

    family: str
    n_seeds: int
    n_items: int
    n_curves: int
    covered: int
    coverage_low: float
    coverage_high: float
    """Exact 95 % interval of the rate."""
    median_doublings: float


class NullTest(Config):
    """How often a two-sided 5 % test rejects where there is nothing to find."""

    test: str
    n_nulls: int
    rejected: int
    low: float
    high: float
    """Exact 95 % interval of the rate."""


class EstimatorScore(Config):
    """How well a spectral estimator tells a known rank, over trainings that differ in what should not matter."""

    estimator: str
    target: Literal["planted", "functional"]
    """What it is held against: the oracle's rank of the planted update, or the functional rank of the adapter."""
    n_cells: int
    error_doublings: Interval
    """Mean of |log2(estimate / truth)|; interval over teachers."""
    bias_doublings: float
    """Mean of log2(estimate / truth)."""
    correlation: float | None
    """Spearman's, over all trainings; None where all estimates are equal."""
    moved_by: dict[str, float] = Field(default_factory=dict)
    """Nuisance (nominal rank, learning rate, steps, noise) -> mean doublings that it moves the estimate by, the truth
    being the same."""
    n_moved: dict[str, int] = Field(default_factory=dict)
    """Nuisance -> pairs of adapters that this is the mean over."""


class RateMap(Config):
    """Validation scores by arm and learning rate, from the tuning that a study takes its rates from."""

    skills: tuple[str, ...]
    """Skills that take their rates from it, by mode and name."""
    is_share: bool
    """Scores are shares of items; else -KL in nats."""
    base_score: float
    """Score of the untrained base, on the study's test items."""
    ranks: dict[str, int]
    """LoRA arm -> nominal rank."""
    scores: dict[str, dict[str, float | None]]
    """Arm -> rate -> mean score over tuning seeds; None where a training diverged."""
    used: dict[str, float]
    """Arm -> the rate that the study trained with."""
    n_seeds: int
    n_items: int


class OneRateNeed(Config):
    """Required rank of a skill whose adapters of some ranks were trained once more, at one rate for all ranks."""

    skill: str
    """The skill with rates of its own, by mode and name; its dense training is what both needs are held against."""
    rate: float
    need: RequiredRank
    """Over the ranks that were trained at that rate, here or there."""


class StudyFindings(Config):
    """All that a study found; one JSON file, `records/findings.json`."""

    version: Literal[1] = 1
    study: str
    """Such as `first_look:quick`."""
    title: str
    partial: str = ""
    """How much of the study is there, such as `2 of 5 seeds`; empty when all of it is."""
    answer: tuple[str, ...]
    """The plain-language answer, one sentence each."""
    base: str
    base_hash: str
    skills: tuple[SkillFindings, ...]
    claims: tuple[ClaimCard, ...] = ()
    calibration: tuple[CalibrationRow, ...] = ()
    calibration_source: str | None = None
    """Which committed run the calibration rows come from."""
    criteria: tuple[Criterion, ...] = ()
    simulated: tuple[SimulatedSets, ...] = ()
    nulls: tuple[NullTest, ...] = ()
    estimators: tuple[EstimatorScore, ...] = ()
    rate_maps: tuple[RateMap, ...] = ()
    one_rate: tuple[OneRateNeed, ...] = ()
    reproduce: dict[str, str] = Field(default_factory=dict)
    """What -> the command that makes it again."""
    provenance: dict[str, str] = Field(default_factory=dict)
    """Versions, commit, machine, precision, executor, time taken."""
    taken: dict[str, dict[str, str]] = Field(default_factory=dict)
    """Skill that was taken from an earlier run -> that run's study and provenance."""
    notes: tuple[str, ...] = ()


def write_findings(path: Path, findings: StudyFindings) -> None:
    """Writes findings as JSON in one line, atomically."""
    write_text(path, findings.model_dump_json())


def read_findings(path: Path) -> StudyFindings:
    """Reads findings; BadFile when the file is missing, malformed or of another version."""
    return read_record(path, StudyFindings, f"not a findings file of version {VERSION}")


def read_record(path: Path, kind: type[Record], otherwise: str) -> Record:
    """A record of that kind; BadFile when the file is missing, or is `otherwise`: malformed, or of another version."""
    try:
        return kind.model_validate_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise BadFile(f"{path} is missing: the study has not reached its findings yet. Run the study again.") from error
    except ValidationError as error:
        first = error.errors()[0]
        raise BadFile(
            f"{path} is {otherwise} ({first['loc']}: {first['msg']}). "
            "It may be truncated or of another version of rankscope; run the study again."
        ) from error
