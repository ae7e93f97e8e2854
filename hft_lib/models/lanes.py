"""Eight float64 side by side: a kernel written for one number runs on eight at the price of one.

A `Lanes` value takes + - * / with another or with a float, lane by lane, each rounded as a float64
is: the same bits with or without vector instructions. `like` tells `load`, `pick_negative`, `split`
and `total` whether a loop runs on lanes or on plain floats, so that one loop serves both. A
function whose loop has more lanes at work than the machine has registers calls `align_spills`.

    load(data, t, like)  data[t] of floats; data[8 t : 8 t + 8] of lanes
    fused(a, b, c)       a b + c rounded once, of any of either kind
    split(x)             the mantissa in [1, 2) and the exponent of a positive normal number
    total(x)             the eight lanes' sum, ((0+1)+(2+3))+((4+5)+(6+7))
    multiplied(x)        their product, in the same order
    shifted(x, power)    x 2^k for the integer k in the low bits of `power`
"""

# The types of this module are compiled by way of hft_lib.kernel and must be in its cache's key.

import operator
from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.core.typing.templates import ConcreteTemplate, infer_global, signature
from numba.extending import intrinsic, lower_builtin, models, register_model

WIDTH = 8

_VECTOR = ir.VectorType(ir.DoubleType(), WIDTH)
_EXPONENT_BITS = 52
_ONE = 0x3FF0000000000000
_MANTISSA = 0x000FFFFFFFFFFFFF
# An integer below 2^52 under this exponent is 2^52 and the integer: how bits become a float64.
_TWO_52_BITS, _TWO_52 = 0x4330000000000000, 4503599627370496.0
_BIAS = 1023.0
_LINE_BYTES = 64


class _LanesType(types.Type):
    def __init__(self) -> None:
        super().__init__(name="Lanes")


LANES = _LanesType()


@register_model(_LanesType)
class _LanesModel(models.PrimitiveModel):
    def __init__(self, dmm: Any, fe_type: Any) -> None:
        super().__init__(dmm, fe_type, _VECTOR)


def _spread(builder: Any, number: Any) -> Any:
    """A float in every lane."""
    single = builder.insert_element(
        ir.Constant(_VECTOR, ir.Undefined), number, ir.Constant(ir.IntType(32), 0)
    )
    mask = ir.Constant(ir.VectorType(ir.IntType(32), WIDTH), [0] * WIDTH)
    return builder.shuffle_vector(single, ir.Constant(_VECTOR, ir.Undefined), mask)


def _lanes(builder: Any, value: Any, kind: Any) -> Any:
    return value if kind == LANES else _spread(builder, value)


_PAIRS = ((LANES, LANES), (LANES, types.float64), (types.float64, LANES))


