"""HashHop (planning) and HashChain (reasoning): twin prompts over the same maps, in the same layout."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Self

import numpy as np
from jaxtyping import Int, UInt32
from pydantic import Field, model_validator

from rankscope.base.errors import BadInput
from rankscope.base.seeds import numpy_stream
from rankscope.base.vocabulary import ID, PAD, STOP
from rankscope.tasks.knobs import parse_knobs
from rankscope.tasks.maps import MapKnobs, Maps, build_maps, draw_edges
from rankscope.tasks.questions import End, Path, draw_hop_wishes, hop_paths, shortest_paths
from rankscope.tasks.roles import SURFACES, TAGS, RoleTable
from rankscope.tasks.solver import check_solutions
from rankscope.tasks.word_items import NO_CODE, WordItems, concatenate
from rankscope.tasks.words import FIRST_SYMBOL, word_table

Mode = Literal["direct", "trace", "matched"]
BLOCK = 4096
NO_NODE = -1
MAX_TAGGED_HOPS = 8


class TwinKnobs(MapKnobs):
    """Knobs of a twin task: the map, and what is asked of it."""

    mode: Mode = "direct"
    """`direct`: answer alone. `trace`: own path(s), then answer. `matched`: every chain from the start for both."""
    asked: Literal["answer", "path"] = "answer"
    """What follows the chains in matched mode: the answer, or the asked path (start to answer) and the answer."""
    hops: int = Field(default=2, ge=1, le=32)
    """Largest number of hops asked in HashHop; uniform from 1."""
    end: End = "both"
    """Where HashHop paths end: half at a leaf and half inside, or only one of them."""
    candidates: Literal["leaves", "nodes"] = "leaves"
    """Forced choice among all leaves (where the answer is one), or among all nodes."""
    labels: Literal["true", "shuffled"] = "true"
    """`shuffled`: nodes of the completion are exchanged, leaf for leaf, so that only the format can be learnt."""

    @model_validator(mode="after")
    def _check_asked(self) -> Self:
        if self.asked == "path" and self.mode != "matched":
            raise BadInput(f"asked=path belongs to mode=matched; in mode={self.mode} leave it out.")
        return self

    @classmethod
    def parse(cls, name: str, values: Mapping[str, str | None]) -> "TwinKnobs":
        """Knobs of the task of that name from text. Raises UnknownName for a knob, BadInput for a value or a mix."""
        return parse_knobs(cls, name, values, ["preset"])


@dataclass(frozen=True)
class TwinTask:
    """One of the two questions. Item i is a function of (knobs, data seed, split, i); twins share their map."""

    name: str
    question: Literal["hop", "chain"]
    knobs: TwinKnobs

    def __post_init__(self) -> None:
        if self.question == "hop" and self.knobs.lengths == "p1":
            raise BadInput(
                "lengths=p1 (and preset=p1) is a distribution of HashChain alone; ask for hashchain:preset=p1."
            )

    def items(self, split: str, n: int, data_seed: int, start: int = 0) -> WordItems:
        """Items start to start + n - 1 of a split; every one is checked by the breadth-first solver."""
        if n < 1 or start < 0:
            raise BadInput(f"At least one item must be asked for, from 0 on, not {n} from {start}.")
        blocks = range(start // BLOCK, (start + n - 1) // BLOCK + 1)
        whole = concatenate([self._block(split, data_seed, block) for block in blocks])
        first = start - blocks[0] * BLOCK
        return whole.take(slice(first, first + n))

    def _block(self, split: str, data_seed: int, block: int) -> WordItems:
        rng = numpy_stream("twins", split, data_seed, block)
        maps, hop_path, at_leaf_N = _draw_block(self.knobs, rng)
        path = hop_path if self.question == "hop" else shortest_paths(maps)
        ids_N = np.arange(BLOCK) + block * BLOCK
        items = write_items(self, split, maps, path, ids_N, rng)
        items.groups.update(_groups(maps, path, at_leaf_N if self.question == "hop" else None))
        if self.knobs.labels == "true":
            check_solutions(items, self.question)
        return items


def _draw_block(knobs: TwinKnobs, rng: np.random.Generator) -> tuple[Maps, Path, np.ndarray]:
    """Maps of one block with their HashHop paths; HashChain uses the same maps."""
    wishes = draw_hop_wishes(knobs, BLOCK, knobs.hops, knobs.end, knobs.mode == "matched", rng)
    asks_hops = knobs.lengths != "p1"
    maps = build_maps(knobs, draw_edges(knobs, BLOCK, rng, wishes if asks_hops else None), rng)
    if not asks_hops:
        return maps, shortest_paths(maps), np.ones(BLOCK, dtype=bool)
    return maps, hop_paths(maps, wishes, rng), wishes.at_leaf_N


def _groups(maps: Maps, path: Path, at_leaf_N: np.ndarray | None) -> dict[str, np.ndarray]:
    """Labels of each item, for reporting apart and for the leak check."""
    line_N = np.take_along_axis(maps.line_of_edge_NL, (path.answer_N - 1)[:, None], 1)[:, 0]
    groups = {
        "hops": path.hops_N,
        "shortest_length": maps.shortest_length_N,
        "n_lines": maps.n_lines_N,
        "n_leaves": (maps.edges_NC > 0).sum(1),
        "n_chains": np.full(len(maps), maps.knobs.chains),
        "answer_line": line_N,
    }
    if at_leaf_N is not None:
        groups["ends_at_leaf"] = at_leaf_N.astype(np.int64)
    return groups


class Canvas:
    """Tokens of N items while they are being written: nodes, marks and surfaces by position."""

    def __init__(self, n: int, width: int) -> None:
        self.node_NT = np.full((n, width), NO_NODE, dtype=np.int64)
        self.mark_NT = np.full((n, width), ID[PAD], dtype=np.int64)
        self.surface_NT = np.zeros((n, width), dtype=np.uint8)
        self._rows = np.arange(n)

    def mark_(
        self, at_N: np.ndarray | int, word: str | np.ndarray, surface: str, where: np.ndarray | None = None
    ) -> None:
        """Writes a fixed word (or codes) at one position per item, optionally only in some items."""
        codes = ID[word] if isinstance(word, str) else word
        self._put_(self.mark_NT, at_N, codes, surface, where)

    def node_(
        self, at_N: np.ndarray | int, node_N: np.ndarray | int, surface: str, where: np.ndarray | None = None
    ) -> None:
        """Writes a node's symbol at one position per item, optionally only in some items."""
        self._put_(self.node_NT, at_N, node_N, surface, where)

    def _put_(
        self,
        target: np.ndarray,
        at_N: np.ndarray | int,
        value: np.ndarray | int,
        surface: str,
        where: np.ndarray | None,
    ) -> None:
        rows = self._rows if where is None else self._rows[where]
        at = np.broadcast_to(at_N, self._rows.shape)[rows]
        target[rows, at] = np.broadcast_to(value, self._rows.shape)[rows]
        self.surface_NT[rows, at] = SURFACES.index(surface)


