"""`rankscope rank`: the spectra of any PEFT LoRA adapter, beside its nominal rank."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from rankscope.cli.console import out, plain_table, print_json, print_line
from rankscope.cli.options import Json

if TYPE_CHECKING:
    from rankscope.adapters.weights import Factors

CAUTION = (
    "These numbers describe singular values alone. None of them is the rank that the skill needs: that takes "
    "trainings at several ranks (rankscope study)."
)
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
    adapter: Annotated[Path, typer.Argument(help="Folder of a PEFT LoRA or rsLoRA adapter.")],
    as_json: Json = False,
) -> None:
    """Shows singular-value estimates of an adapter's rank, site by site, beside its nominal rank."""
    from rankscope.adapters.read import read_adapter

    spectra = [spectrum(site, factors) for site, factors in read_adapter(adapter).items()]
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


def means(spectra: Iterable[SiteSpectrum]) -> dict[str, float | None]:
    """Each estimator's mean over the sites that have it; None where no site has."""
    columns: dict[str, list[float]] = {}
    for spectrum in spectra:
        for name, value in (spectrum.estimates or {}).items():
            columns.setdefault(name, []).extend([] if value is None else [value])
    return {name: fmean(values) if values else None for name, values in columns.items()}


def rows(spectra: list[SiteSpectrum]) -> dict[str, list[SiteSpectrum]]:
    """Label -> the sites that the row is the mean of: one site each, or one kind of map each when there are many."""
    grouped: dict[str, list[SiteSpectrum]] = {}
    for spectrum in spectra:
        grouped.setdefault(spectrum.site if len(spectra) <= MOST_SITES else kind_of_map(spectrum.site), []).append(
            spectrum
        )
    return {short_label(label, grouped): group for label, group in grouped.items()}


def short_label(label: str, labels: Iterable[str]) -> str:
    """The label without the leading path components that all labels share."""
    split = [other.split(".") for other in labels]
    n_shared = 0
    while all(len(parts) > n_shared + 1 for parts in split) and len({parts[n_shared] for parts in split}) == 1:
        n_shared += 1
    return ".".join(label.split(".")[n_shared:]) if len(split) > 1 else label


def table(spectra: list[SiteSpectrum]) -> Any:
    """One row per site, or per kind of map; a dash where the adapter changes nothing."""
    grouped = rows(spectra)
    first = ("site",) if len(grouped) == len(spectra) else ("kind of map", "sites")
    headings = (*first, "nominal", *SHOWN.values())
    result = plain_table(*headings, right=tuple(range(1, len(headings))))
    labelled = [*grouped.items(), *([("all, mean", spectra)] if len(grouped) > 1 else [])]
    for index, (label, group) in enumerate(labelled):
        size = [str(len(group))] if len(first) > 1 else []
        is_last_of_sites = index == len(grouped) - 1
        style = "bold" if index == len(grouped) else None
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
