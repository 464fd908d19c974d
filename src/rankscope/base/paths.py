"""Where rankscope keeps things. The only place that reads the environment."""

import os
from pathlib import Path


def runs_root() -> Path:
    """Folder of run folders: $RANKSCOPE_RUNS, else `runs` below the working directory."""
    return Path(os.environ.get("RANKSCOPE_RUNS", "runs"))


def cache_root() -> Path:
    """Folder of things that can be rebuilt: $RANKSCOPE_CACHE, else ~/.cache/rankscope."""
    return Path(os.environ.get("RANKSCOPE_CACHE", Path.home() / ".cache" / "rankscope"))
