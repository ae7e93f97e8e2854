"""What a notebook shows: sharp, small, labelled pictures, short tables, a bar that goes."""

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from hft_lib.plots import research
from hft_lib.plots.notebook import Picture, Progress, show, table


def made_picture() -> Picture:
    x = np.linspace(0.0, 6.0, 300)
    return Picture(research.curves("A wave", x, {"sine": np.sin(x)}, ("time, s", "height, m")))


def test_a_picture_is_white_small_and_named() -> None:
    bundle, metadata = made_picture()._repr_mimebundle_()
    assert bundle["text/plain"] == "Figure: A wave"
    assert metadata["image/png"] == {"width": 960, "alt": "A wave"}
    image = Image.open(io.BytesIO(bundle["image/png"]))
    assert image.size[0] == 1440 and image.convert("RGB").getpixel((0, 0)) == (255, 255, 255)
    assert len(bundle["image/png"]) < 60_000


def test_colours_that_mean_something_survive_the_palette() -> None:
    x = np.linspace(0.0, 6.0, 300)
    many = {str(i): np.sin(x + i) for i in range(len(research.COLORS))}
    picture = Picture(research.curves("Waves", x, many, ("time, s", "height, m")))
    image = np.asarray(Image.open(io.BytesIO(picture.png())).convert("RGB")).reshape(-1, 3)
    for color in research.COLORS:
        wanted = [int(color[i : i + 2], 16) for i in (1, 3, 5)]
        assert np.abs(np.unique(image, axis=0).astype(int) - wanted).max(axis=1).min() <= 2


def test_the_same_figure_is_the_same_bytes() -> None:
    assert made_picture().png() == made_picture().png()


def test_a_table_reads_as_people_do() -> None:
    rows: dict[str, dict[str, object]] = {
        "a": {"size": 12345.678, "small": -0.000012, "known": True, "note": "x"},
        "b": {"size": None, "small": 0.5, "known": False, "more": 3},
    }
    shown = table(rows, digits=3)
    assert shown.loc["a"].tolist()[:4] == ["12,346", "−1.2e−05", "yes", "x"]
    assert shown.loc["b"].tolist() == ["–", "0.5", "no", "–", "3"]


def test_a_table_shows_a_long_text_whole() -> None:
    reason = "a reason that takes more than fifty letters, as a refusal of the gate does"
    assert reason in table({"a": {"because": reason}})._repr_html_()


@pytest.fixture
def displayed(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What was displayed, in order; `clear` where the cell was cleared."""
    import IPython.display

    class Handle:
        def update(self, shown: Any) -> None:
            seen.append(shown.data)

    seen: list[Any] = []

    def display(shown: Any, display_id: bool = False) -> Handle:
        seen.append(getattr(shown, "data", shown))
        return Handle()

    monkeypatch.setattr(IPython.display, "display", display)
    monkeypatch.setattr(IPython.display, "clear_output", lambda: seen.append("clear"))
    return seen


def test_a_figure_is_displayed_as_a_picture(displayed: list[Any]) -> None:
    show(made_picture().figure)
    assert repr(displayed) == "[Figure: A wave]"


def test_the_bar_moves_says_what_is_done_and_goes(displayed: list[Any]) -> None:
    bar = Progress()
    for share in (0.0, 0.001, 0.5):
        bar("reading", share)
    bar("done", 1.0)
    assert len(displayed) == 3 and displayed[-1] == "clear"
    assert "reading, 50%" in displayed[1]
