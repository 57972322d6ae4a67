"""Damages good DICOM files, reads them, and prints what came of it as JSON.

  python tests/support/fuzz_dicom.py SEED COUNT

A process of its own: its peak memory is that of reading, and a crash would be seen. The slowest
file, the peak and the outcomes are printed; a slice whose pixels are not pydicom's is an outcome
of its own, which the test does not allow.
"""

import io
import json
import os
import struct
import sys
import time
import warnings
from collections import Counter
from pathlib import Path

import imagecodecs
import numpy as np
import pydicom
from pydicom.pixels.encoders import RLELosslessEncoder

from ich_tf.dicom.reader import Slice, read_headers, read_slices
from ich_tf.dicom.reasons import DicomError
from tests.support.dicom_files import encapsulated, make_dicom, make_enhanced

# Elements that steer reading: group, element.
_STEERING = [
    (0x0028, 0x0002), (0x0028, 0x0004), (0x0028, 0x0008), (0x0028, 0x0010), (0x0028, 0x0011),
    (0x0028, 0x0030), (0x0028, 0x0100), (0x0028, 0x0101), (0x0028, 0x0102), (0x0028, 0x0103),
    (0x0028, 0x1052), (0x0028, 0x1053), (0x0020, 0x0032), (0x0020, 0x0037), (0x7FE0, 0x0010),
    (0x0002, 0x0010),
]  # fmt: skip


def good_files() -> list[bytes]:
    """One file of each kind: byte orders, VRs, signs, compressions, frames."""
    rng = np.random.default_rng(0)
    signed = rng.integers(-1024, 1500, (32, 24)).astype(np.int16)
    unsigned = rng.integers(0, 2500, (32, 24)).astype(np.uint16)
    plain = make_dicom(signed)
    bits = signed.view(np.uint16)
    prefix = "1.2.840.10008.1.2.4."
    rle = RLELosslessEncoder.encode(pydicom.dcmread(io.BytesIO(plain)), encoding_plugin="pydicom")
    return [
        plain,
        make_dicom(unsigned, bits=12),
        make_dicom(signed, syntax="implicit"),
        make_dicom(unsigned, bits=12, syntax="big"),
        make_enhanced(rng.integers(-1024, 1500, (3, 16, 12)).astype(np.int16)),
        encapsulated(plain, rle, "1.2.840.10008.1.2.5"),
        encapsulated(plain, imagecodecs.ljpeg_encode(bits, bitspersample=16), prefix + "70"),
        encapsulated(plain, imagecodecs.jpegls_encode(bits), prefix + "80"),
        encapsulated(
            plain,
            imagecodecs.jpeg2k_encode(signed, level=0, reversible=True, codecformat="j2k"),
            prefix + "90",
        ),
    ]


def damage(data: bytes, rng: np.random.Generator) -> bytes:
    """Flips bits, cuts, repeats, or writes over an element that steers reading."""
    damaged = bytearray(data)
    kind = rng.integers(5)
    if kind == 0:
        for at in rng.integers(0, len(damaged), size=rng.integers(1, 9)):
            damaged[at] ^= 1 << int(rng.integers(8))
    elif kind == 1:
        del damaged[int(rng.integers(len(damaged))) :]
    elif kind == 2:
        start, length = rng.integers(0, len(damaged)), rng.integers(1, 200)
        damaged[start:start] = damaged[start : start + length]
    else:
        group, element = _STEERING[rng.integers(len(_STEERING))]
        at = damaged.find(struct.pack("<HH", group, element))
        if at < 0:
            at = int(rng.integers(132, len(damaged)))
        # The length, the value, or both.
        first = at + int(rng.integers(4, 9))
        last = first + int(rng.integers(1, 9))
        damaged[first:last] = rng.bytes(last - first)
    return bytes(damaged)


def pydicoms_hu(data: bytes, one: Slice) -> np.ndarray | None:
    """The slice as pydicom reads it; None where pydicom cannot, or where a repair is meant."""
    if one.repairs or one.header.frame or one.decoder.startswith("imagecodecs"):
        return None
    try:
        dataset = pydicom.dcmread(io.BytesIO(data))
        pixels = dataset.pixel_array
        slope, intercept = float(dataset.RescaleSlope), float(dataset.RescaleIntercept)
    except Exception:  # whatever it is, pydicom has nothing to compare with
        return None
    return (pixels.astype(np.float32) * np.float32(slope)) + np.float32(intercept)


def outcome(data: bytes) -> str:
    """A reason code, `slice`, or what is wrong."""
    try:
        read_headers(io.BytesIO(data))
        for one in read_slices(data):
            expected = pydicoms_hu(data, one)
            if expected is not None and not np.array_equal(one.hu, expected):
                return "other pixels than pydicom's"
            if not np.isfinite(one.hu).all():
                return "pixels that are not finite"
    except DicomError as error:
        return error.reason.value
    return "slice"


def main(seed: int, count: int) -> None:
    """Damages, reads, prints."""
    warnings.simplefilter("ignore")
    rng = np.random.default_rng(seed)
    files = good_files()
    outcomes = Counter(outcome(data) for data in files)
    assert outcomes == {"slice": len(files)}, outcomes
    outcomes.clear()
    slowest = 0.0
    for number in range(count):
        data = damage(files[number % len(files)], rng)
        start = time.monotonic()
        outcomes[outcome(data)] += 1
        slowest = max(slowest, time.monotonic() - start)
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    peak = max(peak_mib(process) for process in ("self", *children))
    print(json.dumps({"outcomes": outcomes, "slowest_seconds": slowest, "peak_mib": peak}))


def peak_mib(process: str) -> float:
    """Most memory a process has held. (ru_maxrss would count what forked it, too.)"""
    status = Path(f"/proc/{process}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
