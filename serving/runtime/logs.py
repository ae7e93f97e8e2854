"""How logs are written: no traceback shows a value of a variable, no line a secret of the settings.

Nothing ought to log a secret; what still would, a client library's own words say, is hidden here.
"""

import json
import sys
from collections.abc import Callable, MutableMapping
from typing import Any

import structlog

from serving.runtime.addresses import MASK
from serving.runtime.settings import Settings

# What is shorter stands in many words, and would be hidden in them.
HIDDEN_LENGTH_MIN = 6
Renderer = Callable[[Any, str, MutableMapping[str, Any]], Any]


def for_people(colors: bool) -> Renderer:
    """A line an event, for eyes. Its tracebacks name no value: addresses are among them."""
    plain = structlog.dev.plain_traceback
    return structlog.dev.ConsoleRenderer(colors=colors, exception_formatter=plain)


def for_programs() -> list[Renderer]:
    """A JSON object an event. Its tracebacks name no value."""
    frames = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
    return [structlog.processors.ExceptionRenderer(frames), structlog.processors.JSONRenderer()]


def hiding(settings: Settings) -> Renderer:
    """The last step: what was rendered, without any secret of `settings`."""
    values = {one for one in settings.secrets() if len(one) >= HIDDEN_LENGTH_MIN}
    forms = sorted(values | {json.dumps(one)[1:-1] for one in values}, key=len, reverse=True)

    def hide(_logger: Any, _method: str, rendered: Any) -> Any:
        for form in forms:
            rendered = rendered.replace(form, MASK)
        return rendered

    return hide


def processors(settings: Settings, programs: bool) -> list[Any]:
    """What each event goes through."""
    ends = for_programs() if programs else [for_people(sys.stderr.isatty())]
    return [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        *ends,
        hiding(settings),
    ]
