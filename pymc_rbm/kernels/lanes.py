"""Sixteen numbers side by side are one numba type, so that kernels say what is vectorised on any processor.

A value of type `Lanes` is a vector of LLVM's intermediate language, which LLVM maps to whatever registers there are:
one of AVX-512, two of AVX2, four of NEON or SSE2. No instruction set is named anywhere. Loops over plain arrays would
leave it to LLVM to find out what can be vectorised, and a store into one array that may be another stops it.

Loads and stores are unchecked and unaligned; arrays must be contiguous.
"""

from __future__ import annotations

import operator

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.errors import TypingError
from numba.core.typing.templates import AbstractTemplate, infer_global
from numba.extending import intrinsic, lower_builtin, models, register_model

__all__ = [
    "CACHE_LINE",
    "LANES",
    "absolute",
    "address",
    "as_bits",
    "as_number",
    "bits",
    "byte_at",
    "from_bits",
    "load",
    "muladd",
    "number",
    "select",
    "splat",
    "stack_room",
    "store",
    "total",
    "transpose_square",
]

LANES = 16
CACHE_LINE = 64
"""The size of a cache line in bytes."""


class Lanes(types.Type):
    """Type of `LANES` numbers of one kind; the kind "boolean" is the result of a comparison."""

    def __init__(self, dtype: types.Type):
        self.dtype = dtype
        super().__init__(name=f"Lanes({dtype})")


@register_model(Lanes)
class LanesModel(models.PrimitiveModel):
    """Data model that puts lanes into a vector register."""

    def __init__(self, manager, lanes):
        bit = isinstance(lanes.dtype, types.Boolean)
        element = ir.IntType(1) if bit else manager.lookup(lanes.dtype).get_value_type()
        super().__init__(manager, lanes, ir.VectorType(element, LANES))


def _operator(op, instruction):
    """Implement the operator ``op`` on lanes of equal types by ``instruction(builder, x, y, dtype)``."""
    compares = op in (operator.lt, operator.ge)

    def generic(self, args, kws):
        if len(args) == 2 and isinstance(args[0], Lanes) and args[0] == args[1]:
            return (Lanes(types.boolean) if compares else args[0])(*args)
        return None

    infer_global(op)(type(f"Lanes_{op.__name__}", (AbstractTemplate,), {"generic": generic, "key": op}))

    @lower_builtin(op, Lanes, Lanes)
    def lowered(context, builder, signature, args):
        return instruction(builder, *args, signature.args[0].dtype)


def _arithmetic(name):
    def instruction(builder, x, y, dtype):
        if isinstance(dtype, types.Float):
            return getattr(builder, f"f{name}")(x, y)
        return getattr(builder, name)(x, y)

    return instruction


def _comparison(symbol):
    def instruction(builder, x, y, dtype):
        if isinstance(dtype, types.Float):
            return builder.fcmp_ordered(symbol, x, y)
        return builder.icmp_unsigned(symbol, x, y)

    return instruction


for op, instruction in {
    operator.add: _arithmetic("add"),
    operator.sub: _arithmetic("sub"),
    operator.mul: _arithmetic("mul"),
    operator.truediv: lambda builder, x, y, dtype: builder.fdiv(x, y),
    operator.and_: lambda builder, x, y, dtype: builder.and_(x, y),
    operator.or_: lambda builder, x, y, dtype: builder.or_(x, y),
    operator.xor: lambda builder, x, y, dtype: builder.xor(x, y),
    operator.lshift: lambda builder, x, y, dtype: builder.shl(x, y),
    operator.rshift: lambda builder, x, y, dtype: builder.lshr(x, y),
    operator.lt: _comparison("<"),
    operator.ge: _comparison(">="),
}.items():
    _operator(op, instruction)


def _vector(dtype, context):
    return context.get_value_type(Lanes(dtype))


def _pointer(context, builder, array_type, array, index):
    data = context.make_array(array_type)(context, builder, array).data
    return builder.gep(data, [index])


@intrinsic
def address(typingctx, array):
    """Return the address at which the elements of an array begin."""

    def codegen(context, builder, signature, args):
        data = context.make_array(signature.args[0])(context, builder, args[0]).data
        return builder.ptrtoint(data, context.get_value_type(types.intp))

    return types.intp(array), codegen


