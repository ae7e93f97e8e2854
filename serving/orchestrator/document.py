"""The operator's page as one HTML document: offline, light and dark, whole without its script."""

import base64
import hashlib
from html import escape
from importlib.resources import files

from hft_lib.plots.markup import code, page_style, table
from hft_lib.plots.words import second
from serving.orchestrator.gathering import Gathered

SECTIONS = (
    ("now", "Now"),
    ("positions", "Positions and PnL"),
    ("slots", "Slots"),
    ("evidence", "Evidence"),
    ("health", "Model health"),
    ("decisions", "Decisions"),
    ("services", "Services"),
)
VERBS = (
    ("hft kill [--flatten]", "takes no new risk anywhere, and closes what is held where asked"),
    ("hft reset-kill", "lets the latch go"),
    ("hft pair halt PAIR", "takes no new risk in one pair"),
    ("hft flatten [PAIR]", "closes what capital holds of one pair, or of all"),
    ("hft pair resume PAIR", "lets a pair go: after a halt, a drawdown, a freeze of promotions"),
)


def _asset(name: str) -> str:
    return files("serving.orchestrator").joinpath(name).read_text(encoding="utf-8")


STYLE = page_style() + _asset("page.css")
SCRIPT = _asset("page.js")


def _hash(content: str) -> str:
    digest = hashlib.sha256(content.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


# Nothing is loaded but this page's own events, nothing runs but its own script, nobody frames it.
HEADERS = {
    "Content-Security-Policy": "; ".join(
        (
            "default-src 'none'",
            f"style-src {_hash(STYLE)}",
            f"script-src {_hash(SCRIPT)}",
            "connect-src 'self'",
            "img-src data:",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        )
    ),
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Opener-Policy": "same-origin",
}


def document(now: Gathered, bodies: dict[str, str]) -> str:
    """The whole page; `bodies` is the content of each section that changes."""
    links = "".join(f'<li><a href="#{name}">{title}</a></li>' for name, title in SECTIONS)
    parts = "\n".join(
        f'<section aria-labelledby="{name}"><h2 id="{name}">{title}</h2>\n'
        f'<div id="in-{name}">{bodies[name]}</div></section>'
        for name, title in SECTIONS
    )
    pairs = [pair.pair for pair in now.seen.pairs] if now.seen is not None else []
    title = escape(pairs[0] if len(pairs) == 1 else f"{len(pairs)} pairs" if pairs else "The line")
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}: the line now</title>
<link rel="icon" href="data:,">
<style>{STYLE}</style>
</head>
<body>
<a class="skip" href="#now">To what is now</a>
<header>
<h1>{title}</h1>
<p><span id="state" class="state" role="status">as of {second(now.at_ns)}</span>
All times are UTC; those of slots, tests and decisions are the line's own.</p>
</header>
<nav aria-label="Sections"><ul>{links}<li><a href="#verbs">What moves capital</a></li></ul></nav>
<main>
{parts}
<section aria-labelledby="verbs"><h2 id="verbs">What moves capital</h2>
<p>Nothing on this page does: it only reads. These verbs do, each with an operator and a reason.</p>
{_verbs()}</section>
</main>
<script>{SCRIPT}</script>
</body>
</html>
"""


def _verbs() -> str:
    rows = [[f'<th scope="row" class="word">{code(verb)}</th>', f"<td>{does}</td>"]
            for verb, does in VERBS]  # fmt: skip
    return table("The operator's verbs", [("verb", "word"), ("does", "")], rows)
