"""A smaller adapter: cut, written as a PEFT folder, with a record of what was done and what it costs."""

from pathlib import Path
from typing import Literal

from rankscope import __version__
from rankscope.adapters.read import CONFIG_FILE, WEIGHTS_FILE, read_adapter_info
from rankscope.adapters.weights import AdapterWeights, Factors
from rankscope.adapters.write import write_adapter
from rankscope.base.atomic import atomic_folder, write_json
from rankscope.base.config import Config
from rankscope.runs.hashing import file_sha256
from rankscope.spectra.low_rank_svd import singular_values
from rankscope.studies.adapter import Choice, Loss

RECORD = "truncation.json"


class SiteCut(Config):
    """One site before and after."""

    rank_before: int
    rank_after: int
    energy_kept: float | None
    """Share of the squared singular values; None where the update is zero."""


class Measured(Config):
    """Scores of base, whole adapter and cut on held-out test items."""

    base: str
    base_hash: str
    task: str
    split: Literal["test"] = "test"
    n_items: int
    items_hash: str
    scores: tuple[Loss, ...]


class TruncationRecord(Config):
    """What `truncation.json` holds."""

    format: Literal[1] = 1
    source: str
    """Folder of the whole adapter, as given."""
    source_sha256: dict[str, str]
    """File name -> SHA-256."""
    by: Literal["energy"] = "energy"
    """Which directions are kept: those with the largest singular values."""
    k: int
    """Directions kept at every site that has more."""
    chosen: Choice | None
    """How k was chosen; None where it was given."""
    sites: dict[str, SiteCut]
    n_parameters_before: int
    n_parameters_after: int
    measured: Measured | None
    """None where no base and task were given."""
    rankscope: str


def source_hashes(folder: Path) -> dict[str, str]:
    """SHA-256 of the two files that make an adapter."""
    return {name: file_sha256(folder / name) for name in (CONFIG_FILE, WEIGHTS_FILE)}


def n_parameters(weights: AdapterWeights) -> int:
    """Numbers in all factors."""
    return sum(factors.A_RI.numel() + factors.B_OR.numel() for factors in weights.values())


def truncation_record(
    source: Path,
    whole: AdapterWeights,
    cut: AdapterWeights,
    k: int,
    chosen: Choice | None,
    measured: Measured | None,
) -> TruncationRecord:
    """The record of a cut by energy."""
    return TruncationRecord(
        source=str(source),
        source_sha256=source_hashes(source),
        k=k,
        chosen=chosen,
        sites={
            site: SiteCut(
                rank_before=factors.rank, rank_after=cut[site].rank, energy_kept=_energy_kept(factors, cut[site])
            )
            for site, factors in whole.items()
        },
        n_parameters_before=n_parameters(whole),
        n_parameters_after=n_parameters(cut),
        measured=measured,
        rankscope=__version__,
    )


def _energy_kept(whole: Factors, cut: Factors) -> float | None:
    energies = [float(singular_values(f.A_RI, f.B_OR, f.s).square().sum()) for f in (cut, whole)]
    return energies[0] / energies[1] if energies[1] > 0 else None


def write_truncation(target: Path, cut: AdapterWeights, record: TruncationRecord) -> None:
    """Writes the cut as a PEFT adapter with its record beside it, all of it or nothing.

    The base's name and revision and the orientation of its maps are the source's; its other settings were about
    training and are not copied.
    """
    info = read_adapter_info(record.source)
    with atomic_folder(target) as folder:
        write_adapter(folder, cut, info.base_name, info.fan_in_fan_out, info.revision)
        write_json(folder / RECORD, record.model_dump(mode="json"))
