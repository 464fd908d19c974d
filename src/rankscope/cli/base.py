"""`rankscope base`: the frozen models that adapters are trained on."""

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from rankscope.cli.console import out, plain_table, print_facts, print_json, print_line, step_bar
from rankscope.cli.options import Json
from rankscope.cli.rank import kind_of_map

if TYPE_CHECKING:
    from rankscope.lm.bases import Base

app = typer.Typer(no_args_is_help=True, help="Bases: list the shipped ones, show any, rebuild a shipped one.")


@app.command("list")
def list_bases(as_json: Json = False) -> None:
    """Lists the bases that come with rankscope; any Hugging Face causal LM can be used beside them."""
    from rankscope.lm.bases import SHIPPED, shipped_bases

    sizes = {
        name: sum(file.stat().st_size for file in (SHIPPED / name).glob("*.safetensors")) for name in shipped_bases()
    }
    if as_json:
        print_json([{"name": name, "weights_bytes": size} for name, size in sizes.items()])
        return
    table = plain_table("base", "weights", right=(1,))
    for name, size in sizes.items():
        table.add_row(Text(name), f"{size / 2**20:.1f} MiB")
    out().print(table if sizes else "No base is shipped with this installation; build one: rankscope base build NAME")


@app.command("show")
def show(
    name: Annotated[str, typer.Argument(help="Shipped base, model folder, or Hugging Face name.")],
    as_json: Json = False,
) -> None:
    """Shows a base's size, context and linear maps, by the globs that choose them as sites."""
    from rankscope.lm.bases import load_base

    facts = facts_of(load_base(name))
    if as_json:
        print_json(facts)
        return
    kinds = facts.pop("kinds")
    console = out()
    print_facts({key.replace("_", " "): value for key, value in facts.items()}, console)
    table = plain_table("kind of map (a glob for --sites)", "sites", "out x in", right=(1, 2))
    for kind in kinds:
        table.add_row(Text(kind["glob"]), str(kind["sites"]), f"{kind['out']} x {kind['in']}")
    console.print()
    console.print(table)


def facts_of(base: "Base") -> dict[str, Any]:
    """What is shown of a base."""
    from rankscope.lm.sites import linear_sites

    sites = linear_sites(base.model)
    kinds = Counter((kind_of_map(site), shape) for site, shape in sites.items())
    return {
        "name": base.name,
        "architecture": str(base.model.config.model_type),
        "parameters": sum(parameter.numel() for parameter in base.model.parameters()),
        "longest_input": base.n_positions,
        "vocabulary": len(base.tokenizer),
        "content_hash": base.content_hash,
        "sites": len(sites),
        "kinds": [
            {"glob": kind, "sites": n_sites, "out": n_out, "in": n_in}
            for (kind, (n_out, n_in)), n_sites in kinds.items()
        ],
    }


@app.command("build")
def build(
    name: Annotated[str, typer.Argument(help="Name of a shipped base.")],
    folder: Annotated[
        Path | None, typer.Option("--out", help="Folder; by default bases/NAME in the runs folder.")
    ] = None,
) -> None:
    """Trains a shipped base again from its recipe; takes minutes, and goes on where it stopped."""
    from rankscope.base.paths import runs_root
    from rankscope.cli.targets import check_folder_target
    from rankscope.train.base_recipe import build_base

    target = folder or runs_root() / "bases" / name
    check_folder_target(target)
    with step_bar(name) as bar:
        accuracies = build_base(
            name, target, on_step=lambda step, n_steps, loss: bar.show(step, n_steps, f"loss {loss:.3f}")
        )
    console = out()
    print_facts({measure: f"{accuracy:.1%}" for measure, accuracy in accuracies.items()}, console)
    print_line(f"Base: {target} (use it as --base {target})", console)
