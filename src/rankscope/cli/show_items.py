"""Items on the terminal, each token in the colour of its role."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

if TYPE_CHECKING:
    from rankscope.tasks.text import TextItem
    from rankscope.tasks.word_items import WordItems

SURFACE_STYLES = {
    "mark": "dim",
    "key": "cyan",
    "value": "green",
    "query": "bold magenta",
    "number": "bold yellow",
    "step": "blue",
    "separator": "dim",
    "answer": "bold red",
    "digit": "cyan",
    "operator": "dim",
    "item": "cyan",
    "target": "bold magenta",
    "think": "dim",
    "wait": "bold yellow",
}
TAG_STYLES = {"on_path": "underline", "distractor": "dim", "branch": "bold", "leaf": "italic", "wrong": "reverse"}


def show_items(items: "WordItems", console: Console) -> None:
    """Prints every item with its roles, then the legend of the roles that occurred."""
    from rankscope.tasks.text import with_spans

    surfaces: set[str] = set()
    tags: set[str] = set()
    for row in range(len(items)):
        item = with_spans(items, row)
        labels = ", ".join(f"{name.replace('_', ' ')} {int(values[row])}" for name, values in items.groups.items())
        title = Text(f"{items.task} {items.split}-{items.item_ids_N[row]}", style="rule.text")
        console.rule(title, align="left", style="dim")
        console.print(coloured(item), soft_wrap=True)
        show_details(item, labels, console)
        surfaces |= {span.surface for span in item.spans}
        tags |= {tag for span in item.spans for tag in span.tags}
    console.print(legend(surfaces, tags))


def show_texts(items: Iterable["TextItem"], console: Console) -> None:
    """Prints items of a file: prompt, trace and answer, which are all the roles they have."""
    for index, item in enumerate(items):
        console.rule(f"line {index + 1}", align="left", style="dim")
        parts = ((item.prompt, ""), (item.trace, SURFACE_STYLES["step"]), (item.answer, SURFACE_STYLES["answer"]))
        console.print(Text(" ").join(Text(text, style) for text, style in parts if text), soft_wrap=True)
        show_details(item, "", console)
    console.print(legend({"step", "answer"}, set()))


def coloured(item: "TextItem") -> Text:
    """The item's text with the style of each token's surface role and tags."""
    text = Text(item.full)
    for span in item.spans:
        for style in (SURFACE_STYLES.get(span.surface), *(TAG_STYLES.get(tag) for tag in span.tags)):
            if style:
                text.stylize(style, span.start, span.end)
    return text


def show_details(item: "TextItem", labels: str, console: Console) -> None:
    """Prints the candidates and the item's labels, which are not part of its text."""
    if item.candidates:
        console.print(Text(f"candidates (the first is right): {' '.join(item.candidates)}", style="dim"))
    if labels:
        console.print(Text(labels, style="dim"))
    console.print()


def legend(surfaces: set[str], tags: set[str]) -> Text:
    """Every role that occurred, in its own style."""
    styles = SURFACE_STYLES | TAG_STYLES
    known = [name for name in styles if name in surfaces | tags]
    hops = sorted(tag for tag in tags if tag.startswith("hop_"))
    plain = [f"{hops[0]}..{hops[-1]} (along the asked path)"] if hops else []
    return Text("roles: ").append_text(
        Text(", ").join([*(Text(name, styles[name]) for name in known), *map(Text, plain)])
    )
