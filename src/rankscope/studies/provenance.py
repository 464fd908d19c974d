"""Where and with what a study was run, for its page."""

import platform
from pathlib import Path

from rankscope.base.machine import git_state, machine_facts


def run_facts(device: str, precision: str, time_s: float, **more: str) -> dict[str, str]:
    """Commit, how it was trained, time, versions and machine."""
    state = git_state(Path(__file__).parent) or {}
    commit = str(state.get("commit", "unknown"))[:12] + (" with local changes" if state.get("dirty") else "")
    return {
        "commit": commit,
        **more,
        "precision": precision,
        "device": device,
        "time": f"{time_s / 60:.0f} min in the last sitting",
        "python": platform.python_version(),
        **{name: str(value) for name, value in machine_facts().items()},
    }
