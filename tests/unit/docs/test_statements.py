"""What README.md states about names, forms, verdicts and exit codes is what the code has."""

import ast
import json
import re
from decimal import ROUND_HALF_UP, Decimal
from importlib import metadata
from pathlib import Path
from typing import get_args

import rankscope
from rankscope.base.errors import RankscopeError
from rankscope.cli.main import BAD_INPUT, INTERRUPTED, OUR_FAULT
from rankscope.cli.task import LEAKS_FOUND
from rankscope.lm.bases import load_base, shipped_bases
from rankscope.rank.records import RequiredVerdict, read_findings
from rankscope.studies import hash_rank
from rankscope.studies.catalog import STUDIES
from rankscope.studies.other_rates import ON_PURPOSE
from rankscope.studies.page import FINDINGS, RESULTS

ROOT = Path(__file__).parents[3]
README = (ROOT / "README.md").read_text(encoding="utf-8")
HASH_RANK = (ROOT / "docs" / "hash_rank.md").read_text(encoding="utf-8")


def test_the_verdict_table_lists_every_verdict():
    table = README.split("| verdict | meaning |")[1].split("\n\n")[0]
    assert set(re.findall(r"^\| `([^`]+)` \|", table, flags=re.MULTILINE)) == set(get_args(RequiredVerdict))


def test_exit_codes_are_the_command_lines():
    codes = f"0 done, {LEAKS_FOUND} a check failed, {BAD_INPUT} bad input, {OUR_FAULT} a fault of rankscope"
    assert f"{codes}, {INTERRUPTED} interrupted" in README


def test_every_name_imported_in_the_python_block_is_public():
    (block,) = re.findall(r"^```python\n(.*?)^```$", README, flags=re.MULTILINE | re.DOTALL)
    imports = [node for node in ast.walk(ast.parse(block)) if isinstance(node, ast.ImportFrom)]
    names = {alias.name for node in imports if node.module == "rankscope" for alias in node.names}
    assert len(names) >= 5
    assert names <= set(rankscope.__all__)


def rows(text: str, header: str) -> list[list[str]]:
    """Cells of the table under the header that begins so, row by row."""
    lines = text.split(header)[1].split("\n\n", maxsplit=1)[0].splitlines()[2:]
    return [[cell.strip() for cell in line.strip().strip("|").split("|")] for line in lines]


def test_every_study_is_named_and_the_form_table_lists_every_form_and_no_other():
    assert all(f"`{name}`" in README for name in STUDIES)
    named = [name for first, *_ in rows(README, "| form | what it is |") for name in re.findall(r"`([^`]+)`", first)]
    assert set(named) == {form for entry in STUDIES.values() for form in entry.forms}


def test_the_form_table_of_hash_rank_has_every_form_and_counts_its_trainings():
    told = {
        tuple(re.findall(r"`([^`]+)`", names)): trainings
        for names, trainings, *_ in rows(HASH_RANK, "| form | trainings |")
    }
    assert sorted(form for forms in told for form in forms) == sorted(hash_rank.FORMS)
    for forms, trainings in told.items():
        counts = [len({cell for *_, cell in hash_rank.plan(form).cells()}) for form in forms]
        tuned = f"{min(counts)} to {max(counts)} per rate tried"
        assert trainings == (str(counts[0]) if len(forms) == 1 else tuned), forms


def test_the_sizes_of_the_shipped_bases_are_as_stated():
    sizes = {sum(weight.numel() for weight in load_base(name).model.parameters()) / 1e6 for name in shipped_bases()}
    (stated,) = re.findall(r"bases of ([\d. and]+) million parameters", README)
    assert sorted({f"{n:.1f}" for n in sizes}) == stated.split(" and ")


def test_the_changelog_starts_with_this_version():
    heading = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert heading is not None
    assert heading[1] == rankscope.__version__ == metadata.version("rankscope")


def test_every_public_name_loads_and_says_what_it_gives():
    for name in rankscope.__all__:
        thing = getattr(rankscope, name)
        documented = callable(thing) and not isinstance(thing, dict | str)
        assert not documented or (thing.__doc__ or "").strip(), name
    assert issubclass(rankscope.RankscopeError, RankscopeError)


