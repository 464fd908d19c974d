"""Maps read off an item's text and solved in plain Python, apart from rankscope's own solver."""

from dataclasses import dataclass


@dataclass(frozen=True)
class PlainMap:
    """What a prompt says."""

    edges: list[tuple[str, str]]
    """(key, value) per line, from the top."""
    start: str
    hops: int | None
    """None when the shortest path is asked for."""

    @property
    def keys(self) -> list[str]:
        return [key for key, _ in self.edges]

    @property
    def values(self) -> list[str]:
        return [value for _, value in self.edges]

    @property
    def nodes(self) -> set[str]:
        return {node for edge in self.edges for node in edge}

    @property
    def roots(self) -> set[str]:
        return self.nodes - set(self.values)

    @property
    def leaves(self) -> set[str]:
        return self.nodes - set(self.keys)

    @property
    def branching(self) -> list[str]:
        return sorted(node for node in self.nodes if self.keys.count(node) > 1)

    def onward(self, node: str) -> list[str]:
        return [value for key, value in self.edges if key == node]

    def chain(self, first: str, second: str) -> list[str]:
        """first, second, and on to the leaf; every node after the first has at most one way on."""
        path = [first, second]
        while onward := self.onward(path[-1]):
            (following,) = onward
            path.append(following)
        return path

    def chains(self, start: str) -> list[list[str]]:
        """Every chain from a node, in the order of its first line."""
        return [self.chain(start, value) for value in self.onward(start)]


def read_prompt(prompt: str) -> PlainMap:
    """The map and the question of a prompt; fails unless its layout is exactly the documented one."""
    first, *lines = prompt.split("\n")
    *lines, start, question, target = lines
    assert (first, target) == ("Map:", "Target:")
    assert start.startswith("Start: ")
    assert question == "Task: shortest path" or question.startswith("Hops: ")
    edges = [tuple(line.split("=>")) for line in lines]
    hops = int(question.removeprefix("Hops: ")) if question.startswith("Hops: ") else None
    return PlainMap([(key, value) for key, value in edges], start.removeprefix("Start: "), hops)


def solve(asked: PlainMap) -> tuple[str, list[str]]:
    """Answer and path: breadth first to the one nearest leaf, or the stated number of steps."""
    if asked.hops is not None:
        path = [asked.start]
        for _ in range(asked.hops):
            (following,) = asked.onward(path[-1])
            path.append(following)
        return path[-1], path
    frontier = [[asked.start]]
    while frontier:
        at_leaf = [path for path in frontier if path[-1] in asked.leaves]
        if at_leaf:
            (shortest,) = at_leaf
            return shortest[-1], shortest
        frontier = [[*path, value] for path in frontier for value in asked.onward(path[-1])]
    raise AssertionError("no leaf")


def trace_of(asked: PlainMap, mode: str, with_path: bool = False) -> str | None:
    """The trace that the design prescribes; matched traces may have the asked path after the chains."""
    if mode == "direct":
        return None
    if mode == "trace" and asked.hops is not None:
        steps = [solve(asked)[1]]
    else:
        (start,) = asked.branching
        steps = asked.chains(start)
        if mode == "matched" and with_path:
            steps.append(solve(asked)[1])
    return " ".join([*(f"{' '.join(path)} |" for path in steps), "answer"])
