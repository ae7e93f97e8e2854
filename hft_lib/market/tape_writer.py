"""Writing a tape: whole, or not at all."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from hft_lib.events import MarketEvent, TimePassed
from hft_lib.market import tape_columns
from hft_lib.market.tape_columns import SCHEMA, SCHEMA_VERSION, TEXT
from hft_lib.market.tape_manifest import (
    MANIFEST,
    Manifest,
    RowHash,
    TapeError,
    TapeFile,
    is_tape,
)

GROUP_ROWS = 49_152  # a row group is what a writer holds in memory
FILE_ROWS_MAX = 20_000_000


class TapeWriter:
    """Write events to a tape at `path`: whole when the block ends well, else nothing is left.

    The rows go to a hidden sibling directory, which takes its name at the end. `path` may be an
    empty directory; an old tape there is replaced only with `replace`. Raises TapeError for a taken
    path, no event, or time going back.
    """

    def __init__(
        self,
        path: Path | str,
        source: dict[str, Any] | None = None,
        replace: bool = False,
        file_rows_max: int = FILE_ROWS_MAX,
    ) -> None:
        self.path = Path(path).absolute()
        self.rows = 0
        self._source = source or {}
        self._replace = replace
        self._file_rows_max = file_rows_max
        self._rows_by_kind: dict[str, int] = {}
        self._symbols: set[str] = set()
        self._start_ns = 0
        self._last_ns = -(2**63)
        self._hash = RowHash()
        self._pending: list[MarketEvent | TimePassed] = []
        self._files: list[TapeFile] = []
        self._file: pq.ParquetWriter | None = None
        self._file_rows = 0

    def __enter__(self) -> "TapeWriter":
        require_free(self.path, self._replace)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        partial = tempfile.mkdtemp(prefix=f".{self.path.name}.partial-", dir=self.path.parent)
        self._partial = Path(partial)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if kind is None:
                self._finish()
        finally:
            self._close_file_quietly()
            shutil.rmtree(self._partial, ignore_errors=True)

    @property
    def directory(self) -> Path:
        """Where the tape grows: a file put here goes or stays with it."""
        return self._partial

    def write(
        self,
        events: Iterable[MarketEvent | TimePassed],
        progress: Callable[[int], None] | None = None,
    ) -> None:
        """Append `events`; `progress` is told the rows of each group that is on disk."""
        pending = self._pending
        last_ns = self._last_ns
        for event in events:
            if event.time_ns < last_ns:
                raise TapeError(f"time must not go back on a tape: {event.time_ns} after {last_ns}")
            last_ns = event.time_ns
            pending.append(event)
            if len(pending) >= GROUP_ROWS:
                self._flush(progress)
        self._last_ns = last_ns

    def _flush(self, progress: Callable[[int], None] | None = None) -> None:
        batch = tape_columns.to_batch(self._pending)
        self._hash.update(self._pending)
        self._count(batch)
        if self._file is None:
            self._open_file()
        assert self._file is not None
        self._file.write_batch(batch)
        self._file_rows += len(self._pending)
        if self._file_rows >= self._file_rows_max:
            self._close_file()
        if progress:
            progress(len(self._pending))
        self._pending.clear()

    def _count(self, batch: pa.RecordBatch) -> None:
        if not self.rows:
            self._start_ns = self._pending[0].time_ns
        self.rows += len(self._pending)
        for entry in batch.column("kind").value_counts().to_pylist():
            self._rows_by_kind[entry["values"]] = (
                self._rows_by_kind.get(entry["values"], 0) + entry["counts"]
            )
        self._symbols.update(batch.column("symbol").drop_null().unique().to_pylist())

    def _open_file(self) -> None:
        name = f"events-{len(self._files):05d}.parquet"
        self._files.append(TapeFile(name, 0))
        self._file_rows = 0
        self._file = pq.ParquetWriter(
            self._partial / name,
            SCHEMA,
            compression="zstd",
            use_dictionary=TEXT,
            write_page_checksum=True,
        )

    def _close_file(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
            name = self._files[-1].name
            self._files[-1] = TapeFile(name, self._file_rows)
            _sync(self._partial / name)

    def _close_file_quietly(self) -> None:
        # A full disk has no room for the footer of a file that is thrown away anyway; the error
        # that ended the block is the one to be seen.
        with contextlib.suppress(OSError, pa.ArrowException):
            if self._file is not None:
                self._file.close()

    def _finish(self) -> None:
        if self._pending:
            self._flush()
        if not self.rows:
            raise TapeError(f"no event came for the tape {self.path}")
        self._close_file()
        manifest = Manifest(
            SCHEMA_VERSION,
            self._hash.hexdigest(),
            self.rows,
            dict(sorted(self._rows_by_kind.items())),
            sorted(self._symbols),
            self._start_ns,
            self._last_ns,
            self._source,
            self._files,
        )
        content = msgspec.json.format(msgspec.json.encode(manifest), indent=2)
        (self._partial / MANIFEST).write_bytes(content + b"\n")
        _sync(self._partial / MANIFEST)
        self._partial.chmod(0o755)  # mkdtemp's is private to its maker
        if self.path.exists() and is_tape(self.path):
            self._partial = _exchange(self._partial, self.path)
        else:
            os.rename(self._partial, self.path)


def require_free(path: Path, replace: bool = False) -> None:
    """Raise TapeError unless a tape can be written at `path`: nothing is there that would be lost.

    What takes long before the first row asks this first.
    """
    path = path.absolute()
    if path.exists() and not (replace and is_tape(path)):
        if not path.is_dir() or any(path.iterdir()):
            raise TapeError(f"{path} exists already: name another place for the tape")


def _exchange(new: Path, old: Path) -> Path:
    """Put `new` in the place of `old`; returns where `old` went, for removal."""
    aside = Path(tempfile.mkdtemp(prefix=f".{old.name}.replaced-", dir=old.parent)) / old.name
    os.rename(old, aside)
    os.rename(new, old)
    return aside.parent


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
