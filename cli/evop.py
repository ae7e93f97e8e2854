"""`hft evop`: what EVOP decided and why, read from the decision records of a run's journal."""

from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from rich.table import Table

from cli.console import emit, text
from cli.errors import BadInput, Failed
from hft_lib.events import DecisionRecorded
from hft_lib.evop.policy import promotion_threshold
from hft_lib.evop.record import decode_record, is_equal, recompute
from hft_lib.evop.timeline import describe, standing

app = typer.Typer(help="What EVOP decided, and why.", no_args_is_help=True)

JournalOption = Annotated[
    Path | None, typer.Option("--journal", help="A run's journal; the latest run's by default.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")]
