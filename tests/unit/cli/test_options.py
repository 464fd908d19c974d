"""The options of every command, pinned: a new knob goes into a config, not into a flag."""

import typer.main

from rankscope.cli.main import app

PINNED = {
    "ablate": "ADAPTERS --base --task --items --screen --directions --seed --out --device --json",
    "base build": "NAME --out",
    "base list": "--json",
    "base show": "NAME --json",
    "bench": "CASES --adapters --repeats --json",
    "capture": "ADAPTER --base --task --out --items --split --dtype --device --json",
    "doctor": "--json",
    "look": "ADAPTER --base --task --out --items --screen --labels --device --json",
    "rank": "ADAPTERS --base --task --items --seed --device --json",
    "report": "RUN_FOLDER --out",
    "required": "--task --base --out --ranks --sites --seeds --items --epochs --batch --workers --device --precision "
    "--json",
    "steer": "ADAPTER --base --task --direction --factor --push --items --device --json",
    "studies": "--json",
    "study": "NAME --out --workers --device --precision --from",
    "task check": "NAME --n --seed --json",
    "task export": "NAME --out --n --split --seed",
    "task list": "--json",
    "task show": "NAME -n --seed",
    "truncate": "ADAPTER --out --to --keep --base --task --items --device --json",
    "train": "--task --base --out --rank --kind --lr --sites --items --batch --seed --device --precision --json",
}


def commands(group, prefix=""):
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, f"{prefix}{name} ")
        else:
            yield prefix + name, command


def test_every_option_is_pinned():
    found = {
        name: " ".join(
            parameter.opts[0] if parameter.param_type_name == "option" else parameter.name.upper()
            for parameter in command.params
            if parameter.name != "help"
        )
        for name, command in commands(typer.main.get_command(app))
    }
    assert found == PINNED


def test_every_command_says_what_it_does():
    assert all(command.help for _, command in commands(typer.main.get_command(app)))
