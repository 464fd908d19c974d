"""What the engine leaves undone because it changes no result; each can be switched off to see what it saves."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Switches:
    """All on by default. None of them changes a loss, a gradient or a score beyond rounding."""

    head_rows: bool = True
    """Logits at loss positions only."""
    trim: bool = True
    """Queries, attention output and MLP of the last layer at loss positions only."""
    prefix: bool = True
    """What lies below the lowest adapted layer is read from a cache when items return."""
    own_backward: bool = True
    """Adapted maps by the hand-written forward and backward, not as three maps for autograd."""
    stop: bool = True
    """Backward ends at the lowest adapted site, since nothing below it asks for a gradient."""
    by_length: bool = True
    """Items of like length go through together, in a pass of their own where that saves padding."""


ALL_ON = Switches()