def write_items(
    task: TwinTask, split: str, maps: Maps, path: Path, ids_N: np.ndarray, rng: np.random.Generator
) -> WordItems:
    """Prompt, trace, answer and stop of every item, with roles and candidates."""
    knobs = task.knobs
    canvas = Canvas(len(maps), _width(knobs))
    n_prompt_N = write_prompt_(canvas, maps, path, task.question)
    answer_at_N = write_trace_(canvas, maps, path, task, n_prompt_N)
    canvas.node_(answer_at_N, path.answer_N, "answer")
    canvas.mark_(answer_at_N + 1, STOP, "stop")
    completion_nodes_NV = maps.symbol_NV if knobs.labels == "true" else shuffle_symbols(maps, rng)
    in_completion = np.arange(canvas.node_NT.shape[1]) >= n_prompt_N[:, None]
    node = np.maximum(canvas.node_NT, 0)
    symbol_NT = np.where(
        in_completion,
        np.take_along_axis(completion_nodes_NV, node, 1),
        np.take_along_axis(maps.symbol_NV, node, 1),
    )
    candidates = candidate_nodes(maps, path, knobs)
    candidate_symbols = np.take_along_axis(completion_nodes_NV, np.maximum(candidates, 0), 1)
    return WordItems(
        task=task.name,
        split=split,
        words=word_table(knobs.symbols, knobs.symbol_length),
        codes_NT=np.where(canvas.node_NT >= 0, FIRST_SYMBOL + symbol_NT, canvas.mark_NT),
        n_prompt_N=n_prompt_N,
        n_tokens_N=answer_at_N + 2,
        answer_at_N=answer_at_N,
        answer_end_N=answer_at_N + 1,
        candidates_NC=np.where(candidates >= 0, FIRST_SYMBOL + candidate_symbols, NO_CODE),
        roles=token_roles(canvas, maps, path, n_prompt_N),
        item_ids_N=ids_N,
    )


