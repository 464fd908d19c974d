"""An independent solver of reasoning items: from the words of a prompt it writes steps and answer by plain rules."""

import re
from collections.abc import Iterator

from rankscope.base.vocabulary import STOP
from rankscope.tasks.word_items import WordItems

Steps = list[list[str]]


def solve(prompt: list[str]) -> tuple[Steps, list[str]]:
    """Steps and answer of a prompt, in words."""
    if prompt[0] == "Map:":
        return _solve_map(prompt)
    if "+" in prompt:
        plus = prompt.index("+")
        return _solve_sum(prompt[:plus], prompt[plus + 1 : -1])
    asked = prompt[1:-1]
    if prompt[0] == "sort":
        in_order = sorted(asked, key=int)
        return [[number] for number in in_order], in_order
    return [["so"] for _ in asked], asked


def _solve_map(prompt: list[str]) -> tuple[Steps, list[str]]:
    start_at = prompt.index("Start:")
    lines = list(zip(prompt[1:start_at:2], prompt[2:start_at:2], strict=True))
    start = prompt[start_at + 1]
    if "Hops:" in prompt:
        path = [start]
        for _ in range(int(prompt[prompt.index("Hops:") + 1])):
            (onward,) = (value for key, value in lines if key == path[-1])
            path.append(onward)
        return [path[:2], *([node] for node in path[2:])], path[-1:]
    if "Task:" in prompt:
        return _solve_chains(lines, start)
    return _solve_star(lines, start, prompt[-1])


def _chains(lines: list[tuple[str, str]], start: str) -> list[list[str]]:
    """Every chain from the start to its leaf, in the order of the map; the start is left out."""
    onward = {key: value for key, value in lines if key != start}
    chains = [[value] for key, value in lines if key == start]
    for chain in chains:
        while chain[-1] in onward:
            chain.append(onward[chain[-1]])
    return chains


def _steps_along(chains: list[list[str]], start: str, separator: str) -> Steps:
    """One step per edge; the separator and the start begin a chain, but the first has no separator."""
    return [
        [*([separator] if turn else []), start, node] if at == 0 else [node]
        for turn, chain in enumerate(chains)
        for at, node in enumerate(chain)
    ]


def _solve_chains(lines: list[tuple[str, str]], start: str) -> tuple[Steps, list[str]]:
    chains = _chains(lines, start)
    shortest, second = sorted(chains, key=len)[:2]
    assert len(shortest) < len(second), "two chains are shortest"
    return _steps_along(chains, start, "|"), shortest[-1:]


def _solve_star(lines: list[tuple[str, str]], start: str, target: str) -> tuple[Steps, list[str]]:
    chains = _chains(lines, start)
    (turn,) = (at for at, chain in enumerate(chains) if chain[-1] == target)
    return _steps_along(chains[: turn + 1], start, "back"), [start, *chains[turn]]


def _solve_sum(one: list[str], other: list[str]) -> tuple[Steps, list[str]]:
    steps: Steps = []
    carry = 0
    for a, b in zip(reversed(one), reversed(other), strict=True):
        total = int(a) + int(b) + carry
        steps.append([a, "+", b, *(["carry"] if carry else []), "=", str(total)])
        carry = total // 10
    return steps, list(str(int("".join(one)) + int("".join(other))))


def check_reasoning(items: WordItems, checks_trace: bool) -> None:
    """Raises AssertionError unless every item's answer, and its trace with `checks_trace`, are the solver's.

    A trace may hold one wrong step, broken off with `wait` at its last word, and the same step again.
    """
    for row in range(len(items)):
        words = [items.words[code] for code in items.codes_NT[row, : items.n_tokens_N[row]]]
        n_prompt, answer_at = int(items.n_prompt_N[row]), int(items.answer_at_N[row])
        steps, answer = solve(words[:n_prompt])
        where = f"{items.task}: item {items.item_ids_N[row]}: {' '.join(words)}"
        assert words[answer_at:] == [*answer, STOP], where
        assert (words[n_prompt], words[answer_at - 1]) == ("<think>", "</think>"), where
        trace = words[n_prompt + 1 : answer_at - 1]
        assert ("wait" in trace) == bool(items.groups["corrected"][row]), where
        if checks_trace:
            assert any(_fits(trace, allowed) for allowed in _allowed(steps, "wait" in trace)), where


def _allowed(steps: Steps, has_wait: bool) -> Iterator[list[str]]:
    """Every trace with these steps, at most one of them wrong; `!RIGHT` stands for any word but the right one."""
    if not has_wait:
        yield [word for step in steps for word in step]
        return
    for at, step in enumerate(steps):
        broken_off = [*step[:-1], f"!{step[-1]}", "wait"]
        yield [word for part in (*steps[:at], broken_off, *steps[at:]) for word in part]


def _fits(trace: list[str], allowed: list[str]) -> bool:
    return len(trace) == len(allowed) and all(
        word != wanted[1:] if re.match("!.", wanted) else word == wanted
        for word, wanted in zip(trace, allowed, strict=True)
    )
