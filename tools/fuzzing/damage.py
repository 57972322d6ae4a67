"""Seeded damage: the same seed and number give the same bytes on every machine."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence

import numpy as np

# Elements that steer reading: group, element.
_STEERING = [
    (0x0002, 0x0000), (0x0002, 0x0010), (0x0008, 0x0008), (0x0008, 0x0060), (0x0018, 0x0050),
    (0x0020, 0x0032), (0x0020, 0x0037), (0x0028, 0x0002), (0x0028, 0x0004), (0x0028, 0x0008),
    (0x0028, 0x0010), (0x0028, 0x0011), (0x0028, 0x0030), (0x0028, 0x0100), (0x0028, 0x0101),
    (0x0028, 0x0102), (0x0028, 0x0103), (0x0028, 0x0120), (0x0028, 0x1052), (0x0028, 0x1053),
    (0x0028, 0x1054), (0x0028, 0x9145), (0x0020, 0x9113), (0x5200, 0x9229), (0x5200, 0x9230),
    (0x7FE0, 0x0010), (0xFFFE, 0xE000), (0xFFFE, 0xE00D), (0xFFFE, 0xE0DD),
]  # fmt: skip
# What stands in a number's place in files that people have.
_TEXTS = (
    b"nan", b"inf", b"-inf", b"1e39", b"1e308", b"1e400", b"-1", b"0", b"1e-40", b"0x10", b"1_0",
    b"", b"\\", b"1\\2", b"1,5", b"Doe^John", b"99999", b"-32768", b"2147483648", b"HU", b"US",
    b"\xff\xff", b"\0\0\0\0", b"0.0000001", b"DERIVED\\SECONDARY\\AXIAL\\IODINE",
)  # fmt: skip
_LENGTHS = (0, 1, 2, 3, 0xFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFE, 0xFFFFFFFF)


def damaged(data: bytes, others: Sequence[bytes], rng: np.random.Generator) -> bytes:
    """Damages a file once, or a few times.

    Args:
      data: Good file.
      others: Good files, parts of which may end up in this one.
      rng: Source of all choices.
    """
    for _ in range(1 + int(rng.integers(3) == 0) + int(rng.integers(9) == 0)):
        kind = _KINDS[rng.integers(len(_KINDS))]
        if data:
            data = bytes(kind(bytearray(data), others, rng))
    return data


def _flip(data: bytearray, others: Sequence[bytes], rng: np.random.Generator) -> bytearray:
    for at in rng.integers(0, len(data), size=rng.integers(1, 9)):
        data[at] ^= 1 << int(rng.integers(8))
    return data


def _flip_header(data: bytearray, others: Sequence[bytes], rng: np.random.Generator) -> bytearray:
    for at in rng.integers(0, min(len(data), 1500), size=rng.integers(1, 5)):
        data[at] = rng.integers(256)
    return data


def _cut(data: bytearray, others: Sequence[bytes], rng: np.random.Generator) -> bytearray:
    del data[int(rng.integers(len(data))) :]
    return data


def _cut_end(data: bytearray, others: Sequence[bytes], rng: np.random.Generator) -> bytearray:
    del data[-int(rng.integers(1, 40)) :]
    return data


def _lose(data: bytearray, others: Sequence[bytes], rng: np.random.Generator) -> bytearray:
    start = int(rng.integers(len(data)))
    del data[start : start + int(rng.integers(1, 64))]
    return data


def _repeat(data: bytearray, others: Sequence[bytes], rng: np.random.Generator) -> bytearray:
    start, length = int(rng.integers(len(data))), int(rng.integers(1, 200))
    data[start:start] = data[start : start + length]
    return data


def _zero(data: bytearray, others: Sequence[bytes], rng: np.random.Generator) -> bytearray:
    start, length = int(rng.integers(len(data))), int(rng.integers(1, 600))
    part = data[start : start + length]
    data[start : start + length] = bytes(len(part))
    return data


def _append(data: bytearray, others: Sequence[bytes], rng: np.random.Generator) -> bytearray:
    return data + rng.bytes(int(rng.integers(1, 64)))


def _splice(data: bytearray, others: Sequence[bytes], rng: np.random.Generator) -> bytearray:
    other = others[rng.integers(len(others))]
    return data[: int(rng.integers(len(data)))] + other[int(rng.integers(len(other))) :]


def _steer(data: bytearray, others: Sequence[bytes], rng: np.random.Generator) -> bytearray:
    """Writes over the representation, length or value of an element that steers reading."""
    at = _steering(data, rng)
    first = at + int(rng.integers(4, 9))
    last = first + int(rng.integers(1, 9))
    data[first:last] = rng.bytes(last - first)
    return data


def _length(data: bytearray, others: Sequence[bytes], rng: np.random.Generator) -> bytearray:
    at = _steering(data, rng) + (4 if rng.integers(2) else 6 if rng.integers(2) else 8)
    form = "<H" if rng.integers(3) == 0 else "<L"
    value = _LENGTHS[rng.integers(len(_LENGTHS))]
    if form == "<H":
        value &= 0xFFFF
    data[at : at + struct.calcsize(form)] = struct.pack(form, value)
    return data


def _text(data: bytearray, others: Sequence[bytes], rng: np.random.Generator) -> bytearray:
    """Gives an explicit element with a short length another value."""
    at = _steering(data, rng)
    if not bytes(data[at + 4 : at + 6]).isalpha() or at + 8 > len(data):
        return data
    (length,) = struct.unpack_from("<H", data, at + 6)
    value = _TEXTS[rng.integers(len(_TEXTS))]
    value += b" " * (len(value) % 2)
    data[at + 6 : at + 8 + length] = struct.pack("<H", len(value)) + value
    return data


def _number(data: bytearray, others: Sequence[bytes], rng: np.random.Generator) -> bytearray:
    """Gives an explicit unsigned short a value that is near another one."""
    at = _steering(data, rng) + 8
    if at + 2 <= len(data):
        value = (0, 1, 7, 8, 11, 12, 13, 15, 16, 24, 31, 32, 33, 48, 64, 4096, 65535)
        struct.pack_into("<H", data, at, value[rng.integers(len(value))])
    return data


def _steering(data: bytearray, rng: np.random.Generator) -> int:
    """Offset of one of the elements that steer reading, or of any byte."""
    group, element = _STEERING[rng.integers(len(_STEERING))]
    for order in "<>":
        at = data.find(struct.pack(f"{order}HH", group, element))
        if at >= 0:
            return at
    return int(rng.integers(len(data)))


_KINDS: tuple[
    Callable[[bytearray, Sequence[bytes], np.random.Generator], bytearray], ...
] = (
    _flip, _flip_header, _flip_header, _cut, _cut_end, _lose, _repeat, _zero, _append, _splice,
    _steer, _steer, _steer, _length, _length, _text, _text, _text, _number, _number,
)  # fmt: skip