@intrinsic
def byte_at(typingctx, words, index):
    """Return byte ``index`` of a contiguous array of words, unchecked; the processor must be little-endian."""

    def codegen(context, builder, signature, args):
        data = context.make_array(signature.args[0])(context, builder, args[0]).data
        pointer = builder.gep(builder.bitcast(data, ir.IntType(8).as_pointer()), [args[1]])
        return builder.zext(builder.load(pointer), context.get_value_type(types.intp))

    return types.intp(words, types.intp), codegen


def stack_room(count):
    """Make a function of an array that reserves room for ``count`` numbers of its type on the stack of a kernel.

    Such room is the same from call to call, and so it is in the cache; what a heap gives may be anywhere.
    """

    @intrinsic
    def room(typingctx, like):
        array_type = types.Array(like.dtype, 1, "C")

        def codegen(context, builder, signature, args):
            element = context.get_value_type(like.dtype)
            with builder.goto_entry_block():
                memory = builder.alloca(ir.ArrayType(element, count))
            memory.align = CACHE_LINE
            size = context.get_abi_sizeof(element)
            array = context.make_array(array_type)(context, builder)
            context.populate_array(
                array,
                data=builder.bitcast(memory, element.as_pointer()),
                shape=cgutils.pack_array(builder, [context.get_constant(types.intp, count)]),
                strides=cgutils.pack_array(builder, [context.get_constant(types.intp, size)]),
                itemsize=context.get_constant(types.intp, size),
                meminfo=None,
            )
            return array._getvalue()

        return array_type(like), codegen

    return room


@intrinsic
def load(typingctx, array, index):
    """Load `LANES` neighbouring elements from ``index`` on."""
    if isinstance(array.dtype, types.Boolean):
        raise TypingError("Booleans are bytes in an array and bits in lanes: load a view of int8.")

    def codegen(context, builder, signature, args):
        pointer = _pointer(context, builder, signature.args[0], args[0], args[1])
        vector = context.get_value_type(signature.return_type)
        wide = builder.bitcast(pointer, vector.as_pointer())
        return builder.load(wide, align=context.get_abi_alignment(vector.element))

    return Lanes(array.dtype)(array, types.intp), codegen


@intrinsic
def store(typingctx, array, index, x):
    """Write ``x`` to `LANES` neighbouring elements from ``index`` on."""

    def codegen(context, builder, signature, args):
        pointer = _pointer(context, builder, signature.args[0], args[0], args[1])
        wide = builder.bitcast(pointer, args[2].type.as_pointer())
        builder.store(args[2], wide, align=context.get_abi_alignment(args[2].type.element))
        return context.get_dummy_value()

    return types.void(array, types.intp, x), codegen


def _spread(builder, vector, value):
    one = builder.insert_element(ir.Constant(vector, ir.Undefined), value, ir.Constant(ir.IntType(32), 0))
    zeros = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
    return builder.shuffle_vector(one, one, zeros)


@intrinsic
def splat(typingctx, value):
    """Return the same number in every lane."""

    def codegen(context, builder, signature, args):
        return _spread(builder, context.get_value_type(signature.return_type), args[0])

    return Lanes(value)(value), codegen


@intrinsic
def muladd(typingctx, x, y, z):
    """Return ``x * y + z``, fused where the processor can."""

    def codegen(context, builder, signature, args):
        vector = args[0].type
        name = f"llvm.fmuladd.v{LANES}f{32 if signature.args[0].dtype == types.float32 else 64}"
        function = cgutils.get_or_insert_function(builder.module, ir.FunctionType(vector, [vector] * 3), name)
        return builder.call(function, args)

    return x(x, x, x), codegen


@intrinsic
def select(typingctx, condition, x, y):
    """Return ``x`` where the condition holds, ``y`` elsewhere."""
    return x(condition, x, x), lambda context, builder, signature, args: builder.select(*args)


@intrinsic
def absolute(typingctx, x):
    """Return ``|x|``."""

    def codegen(context, builder, signature, args):
        vector = args[0].type
        name = f"llvm.fabs.v{LANES}f{32 if signature.args[0].dtype == types.float32 else 64}"
        function = cgutils.get_or_insert_function(builder.module, ir.FunctionType(vector, [vector]), name)
        return builder.call(function, args)

    return x(x), codegen


