"""A tape: a directory of market events in time order, and a manifest that tells and hashes them.

    DIR/tape.json                     the manifest (`tape_manifest.Manifest`)
    DIR/events-00000.parquet, ...     one schema for all kinds of event (`tape_columns.SCHEMA`)

`tape_sha256` is the hash of the rows in canonical order: by time, symbol, kind, then all else. It
does not depend on the order of imported files, on how the rows are cut into files, or on the
version of Parquet.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from hft_lib.events import Instrument, MarketEvent, TimePassed
from hft_lib.market import tape_columns
from hft_lib.market.tape_columns import TEXT
from hft_lib.market.tape_manifest import (
    DataError,
    Manifest,
    TapeError,
    is_tape,
    read_manifest,
)
from hft_lib.market.tape_writer import TapeWriter

__all__ = ["DataError", "Manifest", "Tape", "TapeError", "TapeWriter", "is_tape"]

BATCH_ROWS = 8_192  # events alive at a time in a reader


class Tape:
    """An opened tape, found whole; `events` streams it in flat memory."""

    def __init__(self, path: Path, manifest: Manifest) -> None:
        self.path = path
        self.manifest = manifest
        self._instruments: list[Instrument] | None = None

    @classmethod
    def open(cls, path: Path | str) -> "Tape":
        """Open the tape at `path`; raises TapeError with one sentence where it is not whole."""
        path = Path(path)
        manifest = read_manifest(path)
        for file in manifest.files:
            parquet = _open_parquet(path / file.name)
            if not tape_columns.is_schema(parquet.schema_arrow):
                raise TapeError(f"{path / file.name} does not have the columns of a tape")
            if parquet.metadata.num_rows != file.rows:
                raise TapeError(
                    f"{path / file.name} has {parquet.metadata.num_rows} rows,"
                    f" its manifest says {file.rows}"
                )
        return cls(path, manifest)

    @property
    def sha256(self) -> str:
        """The hash of the rows, as the manifest says it; `quality.check_tape` reads them."""
        return self.manifest.tape_sha256

    @property
    def rows(self) -> int:
        """Number of events."""
        return self.manifest.rows

    @property
    def symbols(self) -> list[str]:
        """Every symbol of the tape, sorted."""
        return list(self.manifest.symbols)

    @property
    def start_ns(self) -> int:
        """Time of the first event."""
        return self.manifest.start_ns

    @property
    def end_ns(self) -> int:
        """Time of the last event."""
        return self.manifest.end_ns

    def events(
        self,
        start_ns: int | None = None,
        end_ns: int | None = None,
        symbols: Iterable[str] | None = None,
    ) -> Iterator[MarketEvent | TimePassed]:
        """Yield the events of start_ns <= time < end_ns, of `symbols` (None: all), as they came.

        `more` is false on all of them; `merge.feed_events` sets it. Raises TapeError where the data
        are broken.
        """
        for batch in self.batches(start_ns, end_ns, symbols):
            yield from tape_columns.to_events(batch)

    def batches(
        self,
        start_ns: int | None = None,
        end_ns: int | None = None,
        symbols: Iterable[str] | None = None,
        columns: Iterable[str] | None = None,
    ) -> Iterator[pa.RecordBatch]:
        """Yield the rows of `events` in columns, some at a time, text dictionary-encoded.

        `columns` are those wanted, `time_ns` and `symbol` among them (None: all that are filled).
        """
        columns = [*(columns or tape_columns.columns_of(self.manifest.rows_by_kind))]
        wanted = None if symbols is None else pa.array(sorted({*symbols}), pa.string())
        for batch in self._groups(columns, start_ns, end_ns):
            kept = _cut(batch, start_ns, end_ns)
            if wanted is not None:
                # A row without a symbol is TimePassed, which concerns everyone.
                symbol = kept.column("symbol")
                kept = kept.filter(
                    pc.or_(pc.is_in(symbol.cast(pa.string()), wanted), symbol.is_null())
                )
            if kept.num_rows:
                yield kept

    def instruments(self, at_ns: int | None = None) -> dict[str, Instrument]:
        """The instrument of each symbol in force at `at_ns` (None: at the end)."""
        if self._instruments is None:
            self._instruments = list(self._find_instruments())
        return {
            instrument.symbol: instrument
            for instrument in self._instruments
            if at_ns is None or instrument.time_ns <= at_ns
        }

    def quote_spans(self) -> dict[str, tuple[int, int]]:
        """The times of the first and the last quote of each symbol that has any."""
        spans: dict[str, tuple[int, int]] = {}
        for batch in self._groups(["time_ns", "symbol", "bid"], None, None, filled="bid"):
            rows = batch.filter(batch.column("bid").is_valid())
            names, codes = tape_columns.dictionary(rows.column("symbol"))
            times = rows.column("time_ns").to_numpy()
            for code in np.unique(codes).tolist():
                own = times[codes == code]
                first_ns = spans.get(names[code], (int(own[0]), 0))[0]
                spans[names[code]] = (first_ns, int(own[-1]))
        return spans

    def windows(self, silence_ns_max: int) -> list[tuple[int, int]]:
        """First and last times of the stretches without a silence longer than `silence_ns_max`."""
        found: list[tuple[int, int]] = []
        start = last = self.start_ns
        for batch in self._groups(["time_ns"], None, None):
            times = np.concatenate(([last], batch.column("time_ns").to_numpy()))
            for row in np.flatnonzero(np.diff(times) > silence_ns_max).tolist():
                found.append((start, int(times[row])))
                start = int(times[row + 1])
            last = int(times[-1])
        return [*found, (start, last)]

    def _find_instruments(self) -> Iterator[Instrument]:
        if "Instrument" not in self.manifest.rows_by_kind:
            return
        columns = tape_columns.columns_of(["Instrument"])
        for batch in self._groups(columns, None, None, filled="cadence_ns"):
            rows = batch.filter(batch.column("cadence_ns").is_valid())
            if rows.num_rows:
                yield from tape_columns.to_events(rows)  # type: ignore[misc]

    def _groups(
        self,
        columns: list[str],
        start_ns: int | None,
        end_ns: int | None,
        filled: str | None = None,
    ) -> Iterator[pa.RecordBatch]:
        """Batches of the row groups that overlap the window and have a value in column `filled`."""
        for file in self.manifest.files:
            parquet = _open_parquet(self.path / file.name)
            for group in range(parquet.metadata.num_row_groups):
                statistics = _statistics(parquet.metadata.row_group(group))
                times = statistics["time_ns"]
                if end_ns is not None and times.min >= end_ns:
                    return
                if start_ns is not None and times.max < start_ns:
                    continue
                if filled and not statistics[filled].num_values:
                    continue
                yield from _read_group(parquet, self.path / file.name, group, columns)


def _statistics(group: Any) -> dict[str, Any]:
    columns = (group.column(number) for number in range(group.num_columns))
    return {column.path_in_schema: column.statistics for column in columns}


def _read_group(
    parquet: pq.ParquetFile, path: Path, group: int, columns: list[str]
) -> Iterator[pa.RecordBatch]:
    try:
        yield from parquet.iter_batches(
            batch_size=BATCH_ROWS, row_groups=[group], columns=columns, use_threads=False
        )
    except (OSError, pa.ArrowException) as error:
        raise TapeError(f"{path} is damaged in row group {group}: {_one_line(error)}") from error


def _cut(batch: pa.RecordBatch, start_ns: int | None, end_ns: int | None) -> pa.RecordBatch:
    times = batch.column("time_ns").to_numpy()
    first = 0 if start_ns is None else int(np.searchsorted(times, start_ns))
    last = len(times) if end_ns is None else int(np.searchsorted(times, end_ns))
    return batch.slice(first, max(last - first, 0))


def _open_parquet(path: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(path, read_dictionary=TEXT, page_checksum_verification=True)
    except FileNotFoundError as error:
        raise TapeError(f"{path} is missing") from error
    except KeyError as error:  # a text column to be read as a dictionary is not there
        raise TapeError(f"{path} does not have the columns of a tape") from error
    except (OSError, pa.ArrowException) as error:
        raise TapeError(f"{path} is no whole Parquet file: {_one_line(error)}") from error


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".")
