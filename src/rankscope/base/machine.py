"""Facts about this machine and this installation, for a run's provenance. No host names, no paths."""

import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path

PACKAGES = ("rankscope", "torch", "transformers", "peft")


def machine_facts(with_accelerator: bool = False) -> dict[str, str | int | float]:
    """System, processor, cores, memory (GiB) and package versions; a fact that can not be had has no key.

    Versions come from package metadata, so nothing heavy is imported; `with_accelerator` imports torch to
    name the accelerator, or `none`.
    """
    facts: dict[str, str | int | float | None] = {
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "cpu": _cpu_model(),
        "cores": _usable_cores(),
        "memory_gib": _memory_gib(),
        **{package: _version(package) for package in PACKAGES},
    }
    if with_accelerator:
        facts["accelerator"] = _accelerator()
    return {name: fact for name, fact in facts.items() if fact is not None}


def git_state(folder: Path) -> dict[str, str | bool] | None:
    """Commit of the checkout that holds `folder`, and whether anything below `folder` differs from it.

    None without git, outside a checkout, before the first commit, or where the checkout ignores `folder`
    (an installed package inside somebody's repository says nothing about that repository).
    """
    commit = _git(folder, "rev-parse", "--verify", "HEAD")
    changes = _git(folder, "status", "--porcelain", "--", ".")
    if commit is None or changes is None or _git(folder, "check-ignore", "--quiet", ".") is not None:
        return None
    return {"commit": commit.strip(), "dirty": bool(changes.strip())}


def _git(folder: Path, *arguments: str) -> str | None:
    """What a git command prints; None when it fails or there is no git."""
    command = ["git", "--no-optional-locks", *arguments]
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout


def _cpu_model() -> str | None:
    """The processor's name as the system gives it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or None
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, None) or platform.processor() or None


def _usable_cores() -> int | None:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def _memory_gib() -> float | None:
    """Physical memory."""
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    except (AttributeError, ValueError, OSError):
        return None


def _version(package: str) -> str | None:
    """Version of an installed package."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _accelerator() -> str:
    """Name of the accelerator that torch finds, or `none`."""
    import torch

    if torch.cuda.is_available():
        return str(torch.cuda.get_device_name())
    return "mps" if torch.backends.mps.is_available() else "none"