@intrinsic
def bits(typingctx, condition):
    """Return the results of a comparison as the bits of an integer, with the first lane in the lowest bit."""

    def codegen(context, builder, signature, args):
        return builder.zext(builder.bitcast(args[0], ir.IntType(LANES)), ir.IntType(32))

    return types.uint32(condition), codegen


@intrinsic
def from_bits(typingctx, mask):
    """Return the lowest bits of an integer as bytes of 0 and 1, the lowest bit in the first lane."""

    def codegen(context, builder, signature, args):
        flags = builder.bitcast(builder.trunc(args[0], ir.IntType(LANES)), ir.VectorType(ir.IntType(1), LANES))
        return builder.zext(flags, context.get_value_type(signature.return_type))

    return Lanes(types.int8)(mask), codegen


@intrinsic
def as_bits(typingctx, x):
    """Return the same bits read as unsigned integers."""
    integers = Lanes(types.uint32 if x.dtype == types.float32 else types.uint64)
    return integers(x), lambda context, builder, signature, args: builder.bitcast(
        args[0], context.get_value_type(signature.return_type)
    )


@intrinsic
def as_number(typingctx, x):
    """Return the same bits read as floating-point numbers."""
    floats = Lanes(types.float32 if x.dtype == types.uint32 else types.float64)
    return floats(x), lambda context, builder, signature, args: builder.bitcast(
        args[0], context.get_value_type(signature.return_type)
    )


@intrinsic
def number(typingctx, x, like):
    """Return integers as numbers of the type of ``like``, rounded; to an integer type their bits are kept."""
    target = like if isinstance(like, Lanes) else Lanes(like)

    def codegen(context, builder, signature, args):
        vector = context.get_value_type(signature.return_type)
        if isinstance(signature.return_type.dtype, types.Float):
            return (builder.sitofp if x.dtype.signed else builder.uitofp)(args[0], vector)
        return builder.zext(args[0], vector)

    return target(x, like), codegen


@intrinsic
def transpose_square(typingctx, source, at, width, target, to, target_width):
    """Write the transpose of `LANES` neighbours in `LANES` rows of ``source``, from ``at`` on, to ``target``.

    Both arrays are contiguous, with rows of these widths. Squares change places across the diagonal: those of half of
    the lanes, then those of half of these inside each.
    """

    def codegen(context, builder, signature, args):
        source, at, width, target, to, target_width = args
        vector = context.get_value_type(Lanes(signature.args[0].dtype))

        def place(array_type, array, index, row, width):
            offset = builder.add(index, builder.mul(width, ir.Constant(width.type, row)))
            pointer = _pointer(context, builder, array_type, array, offset)
            return builder.bitcast(pointer, vector.as_pointer())

        align = context.get_abi_alignment(vector.element)
        rows = [builder.load(place(signature.args[0], source, at, i, width), align=align) for i in range(LANES)]
        for half in (8, 4, 2, 1):
            lanes = range(LANES)
            upper = [x if not x & half else LANES + x - half for x in lanes]
            lower = [x + half if not x & half else LANES + x for x in lanes]
            for i in (i for i in lanes if not i & half):
                pair = rows[i], rows[i + half]
                for row, order in zip((i, i + half), (upper, lower), strict=True):
                    mask = ir.Constant(ir.VectorType(ir.IntType(32), LANES), order)
                    rows[row] = builder.shuffle_vector(*pair, mask)
        for i, row in enumerate(rows):
            builder.store(row, place(signature.args[3], target, to, i, target_width), align=align)
        return context.get_dummy_value()

    sizes = [types.intp] * 2
    return types.void(source, *sizes, target, *sizes), codegen


@intrinsic
def total(typingctx, x):
    """Return the sum over the lanes, added in pairs."""

    def codegen(context, builder, signature, args):
        [x] = args
        for half in (8, 4, 2, 1):
            order = [(lane + half) % LANES for lane in range(LANES)]
            mask = ir.Constant(ir.VectorType(ir.IntType(32), LANES), order)
            x = builder.fadd(x, builder.shuffle_vector(x, x, mask))
        return builder.extract_element(x, ir.Constant(ir.IntType(32), 0))

    return x.dtype(x), codegen
