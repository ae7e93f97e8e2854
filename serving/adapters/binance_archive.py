"""Fetching files of Binance's public archive into a folder of our own, each once.

A file lies in the folder only when its SHA-256 is the archive's. A download that was cut off goes
on where it stopped, unless the file has changed there since. What the server or the line does wrong
is tried again with growing pauses, as long as bytes come; a checksum that is wrong, a few times.
"""

import asyncio
import fcntl
import hashlib
import os
import re
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import httpx
import msgspec
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, wait_exponential_jitter

from hft_lib.market.archive import ArchiveFile, Kind
from hft_lib.market.archive_rows import Fetched
from serving.runtime.addresses import masked

URL = "https://data.binance.vision"
FILES_AT_A_TIME = 4
TRIES = 6  # without a byte between them: about a minute with the pauses
WRONG_CHECKSUMS_MAX = 3
PAUSE_S_MAX = 30.0
TIMEOUT = httpx.Timeout(30.0, connect=10.0)
CHECKSUM_BYTES_MAX = 4_096
FILE_BYTES_MAX = 32 << 30  # the largest month of trades has some 5 GiB
_AGAIN = {408, 418, 425, 429}

T = TypeVar("T")


class ArchiveError(Exception):
    """A file could not be fetched; the message is one sentence."""


class NotPublished(ArchiveError):
    """The archive has no such file (404)."""


class Progress(msgspec.Struct):
    """What a download did: files asked of the archive, found in the folder, bytes that came."""

    fetched: int = 0
    from_cache: int = 0
    bytes_received: int = 0


class _Again(Exception):
    """What may go well the next time; `pause_s` is what the server asked for."""

    def __init__(self, what: str, pause_s: float = 0.0) -> None:
        super().__init__(what)
        self.pause_s = pause_s


class _Part(msgspec.Struct):
    """What is known of the file that a `.part` is the beginning of."""

    etag: str
    length: int


