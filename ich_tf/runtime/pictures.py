"""PNG and JPEG pictures, recognized before a decoder in C sees them.

OpenCV chooses its decoder by the first bytes of what it is given, whatever that is called: a PNG
of a stranger may be a JPEG 2000, for whose decoder in OpenCV 4.10 and 4.11 CVE-2025-53644 is known.
And it allocates what the header announces.
"""

from __future__ import annotations

import struct

import cv2
import numpy as np

_PNG = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR"
_JPEG = b"\xff\xd8"
# Start of frame; 0xC4, 0xC8 and 0xCC are other segments (ITU T.81, table B.1).
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
# Markers without a length.
_BARE = frozenset((0x01, *range(0xD0, 0xD9)))
MAX_PIXELS = 1 << 26


def decode_picture(
    data: bytes, picture_format: str, max_pixels: int = MAX_PIXELS
) -> np.ndarray | None:
    """Decodes a picture of a known format.

    Args:
      data: Encoded picture.
      picture_format: `png` or `jpeg`.
      max_pixels: Most pixels that it may have.

    Returns:
      Pixels as OpenCV gives them, uint8 or uint16 [H, W] or [H, W, channels] (BGR); None if the
      data are no such picture, are damaged, or announce more pixels.

    Examples:
      >>> decode_picture(cv2.imencode(".png", np.ones((2, 3), np.uint8))[1].tobytes(), "png").shape
      (2, 3)
      >>> decode_picture(cv2.imencode(".bmp", np.ones((2, 3), np.uint8))[1].tobytes(), "png")
    """
    height, width = _png_size(data) if picture_format == "png" else _jpeg_size(data)
    if not 0 < height * width <= max_pixels:
        return None
    pixels: np.ndarray | None = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    return pixels


def png_start(height: int, width: int) -> bytes:
    """First bytes of every PNG of a size."""
    return _PNG + struct.pack(">II", width, height)


def _png_size(data: bytes) -> tuple[int, int]:
    """Height and width of a PNG; zeros if it is none."""
    if not data.startswith(_PNG) or len(data) < len(_PNG) + 8:
        return 0, 0
    width, height = struct.unpack_from(">II", data, len(_PNG))
    return height, width


def _jpeg_size(data: bytes) -> tuple[int, int]:
    """Height and width of a JPEG; zeros if it is none."""
    at = len(_JPEG) if data.startswith(_JPEG) else len(data)
    while at + 9 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker in _FRAMES:
            height, width = struct.unpack_from(">HH", data, at + 5)
            return height, width
        if marker == 0xFF:  # fill
            at += 1
        elif marker in _BARE:
            at += 2
        else:
            at += 2 + max(2, int.from_bytes(data[at + 2 : at + 4], "big"))
    return 0, 0
