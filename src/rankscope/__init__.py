"""rankscope measures how much rank a skill needs, and shows what an adapter learnt with it.

The public names below are loaded on first use, so that `import rankscope` is quick and imports no torch.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_HOME = {
    "AdapterWeights": "rankscope.adapters.weights",
    "Cell": "rankscope.train.cell",
    "ESTIMATORS": "rankscope.spectra.estimators",
    "LoraSpec": "rankscope.train.cell",
    "RankscopeError": "rankscope.base.errors",
    "LocalExecutor": "rankscope.train.local",
    "functional_rank": "rankscope.rank.functional",
    "load_base": "rankscope.lm.bases",
    "load_items": "rankscope.tasks.catalog",
    "read_adapter": "rankscope.adapters.read",
    "read_findings": "rankscope.report.notebook",
    "recovery": "rankscope.rank.recovery",
    "required_rank": "rankscope.rank.required",
    "run_study": "rankscope.studies.run",
    "score_cell": "rankscope.evals.score",
    "singular_values": "rankscope.spectra.low_rank_svd",
    "steer": "rankscope.studies.steer",
    "write_adapter": "rankscope.adapters.write",
}
__all__ = ["__version__", *_HOME]  # noqa: PLE0604  the keys are strings


def __getattr__(name: str) -> Any:
    """The public name, from the module that it lives in."""
    if name not in _HOME:
        raise AttributeError(f"rankscope has no public name {name!r}; it has {', '.join(_HOME)}.")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    """What `dir(rankscope)` and tab completion show."""
    return sorted(__all__)
