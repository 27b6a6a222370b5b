"""A number type for numba that holds one float64 of each of `LANES` power flows.

Compiled code that is written with it reads as for one power flow and does `LANES` of them at
once: every ``+`` is one vector instruction (two or four on processors with shorter vectors). All
lanes take the same instructions in the same order, so what happens in one lane depends neither on
its neighbours nor on its place.

Arrays of lanes are float64 arrays of shape (n, LANES); `load` and `store` move one row. Nothing
here can be called outside of compiled code.
"""
# mypy: allow-untyped-defs

from __future__ import annotations

import operator
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core.datamodel.models import PrimitiveModel
from numba.extending import intrinsic, overload, register_model
from numba.np.arrayobj import make_array

from gridproblems._compile import compiled
from gridproblems.state import FloatArray

LANES = 8
_ALIGNMENT = 64  # bytes, a cache line
_VECTOR = ir.VectorType(ir.DoubleType(), LANES)


class LanesType(types.Type):
    """Type of a value with one float64 per lane."""

    def __init__(self) -> None:
        super().__init__(name=f"lanes({LANES})")


lanes_type = LanesType()


@register_model(LanesType)
class _LanesModel(PrimitiveModel):
    def __init__(self, manager: Any, type_: Any) -> None:
        super().__init__(manager, type_, _VECTOR)


def lane_array(n: int) -> FloatArray:
    """Zeros of shape (n, LANES) that begin at a cache line."""
    room = np.zeros(n * LANES * 8 + _ALIGNMENT, dtype=np.uint8)
    start = -room.ctypes.data % _ALIGNMENT
    return room[start : start + n * LANES * 8].view(np.float64).reshape(n, LANES)


def _row(context, builder, array_type, array, row):
    """Pointer to the lanes of a row."""
    data = make_array(array_type)(context, builder, array).data
    place = builder.mul(row, ir.Constant(row.type, LANES))
    return builder.bitcast(builder.gep(data, [place]), _VECTOR.as_pointer())


@intrinsic
def load(typingctx, array, row):
    """Row of an array of lanes."""

    def code(context, builder, signature, args):
        index = context.cast(builder, args[1], signature.args[1], types.intp)
        pointer = _row(context, builder, signature.args[0], args[0], index)
        return builder.load(pointer, align=8)

    return lanes_type(array, row), code


@intrinsic
def store(typingctx, array, row, value):
    """Puts lanes into a row of an array of lanes."""

    def code(context, builder, signature, args):
        index = context.cast(builder, args[1], signature.args[1], types.intp)
        pointer = _row(context, builder, signature.args[0], args[0], index)
        builder.store(args[2], pointer, align=8)
        return context.get_dummy_value()

    return types.void(array, row, value), code


@intrinsic
def lanes(typingctx, value):
    """The same number in every lane."""

    def code(context, builder, signature, args):
        number = context.cast(builder, args[0], signature.args[0], types.float64)
        first = builder.insert_element(
            ir.Constant(_VECTOR, ir.Undefined), number, ir.Constant(ir.IntType(32), 0)
        )
        same = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
        return builder.shuffle_vector(first, ir.Constant(_VECTOR, ir.Undefined), same)

    return lanes_type(value), code


def _elementwise(n_arguments, instruction):
    """A compiled function of lanes from what builds its instruction."""

    def build(context, builder, signature, args):
        return instruction(builder, *args)

    if n_arguments == 1:

        @intrinsic
        def function(typingctx, x):
            return lanes_type(x), build

    elif n_arguments == 2:

        @intrinsic
        def function(typingctx, x, y):
            return lanes_type(x, y), build

    elif n_arguments == 3:

        @intrinsic
        def function(typingctx, x, y, z):
            return lanes_type(x, y, z), build

    else:

        @intrinsic
        def function(typingctx, x, y, z, w):
            return lanes_type(x, y, z, w), build

    return function


def _llvm(name):
    """An instruction that LLVM has as a function, such as the square root."""

    def instruction(builder, *args):
        type_ = ir.FunctionType(_VECTOR, [_VECTOR] * len(args))
        full_name = f"llvm.{name}.v{LANES}f64"
        return builder.call(builder.module.declare_intrinsic(full_name, fnty=type_), args)

    return instruction


