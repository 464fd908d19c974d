"""What a cell is made from, loaded once per process: its base, its items, and its key."""

from dataclasses import dataclass, field

from rankscope.lm.bases import Base, load_base
from rankscope.tasks.catalog import load_items
from rankscope.tasks.encoded import EncodedItems, check_fits
from rankscope.train.cell import Cell, cell_key

_KEPT_ITEM_SETS = 4


@dataclass(frozen=True)
class Materials:
    """A cell with all that training needs."""

    cell: Cell
    key: str
    base: Base
    items: EncodedItems


@dataclass
class MaterialStore:
    """Loads materials; the last base and the last few item sets stay in memory."""

    device: str
    _bases: dict[str, Base] = field(default_factory=dict)
    _items: dict[tuple[object, ...], EncodedItems] = field(default_factory=dict)

    def of(self, cell: Cell) -> Materials:
        """The cell's materials. Raises what loading raises, and BadInput when an item is too long for the base."""
        base = self.base(cell.base)
        items = self._items_of(cell, base)
        return Materials(cell, cell_key(cell, base.content_hash, items.content_hash), base, items)

    def base(self, name: str) -> Base:
        """The base of that name, kept until another is asked for."""
        if name not in self._bases:
            self._bases.clear()
            self._bases[name] = load_base(name, device=self.device)
        return self._bases[name]

    def _items_of(self, cell: Cell, base: Base) -> EncodedItems:
        asked = (base.content_hash, cell.task, cell.budget.n_items, cell.seeds.data)
        if asked not in self._items:
            items = load_items(cell.task, "train", cell.budget.n_items, cell.seeds.data, base.tokenizer)
            check_fits(items, base.n_positions, cell.base)
            while len(self._items) >= _KEPT_ITEM_SETS:
                del self._items[next(iter(self._items))]
            self._items[asked] = items
        return self._items[asked]


def first_items(cell: Cell, base: Base) -> EncodedItems:
    """As many of a cell's items as a step sees, to tell what a step takes."""
    return load_items(cell.task, "train", cell.budget.batch_size, cell.seeds.data, base.tokenizer)
