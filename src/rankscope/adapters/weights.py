"""`AdapterWeights`: an adapter as plain tensors, relative to the original base. PEFT is a file format."""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from rankscope.base.errors import BadInput


@dataclass(frozen=True)
class Factors:
    """One site's low-rank update, delta_OI = s * B_OR @ A_RI, in PEFT's orientation.

    A Conv1D map (GPT-2) stores its weight as [I, O]; the factors are still [R, I] and [O, R].
    """

    A_RI: Float[Tensor, "R I"]
    B_OR: Float[Tensor, "O R"]
    s: float

    def __post_init__(self) -> None:
        if self.A_RI.ndim != 2 or self.B_OR.ndim != 2 or self.A_RI.shape[0] != self.B_OR.shape[1]:
            raise BadInput(
                "Factors need A [R, I] and B [O, R] with one R, "
                f"not {tuple(self.A_RI.shape)} and {tuple(self.B_OR.shape)}."
            )

    @property
    def rank(self) -> int:
        """Nominal rank R."""
        return self.A_RI.shape[0]

    def delta_OI(self) -> Float[Tensor, "O I"]:
        """The dense update, in the factors' own dtype."""
        return self.s * (self.B_OR @ self.A_RI)


@dataclass(frozen=True)
class AdapterWeights(Mapping[str, Factors]):
    """site (module path in the base) -> Factors. Spectra, truncation, scoring and capture see only this."""

    factors: dict[str, Factors]

    def __getitem__(self, site: str) -> Factors:
        return self.factors[site]

    def __iter__(self) -> Iterator[str]:
        return iter(self.factors)

    def __len__(self) -> int:
        return len(self.factors)

    @property
    def max_rank(self) -> int:
        """Largest nominal rank over sites."""
        return max((factors.rank for factors in self.factors.values()), default=0)

    @property
    def content_hash(self) -> str:
        """SHA-256 over sites, factors and scales, whatever their order and wherever they came from."""
        digest = hashlib.sha256()
        for site, factors in sorted(self.factors.items()):
            digest.update(f"{site}|{factors.s!r}".encode())
            for factor in (factors.A_RI, factors.B_OR):
                digest.update(f"|{factor.dtype}|{tuple(factor.shape)}|".encode())
                digest.update(factor.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()

    def to(self, dtype: torch.dtype) -> "AdapterWeights":
        """The same adapter in another dtype."""
        return AdapterWeights(
            {site: Factors(f.A_RI.to(dtype), f.B_OR.to(dtype), f.s) for site, f in self.factors.items()}
        )
