"""The decorator of every compiled function, and the folder of its cache.

numba's file cache does not see an edit in a callee of another module, so the folder's name is a
hash of every source that compiles something: editing any leaf compiles every loop that may call it.
No fastmath, no parallel reductions: the same bits on every machine.
"""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast, overload

import numba

Function = TypeVar("Function", bound=Callable[..., Any])

_ROOT = Path(__file__).resolve().parent


def sources_sha256(root: Path = _ROOT) -> str:
    """Hash of the sources below `root` that take the decorator or the row types from here, names
    and contents.
    """
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        content = path.read_bytes()
        if b"hft_lib.kernel" in content or b"hft_lib.rows" in content or path.name == "rows.py":
            digest.update(path.relative_to(root).as_posix().encode() + b"\0" + content + b"\0")
    return digest.hexdigest()


CACHE_DIR = _ROOT / "__pycache__" / f"kernels-{sources_sha256()[:16]}"
numba.config.CACHE_DIR = str(CACHE_DIR)  # type: ignore[attr-defined]


@overload
def kernel(function: Function) -> Function: ...


@overload
def kernel(*, nogil: bool) -> Callable[[Function], Function]: ...


def kernel(function: Function | None = None, *, nogil: bool = False) -> Any:
    """Compile `function` at its first call, without fastmath, cached on disk.

    With `nogil` a call lets other threads run: for work of milliseconds over arrays of its own.
    """
    compiled = numba.njit(cache=True, error_model="numpy", nogil=nogil)
    return compiled if function is None else cast(Function, compiled(function))


def direct(function: Callable[..., Any], *examples: object) -> Callable[..., Any]:
    """The compiled code of `function` for arguments like `examples`, without the look-up of their
    types that is most of a call's cost. It trusts its caller: arrays of another type, layout or
    dimension would be misread.
    """
    return function.compile(tuple(map(numba.typeof, examples)))  # type: ignore[attr-defined]
