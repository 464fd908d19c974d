"""`rankscope rank`: the spectra of any PEFT LoRA adapter, and with a base and a task its functional rank."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from rankscope.cli.console import out, plain_table, print_json, print_line, step_bar
from rankscope.cli.on_task import OneBase, OneTask, OnTask, OnTaskItems, check_both, check_used, load_on_task
from rankscope.cli.options import N_TEST_ITEMS, Device, Json

if TYPE_CHECKING:
    from torch import Tensor

    from rankscope.adapters.weights import AdapterWeights, Factors
    from rankscope.tasks.encoded import EncodedItems

CAUTION = (
    "These numbers describe singular values alone. None of them is the rank that the skill needs: that takes "
    "trainings at several ranks (rankscope required)."
)
WEIGHTED = "Weighted by the second moment of what each site reads on these items"
SHOWN = {
    "energy .90": "e.90",
    "energy .99": "e.99",
    "entropy": "entropy",
    "stable": "stable",
    "participation": "part.",
    "N(1e-3)": "N(1e-3)",
}
"""Estimators in the table and their headings; --json has all of them."""
MOST_SITES = 24
"""Adapters with more sites are shown by kind of map."""


def kind_of_map(site: str) -> str:
    """The module path with layer numbers as `*`: a glob over the same map of every layer."""
    return re.sub(r"(?<=\.)\d+(?=\.)", "*", site)


@dataclass(frozen=True)
class SiteSpectrum:
    """One site's spectrum; `estimates` is None where the adapter changes nothing."""

    site: str
    nominal_rank: int
    shape_OI: tuple[int, int]
    scale: float
    singular_values: list[float]
    estimates: dict[str, float | None] | None


