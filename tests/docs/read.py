"""The project's documents as their tests read them: spans of code, blocks, links, rows."""

import os
import re
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
MADE = {"build", "runs", "node_modules", "htmlcov"}
_BLOCK = re.compile(r"^ *```(\w*)\n(.*?)^ *```", re.DOTALL | re.MULTILINE)
_SPAN = re.compile(r"(?<!`)`([^`]+)`(?!`)")
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


class Block(NamedTuple):
    """A block of code: its language, '' where none is said, and its lines."""

    language: str
    lines: list[str]


def documents() -> list[Path]:
    """Every Markdown file of the project."""
    found = []
    for folder, names, files in os.walk(ROOT):
        names[:] = [n for n in names if n not in MADE and (n[0] != "." or n == ".github")]
        found += [Path(folder, file) for file in files if file.endswith(".md")]
    return sorted(found)


def name_of(path: Path) -> str:
    """A document as it is called in the project's folder."""
    return path.relative_to(ROOT).as_posix()


def text(path: Path) -> str:
    """A document's text."""
    return path.read_text(encoding="utf-8")


def plain(words: str) -> str:
    """Words with one space between each, however their lines were broken."""
    return " ".join(words.split())


def blocks(content: str) -> list[Block]:
    """The blocks of code."""
    return [Block(found[1], found[2].splitlines()) for found in _BLOCK.finditer(content)]


def spans(content: str) -> list[str]:
    """What stands in code font, outside of blocks."""
    return [plain(found) for found in _SPAN.findall(_BLOCK.sub("", content))]


def links(content: str) -> list[str]:
    """Where links lead, outside of blocks."""
    return _LINK.findall(_BLOCK.sub("", content))


def rows(content: str) -> list[list[str]]:
    """The cells of every row of a table, heads and rules left out."""
    lines = [line for line in content.splitlines() if line.startswith("|")]
    rules = {place for place, line in enumerate(lines) if re.fullmatch(r"[|\s:-]+", line)}
    kept = (line for n, line in enumerate(lines) if n not in rules and n + 1 not in rules)
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in kept]


def commands(content: str) -> list[str]:
    """What the blocks of a shell's language tell to type; a comment is no command."""
    shells = (block.lines for block in blocks(content) if block.language in ("bash", "sh", ""))
    typed = (plain(re.sub(r"\s#.*", "", line)) for lines in shells for line in lines)
    return [line for line in typed if line and not line.startswith("#")]
