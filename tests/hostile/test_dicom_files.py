"""DICOM files that attack who reads them, each after a public advisory or a class of weakness.

The promise of all: a slice or a reason, in bounded time and memory, and no text of the file in the
reason. Bombs of the deflated syntax (CWE-409) are in `tests/dicom/test_reader.py`, decoders that
die, hang or take all memory in `test_decoders.py`.
"""

import io
import resource
import struct
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset

from ich_tf.dicom.listing import list_sources
from ich_tf.dicom.reader import read_headers, read_slice
from ich_tf.dicom.reasons import DicomError, Reason
from ich_tf.dicom.source_reader import SourceReader
from tests.support.dicom_files import encapsulated, make_dicom
from tests.support.hostile_files import UNDEFINED, element, inserted, item, polyglot, replaced

GOOD = make_dicom()
MIB = 1 << 20


def refusal(data: bytes) -> DicomError:
    """Why a file is not read; none of the memory that it asks for is taken."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(DicomError) as caught:
        read_slice(data)
    grown_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown_kib < 300 * 1024
    assert len(str(caught.value)) < 300 and str(caught.value).isprintable()
    return caught.value


@pytest.mark.parametrize("value", [b"\xff\xff\xff\xff", struct.pack("<L", 0x10040), bytes(8)])
@pytest.mark.parametrize("number", [0x10, 0x11], ids=["Rows", "Columns"])
def test_cve_2026_5442_orthanc_rows_of_another_representation(number: int, value: bytes) -> None:
    """Rows and Columns as UL: 32 bits overflowed the size of a frame in Orthanc's decoder.

    They are 16 bits or they are refused; 0x10040, whose lower half is right, too.
    """
    assert refusal(replaced(GOOD, 0x28, number, element(0x28, number, b"UL", value))).reason in (
        Reason.BAD_HEADER, Reason.TOO_LARGE,
    )  # fmt: skip


def test_cve_2026_5443_5445_orthanc_palettes_are_not_looked_up() -> None:
    """Indices beyond a palette read the heap: colours are refused before a pixel is looked at."""
    data = make_dicom(tags={"PhotometricInterpretation": "PALETTE COLOR"})
    assert refusal(data).reason is Reason.PHOTOMETRIC


@pytest.mark.parametrize("length", [0xFFFFFFF0, 0xFFFFFFFE, 0x7FFFFFFF])
def test_cve_2026_5437_orthanc_meta_information_that_claims_more_than_the_file(length: int) -> None:
    """An element of group 2 whose value ends behind the file."""
    meta = element(2, 0x0102, b"OB", b"x", length)
    data = GOOD[:132] + meta + GOOD[132:]
    assert refusal(data).reason in (Reason.BAD_HEADER, Reason.NOT_DICOM)


@pytest.mark.parametrize("syntax", ["1.3.46.670589.33.1.4.1", "1.2.840.10008.1.2.4.100"])
def test_cve_2026_5441_orthanc_private_and_video_encodings_have_no_decoder(syntax: str) -> None:
    """Philips' private compression, and video: no decoder is guessed for a stranger's bytes."""
    data = encapsulated(GOOD, b"\xff" * 64, syntax)
    assert refusal(data).reason in (Reason.NO_DECODER, Reason.BAD_HEADER)


@pytest.mark.parametrize("depth", [65, 3000, 50_000])
def test_cwe_674_sequences_in_sequences_without_end(depth: int) -> None:
    """Sequences of undefined length, none of which ends: the walk has no stack to overflow."""
    nested = (element(0x40, 0xA730, b"SQ", b"", UNDEFINED) + item(b"", UNDEFINED)) * depth
    assert refusal(inserted(GOOD, nested)).reason in (Reason.TOO_LARGE, Reason.BAD_HEADER)


def test_cwe_674_sequences_of_known_length_are_stepped_over() -> None:
    """3,000 deep, each within the length of the last: nobody enters them, and the slice is read."""
    nested = b""
    for _ in range(3000):
        nested = element(0x40, 0xA730, b"SQ", item(nested))
    np.testing.assert_array_equal(read_slice(inserted(GOOD, nested)).hu, read_slice(GOOD).hu)


@pytest.mark.parametrize("kind", [b"UN", b"SQ", b"OB"])
def test_cwe_835_undefined_lengths_that_nothing_ends(kind: bytes) -> None:
    """An element of undefined length without its delimiter ends with the file, in a reason."""
    data = inserted(GOOD, element(9, 0x1010, kind, b"x" * 64, UNDEFINED))
    assert refusal(data).reason is Reason.BAD_HEADER


@pytest.mark.parametrize("length", [0xFFFFFFFE, 0x80000000, 200 * MIB])
def test_cwe_789_private_elements_that_claim_gigabytes(length: int) -> None:
    """No length is believed: what is not in the file is not asked for."""
    data = inserted(GOOD, element(9, 0x1010, b"UN", b"x", length))
    assert refusal(data).reason is Reason.BAD_HEADER


def test_cwe_789_run_lengths_of_65535_by_65535_pixels() -> None:
    """576 bytes of RLE that decode to 8 GB: sizes are checked before anything is decoded."""
    data = encapsulated(GOOD, b"\x01" + bytes(63) + b"\x81\0" * 256, "1.2.840.10008.1.2.5")
    for number in (0x10, 0x11):
        data = replaced(data, 0x28, number, element(0x28, number, b"US", b"\xff\xff"))
    assert refusal(data).reason is Reason.TOO_LARGE


@pytest.mark.parametrize(
    ("syntax", "stream"),
    [
        ("4.90", b"\xff\x4f\xff\x51" + struct.pack(">HH8IH", 41, 0, *[2**31 - 1] * 2, *[0] * 6, 1)),
        ("4.80", b"\xff\xd8\xff\xf7" + struct.pack(">HBHHB", 11, 16, 65535, 65535, 1)),
        ("4.70", b"\xff\xd8\xff\xc3" + struct.pack(">HBHHB", 11, 16, 65535, 65535, 1)),
    ],
    ids=["JPEG 2000", "JPEG-LS", "JPEG"],
)
def test_cwe_1284_codestreams_that_claim_another_size_than_the_header(
    syntax: str, stream: bytes
) -> None:
    """2^31 pixels a side in the codestream: compared with the header before a decoder sees it."""
    pytest.importorskip("imagecodecs")
    data = encapsulated(GOOD, stream.ljust(200, b"\0") + b"\xff\xd9", f"1.2.840.10008.1.2.{syntax}")
    error = refusal(data)
    assert error.reason is Reason.DECODE_FAILED and "the header declares 64 x 48" in str(error)


UIDS = {
    "lines": b"1.2\r\n2026-01-01 ERROR forged ",
    "escapes of a terminal": b"1.2\x1b]0;owned\x07\x1b[2J ",
    "C1 escapes": b"1.2\x9b31m.3",
    "a zero": b"1.2\x00.dcm.exe",
    "a backspace": b"1.2.3\x08\x08\x089 ",
}


@pytest.mark.parametrize("uid", UIDS.values(), ids=UIDS.keys())
@pytest.mark.parametrize("tag", [(8, 0x18), (0x20, 0x0D), (0x20, 0x0E)], ids=str)
def test_cwe_117_uids_that_no_line_of_a_log_holds(tag: tuple[int, int], uid: bytes) -> None:
    """Forged lines and escapes of terminals (CWE-150): logs, tables and file names hold UIDs."""
    error = refusal(replaced(GOOD, *tag, element(*tag, b"UI", uid)))
    assert error.reason is Reason.BAD_HEADER


def test_cwe_770_an_id_of_megabytes() -> None:
    """PatientID as UT: an id is no longer than any id, since indices and answers hold it."""
    data = replaced(GOOD, 0x10, 0x20, element(0x10, 0x20, b"UT", b"9" * 4 * MIB))
    with pytest.raises(DicomError, match="PatientID has 4194304 bytes"):
        list(read_headers(io.BytesIO(data)))


def test_cwe_843_numbers_that_are_no_numbers() -> None:
    """Millions of digits, exponents and separators where a number stands: refused unparsed."""
    for value in (b"9" * 4 * MIB, b"1e999999999 ", b"0x10", b"1_000 ", "٣٣".encode()):
        element_ = element(0x28, 8, b"UT", value)  # NumberOfFrames
        assert refusal(inserted(GOOD, element_, (0x28, 0x10))).reason is Reason.BAD_HEADER


@pytest.mark.parametrize(
    "start",
    [b"MZ\x90\0", b"\x7fELF\x02\x01\x01", b"%PDF-1.7\n", b"II*\0", b"#!/bin/sh\n", b"<script>"],
    ids=["PE", "ELF", "PDF", "TIFF", "shell", "HTML"],
)
def test_cve_2019_11687_preambles_that_begin_another_file(start: bytes) -> None:
    """PE/DICOM and its kin: the preamble is skipped, the slice is the same.

    That it goes into nothing that is written: `test_written_files.py`. An archive in it:
    `tests/serving/test_uploads.py`.
    """
    np.testing.assert_array_equal(read_slice(polyglot(GOOD, start)).hu, read_slice(GOOD).hu)


@pytest.mark.parametrize(
    "parts",
    [["..", "SECRET"], ["..", "..", "..", "etc", "passwd"], ["/etc/passwd"], ["C:", "SECRET"]],
    ids="/".join,
)
def test_cve_2026_32711_pydicom_a_dicomdir_names_files_elsewhere(
    tmp_path: Path, parts: list[str]
) -> None:
    """pydicom's FileSet read, copied and removed what ReferencedFileID names outside its folder.

    A DICOMDIR is left out of a listing, and nothing follows its names.
    """
    (tmp_path / "SECRET").write_bytes(make_dicom(tags={"SOPInstanceUID": "1.2.666"}))
    disc = tmp_path / "disc"
    disc.mkdir()
    (disc / "IM1").write_bytes(GOOD)
    directory = Dataset()
    directory.SOPClassUID, directory.SOPInstanceUID = "1.2.840.10008.1.3.10", "1.2.3.4"
    record = Dataset()
    record.DirectoryRecordType, record.ReferencedFileID = "IMAGE", parts
    directory.DirectoryRecordSequence = [record]
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = "1.2.840.10008.1.3.10", "1.2"
    meta.TransferSyntaxUID = "1.2.840.10008.1.2.1"
    with pydicom.config.disable_value_validation():
        FileDataset(disc / "DICOMDIR", directory, file_meta=meta, preamble=bytes(128)).save_as(
            disc / "DICOMDIR"
        )
    assert [source.name for source in list_sources(disc).sources] == ["IM1"]
    # By another name, under which it would be read.
    (disc / "DICOMDIR").rename(disc / "IM2")
    with SourceReader() as reader:
        first, second = list_sources(disc).sources
        assert reader.slice(first, 0).header.image_id == "1.2.3"
        with pytest.raises(DicomError) as caught:
            reader.slice(second, 0)
    assert caught.value.reason is Reason.NOT_CT


XML = (
    '<?xml version="1.0"?><!DOCTYPE r [<!ENTITY a SYSTEM "file:///etc/passwd">'
    '<!ENTITY b "&a;&a;&a;&a;">]><r>&b;</r>'
)


def test_cwe_611_entities_in_reports_are_text() -> None:
    """XML with external entities in a structured report or a comment: no parser of XML is here.

    The report is no image, the comment is not read, and neither is quoted.
    """
    report = make_dicom(tags={"Modality": "SR", "TextValue": XML, "SOPClassUID": "1.2.840.3"})
    error = refusal(report)
    assert error.reason is Reason.NOT_CT and "ENTITY" not in str(error)
    commented = make_dicom(tags={"ImageComments": XML, "SeriesDescription": XML[:60]})
    np.testing.assert_array_equal(read_slice(commented).hu, read_slice(GOOD).hu)


def test_cwe_209_nothing_of_the_patient_is_in_a_reason() -> None:
    """Escape sequences, HTML and formulas where terms of the standard stand: told, never quoted."""
    for text in ("Secret^Name", "<img src=x onerror=alert(1)>", "=cmd|' /C calc'!A0"):
        for keyword in ("Modality", "PhotometricInterpretation", "ImageType", "RescaleType"):
            with pydicom.config.disable_value_validation():
                data = make_dicom(tags={keyword: text})
            try:
                read_slice(data)
            except DicomError as error:
                assert text[:6] not in str(error)
