"""The installed package as a user meets it, in a process of its own."""

import subprocess
import sys

HEAVY = ("torch", "transformers", "peft", "polars", "scipy", "sklearn", "altair", "numpy", "datasets")


def imported_by(statement):
    code = f"import sys; {statement}; print([name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip().splitlines()[-1]


def test_importing_rankscope_and_its_command_line_is_light():
    assert imported_by("import rankscope; dir(rankscope)") == "[]"
    assert imported_by("import rankscope.cli.main") == "[]"


def test_console_script_is_installed():
    script = f"{sys.exec_prefix}/bin/rankscope"
    done = subprocess.run([script, "--version"], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("rankscope ")
