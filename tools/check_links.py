"""Checks that every relative link, and every path named in backticks, in the project's pages exists.

Pages: README.md, GLOSSARY.md, CHANGELOG.md, docs/**/*.md and src/rankscope/*/README.md. A link is relative to its
page; a path in backticks, such as `src/rankscope/cli`, may also be relative to the repository's root or to
src/rankscope. Globs must match something. Prints each broken one as page:line and exits with 1.
"""

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

LINK = re.compile(r"!?\[[^\]]*\]\(\s*<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\s*\)")
CODE = re.compile(r"`([^`\n]+)`")
PATH = re.compile(r"[\w.*-]+(?:/[\w.*-]+)*/?")
ROOTS = frozenset({"src", "tests", "docs", "tools", "benchmarks", "examples", ".ci"})


def pages(root: Path) -> list[Path]:
    """The pages that are checked, those that exist."""
    fixed = [root / name for name in ("README.md", "GLOSSARY.md", "CHANGELOG.md")]
    found = [*fixed, *(root / "docs").rglob("*.md"), *(root / "src" / "rankscope").glob("*/README.md")]
    return sorted(page for page in found if page.is_file())


def prose_lines(text: str) -> Iterator[tuple[int, str]]:
    """Numbered lines outside fenced code blocks."""
    fenced = False
    for number, line in enumerate(text.splitlines(), start=1):
        if line.lstrip().startswith("```"):
            fenced = not fenced
        elif not fenced:
            yield number, line


def anchors(page: Path) -> set[str]:
    """The anchors that a page's headings make, by GitHub's rule."""
    headings = (line.lstrip("#") for _, line in prose_lines(page.read_text(encoding="utf-8")) if line.startswith("#"))
    return {re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-") for heading in headings}


def link_is_broken(page: Path, target: str) -> bool:
    """True when a relative link leads nowhere; links with a scheme are not followed."""
    if re.match(r"[a-z][a-z+.-]*:", target):
        return False
    path, _, anchor = unquote(target).partition("#")
    aim = page.parent / path if path else page
    return not aim.exists() or bool(anchor and aim.suffix == ".md" and anchor not in anchors(aim))


def names_a_path(root: Path, page: Path, code: str) -> bool:
    """True when backticked text with a slash is meant as a path of this repository."""
    if not PATH.fullmatch(code) or "/" not in code:
        return False
    first = code.split("/", maxsplit=1)[0]
    packages = {folder.name for folder in (root / "src" / "rankscope").iterdir() if folder.is_dir()}
    return first in ROOTS or first in packages or (page.parent / first).is_dir()


def path_is_broken(root: Path, page: Path, code: str) -> bool:
    """True when a backticked path exists neither from the root, nor from src/rankscope, nor beside its page."""
    starts = (root, root / "src" / "rankscope", page.parent)
    return not any(any(start.glob(code.rstrip("/"))) for start in starts)


def broken(root: Path, page: Path) -> Iterator[str]:
    """One line per broken link or path of a page."""
    for number, line in prose_lines(page.read_text(encoding="utf-8")):
        where = f"{page.relative_to(root)}:{number}"
        for target in LINK.findall(CODE.sub("", line)):
            if link_is_broken(page, target):
                yield f"{where}: link to {target}, which does not exist"
        for code in CODE.findall(line):
            if names_a_path(root, page, code) and path_is_broken(root, page, code):
                yield f"{where}: path `{code}`, which does not exist"


def main(root: Path) -> int:
    """Prints what is broken; 1 when anything is."""
    found = [line for page in pages(root) for line in broken(root, page)]
    print("\n".join(found), end="\n" if found else "")
    if found:
        print(f"{len(found)} broken; mend the page or the path.")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parent.parent))
