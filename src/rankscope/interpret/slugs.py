"""Short names of directions: what links, labels and commands go by."""

import re

from rankscope.capture.views import Direction
from rankscope.lm.sites import place_of


def slug_of(one: Direction) -> str:
    """`L3.mlp.up_proj.0`, or the site's path where it has no layer; safe in a link."""
    at = place_of(one.site)
    stem = one.site if at.layer is None else f"L{at.layer}.{at.kind}"
    return re.sub(r"[^A-Za-z0-9._-]", "_", f"{stem}.{'-'.join(map(str, one.indices))}")
