"""Reasoning over maps: hops, chains, and path-stars, as drafts."""

import numpy as np
from jaxtyping import Int, UInt32

from rankscope.base.vocabulary import ID, SIZE, SYMBOLS
from rankscope.tasks.maps import Maps, build_maps, draw_edges
from rankscope.tasks.questions import Path, draw_hop_wishes, hop_paths, shortest_paths
from rankscope.tasks.reasoning_draft import BIT, REASONING_TAGS, SURFACE, Draft
from rankscope.tasks.roles import TAGS
from rankscope.tasks.twins import (
    Canvas,
    TwinKnobs,
    candidate_nodes,
    map_known_from,
    node_tags,
    write_prompt_,
)
from rankscope.tasks.word_items import NO_CODE
from rankscope.tasks.words import FIRST_SYMBOL

NO_NODE = -1


def draw_hop(knobs: TwinKnobs, n: int, rng: np.random.Generator) -> Draft:
    """HashHop: the nodes along the path, one hop a step; the first step names the start too."""
    wishes = draw_hop_wishes(knobs, n, knobs.hops, knobs.end, False, rng)
    maps = build_maps(knobs, draw_edges(knobs, n, rng, wishes), rng)
    path = hop_paths(maps, wishes, rng)
    hop_J = np.arange(knobs.hops)
    node_NJW = np.full((n, knobs.hops, 2), NO_NODE)
    node_NJW[:, 0, 0] = path.query_N
    node_NJW[:, :, 1] = np.where(hop_J < path.hops_N[:, None], path.first_edge_N[:, None] + hop_J + 1, NO_NODE)
    return _map_draft(maps, path, "hop", node_NJW, rng)


def draw_chain(knobs: TwinKnobs, n: int, rng: np.random.Generator) -> Draft:
    """HashChain: every chain from the start in the order of the map, one edge a step.

    The start begins each chain; before all but the first stands `|`.
    """
    maps = build_maps(knobs, draw_edges(knobs, n, rng), rng)
    main_NM = maps.edges_NC[:, : knobs.chains]
    first_edge_NM = main_NM.cumsum(1) - main_NM
    order_NM = np.take_along_axis(maps.line_of_edge_NL, first_edge_NM, 1).argsort(1)
    first_edge_NM, main_NM = (np.take_along_axis(a, order_NM, 1) for a in (first_edge_NM, main_NM))
    at_X = np.arange(knobs.max_length - 1)
    node_NMXW = np.full((n, knobs.chains, len(at_X), 3), NO_NODE)
    node_NMXW[..., 2] = np.where(at_X < main_NM[:, :, None], first_edge_NM[:, :, None] + at_X + 1, NO_NODE)
    node_NMXW[:, :, 0, 1] = 0
    flat = node_NMXW.reshape(n, -1, 3)
    order = (flat[:, :, 2] == NO_NODE).argsort(1, kind="stable")[:, : knobs.most_chain_lines, None]
    begins = np.zeros(flat.shape[:2], dtype=bool)
    begins.reshape(n, knobs.chains, -1)[:, 1:, 0] = True
    begins_NJ = np.take_along_axis(begins[..., None], order, 1)[..., 0]
    draft = _map_draft(maps, shortest_paths(maps), "chain", np.take_along_axis(flat, order, 1), rng)
    draft.step_NJW[:, :, 0] = np.where(begins_NJ, ID["|"], NO_CODE)
    draft.step_surface_NJW[:, :, 0] = SURFACE["separator"]
    return draft


def _map_draft(maps: Maps, path: Path, question: str, node_NJW: np.ndarray, rng: np.random.Generator) -> Draft:
    """A draft from the nodes of its steps; a wrong step names any other node that a line leads to."""
    knobs = maps.knobs
    assert isinstance(knobs, TwinKnobs)
    n = len(maps)
    canvas = Canvas(n, 2 * knobs.most_lines + 6)
    n_prompt_N = write_prompt_(canvas, maps, path, question)
    n_prompt = int(n_prompt_N[0])
    codes_NT = _codes(maps.symbol_NV, canvas.node_NT)
    other_NJ = rng.integers(0, knobs.most_lines - 1, size=node_NJW.shape[:2])
    other_NJ += other_NJ >= node_NJW[:, :, -1] - 1
    known_NG = np.zeros((n, len(REASONING_TAGS)), dtype=np.int64)
    known_NG[:, : len(TAGS)] = map_known_from(maps, n_prompt_N)
    candidates_NC = candidate_nodes(maps, path, knobs)
    return Draft(
        prompt_NP=np.where(canvas.node_NT >= 0, codes_NT, canvas.mark_NT)[:, :n_prompt],
        prompt_surface_NP=canvas.surface_NT[:, :n_prompt],
        step_NJW=_codes(maps.symbol_NV, node_NJW),
        step_surface_NJW=np.full(node_NJW.shape, SURFACE["step"]),
        wrong_NJ=_codes(maps.symbol_NV, other_NJ + 1),
        answer_NA=_codes(maps.symbol_NV, path.answer_N[:, None]),
        named_NV=_by_code(maps.symbol_NV, node_tags(maps, path)),
        known_from_NG=known_NG,
        candidates_NC=_codes(maps.symbol_NV, candidates_NC),
    )


