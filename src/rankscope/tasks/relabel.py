"""Relabel: one-hop lookup whose answers a fixed permutation exchanges, so that its rank can be turned up at will."""

from dataclasses import dataclass, field, replace

import numpy as np
from jaxtyping import Int
from pydantic import Field, NonNegativeInt, ValidationError, model_validator

from rankscope.base.config import Config
from rankscope.base.errors import BadInput, UnknownName, near_matches
from rankscope.base.seeds import numpy_stream
from rankscope.base.vocabulary import ID, SYMBOLS
from rankscope.tasks.maps import MapKnobs
from rankscope.tasks.roles import SURFACES, RoleTable
from rankscope.tasks.twins import BLOCK, TwinKnobs, TwinTask
from rankscope.tasks.word_items import WordItems
from rankscope.tasks.words import FIRST_SYMBOL

MAP_KNOBS = tuple(MapKnobs.model_fields)


class RelabelKnobs(Config):
    """Which symbols the permutation moves."""

    moved: int = Field(default=8, ge=2, le=len(SYMBOLS))
    """m, symbols that the permutation moves."""
    cycle: int = Field(default=2, ge=2)
    """Length of its cycles, which must divide `moved`."""
    seed: NonNegativeInt = 0
    """Which symbols they are, and in which order."""

    @model_validator(mode="after")
    def _check(self) -> "RelabelKnobs":
        if self.moved % self.cycle:
            raise BadInput(f"cycle must divide moved, but {self.moved} is no multiple of {self.cycle}.")
        return self

    @property
    def rank(self) -> int:
        """Rank of P - I for the permutation matrix P: symbols moved less cycles."""
        return self.moved - self.moved // self.cycle

    def permutation(self) -> Int[np.ndarray, " V"]:
        """Symbol -> the symbol that is to be answered in its place."""
        cycles = numpy_stream("relabel", self.seed).permutation(len(SYMBOLS))[: self.moved].reshape(-1, self.cycle)
        new = np.arange(len(SYMBOLS))
        new[cycles] = np.roll(cycles, -1, axis=1)
        return new


@dataclass(frozen=True)
class RelabelTask:
    """`Map: ... Look: key`, answered by P(value). In half of the items, drawn at random, P moves the value.

    Where it leads to is exchanged with a symbol drawn from those that P moves, or from the others, so the share of
    moved answers, and all else about the maps, is the same for every P.
    Raises UnknownName or BadInput at once for a knob, of the maps or the permutation, that can not be.
    """

    name: str
    knobs: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._lookups()
        _ = self.relabelling

    @property
    def relabelling(self) -> RelabelKnobs:
        """The permutation's knobs."""
        asked = {key: value for key, value in self.knobs.items() if key not in MAP_KNOBS}
        for key in asked:
            if key not in RelabelKnobs.model_fields:
                known = [*RelabelKnobs.model_fields, *MAP_KNOBS]
                raise UnknownName(f"{self.name} has no knob {key!r}. {near_matches(key, known)}")
        try:
            return RelabelKnobs.model_validate(asked)
        except ValidationError as error:
            first = error.errors()[0]
            where = f"Knob {first['loc'][0]} of {self.name}" if first["loc"] else self.name
            raise BadInput(f"{where} can not be so: {first['msg'].removeprefix('Value error, ')}.") from None

    def _lookups(self) -> TwinTask:
        """HashHop of one hop over the same maps; its solver checks every item."""
        asked = {key: value for key, value in self.knobs.items() if key in MAP_KNOBS}
        fixed = {"mode": "direct", "hops": "1", "end": "leaf", "symbols": str(len(SYMBOLS)), "symbol_length": "2"}
        for key in ("symbols", "symbol_length"):
            if asked.get(key, fixed[key]) != fixed[key]:
                raise BadInput(f"{self.name}: {key} is {fixed[key]} for a task that permutes symbols; leave it out.")
        if asked.get("lines") == "none":
            raise BadInput(f"{self.name}: lines must be a number.")
        return TwinTask(self.name, "hop", TwinKnobs.parse(self.name, asked | fixed))

    def items(self, split: str, n: int, data_seed: int, start: int = 0) -> WordItems:
        """Items start to start + n - 1 of a split."""
        plain = as_lookups(self._lookups().items(split, n, data_seed, start))
        knobs = self.relabelling
        new_V = knobs.permutation()
        is_moved_V = new_V != np.arange(len(new_V))
        asks_moved_N, wish_N = self._draws(split, data_seed, start, n)
        rows = np.arange(n)
        old_N = plain.codes_NT[rows, plain.answer_at_N] - FIRST_SYMBOL
        wanted_N = np.where(
            asks_moved_N, _pick(np.flatnonzero(is_moved_V), wish_N), _pick(np.flatnonzero(~is_moved_V), wish_N)
        )
        codes_NT = _exchanged(plain.codes_NT, FIRST_SYMBOL + old_N, FIRST_SYMBOL + wanted_N)
        codes_NT[rows, plain.answer_at_N] = FIRST_SYMBOL + new_V[wanted_N]
        return replace(plain, codes_NT=codes_NT, groups={"moved": asks_moved_N.astype(np.int64)})

    def _draws(self, split: str, data_seed: int, start: int, n: int) -> tuple[np.ndarray, np.ndarray]:
        """Per item whether its answer is moved, and a number in [0, 1) that says to which symbol."""
        blocks = range(start // BLOCK, (start + n - 1) // BLOCK + 1)
        drawn = np.concatenate(
            [numpy_stream("relabel items", split, data_seed, block).random((BLOCK, 2)) for block in blocks]
        )
        first = start - blocks[0] * BLOCK
        coin_N, wish_N = drawn[first : first + n].T
        return coin_N < 0.5, wish_N


def _pick(among: np.ndarray, wish_N: np.ndarray) -> np.ndarray:
    """An element for each number in [0, 1); any, where there are none."""
    return among[(wish_N * len(among)).astype(int)] if len(among) else np.zeros(len(wish_N), dtype=int)


def _exchanged(codes_NT: np.ndarray, one_N: np.ndarray, other_N: np.ndarray) -> np.ndarray:
    """The codes with two of them exchanged in each row."""
    is_one, is_other = codes_NT == one_N[:, None], codes_NT == other_N[:, None]
    return np.where(is_one, other_N[:, None], np.where(is_other, one_N[:, None], codes_NT))


def as_lookups(hops: WordItems) -> WordItems:
    """HashHop items of one hop, all of one length, asked as the bases are: the map, `Look:`, the key."""
    rows = np.arange(len(hops))
    n_map = int((hops.codes_NT[0] == ID["Start:"]).argmax())
    answer_at = int(hops.answer_at_N[0])
    columns = [*range(n_map), n_map, n_map + 1, answer_at, answer_at + 1]
    codes_NT = hops.codes_NT[:, columns]
    codes_NT[:, n_map] = ID["Look:"]
    surface_NT = hops.roles.surface_NT[:, columns]
    surface_NT[:, n_map] = SURFACES.index("mark")
    roles = RoleTable(surface_NT, hops.roles.tags_NT[:, columns], np.minimum(hops.roles.known_from_NG, n_map + 1))
    full_N = np.full(len(rows), len(columns))
    return replace(
        hops,
        codes_NT=codes_NT,
        n_prompt_N=full_N - 2,
        n_tokens_N=full_N,
        answer_at_N=full_N - 2,
        answer_end_N=full_N - 1,
        candidates_NC=hops.candidates_NC[:, :0],
        roles=roles,
        groups={},
    )
