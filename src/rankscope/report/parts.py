"""The pieces a page is composed of; each knows the name of the template macro that shows it."""

from dataclasses import dataclass
from typing import ClassVar, Literal

Tone = Literal["good", "bad", "open", "info", ""]


@dataclass(frozen=True)
class Cell:
    """One table cell: what is read, what is seen on hovering, and what goes into the CSV file."""

    text: str
    detail: str = ""
    """Second, quieter line, such as the interval."""
    title: str = ""
    badge: str = ""
    tone: Tone = ""
    csv: str = ""
    low: str = ""
    high: str = ""
    missing: bool = False


@dataclass(frozen=True)
class Column:
    """One table column; `interval` columns become three in the CSV file (value, low, high), `prose` ones are wide."""

    key: str
    label: str
    kind: Literal["text", "prose", "number", "interval"] = "text"
    title: str = ""


@dataclass(frozen=True)
class Table:
    """A table with its caption; rows map column keys to cells."""

    kind: ClassVar[str] = "table"
    name: str
    caption: str
    columns: tuple[Column, ...]
    rows: tuple[dict[str, Cell], ...]
    note: str = ""


@dataclass(frozen=True)
class Panel:
    """One small chart: its heading, its SVG and the words that stand in for it."""

    title: str
    subtitle: str
    svg: str
    alt: str


@dataclass(frozen=True)
class Key:
    """One legend entry: colour variable, dash pattern and mark shape."""

    label: str
    colour: str
    dash: str = ""
    shape: Literal["circle", "square", "diamond", "triangle", "hollow", "dot", "line", "bar"] = "circle"
    opacity: float = 1.0


@dataclass(frozen=True)
class Figure:
    """Panels that share scales, one legend and one caption."""

    kind: ClassVar[str] = "figure"
    caption: str
    panels: tuple[Panel, ...]
    legend: tuple[Key, ...] = ()
    heading: str = ""
    tag: str = ""
    small: bool = False


@dataclass(frozen=True)
class Prose:
    """Paragraphs; `lead` ones are larger, `callout` ones stand in a box."""

    kind: ClassVar[str] = "prose"
    paragraphs: tuple[str, ...]
    style: Literal["", "lead", "callout", "quiet", "list"] = ""
    heading: str = ""


@dataclass(frozen=True)
class Tile:
    """One key number: what it is of, the number, its verdict and its fine print."""

    label: str
    value: str
    unit: str
    badge: str
    tone: Tone
    lines: tuple[str, ...]
    title: str = ""


@dataclass(frozen=True)
class Tiles:
    """A row of key numbers."""

    kind: ClassVar[str] = "tiles"
    tiles: tuple[Tile, ...]


@dataclass(frozen=True)
class Claim:
    """A claim card made ready for the page."""

    claim: str
    source: str
    """Who claims it; empty where that is this page."""
    rule: str
    estimate: str
    verdict: str
    tone: Tone
    because: str
    limits: tuple[str, ...]
    command: str
    """What repeats it; empty where that is one command for the whole page."""
    chance: str = ""
    """p-value, raw and corrected, in words."""
    power: str = ""


@dataclass(frozen=True)
class Claims:
    """The claim cards of one study."""

    kind: ClassVar[str] = "claims"
    claims: tuple[Claim, ...]


@dataclass(frozen=True)
class Commands:
    """What can be made again, and the command that makes it."""

    kind: ClassVar[str] = "commands"
    items: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Facts:
    """Names and values, such as versions."""

    kind: ClassVar[str] = "facts"
    items: tuple[tuple[str, str], ...]


Plain = Table | Figure | Prose | Tiles | Claims | Commands | Facts


@dataclass(frozen=True)
class Details:
    """Parts folded away under a summary line."""

    kind: ClassVar[str] = "details"
    summary: str
    parts: tuple[Plain, ...]


Part = Plain | Details


@dataclass(frozen=True)
class Block:
    """The parts of one study within a section; `label` is empty when the page shows one study only."""

    label: str
    committed: bool
    parts: tuple[Part, ...]


@dataclass(frozen=True)
class Section:
    """One numbered section with a block per study shown."""

    slug: str
    title: str
    blocks: tuple[Block, ...]
    lede: str = ""