def test_the_estimator_table_has_the_numbers_of_the_kept_calibration():
    text = (ROOT / "docs" / "rank.md").read_text(encoding="utf-8")
    kept = json.loads((ROOT / "docs" / "results" / "calibration" / "summary.json").read_text(encoding="utf-8"))
    found = {(row["target"], row["estimator"]): row for row in kept["estimators"]}
    lines = text.split("| estimator | off the planted rank |")[1].split("\n\n")[0].splitlines()[2:]
    assert len(lines) >= 5
    for line in lines:
        name, planted, functional, *moved = (cell.strip() for cell in line.strip("|").split(" | "))
        rows = [found[target, name.split(", and ")[0]] for target in ("planted", "functional")]
        ends = [[f"{row['error_doublings'][end]:.2f}" for end in ("estimate", "low", "high")] for row in rows]
        assert [planted, functional] == [f"{estimate} [{low}, {high}]" for estimate, low, high in ends]
        by = rows[0]["moved_by"]
        assert moved == [f"{by[n]:.2f}" for n in ("nominal rank", "a quarter of the rate", "half the steps", "noise")]


def test_the_estimators_of_learnt_tasks_are_those_of_the_kept_adapters():
    kept = read_findings(RESULTS / "hash_rank" / FINDINGS)
    told = rows((ROOT / "docs" / "rank.md").read_text(encoding="utf-8"), "| skill | functional rank |")
    found = {}
    for one in kept.skills:
        uses = next((used for used in one.functional if used.arm == "rank 64"), None)
        largest = next((summary for summary in one.spectral if summary.arm == "rank 64"), None)
        if uses and largest:
            rate = f" at {one.curve[0].lr:g}".replace("0.", ".") if one.mode == "swapped rate" else ""
            names = ("energy .90", "energy .95", "entropy", "participation", "stable")
            estimates = [f"{largest.estimators[name].estimate:.1f}" for name in names]
            found[f"{one.name}{rate}"] = [f"{uses.median:g}", *estimates]
    assert {name: values for name, *values, _ in told} == found, "every skill whose adapters of rank 64 are kept"


def test_the_tables_of_hash_rank_have_the_numbers_of_the_kept_run():
    kept = read_findings(RESULTS / "hash_rank" / FINDINGS)
    found = {one.name: one for one in kept.skills if one.mode not in ON_PURPOSE}
    arms = [*(f"rank {rank}" for rank in (1, 2, 4, 8, 16, 32, 64)), "dense", "full"]
    scores = rows(HASH_RANK, "| exact output, mean of five seeds |")
    assert len(scores) >= 7
    for name, *told in scores:
        points = {point.arm: f"{point.score.estimate:.3f}".removeprefix("0") for point in found[name].curve}
        assert told == [points.get(arm, "") for arm in arms], name
    used = rows(HASH_RANK, "| functional ranks by seed |")
    assert len(used) >= 4
    same_k, _, told = kept.claims[1].because.partition("With one budget shared")
    for place, hop, chain, *ratios in used:
        names = ["HashHop, all maps", "HashHop again, all maps"]
        names = names if place == "the same task twice" else [f"{task}, {place}" for task in ("HashHop", "HashChain")]
        by_seed = [found[name].functional[0].by_seed for name in names]
        assert [hop, chain] == [" ".join(map(str, ranks)) for ranks in by_seed], place
        assert ratios == [ratio_told(same_k, place), ratio_told(told.partition("For 95 %")[0], place)], place


def test_what_stands_beside_the_functional_ranks_is_what_the_kept_run_found():
    kept = read_findings(RESULTS / "hash_rank" / FINDINGS)
    found = {
        (one.name, f"{point.lr:g}"): " ".join(map(str, one.functional[0].by_seed))
        for one in kept.skills
        if one.functional
        for point in one.curve
        if point.arm == "rank 64"
    }
    beside = rows(HASH_RANK, "| functional ranks beside |")
    assert len(beside) == 6
    _, _, told = kept.claims[1].because.partition("The same task twice elsewhere")
    for name, hop, other, ratio in beside:
        skill, _, rate = name.partition(" at ")
        place = skill.partition(", ")[2]
        rate = rate or next(lr for one, lr in found if one == skill)
        assert [hop, other] == [found[f"HashHop, {place}", rate], found[skill, rate]], name
        said = told.partition("at one learning rate")[2 if " at " in name else 0]
        assert ratio == ratio_told(said, f"{place} at {rate}" if " at " in name else place), name


def ratio_told(because: str, place: str) -> str:
    """`2.31 (1.53 to 3.39)`, as the page says it, from `c_proj 2.31 [1.53, 3.39]` among a claim's reasons."""
    found = re.findall(rf"{place}(?:, all maps:)? (\S+) \[(\S+), (\S+)\]", because, flags=re.IGNORECASE)
    cent = Decimal("0.01")
    ((estimate, low, high),) = [[f"{Decimal(number).quantize(cent, ROUND_HALF_UP)}" for number in one] for one in found]
    return f"{estimate} ({low} to {high})"
