import struct

import cv2
import numpy as np
import pytest

from ich_tf.runtime.pictures import decode_picture

GREY = np.random.default_rng(0).integers(0, 256, (24, 40), np.uint8)
COLOURS = np.random.default_rng(0).integers(0, 256, (24, 40, 3), np.uint8)


def encoded(extension: str, image: np.ndarray = GREY, *options: int) -> bytes:
    done, data = cv2.imencode(extension, image, options)
    assert done
    return data.tobytes()


@pytest.mark.parametrize("image", [GREY, COLOURS, GREY.astype(np.uint16) * 257])
def test_png_is_exact(image: np.ndarray) -> None:
    np.testing.assert_array_equal(decode_picture(encoded(".png", image), "png"), image)


@pytest.mark.parametrize("options", [(), (cv2.IMWRITE_JPEG_PROGRESSIVE, 1)])
def test_jpeg_is_as_opencv_reads_it(options: tuple[int, ...]) -> None:
    data = encoded(".jpg", COLOURS, *options)
    expected = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(decode_picture(data, "jpeg"), expected)
    # Fill bytes may stand before any marker (ITU T.81, B.1.1.2).
    np.testing.assert_array_equal(
        decode_picture(data[:2] + b"\xff\xff" + data[2:], "jpeg"), expected
    )


# Of a file and of a bare codestream (ISO/IEC 15444-1, annexes I and A).
JPEG_2000 = (b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(99), b"\xff\x4f\xff\x51" + bytes(99))
OTHERS = [*JPEG_2000, *(encoded(extension, COLOURS) for extension in (".tiff", ".bmp", ".webp"))]


@pytest.mark.parametrize("data", OTHERS, ids=["jp2", "j2k", "tiff", "bmp", "webp"])
@pytest.mark.parametrize("picture_format", ["png", "jpeg"])
def test_another_format_meets_no_decoder(
    data: bytes, picture_format: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CVE-2025-53644, a JPEG 2000 whose decoder writes through a wild pointer, and its kind."""
    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("it was decoded"))
    assert decode_picture(data, picture_format) is None


def test_png_and_jpeg_are_not_taken_for_each_other() -> None:
    assert decode_picture(encoded(".png"), "jpeg") is None
    assert decode_picture(encoded(".jpg"), "png") is None


@pytest.mark.parametrize("picture_format", ["png", "jpeg"])
def test_announced_pixels_are_counted_before_they_are_allocated(
    picture_format: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = encoded(".png" if picture_format == "png" else ".jpg")
    assert decode_picture(data, picture_format, GREY.size) is not None
    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("it was decoded"))
    assert decode_picture(data, picture_format, GREY.size - 1) is None
    at, form = (16, ">II") if picture_format == "png" else (data.index(b"\xff\xc0") + 5, ">HH")
    for size in ((60000, 60000), (0, 40), (24, 0)):
        forged = data[:at] + struct.pack(form, *size) + data[at + struct.calcsize(form) :]
        assert decode_picture(forged, picture_format) is None


@pytest.mark.parametrize("picture_format", ["png", "jpeg"])
def test_any_beginning_is_no_picture_or_one(picture_format: str) -> None:
    data = encoded(".png" if picture_format == "png" else ".jpg")
    for end in range(0, len(data), 7):
        pixels = decode_picture(data[:end], picture_format)
        assert pixels is None or pixels.shape[:2] == GREY.shape
    assert decode_picture(b"\xff\xd8" + b"\xff\xd9\x00\x00" * 4, "jpeg") is None
