"""Where rankscope keeps runs. The only place that reads the environment."""

import os
from pathlib import Path


def runs_root() -> Path:
    """Folder of run folders: $RANKSCOPE_RUNS, else `runs` below the working directory."""
    return Path(os.environ.get("RANKSCOPE_RUNS", "runs"))
