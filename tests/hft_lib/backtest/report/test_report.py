import os
import re
import shutil
import subprocess
from dataclasses import replace
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path

import msgspec
import pytest

from hft_lib.backtest.record import RunRecord
from hft_lib.backtest.report import render, verdict_text, write_report
from hft_lib.backtest.report.page import SECTIONS
from hft_lib.events import Event, Halted
from tests.hft_lib.backtest.made_run import DAY_NS, PAIR, START_NS, facts_of, record_of, rejections

NOW = datetime(2025, 11, 24, 9, 30, tzinfo=UTC)
HOLLOW = {"area", "br", "col", "hr", "img", "input", "link", "meta"}


@pytest.fixture(scope="module")
def promoted() -> RunRecord:
    return record_of(facts_of(60, bonus_quote=60.0) + rejections())


@pytest.fixture(scope="module")
def page(promoted) -> str:
    return render(promoted, NOW)


class Tags(HTMLParser):
    """Opened and closed tags, and the headings' texts."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.headings: list[tuple[str, str]] = []
        self.ids: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.ids += [value for name, value in attrs if name == "id"]
        if tag not in HOLLOW:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.ids += [value for name, value in attrs if name == "id"]

    def handle_endtag(self, tag):
        assert self.open and self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] in ("h1", "h2", "h3"):
            self.headings.append((self.open[-1], data))


def parsed(page: str) -> Tags:
    tags = Tags()
    tags.feed(page)
    assert tags.open == []
    return tags


def text_of(page: str) -> str:
    without = re.sub(r"<(style|script|svg)\b.*?</\1>", " ", page, flags=re.DOTALL)
    return " ".join(re.sub(r"<[^>]+>", " ", without).replace("\N{NO-BREAK SPACE}", " ").split())


def test_the_sections_come_in_their_order(page):
    assert [text for tag, text in parsed(page).headings if tag == "h2"] == [s[1] for s in SECTIONS]


def test_it_needs_nothing_from_elsewhere(page):
    addresses = set(re.findall(r"https?://[^\s\"'<>)]+", page))
    assert addresses <= {
        "http://www.w3.org/2000/svg",
        "http://www.w3.org/1999/xlink",
    }, "only names of namespaces, nothing to fetch"
    assert not re.findall(r'(?:src|href)="(?!#|data:)', page)


def test_ids_of_sections_and_figures_are_unique(page):
    without = re.sub(r"<svg\b.*?</svg>", "", page, flags=re.DOTALL)
    ids = parsed(without).ids
    assert len(ids) == len(set(ids))


def test_every_link_of_the_page_leads_somewhere(page):
    body = re.sub(r"<svg\b.*?</svg>", "", page, flags=re.DOTALL)
    for target in re.findall(r'href="#([^"]+)"', body):
        assert f'id="{target}"' in body


def test_every_figure_has_words_for_those_who_do_not_see_it(page):
    figures = re.findall(r"<figure\b.*?</figure>", page, flags=re.DOTALL)
    assert len(figures) == 6
    for figure in figures:
        assert len(re.findall(r'role="img"[^>]*aria-label="[^"]{40,}"', figure)) == 2
        assert 'role="slider" tabindex="0"' in figure
        assert re.search(r"<figcaption>.{40,}</figcaption>", figure, re.DOTALL)


def test_the_verdict_is_the_promotion_that_the_facts_hold(page, promoted):
    decision = next(d for d in promoted.decisions if d.kind == "promote")
    (verdict,) = re.findall(r'<p class="verdict">(.*?)</p>', page)
    blocks, e = len(decision.record.case.blocks), decision.record.verdict.e
    assert verdict == (
        f"Challenger <code>patient</code>, entry z 1.6, took capital on 25 January 2025 after "
        f"{blocks} blocks: e = {e:.0f}, threshold 120."
    )


def test_a_drawdown_between_two_grid_points_counts(promoted):
    block = promoted.blocks[5]
    deep = tuple(msgspec.structs.replace(a, drawdown_quote=777.7) for a in block.accounts)
    blocks = (msgspec.structs.replace(block, accounts=deep), *promoted.blocks)
    page = render(replace(promoted, blocks=blocks), NOW)
    assert re.search(r"<dt>Worst drawdown</dt><dd[^>]*>777.7\s", page)


def test_the_terminal_says_the_verdict_of_the_page(page, promoted):
    assert verdict_text(promoted) in text_of(page).replace(" ,", ",")


def test_all_colours_of_the_page_follow_the_reader(page):
    assert "prefers-color-scheme: dark" in page
    drawings = "".join(re.findall(r"<svg\b.*?</svg>", page, flags=re.DOTALL))
    assert "var(--ink)" in drawings and "#111213" not in drawings
    assert "#000000" not in drawings, "a black that no theme turns"


def test_numbers_have_a_real_minus(page):
    assert not re.findall(r"(?<![\w.:/-])-\d", text_of(page))


def test_the_same_record_gives_the_same_bytes(page, promoted):
    assert render(promoted, NOW) == page


def test_text_from_outside_is_escaped(page):
    assert "&lt;update&gt; 17 again" in page and "<update>" not in page


def test_every_assumption_says_in_which_direction_it_errs(page):
    table = page[page.index("Assumptions, and the direction") :]
    rows = re.findall(r'<tr><th scope="row"[^>]*>(.*?)</tr>', table[: table.index("</table>")])
    assert len(rows) >= 10
    assert all(re.search(r">(flatters|burdens|either way)</td>", row) for row in rows)
    assert "borrowing assumed" in table and "bars as quotes" in table


def test_a_long_run_is_small_and_says_that_it_was_thinned():
    page = render(record_of(facts_of(300, bonus_quote=3.0)), NOW)
    assert len(page.encode()) < 5_000_000
    assert "Of 7,200 points a line at most 5,000 are drawn" in text_of(page)


def test_a_halt_is_marked(promoted):
    halt = Halted(START_NS + 3 * DAY_NS, PAIR, False, "ada", "drill")
    page = render(record_of([*facts_of(8), halt]), NOW)
    assert re.search(r">\s*halt\s*</text>", page)


# --- empty cases ---


def few(facts: list[Event], hours: int) -> list[Event]:
    end_ns = START_NS + hours * 3_600_000_000_000
    return [fact for fact in facts if getattr(fact, "time_ns") <= end_ns]


@pytest.mark.parametrize(
    ("facts", "says"),
    [
        ([], "nothing was at stake"),
        (rejections(), "nothing was at stake"),
        (few(facts_of(2), 7), "0 whole blocks of 20: continue"),
        (few(facts_of(2), 12), "0 whole blocks of 20: continue"),
        (facts_of(6, trades=False), "no trade was made"),
    ],
    ids=["nothing", "all-rejected", "one-mark", "five-hours", "no-trades"],
)
def test_a_run_in_which_little_happened_reads_well(facts, says):
    page = render(record_of(facts, tape=record_of([]).tape), NOW)
    parsed(page)
    words = text_of(page)
    assert says in words and "nan" not in words.lower().split()
    assert "None" not in words and "not a number" not in words


def test_few_days_have_no_band():
    words = text_of(render(record_of(facts_of(4)), NOW))
    assert "not enough days for a band: 3 whole of at least 5" in words


def test_a_run_inside_its_fitting_window_says_so():
    page = render(record_of(facts_of(3), fit_window=(START_NS, START_NS + 2 * DAY_NS)), NOW)
    assert "overlaps the window that its parameters were fitted on" in page


# --- writing and reading ---


def test_the_file_appears_whole_and_alone(tmp_path, page, promoted):
    write_report(promoted, tmp_path / "deep" / "report.html", NOW)
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["report.html"]
    assert (tmp_path / "deep" / "report.html").read_text(encoding="utf-8") == page


def browser() -> str:
    names = ("chromium", "chromium-browser", "google-chrome")
    found = next((path for name in names if (path := shutil.which(name))), None)
    if found is None and os.environ.get("CI") == "true":
        pytest.fail("no chromium to open the report in")
    if found is None:
        pytest.skip("no chromium to open the report in")
    return found


def test_a_browser_reads_the_values_by_keyboard_without_an_error(tmp_path: Path, page):
    watch = (
        "<script>const wrong = [];"
        "window.addEventListener('error', (event) => wrong.push(event.message));</script>"
    )
    press = """<script>
document.querySelectorAll(".cursor").forEach((cursor) => {
  for (let i = 0; i < 80; i++)
    cursor.dispatchEvent(new KeyboardEvent("keydown", {key: "ArrowRight"}));
});
document.body.dataset.wrong = wrong.join("; ");
</script>"""
    file = tmp_path / "report.html"
    file.write_text(page.replace("<head>", f"<head>{watch}") + press, encoding="utf-8")
    options = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-sync"
    options += " --disable-background-networking --disable-component-update --window-size=1440,900"
    done = subprocess.run(
        [
            browser(),
            *options.split(),
            f"--user-data-dir={tmp_path / 'profile'}",
            "--dump-dom",
            file.as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert 'data-wrong=""' in done.stdout
    readings = re.findall(r'role="slider"[^>]*aria-valuetext="([^"]*)"', done.stdout)
    assert len(readings) == 6
    assert all(re.match(r"2025-\d\d-\d\d \d\d:\d\d UTC, \S", reading) for reading in readings)
