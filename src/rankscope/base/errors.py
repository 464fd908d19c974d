"""Errors a user can meet. Each message says what was expected, what came, and what to do."""

import difflib
import re
from collections.abc import Iterable


class RankscopeError(Exception):
    """Base of every error that is the user's to mend; the command line prints it and exits with 2."""


class BadInput(RankscopeError, ValueError):
    """A value, name or option that rankscope can not use."""


class UnknownName(RankscopeError, LookupError):
    """A task, base, site glob, study or file that does not exist; the message lists near matches."""


class BadFile(RankscopeError, ValueError):
    """A file that is malformed, truncated, unsafe to load or of another version."""


class NotSupported(RankscopeError, NotImplementedError):
    """A recognised thing that this version refuses, with the reason."""


class RunLocked(RankscopeError, RuntimeError):
    """Another process is working in the same run folder."""


class OutOfSpace(RankscopeError, OSError):
    """The disk is full; what was complete before is untouched."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out; on the CPU torch says so by a RuntimeError's text alone."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and bool(re.search("can't allocate memory|out of memory", str(error)))


def near_matches(name: str, known: Iterable[str], limit: int = 4) -> str:
    """A clause listing the known names closest to `name`, ready to end an error message."""
    known = sorted(known)
    close = difflib.get_close_matches(name, known, n=limit, cutoff=0.4) or known[:limit]
    return f"Near matches: {', '.join(close)}." if close else "There are none."
