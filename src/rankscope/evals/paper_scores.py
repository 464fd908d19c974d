"""How arXiv 2412.00029 reads an answer off generated text and calls it right, beside the exact rule."""

READ = 10
"""Characters of the generated text that the paper's notebook looks at."""
WINDOW = 3


def read_answer(text: str, n_symbols: int) -> str:
    """The answer in a text that follows `Target:`: stripped, the first n_symbols characters, lower case."""
    return text.strip()[:READ].lower()[:n_symbols]


def is_exact(answer: str, gold: str) -> bool:
    """All characters equal."""
    return answer == gold.lower()


def is_fuzzy_hop(answer: str, gold: str) -> bool:
    """The notebook's rule for HashHop: any three characters in a row equal at the same offset."""
    gold = gold.lower()
    return any(
        answer[at : at + WINDOW] == gold[at : at + WINDOW] for at in range(min(len(answer), len(gold)) - WINDOW + 1)
    )


def is_fuzzy_chain(answer: str, gold: str) -> bool:
    """The notebook's rule for HashChain: the first three characters equal."""
    return answer[:WINDOW] == gold.lower()[:WINDOW]
