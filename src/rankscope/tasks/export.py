"""Items as JSONL with a dataset card."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rankscope.base.atomic import atomic_path, write_text
from rankscope.tasks.catalog import Task
from rankscope.tasks.text import with_spans
from rankscope.tasks.word_items import WordItems

KEYS = ("id", "task", "prompt", "answer", "trace", "candidates", "roles", "meta")


def item_rows(items: WordItems) -> Iterator[dict[str, Any]]:
    """One dictionary with KEYS per item; roles are character spans of prompt, trace and answer joined by spaces."""
    for row in range(len(items)):
        item = with_spans(items, row)
        yield {
            "id": f"{items.split}-{items.item_ids_N[row]}",
            "task": items.task,
            "prompt": item.prompt,
            "answer": item.answer,
            "trace": item.trace,
            "candidates": list(item.candidates),
            "roles": [
                {
                    "start": span.start,
                    "end": span.end,
                    "surface": span.surface,
                    "tags": list(span.tags),
                    "known_from": list(span.known_from),
                }
                for span in item.spans
            ],
            "meta": {name: int(labels[row]) for name, labels in items.groups.items()},
        }


def export_items(task: Task, n: int, data_seed: int, out: Path, split: str = "train") -> Path:
    """Writes n items to `out` and a dataset card beside it; returns the card's path. Both writes are atomic."""
    items = task.items(split, n, data_seed)
    with atomic_path(out) as temporary, open(temporary, "w", encoding="utf-8") as handle:
        handle.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in item_rows(items))
    card = card_path(out)
    write_text(card, _card(task.name, n, data_seed, split, out.name))
    return card


def card_path(out: Path) -> Path:
    """`README.md` beside the file, or `NAME.README.md` where somebody else's README.md stands."""
    card = out.parent / "README.md"
    if card.exists() and "tags: [rankscope]" not in card.read_text(encoding="utf-8", errors="replace"):
        return out.with_suffix(".README.md")
    return card


def _card(task: str, n: int, data_seed: int, split: str, name: str) -> str:
    return f"""---
license: apache-2.0
tags: [rankscope]
configs:
- config_name: default
  data_files: {name}
---
# {task}

{n:,} items, made by `rankscope task export {task} --n {n} --seed {data_seed} --split {split} --out {name}`.
Synthetic; every answer was checked by a solver that reads the prompt alone. Load with
`datasets.load_dataset("json", data_files="{name}")`.

| key | meaning |
|---|---|
| `id` | split and index in the item stream |
| `task` | task name with its knobs |
| `prompt`, `trace`, `answer` | text; the full text joins them with single spaces; `trace` is null in direct mode |
| `candidates` | possible answers, the true one first |
| `roles` | spans of the full text: surface role, tags, and for each tag the character from which it is known |
| `meta` | whole numbers that describe the item (hops, shortest length in nodes, lines, ...) |
"""