class Archive:
    """The archive at `url`, its files kept below `home`; `told` hears of each step.

    `pause_s` is the first pause between two tries; it doubles.
    """

    def __init__(
        self,
        home: Path,
        url: str = URL,
        told: Callable[[ArchiveFile, Progress], None] | None = None,
        pause_s: float = 0.5,
        timeout: httpx.Timeout = TIMEOUT,
    ) -> None:
        self.url = url.rstrip("/")
        self.folder = home / "archive" / _folder_of(self.url)
        self.progress = Progress()
        self._told = told or (lambda file, progress: None)
        self._pause_s = pause_s
        self._timeout = timeout

    def fetch(self, files: Sequence[ArchiveFile]) -> tuple[list[Fetched], list[ArchiveFile]]:
        """Fetch `files`; returns what is here, in their order, and what the archive does not have.

        A month that is not there is replaced by its days. Raises ArchiveError for what could not be
        fetched; what was whole by then stays.
        """
        with _alone(self.folder):
            return asyncio.run(self._fetch(files))

    async def _fetch(self, files: Sequence[ArchiveFile]) -> tuple[list[Fetched], list[ArchiveFile]]:
        turn = asyncio.Semaphore(FILES_AT_A_TIME)
        async with httpx.AsyncClient(timeout=self._timeout, follow_redirects=True) as client:

            async def one(file: ArchiveFile) -> list[Fetched | ArchiveFile]:
                async with turn:
                    try:
                        return [await self._file(client, file)]
                    except NotPublished:
                        if not file.monthly or file.kind is Kind.FUNDING_RATE:
                            return [file]
                answers = await asyncio.gather(*map(one, file.days()))
                return [answer for part in answers for answer in part]

            answers = await _all_or_first_error([one(file) for file in files])
        found = [answer for part in answers for answer in part]
        return (
            [answer for answer in found if isinstance(answer, Fetched)],
            [answer for answer in found if isinstance(answer, ArchiveFile)],
        )

    async def _file(self, client: httpx.AsyncClient, file: ArchiveFile) -> Fetched:
        path = self.folder / file.path
        if await asyncio.to_thread(_is_whole, path):
            self.progress.from_cache += 1
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            await self._verified(client, file, path)
            self.progress.fetched += 1
        self._told(file, self.progress)
        return Fetched(file, path)

    async def _verified(self, client: httpx.AsyncClient, file: ArchiveFile, path: Path) -> None:
        """Fetch until the checksum is right; a file with a wrong one is thrown away."""
        digest = wanted = ""
        for _ in range(WRONG_CHECKSUMS_MAX):
            wanted = await self._checksum(client, file)
            await self._body(client, file, path)
            digest = await asyncio.to_thread(_sha256, _part(path))
            if digest == wanted:
                _checksum_file(path).write_text(f"{wanted}  {file.name}\n", "ascii")
                os.replace(_part(path), path)
                _note(path).unlink(missing_ok=True)
                return
            _throw_away(path)
        raise ArchiveError(
            f"{masked(self.url)}/{file.path} came {WRONG_CHECKSUMS_MAX} times with the SHA-256 "
            f"{digest}, its CHECKSUM file says {wanted}: it was thrown away"
        )

    async def _checksum(self, client: httpx.AsyncClient, file: ArchiveFile) -> str:
        async def ask() -> str:
            address = f"{self.url}/{file.path}.CHECKSUM"
            async with client.stream("GET", address) as answer:
                _require_well(answer, file)
                text = b""
                async for chunk in answer.aiter_bytes():
                    text += chunk
                    if len(text) > CHECKSUM_BYTES_MAX:
                        break
            found = re.fullmatch(rb"([0-9a-fA-F]{64})(?:\s+\*?(\S+))?\s*", text)
            if not found or found[2] not in (None, file.name.encode()):
                raise _Again(f"{masked(address)} is no SHA-256 of {file.name}: {text[:80]!r}")
            return found[1].decode().lower()

        return await self._until_it_goes(ask, lambda: 0, file)

    async def _body(self, client: httpx.AsyncClient, file: ArchiveFile, path: Path) -> None:
        """Fetch what `.part` lacks of the file."""

        async def ask() -> None:
            had, note = _begun(path)
            if note is not None and had == note.length:
                return
            headers = {"Accept-Encoding": "identity"}
            if note is not None:
                headers["Range"] = f"bytes={had}-"
                if note.etag and not note.etag.startswith("W/"):
                    headers["If-Range"] = note.etag
            async with client.stream("GET", f"{self.url}/{file.path}", headers=headers) as answer:
                if answer.status_code == 416:
                    _throw_away(path)
                    raise _Again(f"{file.name} has no bytes from {had} on")
                _require_well(answer, file)
                await self._write(answer, file, path, had, note)

        await self._until_it_goes(ask, lambda: _size(_part(path)), file)

    async def _write(
        self, answer: httpx.Response, file: ArchiveFile, path: Path, had: int, note: _Part | None
    ) -> None:
        """Append the answer to `.part`, or begin anew where it is not the rest of the same file."""
        goes_on = answer.status_code == 206
        start, length = _extent(answer)
        now = _Part(answer.headers.get("ETag", ""), length)
        if goes_on and (start != had or note is None or now != note):
            _throw_away(path)
            raise _Again(f"{file.name} has changed since its first {had} bytes came")
        if length > FILE_BYTES_MAX:
            raise ArchiveError(f"{file.name} has {length} bytes, more than {FILE_BYTES_MAX}")
        _note(path).write_bytes(msgspec.json.encode(now))
        with _part(path).open("ab" if goes_on else "wb") as part:
            # Raw, as it comes: what httpx gathers into larger pieces is lost where the line breaks.
            async for chunk in answer.aiter_raw():
                part.write(chunk)
                self.progress.bytes_received += len(chunk)
                self._told(file, self.progress)
                if part.tell() > (length if length >= 0 else FILE_BYTES_MAX):
                    raise ArchiveError(f"{file.name} has more than the {length} bytes it announced")
            if 0 <= length != part.tell():
                raise _Again(f"{file.name} ended after {part.tell()} of {length} bytes")

    async def _until_it_goes(
        self, ask: Callable[[], Awaitable[T]], size: Callable[[], int], file: ArchiveFile
    ) -> T:
        """Ask until it goes well; give up after as many tries as bring no byte more."""
        most, fruitless = size(), 0

        def stop(state: RetryCallState) -> bool:
            nonlocal most, fruitless
            fruitless = 0 if size() > most else fruitless + 1
            most = max(most, size())
            return fruitless >= TRIES

        growing = wait_exponential_jitter(
            multiplier=self._pause_s, max=PAUSE_S_MAX, jitter=self._pause_s
        )

        def wait(state: RetryCallState) -> float:
            error = state.outcome.exception() if state.outcome else None
            asked = error.pause_s if isinstance(error, _Again) else 0.0
            return min(max(growing(state), asked), PAUSE_S_MAX)

        again = retry_if_exception_type((_Again, httpx.TransportError))
        try:
            return await AsyncRetrying(retry=again, stop=stop, wait=wait, reraise=True)(ask)
        except httpx.TransportError as error:
            said = " ".join(str(error).split()) or type(error).__name__
            raise ArchiveError(
                f"{file.name} did not come from {masked(self.url)}: {said} (tried {TRIES} times; "
                "what came is kept, the same command goes on from there)"
            ) from error
        except _Again as error:
            raise ArchiveError(f"{error} (tried {TRIES} times)") from error