def _width(knobs: TwinKnobs) -> int:
    """Most tokens of an item: prompt, then chains, asked path, `answer`, answer and stop."""
    prompt = 2 * knobs.most_lines + 6
    every_chain = knobs.most_chain_lines + 2 * knobs.chains
    asked_path = max(knobs.hops, knobs.max_length) + 2
    return prompt + 3 + every_chain + asked_path


def write_prompt_(canvas: Canvas, maps: Maps, path: Path, question: str) -> Int[np.ndarray, " N"]:
    """Writes map, start and question; both questions take the same number of tokens. Returns the prompt's length."""
    canvas.mark_(0, "Map:", "mark")
    for line in range(maps.line_NL.shape[1]):
        edge_N = maps.line_NL[:, line]
        there = line < maps.n_lines_N
        source_N = np.take_along_axis(maps.source_NL, edge_N[:, None], 1)[:, 0]
        canvas.node_(1 + 2 * line, source_N, "key", there)
        canvas.node_(2 + 2 * line, edge_N + 1, "value", there)
    at_N = 1 + 2 * maps.n_lines_N
    canvas.mark_(at_N, "Start:", "mark")
    canvas.node_(at_N + 1, path.query_N, "query")
    if question == "hop":
        canvas.mark_(at_N + 2, "Hops:", "mark")
        canvas.mark_(at_N + 3, ID["0"] + path.hops_N, "number")
    else:
        canvas.mark_(at_N + 2, "Task:", "mark")
        canvas.mark_(at_N + 3, "shortest path", "number")
    canvas.mark_(at_N + 4, "Target:", "mark")
    return at_N + 5


def write_trace_(canvas: Canvas, maps: Maps, path: Path, task: TwinTask, at_N: np.ndarray) -> Int[np.ndarray, " N"]:
    """Writes the trace, if the mode has one, and the `answer` mark. Returns the position of the answer."""
    if task.knobs.mode == "direct":
        return at_N
    own_path = task.question == "hop" and task.knobs.mode == "trace"
    end_N = _write_path_(canvas, path, at_N) if own_path else _write_chains_(canvas, maps, at_N)
    if task.knobs.mode == "matched" and task.knobs.asked == "path":
        end_N = _write_path_(canvas, path, end_N)
    canvas.mark_(end_N, "answer", "mark")
    return end_N + 1


def _write_path_(canvas: Canvas, path: Path, at_N: np.ndarray) -> np.ndarray:
    canvas.node_(at_N, path.query_N, "step")
    for hop in range(1, int(path.hops_N.max()) + 1):
        canvas.node_(at_N + hop, path.first_edge_N + hop, "step", hop <= path.hops_N)
    canvas.mark_(at_N + path.hops_N + 1, "|", "separator")
    return at_N + path.hops_N + 2


def _write_chains_(canvas: Canvas, maps: Maps, at_N: np.ndarray) -> np.ndarray:
    """Every chain from the start, in the order in which its first line stands in the map."""
    m = maps.knobs.chains
    main_NM = maps.edges_NC[:, :m]
    first_edge_NM = np.cumsum(main_NM, axis=1) - main_NM
    order_NM = np.take_along_axis(maps.line_of_edge_NL, first_edge_NM, 1).argsort(1)
    for turn in range(m):
        chain_N = order_NM[:, turn, None]
        first_N = np.take_along_axis(first_edge_NM, chain_N, 1)[:, 0]
        n_edges_N = np.take_along_axis(main_NM, chain_N, 1)[:, 0]
        canvas.node_(at_N, 0, "step")
        for step in range(1, int(n_edges_N.max()) + 1):
            canvas.node_(at_N + step, first_N + step, "step", step <= n_edges_N)
        canvas.mark_(at_N + n_edges_N + 1, "|", "separator")
        at_N = at_N + n_edges_N + 2
    return at_N


def leaf_nodes(maps: Maps) -> Int[np.ndarray, "N C"]:
    """The leaf of every chain, distractors included."""
    return maps.leaf_edge_NC + 1


def is_leaf_NV(maps: Maps) -> np.ndarray:
    """Whether each node is a leaf."""
    leaf = np.zeros(maps.symbol_NV.shape, dtype=bool)
    np.put_along_axis(leaf, leaf_nodes(maps), True, 1)
    return leaf


