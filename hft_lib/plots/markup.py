"""Small pieces of HTML, and the style of every page; all text that comes in is escaped here."""

import re
from collections.abc import Iterable, Sequence
from html import escape
from importlib.resources import files


def page_style() -> str:
    """What report and live page share: colours in light and dark, text, tables, paper."""
    return files("hft_lib.plots").joinpath("page.css").read_text(encoding="utf-8")


def code(text: str) -> str:
    """A name, set as code."""
    return f"<code>{escape(text)}</code>"


def prose(text: str) -> str:
    """Plain text as HTML, names in backquotes set as code."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text))


def cell(text: str, kind: str = "") -> str:
    """One cell: its text, and a class such as `number`."""
    return f'<td class="{kind}">{escape(text)}</td>' if kind else f"<td>{escape(text)}</td>"


def head(text: str, kind: str = "") -> str:
    """The cell that names its row."""
    return f'<th scope="row" class="{kind}">{escape(text)}</th>'


def table(caption: str, columns: Sequence[tuple[str, str]], rows: Iterable[Sequence[str]]) -> str:
    """A table of `columns` (title, class) and rows of ready cells; it scrolls sideways on a narrow
    screen.
    """
    titles = "".join(
        f'<th scope="col" class="{kind}">{escape(name)}</th>' for name, kind in columns
    )
    body = "\n".join(f"<tr>{''.join(row)}</tr>" for row in rows)
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(caption)}"><table>'
        f"<caption>{escape(caption)}</caption><thead><tr>{titles}</tr></thead>\n"
        f"<tbody>{body}</tbody></table></div>"
    )


def facts(rows: Iterable[tuple[str, str]]) -> str:
    """Names with their values, as HTML."""
    pairs = "".join(f"<dt>{escape(name)}</dt><dd>{value}</dd>" for name, value in rows)
    return f'<dl class="facts">{pairs}</dl>'


def folded(summary: str, content: str) -> str:
    """Content that a click opens."""
    return f"<details><summary>{escape(summary)}</summary>{content}</details>"