async def _all_or_first_error(work: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
    """What each of `work` gives; the first that fails ends the others."""
    tasks = [asyncio.create_task(one) for one in work]
    try:
        return await asyncio.gather(*tasks)
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise


# --- answers ---


def _require_well(answer: httpx.Response, file: ArchiveFile) -> None:
    code = answer.status_code
    if code in (200, 206):
        return
    if code == 404:
        raise NotPublished(f"{file.name} is not in the archive")
    if code in _AGAIN or code >= 500:
        raise _Again(f"{file.name}: the archive answered {code}", _retry_after_s(answer))
    raise ArchiveError(f"{file.name}: the archive answered {code} {answer.reason_phrase}")


def _retry_after_s(answer: httpx.Response) -> float:
    text = answer.headers.get("Retry-After", "")
    return float(text) if re.fullmatch(r"\d{1,6}", text) else 0.0


def _extent(answer: httpx.Response) -> tuple[int, int]:
    """The first byte that the answer brings, and the whole file's length; -1 where it is unsaid."""
    if answer.status_code == 206:
        said = answer.headers.get("Content-Range", "")
        found = re.fullmatch(r"bytes (\d{1,18})-\d{1,18}/(\d{1,18})", said)
        return (int(found[1]), int(found[2])) if found else (-1, -1)
    text = answer.headers.get("Content-Length", "")
    return 0, int(text) if re.fullmatch(r"\d{1,18}", text) else -1


# --- the folder ---


def _folder_of(url: str) -> str:
    """A folder's name for an address, so that two archives never mix."""
    parts = urlsplit(url)
    port = f"-{parts.port}" if parts.port else ""
    return re.sub(r"[^A-Za-z0-9.-]+", "-", f"{parts.hostname}{port}{parts.path}").strip("-.")


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keep another process from writing into the same `.part` files."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ArchiveError(f"another download into {folder} is under way") from error
        yield


def _part(path: Path) -> Path:
    return path.with_name(path.name + ".part")


def _note(path: Path) -> Path:
    return path.with_name(path.name + ".part.json")


def _checksum_file(path: Path) -> Path:
    return path.with_name(path.name + ".CHECKSUM")


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _begun(path: Path) -> tuple[int, _Part | None]:
    """Bytes that are here of a file whose length is known, and what it was; else nothing."""
    try:
        note = msgspec.json.decode(_note(path).read_bytes(), type=_Part)
    except (OSError, msgspec.DecodeError):
        return 0, None
    had = _size(_part(path))
    return (had, note) if 0 < had <= note.length else (0, None)


def _throw_away(path: Path) -> None:
    _part(path).unlink(missing_ok=True)
    _note(path).unlink(missing_ok=True)


def _is_whole(path: Path) -> bool:
    """Whether the file lies here with the checksum that it came with."""
    if not path.is_file() or not _checksum_file(path).is_file():
        return False
    wanted = _checksum_file(path).read_text("ascii", "replace").partition(" ")[0]
    return _sha256(path) == wanted


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
