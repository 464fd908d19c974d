"""Where rankscope keeps runs and caches. The only place that reads the environment."""

import os
from pathlib import Path


def runs_root() -> Path:
    """Folder of run folders: $RANKSCOPE_RUNS, else `runs` below the working directory."""
    return Path(os.environ.get("RANKSCOPE_RUNS", "runs"))


def cache_root() -> Path:
    """Folder of what can be found out again: $RANKSCOPE_CACHE, else `rankscope` in the user's cache folder."""
    own = os.environ.get("RANKSCOPE_CACHE")
    if own:
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "rankscope"
