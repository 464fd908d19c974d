"""`rankscope doctor`: what this machine offers and what rankscope will use of it."""

import os
import shutil
from pathlib import Path
from typing import Any

from rankscope.cli.console import out, print_facts, print_json
from rankscope.cli.options import Json


def doctor(as_json: Json = False) -> None:
    """Shows this machine, the device that would be used, the shipped bases and where runs go."""
    facts = found()
    if as_json:
        print_json(facts)
        return
    bases = facts.pop("shipped_bases")
    free_gib = facts.pop("runs_free_gib")
    facts["runs"] = f"{facts['runs']} ({'' if facts.pop('runs_writable') else 'NOT '}writable, {free_gib} GiB free)"
    shown = {name.replace("_", " "): value for name, value in facts.items()}
    print_facts(shown | {"shipped bases": ", ".join(bases) or "none; build one: rankscope base build NAME"}, out())


def found() -> dict[str, Any]:
    """The facts, for people and machines alike."""
    import torch

    from rankscope.base.device import resolve_device
    from rankscope.base.machine import machine_facts
    from rankscope.base.paths import runs_root
    from rankscope.lm.bases import shipped_bases

    runs = runs_root().absolute()
    standing = nearest_existing(runs)
    device = resolve_device("auto").type
    return {
        **machine_facts(with_accelerator=True),
        "device": device,
        "threads": torch.get_num_threads(),
        "precision": precision_note(device),
        "runs": str(runs),
        "runs_writable": os.access(standing, os.W_OK),
        "runs_free_gib": round(shutil.disk_usage(standing).free / 2**30, 1),
        "shipped_bases": shipped_bases(),
    }


def nearest_existing(path: Path) -> Path:
    """The path, or the closest folder above it that exists."""
    return next(folder for folder in (path, *path.parents) if folder.exists())


def precision_note(device: str) -> str:
    """The plan that `--precision auto` takes for a small batch on the shipped base."""
    import torch

    from rankscope.engine.probe import Shape
    from rankscope.train.precision import fastest_plan

    plan = fastest_plan(Shape(32, 40, 4, 128, 512), torch.device(device))
    return f"{plan.name} (fastest here for 32 items of 40 tokens on tiny-gpt2)"