def candidate_nodes(maps: Maps, path: Path, knobs: TwinKnobs) -> Int[np.ndarray, "N C"]:
    """Candidate answers, the true one first: all leaves where the answer is one, else all nodes of the map."""
    n_nodes = maps.symbol_NV.shape[1]
    at = np.arange(n_nodes)
    n_edges = maps.n_lines_N[:, None]
    head = at - 1 - maps.knobs.most_lines
    present = (at == 0) | ((at >= 1) & (at <= n_edges)) | ((head >= 0) & (head < maps.knobs.distractors))
    leaf = is_leaf_NV(maps)
    answer_is_leaf = np.take_along_axis(leaf, path.answer_N[:, None], 1)
    wanted = np.where(answer_is_leaf & (knobs.candidates == "leaves"), leaf, present)
    is_answer = at[None, :] == path.answer_N[:, None]
    order = np.where(is_answer, 0, np.where(wanted, 1, 2)).argsort(1, kind="stable")
    listed = np.where(np.take_along_axis(wanted | is_answer, order, 1), order, NO_NODE)
    width = int((listed >= 0).sum(1).max())
    return np.asarray(listed[:, :width])


def shuffle_symbols(maps: Maps, rng: np.random.Generator) -> Int[np.ndarray, "N V"]:
    """Symbols exchanged at random within each item, leaves among leaves and other nodes among themselves."""
    leaf = is_leaf_NV(maps)
    used = np.zeros_like(leaf)
    np.put_along_axis(used, np.where(maps.present_NL, maps.source_NL, 0), True, 1)
    kind = np.where(leaf, 0, np.where(used, 1, 2))
    original = kind.argsort(1, kind="stable")
    shuffled = (kind + rng.random(kind.shape)).argsort(1)
    symbols = maps.symbol_NV.copy()
    np.put_along_axis(symbols, original, np.take_along_axis(maps.symbol_NV, shuffled, 1), 1)
    return symbols


def token_roles(canvas: Canvas, maps: Maps, path: Path, n_prompt_N: np.ndarray) -> RoleTable:
    """Roles of every token from the roles of the node it names, and when each becomes known."""
    bits_NT = np.take_along_axis(node_tags(maps, path), np.maximum(canvas.node_NT, 0), 1)
    return RoleTable(
        surface_NT=canvas.surface_NT,
        tags_NT=np.where(canvas.node_NT >= 0, bits_NT, 0).astype(np.uint32),
        known_from_NG=map_known_from(maps, n_prompt_N),
    )


def node_tags(maps: Maps, path: Path) -> UInt32[np.ndarray, "N V"]:
    """Bits of TAGS of every node."""
    n_nodes = maps.symbol_NV.shape[1]
    hop_NV = path.hop_of_NV(n_nodes)
    at = np.arange(n_nodes)
    chain_NV = np.concatenate([np.full((len(maps), 1), 0), maps.chain_NL], axis=1)
    distractor_NV = np.ones((len(maps), n_nodes), dtype=bool)
    distractor_NV[:, : chain_NV.shape[1]] = chain_NV >= maps.knobs.chains
    flags = {
        "on_path": (hop_NV > 0) | (at == path.query_N[:, None]),
        "distractor": distractor_NV,
        "branch": np.broadcast_to(at == 0, hop_NV.shape),
        "leaf": is_leaf_NV(maps),
    } | {f"hop_{k}": hop_NV == k for k in range(1, MAX_TAGGED_HOPS + 1)}
    bits_NV = sum((flags[tag].astype(np.uint32) << np.uint32(g) for g, tag in enumerate(TAGS)), np.uint32(0))
    return np.asarray(bits_NV)


def map_known_from(maps: Maps, n_prompt_N: np.ndarray) -> Int[np.ndarray, "N G"]:
    """Path tags are known at the question, map tags at the end of the map, the branch at its second line."""
    known = np.repeat((n_prompt_N - 2)[:, None], len(TAGS), axis=1)
    map_end_N = n_prompt_N - 5
    known[:, TAGS.index("distractor")] = known[:, TAGS.index("leaf")] = map_end_N
    leaves_start = np.take_along_axis(maps.source_NL, maps.line_NL, 1) == 0
    leaves_start &= np.arange(leaves_start.shape[1]) < maps.n_lines_N[:, None]
    second_line_N = (leaves_start.cumsum(1) >= 2).argmax(1)
    known[:, TAGS.index("branch")] = 1 + 2 * second_line_N
    return known