_add = _elementwise(2, lambda builder, x, y: builder.fadd(x, y))
_subtract = _elementwise(2, lambda builder, x, y: builder.fsub(x, y))
_multiply = _elementwise(2, lambda builder, x, y: builder.fmul(x, y))
_divide = _elementwise(2, lambda builder, x, y: builder.fdiv(x, y))
_negate = _elementwise(1, lambda builder, x: builder.fneg(x))

#: ``x * y + z`` in one instruction where the processor has it.
multiply_add = _elementwise(3, _llvm("fmuladd"))
#: ``z - x * y`` likewise.
subtract_product = _elementwise(
    3, lambda builder, x, y, z: _llvm("fmuladd")(builder, builder.fneg(x), y, z)
)
square_root = _elementwise(1, _llvm("sqrt"))
absolute = _elementwise(1, _llvm("fabs"))
#: Nearest whole number.
nearest = _elementwise(1, _llvm("rint"))
#: The larger of two, NaN where either is NaN.
larger = _elementwise(2, _llvm("maximum"))
#: In every lane ``z`` where ``x < y`` and ``w`` elsewhere, also where ``x`` or ``y`` is NaN.
where_less = _elementwise(
    4, lambda builder, x, y, z, w: builder.select(builder.fcmp_ordered("<", x, y), z, w)
)


def _operator(symbol, function):
    """Lets compiled code write ``x + y`` with lanes and plain numbers."""

    @overload(symbol)
    def operation(x, y):
        is_lanes = isinstance(x, LanesType), isinstance(y, LanesType)
        if all(is_lanes):
            return lambda x, y: function(x, y)
        if is_lanes[0] and isinstance(y, types.Number):
            return lambda x, y: function(x, lanes(y))
        if is_lanes[1] and isinstance(x, types.Number):
            return lambda x, y: function(lanes(x), y)
        return None


for _symbol, _function in (
    (operator.add, _add),
    (operator.sub, _subtract),
    (operator.mul, _multiply),
    (operator.truediv, _divide),
):
    _operator(_symbol, _function)


@overload(operator.neg)
def _minus(x):
    if isinstance(x, LanesType):
        return lambda x: _negate(x)
    return None


@compiled
def sine_cosine(x):
    """Sine and cosine of angles in radian, to the last bit or the one before.

    Reduction to an eighth of a turn and the polynomials of fdlibm (``k_sin.c``, ``k_cos.c``).
    Angles beyond a million lose digits.
    """
    quarters = nearest(x * 0.6366197723675814)
    r = subtract_product(quarters, lanes(1.57079632673412561417), x)
    r = subtract_product(quarters, lanes(6.07710050630396597660e-11), r)
    r = subtract_product(quarters, lanes(2.02226624871116645580e-21), r)
    z = r * r

    s = multiply_add(z, lanes(1.58969099521155010221e-10), lanes(-2.50507602534068634195e-08))
    s = multiply_add(z, s, lanes(2.75573137070700676789e-06))
    s = multiply_add(z, s, lanes(-1.98412698298579493134e-04))
    s = multiply_add(z, s, lanes(8.33333333332248946124e-03))
    s = multiply_add(z, s, lanes(-1.66666666666666324348e-01))
    sine = multiply_add(z * r, s, r)

    c = multiply_add(z, lanes(-1.13596475577881948265e-11), lanes(2.08757232129817482790e-09))
    c = multiply_add(z, c, lanes(-2.75573143513906633035e-07))
    c = multiply_add(z, c, lanes(2.48015872894767294178e-05))
    c = multiply_add(z, c, lanes(-1.38888888888741095749e-03))
    c = multiply_add(z, c, lanes(4.16666666666666019037e-02))
    half = z * 0.5
    whole = 1.0 - half
    cosine = whole + multiply_add(z * z, c, (1.0 - whole) - half)

    quarter = quarters - 4.0 * nearest(quarters * 0.25)  # -2 to 2
    odd = absolute(absolute(quarter) - 1.0)  # 0 for one quarter more or less
    sine, cosine = (
        where_less(odd, lanes(0.5), cosine, sine),
        where_less(odd, lanes(0.5), sine, cosine),
    )
    sine = where_less(absolute(quarter - 0.5), lanes(1.0), sine, -sine)
    cosine = where_less(absolute(quarter + 0.5), lanes(1.0), cosine, -cosine)
    return sine, cosine
