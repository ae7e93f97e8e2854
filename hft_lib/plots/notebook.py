"""How a notebook shows things: figures as sharp pictures, numbers as short tables, a progress bar.

All of it needs IPython, which is imported where it is used.
"""

import io
import warnings
from collections.abc import Mapping
from typing import Any

from hft_lib.plots.words import MINUS, number

SCALE = 1.5  # of a picture's pixels to the page's: sharp on most screens, small in the file
# A notebook that ends early says why itself.
warnings.filterwarnings("ignore", message="To exit: use", category=UserWarning)
COLORS_MAX = 255  # of a heat map: all that a palette holds
COLORS_LINES = 64  # of lines and letters: the file is a quarter of what it was


class Picture:
    """A figure as an image on white: readable in a dark notebook too."""

    def __init__(self, figure: Any) -> None:
        self.figure = figure
        self.title = str(figure.get_label())

    def png(self) -> bytes:
        """The image, the same bytes for the same figure and library versions."""
        from PIL import Image

        drawn = io.BytesIO()
        self.figure.savefig(
            drawn, format="png", dpi=SCALE * self.figure.dpi, facecolor="white", metadata=None
        )
        image = Image.open(drawn).convert("RGB").quantize(self._colors(), dither=Image.Dither.NONE)
        small = io.BytesIO()
        image.save(small, format="PNG", optimize=True)
        return small.getvalue()

    def _colors(self) -> int:
        drawn = [item for axis in self.figure.axes for item in axis.collections]
        is_map = any(item.get_array() is not None for item in drawn)
        return COLORS_MAX if is_map else COLORS_LINES

    def _repr_mimebundle_(self, **_unused: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        width = round(self.figure.get_figwidth() * self.figure.dpi)
        shown = {"image/png": self.png(), "text/plain": repr(self)}
        return shown, {"image/png": {"width": width, "alt": self.title}}

    def __repr__(self) -> str:
        return f"Figure: {self.title}"


def show(figure: Any) -> None:
    """Display a figure of `hft_lib.plots` below the cell."""
    from IPython.display import display

    display(Picture(figure))


def table(rows: Mapping[str, Mapping[str, object]], digits: int = 4) -> Any:
    """A table of named rows and columns, numbers in `digits` significant digits, None as a dash.

    Texts are shown whole, here and in every table of the process after it.
    """
    import pandas as pd

    pd.set_option("display.max_colwidth", None)

    shown = {
        name: {column: _cell(value, digits) for column, value in row.items()}
        for name, row in rows.items()
    }
    return pd.DataFrame.from_dict(shown, orient="index").fillna("–")


def _cell(value: object, digits: int) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, str):
        return value
    size = float(value)  # type: ignore[arg-type]
    tiny = 0.0 < abs(size) < 1e-4
    return f"{size:.{digits}g}".replace("-", MINUS) if tiny else number(size, digits)


class Progress:
    """A bar below the cell, gone when the work is done; call it with what, and the share done."""

    def __init__(self) -> None:
        self._handle: Any = None
        self._shown = (-1, "")

    def __call__(self, what: str, share: float) -> None:
        from IPython.display import HTML, clear_output, display

        if share >= 1.0 and what == "done":
            clear_output()
            return
        now = (int(50.0 * share), what)
        if now == self._shown:
            return
        self._shown = now
        bar = HTML(f"<progress max='50' value='{now[0]}'></progress> {what}, {share:.0%}")
        if self._handle is None:
            self._handle = display(bar, display_id=True)
        else:
            self._handle.update(bar)
