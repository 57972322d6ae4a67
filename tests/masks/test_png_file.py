"""PNGs of masks: what a program may have written, and what it may have damaged."""

import struct
import zlib

import cv2
import numpy as np
import pytest

from ich_tf.masks.class_map import ClassMap
from ich_tf.masks.errors import MaskError, MaskReason
from ich_tf.masks.png_file import read_grey
from ich_tf.masks.png_masks import read_png

_VALUES = np.random.default_rng(0).integers(0, 64, (13, 10)).astype(np.uint8)
_LINES = b"".join(b"\0" + row.tobytes() for row in _VALUES)


def _chunk(name: bytes, content: bytes) -> bytes:
    crc = struct.pack(">I", zlib.crc32(name + content))
    return struct.pack(">I", len(content)) + name + content + crc


def _png(
    lines: bytes = _LINES,
    *,
    kind: tuple[int, int] = (8, 0),
    size: tuple[int, int] = (13, 10),
    more: bytes = b"",
    interlaced: int = 0,
) -> bytes:
    header = struct.pack(">IIBBBBB", size[1], size[0], *kind, 0, 0, interlaced)
    parts = _chunk(b"IHDR", header), more, _chunk(b"IDAT", zlib.compress(lines))
    return b"".join((b"\x89PNG\r\n\x1a\n", *parts, _chunk(b"IEND", b"")))


def _interlaced() -> bytes:
    passes = [
        _VALUES[::8, ::8], _VALUES[::8, 4::8], _VALUES[4::8, ::4], _VALUES[::4, 2::4],
        _VALUES[2::4, ::2], _VALUES[::2, 1::2], _VALUES[1::2],
    ]  # fmt: skip
    lines = b"".join(b"\0" + row.tobytes() for part in passes for row in part)
    return _png(lines, interlaced=1)


def _renamed_header() -> bytes:
    return _png()[:8] + _chunk(b"gAMA", _png()[16:29]) + _png()[33:]


def _long_header() -> bytes:
    return _png()[:8] + _chunk(b"IHDR", _png()[16:29] + bytes(3)) + _png()[33:]


def test_whatever_a_program_writes_beside_the_pixels_they_are_the_same() -> None:
    files = [
        cv2.imencode(".png", _VALUES, [cv2.IMWRITE_PNG_STRATEGY, strategy])[1].tobytes()
        for strategy in range(5)
    ]
    files += [_interlaced(), _png() + b"after the end", _png(more=_chunk(b"tRNS", b"\0\1"))]
    for data in files:
        np.testing.assert_array_equal(read_grey(data, 13, 10), _VALUES)


@pytest.mark.parametrize(
    ("data", "reason", "match"),
    [
        (b"", "MASK_FORMAT", "is no PNG"),
        (b"\xff\xd8\xff\xe0" * 20, "MASK_FORMAT", "is no PNG"),
        # Found by make fuzz: the header was taken from where it stands, whatever it was called.
        (_renamed_header(), "MASK_FORMAT", "is no PNG"),
        (_long_header(), "MASK_FORMAT", "is no PNG"),
        (_png(kind=(16, 0)), "MASK_FORMAT", "16 bits a sample and colour type 0"),
        (_png(kind=(8, 3)), "MASK_FORMAT", "colour type 3"),
        (_png(size=(10**9, 10**9)), "MASK_SIZE", "1000000000 x"),
        # OpenCV shows a first picture of zeros: an annotated slice without a bleed.
        (_png(more=_chunk(b"acTL", struct.pack(">II", 2, 0))), "MASK_FORMAT", "animation"),
        (_png()[:-12], "MASK_UNREADABLE", "damaged"),
        (_png()[:60], "MASK_UNREADABLE", "damaged"),
        (_png().replace(b"IDAT", b"IDAX"), "MASK_UNREADABLE", "damaged"),
        (_png(_LINES[:-1]), "MASK_UNREADABLE", "damaged"),
        (_png(_LINES + b"\0"), "MASK_UNREADABLE", "damaged"),
        (_png(b"\5" + _LINES[1:]), "MASK_UNREADABLE", "damaged"),
    ],
)
def test_damaged_ones_have_a_reason(
    data: bytes, reason: str, match: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(MaskError, match=match) as error:
        read_grey(data, 13, 10)
    assert error.value.reason is MaskReason[reason]
    assert capfd.readouterr().err == ""  # libpng would write there


def test_ones_alone_are_no_epidural_bleed_unless_that_is_said() -> None:
    data = cv2.imencode(".png", np.eye(8, dtype=np.uint8))[1].tobytes()
    with pytest.raises(MaskError, match="--mask_classes=1:any") as error:
        read_png(data, 8, 8)
    assert error.value.reason is MaskReason.MASK_CLASS
    bits, annotated = read_png(data, 8, 8, ClassMap.parse("1:any"))
    assert annotated == 32 and set(bits.ravel().tolist()) == {0, 32}
