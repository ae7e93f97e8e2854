"""The decorator of every compiled function, and the folder of its cache.

numba's file cache does not see an edit in a callee of another module, so the folder's name is a
hash of every source that compiles something: editing any leaf compiles every loop that may call it.
No fastmath, no parallel reductions: the same bits on every machine.

Where that folder cannot be written, as in an image with a read-only root, what was compiled into it
before is taken from there, and what was not is compiled in each process and kept nowhere.
"""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast, overload

import numba
import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.core.caching import UserProvidedCacheLocator
from numba.core.datamodel.models import ArrayModel
from numba.extending import NativeValue, register_model, unbox
from numba.np.numpy_support import as_dtype

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


def _is_kept(folder: Path) -> bool:
    """Whether what is compiled can be written to `folder`, which is made where it can be."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(folder, os.W_OK)


class BakedCacheLocator(UserProvidedCacheLocator):
    """The way to kernels in a folder that is only read: numba itself takes none of these."""

    def ensure_cache_path(self) -> None:
        """Take the folder as it is."""


# Whether what this process compiles is there for the next.
KEPT = _is_kept(CACHE_DIR)
if not KEPT:
    _LOCATOR = f"{__name__}.{BakedCacheLocator.__name__}"
    numba.config.CACHE_LOCATOR_CLASSES = _LOCATOR  # type: ignore[attr-defined]
_KERNELS: list[Any] = []  # those that were imported and not asked for by `load_kept` yet


@overload
def kernel(function: Function) -> Function: ...


@overload
def kernel(*, nogil: bool) -> Callable[[Function], Function]: ...


def kernel(function: Function | None = None, *, nogil: bool = False) -> Any:
    """Compile `function` at its first call, without fastmath, cached on disk.

    With `nogil` a call lets other threads run: for work of milliseconds over arrays of its own.
    """
    compiled = numba.njit(cache=True, error_model="numpy", nogil=nogil)

    def kept(source: Function) -> Function:
        dispatcher: Any = compiled(source)
        if not KEPT:
            dispatcher._cache.save_overload = lambda signature, data: None
        _KERNELS.append(dispatcher)
        return cast(Function, dispatcher)

    return kept if function is None else kept(function)


def load_kept() -> int:
    """Load what the cache holds of each kernel imported since the last call; how many there were.

    Otherwise the first events pay for it, while an operator's kill waits behind them: numba's own
    start is half a second of work, each kernel some milliseconds more. What the cache does not hold
    is compiled when it is called.
    """
    kept = [(each, signature) for each in _KERNELS for signature in _kept_signatures(each)]
    _KERNELS.clear()
    for dispatcher, signature in kept:
        dispatcher.compile(signature)
    return len(kept)


def _kept_signatures(dispatcher: Any) -> list[tuple[types.Type, ...]]:
    """The types of arguments for which the cache holds code of this kernel and this processor."""
    cache, library = dispatcher._cache, dispatcher.targetctx.codegen()
    index = cache._cache_file._load_index()
    return [key[0] for key in index if key == cache._index_key(key[0], library)]


class _BorrowedType(types.Array):
    """An array that its caller holds while the call lasts: taken as it lies, nothing is counted."""

    def __init__(self, array: Any) -> None:
        name = f"Borrowed{array.name}"
        super().__init__(array.dtype, array.ndim, array.layout, not array.mutable, name)


register_model(_BorrowedType)(ArrayModel)


class _WordsType(types.Array):
    """An array of one row of rows, borrowed as the 64-bit words that it is made of."""

    def __init__(self) -> None:
        super().__init__(types.int64, 1, "C", name="Words")


register_model(_WordsType)(ArrayModel)


def _read(kind: Any, given: Any, call: Any) -> Any:
    """Read an array object's address, shape and strides, and whether that failed."""
    array = call.context.make_array(kind)(call.context, call.builder)
    # numba's own reader of arrays, which leaves the owner's reference count alone.
    signature = ir.FunctionType(ir.IntType(32), [call.pyapi.pyobj, call.pyapi.voidptr])
    reader = cgutils.get_or_insert_function(call.builder.module, signature, "numba_adapt_ndarray")
    place = call.builder.bitcast(array._getpointer(), call.pyapi.voidptr)
    return array, call.builder.call(reader, [given, place])


@unbox(_WordsType)
def _borrow_words(kind: Any, given: Any, call: Any) -> Any:
    """Read an array object's address and size; TypeError for what is no array."""
    array, error = _read(kind, given, call)
    word = array.itemsize.type(8)
    array.nitems = call.builder.sdiv(call.builder.mul(array.nitems, array.itemsize), word)
    array.itemsize = word
    array.shape = cgutils.pack_array(call.builder, [array.nitems])
    array.strides = cgutils.pack_array(call.builder, [word])
    failed = cgutils.is_not_null(call.builder, error)
    return _taken(call, array, failed, "an array was expected")


@unbox(_BorrowedType)
def _borrow(kind: Any, given: Any, call: Any) -> Any:
    """Read an array object's address, shape and strides; TypeError for what is no array, and for
    one whose elements have another size.
    """
    array, error = _read(kind, given, call)
    size = as_dtype(kind.dtype).itemsize
    other = call.builder.icmp_unsigned("!=", array.itemsize, array.itemsize.type(size))
    failed = call.builder.or_(cgutils.is_not_null(call.builder, error), other)
    return _taken(call, array, failed, f"an array was expected, of {size} bytes an element")


def _taken(call: Any, array: Any, failed: Any, expected: str) -> Any:
    """What was read, or TypeError that says what was expected."""
    with call.builder.if_then(failed, likely=False):
        call.pyapi.err_set_string("PyExc_TypeError", expected)
    return NativeValue(array._getvalue(), is_error=failed)


def direct(function: Callable[..., Any], *examples: object) -> Callable[..., Any]:
    """The compiled code of `function` for arguments like `examples`, without what is most of a
    call's cost: no look-up of their types, and arrays are borrowed rather than shared, so that it
    must return none. One row that is made of rows comes as its 64-bit words (`rows.parts`). It
    trusts its caller: arrays of another layout or dimension would be misread; what is no array, or
    has elements of another size, raises TypeError.
    """
    return function.compile(tuple(map(_borrowed, examples)))  # type: ignore[attr-defined]


def _borrowed(example: object) -> types.Type:
    """The type as which code that `direct` compiles takes arguments like `example`."""
    if isinstance(example, np.ndarray) and _is_of_rows(example.dtype):
        return _WordsType()
    kind = numba.typeof(example)
    return _BorrowedType(kind) if isinstance(kind, types.Array) else kind


def _is_of_rows(kind: np.dtype[Any]) -> bool:
    """Whether rows of this kind are made of rows."""
    return any(inner.base.names for inner, *_ in (kind.fields or {}).values())


class Direct:
    """`call` is `direct` of a function for arguments like those of its first call.

    For a caller whose arguments are of the same types for ever: a step, over its stage's state.
    """

    __slots__ = ("call", "_function")

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function
        self.call: Callable[..., Any] = self._first

    def _first(self, *arguments: object) -> Any:
        self.call = direct(self._function, *arguments)
        return self.call(*arguments)