def _codes(symbol_NV: np.ndarray, node: np.ndarray) -> np.ndarray:
    """Codes of nodes; NO_CODE for NO_NODE."""
    flat = node.reshape(len(node), -1)
    codes = FIRST_SYMBOL + np.take_along_axis(symbol_NV, np.maximum(flat, 0), 1)
    return np.where(flat == NO_NODE, NO_CODE, codes).reshape(node.shape)


def _by_code(symbol_NV: np.ndarray, tags_NV: np.ndarray) -> UInt32[np.ndarray, "N W"]:
    """Tags of nodes as tags of the words that name them."""
    named = np.zeros((len(symbol_NV), SIZE), dtype=np.uint32)
    np.put_along_axis(named, FIRST_SYMBOL + symbol_NV, tags_NV, 1)
    return named


def draw_star(arms: int, arm_length: int, n: int, rng: np.random.Generator) -> Draft:
    """A path-star: arms of equal length from one centre. Asked is the path from it to a named leaf.

    The steps walk arm after arm in the order of the map, one edge a step, until one ends at the leaf; the centre begins
    each, before all but the first stands `back`. The answer is the path. Node 0 is the centre, arm 0 leads to the leaf,
    edge e leads to node e + 1. A wrong step names any other node but the centre.
    """
    n_edges = arms * arm_length
    symbol_NV = rng.random((n, len(SYMBOLS))).argsort(1)[:, : n_edges + 1]
    line_NL = rng.random((n, n_edges)).argsort(1)
    source_L = np.where(np.arange(n_edges) % arm_length == 0, 0, np.arange(n_edges))
    map_NT = np.stack([source_L[line_NL], line_NL + 1], axis=2).reshape(n, -1)
    first_lines_NM = line_NL.argsort(1)[:, ::arm_length]
    order_NM = first_lines_NM.argsort(1)
    node_NMX = 1 + order_NM[:, :, None] * arm_length + np.arange(arm_length)
    is_walked_NM = np.arange(arms) <= (order_NM == 0).argmax(1)[:, None]
    node_NMXW = np.full((n, arms, arm_length, 3), NO_NODE)
    node_NMXW[..., 2] = np.where(is_walked_NM[:, :, None], node_NMX, NO_NODE)
    node_NMXW[:, :, 0, 1] = 0
    node_NJW = node_NMXW.reshape(n, -1, 3)
    step_NJW = _codes(symbol_NV, node_NJW)
    step_NJW[:, arm_length::arm_length, 0] = ID["back"]
    step_NJW[node_NJW[:, :, 2] == NO_NODE] = NO_CODE
    surface_NJW = np.full(node_NJW.shape, SURFACE["step"])
    surface_NJW[:, :, 0] = SURFACE["separator"]
    other_NJ = rng.integers(1, n_edges, size=node_NJW.shape[:2])
    other_NJ += other_NJ >= node_NJW[:, :, 2]
    query_N2, mark_N1 = np.broadcast_to([0, arm_length], (n, 2)), np.ones((n, 1), dtype=np.int64)
    parts = [
        mark_N1 * ID["Map:"],
        _codes(symbol_NV, map_NT),
        mark_N1 * ID["Start:"],
        _codes(symbol_NV, query_N2[:, :1]),
        mark_N1 * ID["Target:"],
        _codes(symbol_NV, query_N2[:, 1:]),
    ]
    surfaces = ["mark", *["key", "value"] * n_edges, "mark", "query", "mark", "target"]
    return Draft(
        prompt_NP=np.concatenate(parts, axis=1),
        prompt_surface_NP=np.tile(np.array([SURFACE[name] for name in surfaces]), (n, 1)),
        step_NJW=step_NJW,
        step_surface_NJW=surface_NJW,
        wrong_NJ=_codes(symbol_NV, other_NJ),
        answer_NA=_codes(symbol_NV, np.tile(np.arange(arm_length + 1), (n, 1))),
        named_NV=_by_code(symbol_NV, np.tile(_star_tags(arms, arm_length), (n, 1))),
        known_from_NG=_star_known(line_NL, arm_length),
    )


def _star_tags(arms: int, arm_length: int) -> UInt32[np.ndarray, " V"]:
    """Bits of every node of a path-star."""
    tags = np.zeros(arms * arm_length + 1, dtype=np.uint32)
    tags[: arm_length + 1] |= BIT["on_path"]
    tags[0] |= BIT["branch"]
    tags[arm_length::arm_length] |= BIT["leaf"]
    for hop in range(1, arm_length + 1):
        tags[hop] |= BIT[f"hop_{hop}"]
    return tags


def _star_known(line_NL: np.ndarray, arm_length: int) -> Int[np.ndarray, "N G"]:
    """Path tags are known at the named leaf, leaves at the end of the map, the centre at its second line."""
    n, n_edges = line_NL.shape
    known = np.zeros((n, len(REASONING_TAGS)), dtype=np.int64)
    known[:, : len(TAGS)] = 2 * n_edges + 4
    known[:, TAGS.index("leaf")] = known[:, TAGS.index("distractor")] = 2 * n_edges + 1
    second_N = ((line_NL % arm_length == 0).cumsum(1) >= 2).argmax(1)
    known[:, TAGS.index("branch")] = 1 + 2 * second_N
    return known
