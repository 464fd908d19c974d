"""Roles and sections of tokens as columns of a mask: what results are broken down by."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int

from rankscope.interpret.role_labels import SURFACE, TAG
from rankscope.tasks.encoded import SECTIONS, EncodedItems
from rankscope.tasks.roles import RoleTable

SECTION = "section"


@dataclass(frozen=True)
class RoleMasks:
    """G sections, surfaces and tags over the tokens of N items."""

    names: tuple[str, ...]
    """`section:trace`, `surface:step`, `tag:on_path`, ..."""
    mask_NTG: Bool[np.ndarray, "N T G"]
    """A tag counts only where the text so far determines it."""

    @classmethod
    def of(cls, items: EncodedItems, roles: RoleTable | None = None) -> "RoleMasks":
        """Sections always; surfaces and tags where roles are known. What no token has is left out."""
        columns = {f"{SECTION}:{name}": items.sections_NT == place for place, name in enumerate(SECTIONS[:-1])}
        if roles is not None:
            columns |= {f"{SURFACE}:{name}": roles.surface_NT == place for place, name in enumerate(roles.surfaces)}
            columns |= {f"{TAG}:{name}": roles.has(name) & roles.scored(name) for name in roles.tags}
        read_NT = items.sections_NT != SECTIONS.index("padding")
        found = {name: mask & read_NT for name, mask in columns.items() if (mask & read_NT).any()}
        return cls(tuple(found), np.stack(list(found.values()), axis=-1))

    def at(self, item_P: Int[np.ndarray, " P"], position_P: Int[np.ndarray, " P"]) -> Bool[np.ndarray, "P G"]:
        """The masks of some tokens."""
        return self.mask_NTG[item_P, position_P]