def _declare(symbol: Any, instruction: str) -> None:
    """Teach numba one arithmetic operator on lanes."""

    @infer_global(symbol)
    class _Operator(ConcreteTemplate):
        cases = [signature(LANES, left, right) for left, right in _PAIRS]

    def lower(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        left, right = (_lanes(builder, *pair) for pair in zip(args, sig.args, strict=True))
        return getattr(builder, instruction)(left, right)

    for left, right in _PAIRS:
        lower_builtin(symbol, left, right)(lower)


for _symbol, _inplace, _instruction in (
    (operator.add, operator.iadd, "fadd"),
    (operator.sub, operator.isub, "fsub"),
    (operator.mul, operator.imul, "fmul"),
    (operator.truediv, operator.itruediv, "fdiv"),
):
    _declare(_symbol, _instruction)
    _declare(_inplace, _instruction)


@infer_global(operator.neg)
class _Negation(ConcreteTemplate):
    cases = [signature(LANES, LANES)]


@lower_builtin(operator.neg, LANES)
def _negate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    return builder.fneg(args[0])


def _lanes_of(typing_context: Any, number: Any) -> Any:
    """`number` in every lane."""

    def code(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return _spread(builder, args[0])

    return LANES(types.float64), code


def _place(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    """Address of the lanes at index args[1] of the array args[0]."""
    array = context.make_array(sig.args[0])(context, builder, args[0])
    first = builder.mul(args[1], ir.Constant(args[1].type, WIDTH))
    return builder.bitcast(builder.gep(array.data, [first]), _VECTOR.as_pointer())


def _load(typing_context: Any, data: Any, index: Any, like: Any) -> Any:
    """`data[index]`, or eight numbers from `data[8 index]` where `like` is lanes; unchecked."""
    if like == LANES:

        def code(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            return builder.load(_place(context, builder, sig, args), align=8)

        return LANES(data, types.intp, LANES), code

    def code_one(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        array = context.make_array(sig.args[0])(context, builder, args[0])
        return builder.load(builder.gep(array.data, [args[1]]))

    return types.float64(data, types.intp, types.float64), code_one


def _store(typing_context: Any, data: Any, index: Any, value: Any) -> Any:
    """Put lanes, or a float, where `load` would find them; unchecked."""
    if value == LANES:

        def code(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            builder.store(args[2], _place(context, builder, sig, args), align=8)
            return context.get_dummy_value()

        return types.void(data, types.intp, LANES), code

    def code_one(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        array = context.make_array(sig.args[0])(context, builder, args[0])
        builder.store(args[2], builder.gep(array.data, [args[1]]))
        return context.get_dummy_value()

    return types.void(data, types.intp, types.float64), code_one


def _fused(typing_context: Any, a: Any, b: Any, c: Any) -> Any:
    """`a b + c`, rounded once."""
    kinds = [LANES if kind == LANES else types.float64 for kind in (a, b, c)]
    if LANES not in kinds:
        return types.float64(*kinds), lambda context, builder, sig, args: builder.fma(*args)

    def code(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        values = [_lanes(builder, *pair) for pair in zip(args, sig.args, strict=True)]
        kind = ir.FunctionType(_VECTOR, [_VECTOR] * 3)
        fma = cgutils.get_or_insert_function(builder.module, kind, f"llvm.fma.v{WIDTH}f64")
        return builder.call(fma, values)

    return LANES(*kinds), code


def _align_spills(typing_context: Any) -> Any:
    """Put the stack of the function on a cache line's border, and what spills to it with it.

    LLVM does not by itself: a spilled lane then straddles two lines three times of four, which cost
    a third of a loop's time. It does for a variable of that alignment, which only an instruction
    unknown to it keeps; that is an empty one.
    """

    def code(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        place = cgutils.alloca_once(builder, _VECTOR)
        place.align = _LINE_BYTES
        kind = ir.FunctionType(ir.VoidType(), [place.type])
        builder.asm(kind, "", "r", [place], True)
        return context.get_dummy_value()

    return types.void(), code


def _pick_negative(typing_context: Any, tested: Any, negative: Any, other: Any) -> Any:
    """`negative` where `tested` is below zero, `other` elsewhere, lane by lane."""
    kinds = [LANES if kind == LANES else types.float64 for kind in (tested, negative, other)]
    wide = LANES in kinds
    result = LANES if wide else types.float64

    def code(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        values = [
            _lanes(builder, *pair) if wide else pair[0] for pair in zip(args, sig.args, strict=True)
        ]
        zero = ir.Constant(values[0].type, [0.0] * WIDTH if wide else 0.0)
        below = builder.fcmp_ordered("<", values[0], zero)
        return builder.select(below, values[1], values[2])

    return result(*kinds), code


def _all_negative(typing_context: Any, tested: Any) -> Any:
    """Whether every lane is below zero."""

    def code(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        wide = tested == LANES
        zero = ir.Constant(args[0].type, [0.0] * WIDTH if wide else 0.0)
        below = builder.fcmp_ordered("<", args[0], zero)
        if not wide:
            return below
        bits = builder.bitcast(below, ir.IntType(WIDTH))
        return builder.icmp_unsigned("==", bits, ir.Constant(bits.type, -1))

    return types.boolean(tested), code


def _split(typing_context: Any, number: Any) -> Any:
    """Mantissa in [1, 2) and exponent, both of `number`'s kind, of a positive normal number."""
    wide = number == LANES
    kind = LANES if wide else types.float64
    bits_type = ir.VectorType(ir.IntType(64), WIDTH) if wide else ir.IntType(64)
    float_type = _VECTOR if wide else ir.DoubleType()

    def constant(value: Any, of: Any) -> Any:
        return ir.Constant(of, [value] * WIDTH if wide else value)

    def code(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        bits = builder.bitcast(args[0], bits_type)
        mantissa = builder.and_(bits, constant(_MANTISSA, bits_type))
        mantissa = builder.or_(mantissa, constant(_ONE, bits_type))
        exponent = builder.lshr(bits, constant(_EXPONENT_BITS, bits_type))
        exponent = builder.or_(exponent, constant(_TWO_52_BITS, bits_type))
        exponent = builder.bitcast(exponent, float_type)
        exponent = builder.fsub(exponent, constant(_TWO_52 + _BIAS, float_type))
        mantissa = builder.bitcast(mantissa, float_type)
        return context.make_tuple(builder, sig.return_type, (mantissa, exponent))

    return types.UniTuple(kind, 2)(kind), code


def _shifted(typing_context: Any, number: Any, power: Any) -> Any:
    """`number` times 2 to the integer in the low bits of `power`: nothing is to leave the range."""
    wide = number == LANES
    kind = LANES if wide else types.float64
    bits_type = ir.VectorType(ir.IntType(64), WIDTH) if wide else ir.IntType(64)
    float_type = _VECTOR if wide else ir.DoubleType()

    def code(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        bits, by = (builder.bitcast(arg, bits_type) for arg in args)
        places = ir.Constant(bits_type, [_EXPONENT_BITS] * WIDTH if wide else _EXPONENT_BITS)
        return builder.bitcast(builder.add(bits, builder.shl(by, places)), float_type)

    return kind(kind, kind), code


def _folded(value: Any, instruction: str) -> Any:
    """The lanes brought together two by two: one order on every machine."""
    if value != LANES:
        return types.float64(types.float64), lambda context, builder, sig, args: args[0]

    def code(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        fold = getattr(builder, instruction)
        parts = [
            builder.extract_element(args[0], ir.Constant(ir.IntType(32), k)) for k in range(WIDTH)
        ]
        while len(parts) > 1:
            parts = [fold(a, b) for a, b in zip(parts[::2], parts[1::2], strict=True)]
        return parts[0]

    return types.float64(LANES), code


def _total(typing_context: Any, value: Any) -> Any:
    """The lanes' sum; a float is its own."""
    return _folded(value, "fadd")


def _multiplied(typing_context: Any, value: Any) -> Any:
    """The lanes' product; a float is its own."""
    return _folded(value, "fmul")


# numba gives the typing context itself: what a kernel passes are the other arguments.
lanes: Any = intrinsic(_lanes_of)
load: Any = intrinsic(_load)
store: Any = intrinsic(_store)
fused: Any = intrinsic(_fused)
align_spills: Any = intrinsic(_align_spills)
pick_negative: Any = intrinsic(_pick_negative)
all_negative: Any = intrinsic(_all_negative)
split: Any = intrinsic(_split)
total: Any = intrinsic(_total)
multiplied: Any = intrinsic(_multiplied)
shifted: Any = intrinsic(_shifted)
