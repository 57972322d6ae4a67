"""HDF5 in Python alone: what an array's header says of shape, numbers and storage."""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator

import numpy as np

from ich_tf.models.hdf5_blocks import Block, Refused

_MOST_RANK = 8
_DEFLATE, _SHUFFLE = 1, 2
_VARIABLE_LENGTH, STRING = 9, 3
_CLASS_NAMES = {
    2: "times", STRING: "strings", 4: "bit fields", 5: "opaque values", 6: "compounds",
    7: "references", 8: "enumerations", _VARIABLE_LENGTH: "values of variable length", 10: "arrays",
}  # fmt: skip
# Size of an IEEE float -> places and sizes of exponent and mantissa, and bias.
_IEEE = {2: (10, 5, 0, 10, 15), 4: (23, 8, 0, 23, 127), 8: (52, 11, 0, 52, 1023)}
_BFLOAT16 = (7, 8, 0, 7, 127)


def shape_of(space: Block, where: str) -> tuple[int, ...]:
    """Shape of a dataspace message (section IV.A.2.b)."""
    version, rank, _, kind = space.unpack("4B", 0)
    if version not in (1, 2) or rank > _MOST_RANK or (version == 2 and kind > 1):
        raise Refused(f"{where} of an unknown shape")
    return space.unpack(f"{rank}Q", 8 if version == 1 else 4)


def number_of(kind: Block, where: str) -> np.dtype:
    """NumPy's type of a datatype message (section IV.A.2.d): integers and IEEE floats alone."""
    first, bits, high, _, size = kind.unpack("4BI", 0)
    of, order = first & 0x0F, ">" if bits & 1 else "<"
    if of == 0 and size in (1, 2, 4, 8) and kind.unpack("HH", 8) == (0, 8 * size):
        return np.dtype(f"{order}{'i' if bits & 8 else 'u'}{size}")
    if of == 1:
        form = kind.unpack("HH4BI", 8)
        if size == 2 and form[2:] == _BFLOAT16:
            raise Refused(f"{where} of bfloat16; expected float32")
        if size in _IEEE and form == (0, 8 * size, *_IEEE[size]) and high == 8 * size - 1:
            return np.dtype(f"{order}f{size}")
    raise Refused(f"{where} of {_CLASS_NAMES.get(of, 'unusual numbers')}; expected float32")


def filters_of(part: Block) -> Iterator[int]:
    """Filters of a pipeline message (section IV.A.2.l), in the order in which they were applied."""
    version, count = part.unpack("BB", 0)
    place = 8 if version == 1 else 2
    for _ in range(count):
        (number,) = part.unpack("H", place)
        # Keras writes no checksums (fletcher32, filter 3): none is compared here, and none cut off.
        if number not in (_DEFLATE, _SHUFFLE):
            raise Refused(f"an array in a compression that is not read here (filter {number})")
        yield number
        named = version == 1
        length = part.unpack("H", place + 2)[0] if named else 0
        values = part.unpack("H", place + (6 if named else 4))[0]
        place += (8 if named else 6) + length + 4 * (values + (values % 2 if named else 0))


def unfiltered(
    data: memoryview, filters: list[int], size: int, item: int, where: str
) -> memoryview | bytes:
    """The numbers of a chunk of `size` bytes, of which nothing beyond is decompressed."""
    for number in reversed(filters):
        if number == _DEFLATE:
            try:
                plain = zlib.decompressobj().decompress(data, size + 4)
            except zlib.error as error:
                raise Refused(f"{where} damaged: {error}") from error
            data = memoryview(plain)
        elif len(data) == size:
            turned = np.frombuffer(data, np.uint8).reshape(item, -1).T
            data = memoryview(turned.tobytes())
    if len(data) != size:
        raise Refused(f"{where} with a chunk of {len(data)} bytes instead of {size}")
    return data


def attribute_of(part: Block, name: str) -> tuple[Block, Block, Block] | None:
    """Type, shape and values of an attribute message (section IV.A.2.m), if that is its name."""
    version, flags, length, type_size, space_size = part.unpack("BBHHH", 0)
    if version not in (1, 2, 3) or (version > 1 and flags):
        return None
    place = 9 if version == 3 else 8
    pad = 8 if version == 1 else 1
    pieces = []
    for size in (length, type_size, space_size):
        pieces.append(part.part(place, size))
        place += -(-size // pad) * pad
    if bytes(pieces[0].data).rstrip(b"\0") != name.encode():
        return None
    return pieces[1], pieces[2], part.part(place, len(part.data) - place)


def values_of(
    kind: Block, space: Block, data: Block, name: str
) -> Iterator[tuple[int, memoryview]]:
    """The values of an attribute that are texts, or places of texts."""
    first, size = kind.unpack("BxxxI", 0)
    of = first & 0x0F
    if of not in (STRING, _VARIABLE_LENGTH):
        # Keras writes the names of a layer without weights as an empty array of float64.
        if math.prod(shape_of(space, name)) == 0:
            return
        raise Refused(f"an attribute {name} of other values than texts")
    if size == 0 or (of == _VARIABLE_LENGTH and size != 16):
        raise Refused(f"an attribute {name} of an unknown form")
    count = math.prod(shape_of(space, name))
    for i in range(count):
        yield of, data.cut(i * size, size)