def rank(
    adapters: Annotated[
        list[Path],
        typer.Argument(
            metavar="ADAPTER...",
            help="Folder of a PEFT LoRA or rsLoRA adapter; with --base and --task also several seeds of one training.",
        ),
    ],
    base: OneBase = None,
    task: OneTask = None,
    n_items: OnTaskItems = None,
    seed: Annotated[
        int | None,
        typer.Option("--seed", help="Of the random control's directions.", min=0, max=2**31 - 1, show_default="0"),
    ] = None,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Shows singular-value estimates of an adapter's rank, site by site, beside its nominal rank.

    With a base and a task also its functional rank: how far the adapter can be cut and keep its gain, beside controls.
    """
    from rankscope.adapters.read import read_adapter
    from rankscope.cli import functional

    is_on_task = check_both(base, task)
    check_used(is_on_task, items=n_items, seed=seed)
    check_count(adapters, is_on_task)
    weights = [read_adapter(folder) for folder in adapters]
    if not is_on_task:
        show_spectra(adapters[0], spectra_of(weights[0]), as_json)
        return
    assert base is not None
    assert task is not None
    where = load_on_task(base, task, device, weights, adapters)
    n_items = n_items or N_TEST_ITEMS
    weighted = weighted_on(where, weights, n_items)
    reading = functional.measured_on(where, weights, n_items, seed or 0)
    both = list(zip(adapters, map(spectra_of, weights), weighted, strict=True))
    if as_json:
        documents = [as_document(folder, spectra) | weighted_document(as_used) for folder, spectra, as_used in both]
        print_json({"spectra": documents, "functional": functional.as_document(where, adapters, reading)})
        return
    for folder, spectra, as_used in both:
        show_both(folder if len(adapters) > 1 else None, spectra, as_used)
    print_line("", out())
    functional.show(where, adapters, reading)


def check_count(adapters: list[Path], is_on_task: bool) -> None:
    """Raises BadInput for several adapters without a task, or one given twice."""
    from rankscope.base.errors import BadInput

    if len(adapters) > 1 and not is_on_task:
        raise BadInput(
            f"{len(adapters)} adapters were given. Several are read as the seeds of one training, which takes --base "
            "and --task; without them give one."
        )
    if len({folder.resolve() for folder in adapters}) < len(adapters):
        raise BadInput("An adapter is given twice. Give each training once, or the interval over seeds means nothing.")


def spectra_of(weights: "AdapterWeights") -> list[SiteSpectrum]:
    """The spectrum of every site."""
    return [spectrum(site, factors) for site, factors in weights.items()]


def weighted_on(where: OnTask, adapters: "list[AdapterWeights]", n_items: int) -> list[list[SiteSpectrum]]:
    """Every adapter's spectra weighted by the second moments of what its sites read on the task's test items."""
    from rankscope.studies.held_out import held_out_items

    items = held_out_items(where.task, where.base, n_items, fewest=2)
    return [weighted_spectra(where, adapter, items) for adapter in adapters]


def weighted_spectra(where: OnTask, adapter: "AdapterWeights", items: "EncodedItems") -> list[SiteSpectrum]:
    """One adapter's, after a pass over the items with a bar."""
    from rankscope.capture.scalar_moments import scalar_moments

    with step_bar("Reading inputs, items") as bar:
        moments = scalar_moments(where.base.model, adapter, items, tell=lambda n, total: bar.show(n, total, ""))
    return [weighted_spectrum(site, factors, moments[site]) for site, factors in adapter.items()]


def weighted_spectrum(site: str, factors: "Factors", moment_RR: "Tensor") -> SiteSpectrum:
    """Singular values of s B A M^(1/2) and the spectral ranks on them; moment_RR is A M A^T.

    The paper's counts by absolute size and the cut against noise are about plain values, and left out.
    """
    from rankscope.spectra.estimators import ESTIMATORS, EmptySpectrum
    from rankscope.spectra.low_rank_svd import weighted_singular_values

    s_K = weighted_singular_values(factors.B_OR, factors.s, moment_RR)
    estimates: dict[str, float | None] | None
    try:
        estimates = {name: estimator(s_K) for name, estimator in ESTIMATORS.items()}
    except EmptySpectrum:
        estimates = None
    shape_OI = (factors.B_OR.shape[0], factors.A_RI.shape[1])
    return SiteSpectrum(site, factors.rank, shape_OI, factors.s, s_K.tolist(), estimates)


def show_both(folder: Path | None, spectra: list[SiteSpectrum], weighted: list[SiteSpectrum]) -> None:
    """Prints plain spectra, then weighted ones; of one adapter among several (named) the summaries alone."""
    console = out()
    if folder is not None:
        print_line(f"{folder}\n{summary(spectra)}\nWeighted: {summary(weighted)}", console)
        return
    console.print(table(spectra))
    print_line(f"\n{summary(spectra)}\n\n{WEIGHTED}:\n", console)
    console.print(table(weighted))
    print_line(f"\n{summary(weighted)}", console)


def show_spectra(adapter: Path, spectra: list[SiteSpectrum], as_json: bool) -> None:
    """Prints the spectra alone."""
    if as_json:
        print_json(as_document(adapter, spectra))
        return
    console = out()
    console.print(table(spectra))
    print_line(f"\n{summary(spectra)}", console)
    print_line(CAUTION, console, style="yellow")


def spectrum(site: str, factors: "Factors") -> SiteSpectrum:
    """Singular values of a site's update and every estimator on them."""
    from rankscope.spectra.estimators import ESTIMATORS, P1_READINGS, EmptySpectrum, noise_cut_rank
    from rankscope.spectra.low_rank_svd import singular_values

    s_K = singular_values(factors.A_RI, factors.B_OR, factors.s)
    shape_OI = (factors.B_OR.shape[0], factors.A_RI.shape[1])
    estimates: dict[str, float | None] | None = None
    try:
        estimates = {name: estimator(s_K) for name, estimator in (ESTIMATORS | P1_READINGS).items()}
        estimates["noise cut"] = noise_cut_rank(s_K, shape_OI)
    except EmptySpectrum:
        estimates = None
    return SiteSpectrum(site, factors.rank, shape_OI, factors.s, s_K.tolist(), estimates)


def as_document(adapter: Path, spectra: list[SiteSpectrum]) -> dict[str, Any]:
    """What --json prints."""
    return {
        "adapter": str(adapter),
        "n_sites": len(spectra),
        "nominal_ranks": sorted({spectrum.nominal_rank for spectrum in spectra}),
        "mean_over_sites": means(spectra),
        "sites": {
            spectrum.site: {
                "nominal_rank": spectrum.nominal_rank,
                "shape": list(spectrum.shape_OI),
                "scale": spectrum.scale,
                "estimates": spectrum.estimates,
                "singular_values": spectrum.singular_values,
            }
            for spectrum in spectra
        },
        "caution": CAUTION,
    }


def weighted_document(spectra: list[SiteSpectrum]) -> dict[str, Any]:
    """What --json prints of weighted spectra."""
    return {
        "weighted": {
            "by": WEIGHTED,
            "mean_over_sites": means(spectra),
            "sites": {
                one.site: {"estimates": one.estimates, "singular_values": one.singular_values} for one in spectra
            },
        }
    }


def means(spectra: Iterable[SiteSpectrum]) -> dict[str, float | None]:
    """Each estimator's mean over the sites that have it; None where no site has."""
    columns: dict[str, list[float]] = {}
    for spectrum in spectra:
        for name, value in (spectrum.estimates or {}).items():
            columns.setdefault(name, []).extend([] if value is None else [value])
    return {name: fmean(values) if values else None for name, values in columns.items()}


def rows(spectra: list[SiteSpectrum]) -> dict[str, list[SiteSpectrum]]:
    """Label -> the sites that the row is the mean of."""
    by_site = {spectrum.site: spectrum for spectrum in spectra}
    return {label: [by_site[site] for site in sites] for label, sites in grouped(list(by_site)).items()}


def grouped(sites: list[str]) -> dict[str, list[str]]:
    """Label of a row -> its sites: one site each, or one kind of map each when there are many."""
    groups: dict[str, list[str]] = {}
    for site in sites:
        groups.setdefault(site if len(sites) <= MOST_SITES else kind_of_map(site), []).append(site)
    return {short_label(label, groups): group for label, group in groups.items()}


def short_label(label: str, labels: Iterable[str]) -> str:
    """The label without the leading path components that all labels share."""
    split = [other.split(".") for other in labels]
    n_shared = 0
    while all(len(parts) > n_shared + 1 for parts in split) and len({parts[n_shared] for parts in split}) == 1:
        n_shared += 1
    return ".".join(label.split(".")[n_shared:]) if len(split) > 1 else label


def table(spectra: list[SiteSpectrum]) -> Any:
    """One row per site, or per kind of map; a dash where the adapter changes nothing."""
    groups = rows(spectra)
    first = ("site",) if len(groups) == len(spectra) else ("kind of map", "sites")
    headings = (*first, "nominal", *SHOWN.values())
    result = plain_table(*headings, right=tuple(range(1, len(headings))))
    labelled = [*groups.items(), *([("all, mean", spectra)] if len(groups) > 1 else [])]
    for index, (label, group) in enumerate(labelled):
        size = [str(len(group))] if len(first) > 1 else []
        is_last_of_sites = index == len(groups) - 1
        style = "bold" if index == len(groups) else None
        result.add_row(Text(label), *size, nominal(group), *cells(group), end_section=is_last_of_sites, style=style)
    return result


def nominal(spectra: Iterable[SiteSpectrum]) -> str:
    """The nominal rank, or its range."""
    ranks = sorted({spectrum.nominal_rank for spectrum in spectra})
    return str(ranks[0]) if len(ranks) == 1 else f"{ranks[0]}-{ranks[-1]}"


def cells(spectra: Iterable[SiteSpectrum]) -> list[str]:
    """The shown estimators as text."""
    mean = means(spectra)
    return [f"{value:.1f}" if (value := mean.get(name)) is not None else "-" for name in SHOWN]


def summary(spectra: list[SiteSpectrum]) -> str:
    """The whole adapter in one or two sentences."""
    mean = means(spectra)
    if not mean:
        return f"Nominal rank {nominal(spectra)}; the adapter changes nothing: all singular values are 0."
    n_idle = sum(spectrum.estimates is None for spectrum in spectra)
    idle = f" Sites that change nothing, left out of means: {n_idle} of {len(spectra)}." if n_idle else ""
    shown = "; ".join(f"{name} {value:.1f}" for name in ("energy .90", "stable") if (value := mean[name]) is not None)
    return f"Nominal rank {nominal(spectra)}; mean over {len(spectra) - n_idle} sites: {shown}.{idle}"
