import hashlib
import io
import pickle
import struct
import unicodedata
import zlib
from pathlib import Path
from unittest import mock

import numpy as np
import pydicom
import pytest
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset

from ich_tf.dicom import parser, reader, source_reader, sources
from ich_tf.dicom.elements import in_character_set
from ich_tf.dicom.encoding import MAX_INFLATED_BYTES
from ich_tf.dicom.guard import guarded
from ich_tf.dicom.header_scan import ScannedHeader, scan_file
from ich_tf.dicom.reader import DicomFile, read_headers, read_slice, read_slices
from ich_tf.dicom.reasons import DicomError, Reason, Rejection, Repair
from ich_tf.dicom.source_reader import SourceReader
from ich_tf.dicom.sources import Source
from ich_tf.errors import Terminated
from ich_tf.inference.prediction.model_image import ImageTask, read_images
from ich_tf.runtime import debugging
from tests.support.dicom_files import changed, make_dicom, make_enhanced, rewrite

# What odd files make pydicom say is no matter of these tests.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydicom")


FRAMES = np.arange(3 * 16 * 12, dtype=np.int16).reshape(3, 16, 12)


def reason_of(data: bytes, frame: int = 0) -> Reason:
    with pytest.raises(DicomError) as caught:
        read_slice(data, frame)
    return caught.value.reason


@pytest.mark.parametrize("syntax", ["explicit", "implicit", "big"])
def test_signed_and_unsigned_in_every_uncompressed_syntax(syntax: str) -> None:
    signed = np.arange(-500, -500 + 64 * 48, dtype=np.int16).reshape(64, 48)
    unsigned = np.arange(64 * 48, dtype=np.uint16).reshape(64, 48)
    for stored, bits in ((signed, 16), (unsigned, 12)):
        slice_ = read_slice(make_dicom(stored, bits=bits, syntax=syntax))
        assert slice_.hu.dtype == np.float32
        np.testing.assert_array_equal(slice_.hu, stored.astype(np.float32) - 1024)
        assert slice_.repairs == ()


def test_slope_and_intercept() -> None:
    stored = np.array([[0, 1], [2, 300]], np.int16)
    slice_ = read_slice(make_dicom(stored, slope="2.5", intercept="-10.25"))
    np.testing.assert_allclose(slice_.hu, stored * 2.5 - 10.25)


def test_bits_above_bits_stored_are_masked() -> None:
    stored = np.array([[0xF000 | 5, 0x0FFF]], np.uint16)
    np.testing.assert_array_equal(
        read_slice(make_dicom(stored, bits=12)).hu, [[5 - 1024, 4095 - 1024]]
    )
    # In a signed file bit 11 is the sign: 0xFFF is -1 whatever stands above it.
    signed = np.array([[0x0FFF, 0x07FF]], np.int16)
    np.testing.assert_array_equal(
        read_slice(make_dicom(signed, bits=12)).hu, [[-1 - 1024, 2047 - 1024]]
    )


def test_rsna_12bit_quirk_is_repaired_and_named() -> None:
    hu = np.array([[-1000, -1, 0, 40, 3000, 3095]], np.float32)
    # What the files hold: the value that (px + 1000) mod 4096 - 1000 gives back.
    stored = np.mod(hu, 4096).astype(np.uint16)
    slice_ = read_slice(make_dicom(stored, bits=12, intercept="0"))
    np.testing.assert_array_equal(slice_.hu, hu)
    assert slice_.repairs == (Repair.RSNA_12BIT,)


def test_header_geometry() -> None:
    data = make_dicom(
        tags={"ImageOrientationPatient": ["1", "0", "0", "0", "0.9483237", "-0.3173047"]}
    )
    (header,) = read_headers(io.BytesIO(data))
    assert header.position_mm == (-120.0, -110.5, 7.25)
    assert header.spacing_mm == (0.5, 0.5)
    np.testing.assert_allclose(header.normal, [0, 0.3173047, 0.9483237], atol=1e-6)
    assert header.gantry_tilt_deg == pytest.approx(-18.5, abs=1e-3)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"tags": {"Modality": "MR"}}, Reason.NOT_CT),
        ({"without": ("Modality",)}, Reason.NOT_CT),
        ({"tags": {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}}, Reason.LOCALIZER),
        ({"tags": {"ImageOrientationPatient": [*list("010"), "0", "0", "-1"]}}, Reason.NOT_AXIAL),
        ({"tags": {"PhotometricInterpretation": "RGB"}}, Reason.PHOTOMETRIC),
        ({"tags": {"SamplesPerPixel": 3}}, Reason.PHOTOMETRIC),
        ({"tags": {"NumberOfFrames": "12"}}, Reason.MULTI_FRAME),
        ({"tags": {"BurnedInAnnotation": "YES"}}, Reason.BURNED_IN),
        ({"tags": {"Rows": 5000}}, Reason.TOO_LARGE),
        ({"tags": {"Rows": 0}}, Reason.TOO_LARGE),
        ({"tags": {"Rows": 65}}, Reason.TRUNCATED_PIXELS),
        ({"tags": {"Columns": 24}}, Reason.BAD_HEADER),
        ({"without": ("PixelData",)}, Reason.NO_PIXELS),
        ({"without": ("Rows",)}, Reason.BAD_HEADER),
        ({"without": ("StudyInstanceUID",)}, Reason.BAD_HEADER),
        ({"without": ("BitsStored",)}, Reason.BAD_HEADER),
        ({"without": ("ImagePositionPatient",)}, Reason.BAD_GEOMETRY),
        ({"without": ("PixelSpacing",)}, Reason.BAD_GEOMETRY),
        ({"tags": {"PixelSpacing": ["0", "0.5"]}}, Reason.BAD_GEOMETRY),
        ({"tags": {"ImageOrientationPatient": list("111111")}}, Reason.BAD_GEOMETRY),
        ({"without": ("RescaleSlope",)}, Reason.BAD_RESCALE),
        ({"without": ("RescaleIntercept",)}, Reason.BAD_RESCALE),
        *(
            ({"slope": text}, Reason.BAD_RESCALE)
            for text in ("nan", "0", "-1", "1e400", "", "1\\2", "1,0", "abc")
        ),
        ({"intercept": "inf"}, Reason.BAD_RESCALE),
        ({"intercept": "-99999"}, Reason.BAD_RESCALE),
        ({"stored": np.zeros((8, 8), np.int16)}, Reason.HU_IMPLAUSIBLE),
    ],
)
def test_reasons(change: dict, reason: Reason) -> None:
    without = change.get("without", ())
    if "PixelData" in without:
        data = make_dicom(
            tags={"RescaleSlope": "1", "RescaleIntercept": "0"}, syntax="implicit", without=without
        )
    else:
        data = make_dicom(**change)
    assert reason_of(data) == reason


@pytest.mark.parametrize("data", [b"", b"no dicom at all" * 50, b"\0" * 128 + b"DICX" + b"\0" * 64])
def test_what_is_no_dicom(data: bytes) -> None:
    assert reason_of(data) == Reason.NOT_DICOM


@pytest.mark.parametrize("keep", [0.05, 0.2, 0.5, 0.9, 0.999])
def test_a_cut_file_never_gives_a_slice(keep: float) -> None:
    data = make_dicom()
    with pytest.raises(DicomError):
        read_slice(data[: int(len(data) * keep)])


def test_random_damage_gives_a_slice_or_a_reason() -> None:
    data = bytearray(make_dicom())
    header_bytes = len(data) - 64 * 48 * 2
    rng = np.random.default_rng(0)
    for _ in range(300):
        damaged = bytearray(data)
        for at in rng.integers(132, header_bytes, size=3):
            damaged[at] = rng.integers(256)
        try:
            hu = read_slice(bytes(damaged)).hu
        except DicomError:
            continue
        assert np.isfinite(hu).all()


def test_an_error_crosses_processes_whole() -> None:
    error = pickle.loads(pickle.dumps(DicomError(Reason.NO_PIXELS, "PixelData is missing.")))
    assert error.reason is Reason.NO_PIXELS
    assert str(error) == "PixelData is missing."


def test_inverted_display_leaves_hounsfield_units_alone() -> None:
    stored = np.full((64, 48), 24, np.int16)
    stored[20:40, 10:30] = 1064
    data = make_dicom(stored)
    inverted = rewrite(data, PhotometricInterpretation="MONOCHROME1")
    np.testing.assert_array_equal(read_slice(inverted).hu, read_slice(data).hu)
    pixels = make_dicom(2048 - stored, tags={"PhotometricInterpretation": "MONOCHROME1"})
    with pytest.raises(DicomError, match="The pixels are inverted") as caught:
        read_slice(pixels)
    assert caught.value.reason is Reason.HU_IMPLAUSIBLE


def test_bright_padding_becomes_air() -> None:
    stored = np.full((64, 48), 2500, np.uint16)
    stored[10:50, 10:40] = 1064
    stored[30, 20] = 2500
    data = make_dicom(stored)
    assert read_slice(data).hu[0, 0] == 1476
    slice_ = read_slice(rewrite(data, PixelPaddingValue=2500))
    assert slice_.hu[0, 0] == -1000 and slice_.hu[20, 20] == 40
    assert slice_.repairs == (Repair.PADDING,)
    # What the value of no corner is connected to is tissue, and may have that value.
    assert slice_.hu[30, 20] == 1476
    tissue = read_slice(rewrite(data, PixelPaddingValue=1064))
    assert tissue.hu[20, 20] == 40 and tissue.repairs == ()


def test_what_a_deflated_file_may_grow_to_is_bounded() -> None:
    data = make_dicom()
    syntax = b"1.2.840.10008.1.2.1\0"
    deflated = b"1.2.840.10008.1.2.1.99"
    at = data.index(syntax)
    length = struct.pack("<H", len(deflated))
    group = int.from_bytes(data[140:144], "little") + len(deflated) - len(syntax)
    start = data[:140] + struct.pack("<I", group) + data[144 : at - 2] + length + deflated
    meta, content = start + data[at + len(syntax) : 144 + group - 2], data[144 + group - 2 :]

    def deflate(content: bytes) -> bytes:
        compressor = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
        return meta + compressor.compress(content) + compressor.flush()

    np.testing.assert_array_equal(read_slice(deflate(content)).hu, read_slice(data).hu)
    assert reason_of(deflate(content + bytes(MAX_INFLATED_BYTES))) == Reason.TOO_LARGE


def test_frames_of_an_enhanced_file() -> None:
    stored = np.random.default_rng(0).integers(0, 2000, (4, 16, 12)).astype(np.int16)
    data = make_enhanced(stored, slope="2", intercept="-1000")
    headers = read_headers(io.BytesIO(data))
    assert [header.frame for header in headers] == [1, 2, 3, 4]
    assert [header.position_mm[2] for header in headers] == [0, 5, 10, 15]
    assert [header.image_id for header in headers] == [f"1.2.3/{frame}" for frame in range(1, 5)]
    for frame, slice_ in enumerate(read_slices(data), 1):
        np.testing.assert_array_equal(slice_.hu, 2.0 * stored[frame - 1] - 1000)
        np.testing.assert_array_equal(slice_.hu, read_slice(data, frame).hu)
    with pytest.raises(DicomError, match="has no frame 5"):
        read_slice(data, 5)
    with pytest.raises(DicomError, match="has no frame 0"):
        read_slice(data)
    assert reason_of(rewrite(data, NumberOfFrames=3), 1) == Reason.BAD_HEADER
    assert reason_of(rewrite(data, NumberOfFrames=10**6), 1) == Reason.TOO_LARGE
    assert reason_of(data[:-2], 1) == Reason.TRUNCATED_PIXELS


def test_real_bad_files_have_a_reason_or_pydicoms_pixels(real_dicom: Path) -> None:
    converted = []
    for path in sorted((real_dicom.parent / "bad_dicom").glob("*.dcm")):
        try:
            hu = read_slice(path.read_bytes()).hu
        except DicomError:
            continue
        dataset = pydicom.dcmread(path)
        expected = dataset.pixel_array * float(dataset.RescaleSlope)
        np.testing.assert_array_equal(hu, expected + float(dataset.RescaleIntercept))
        converted.append(path.name)
    assert converted == ["mono1.dcm"]


@pytest.mark.parametrize(
    "keyword",
    ["Modality", "PhotometricInterpretation", "PixelSpacing", "Rows", "RescaleSlope"],
)
def test_messages_hold_no_text_of_the_file(keyword: str) -> None:
    """A name typed into the wrong field must not end in a quarantine file."""
    data = make_dicom()
    dataset = pydicom.dcmread(io.BytesIO(data))
    element = dataset[keyword]
    name = b"SMITH^JOHN"
    raw = RawDataElement(element.tag, element.VR, len(name), name, 0, False, True)
    dataset[element.tag] = raw
    file = io.BytesIO()
    pydicom.dcmwrite(file, dataset)
    with pytest.raises(DicomError) as caught:
        read_slice(file.getvalue())
    assert "SMITH" not in str(caught.value)
    assert keyword in str(caught.value)


@pytest.mark.filterwarnings("error")
def test_a_transfer_syntax_that_is_none_is_not_quoted(caplog: pytest.LogCaptureFixture) -> None:
    data = make_dicom().replace(b"1.2.840.10008.1.2.1\0", b"SMITH^JOHN" + bytes(10), 1)
    assert reason_of(data) is Reason.BAD_HEADER
    assert not caplog.text


def test_an_empty_file_is_said_to_be_empty() -> None:
    with pytest.raises(DicomError, match="is empty"):
        read_slice(b"")
    with pytest.raises(DicomError, match="is empty"):
        read_headers(io.BytesIO(b""))


def test_a_file_is_parsed_once_for_all_its_frames(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.dcm").write_bytes(make_enhanced(FRAMES))
    (tmp_path / "b.dcm").write_bytes(make_dicom())
    parsed = []
    monkeypatch.setattr(
        reader, "parse", lambda content: parsed.append(content) or parser.parse(content)
    )
    a, b = (Source(tmp_path, name) for name in ("a.dcm", "b.dcm"))
    with SourceReader() as slices:
        for frame in (1, 2, 3):
            np.testing.assert_array_equal(slices.slice(a, frame).hu, FRAMES[frame - 1] - 1024.0)
        assert slices.slice(b, 0).header.frame == 0
    assert len(parsed) == 2


def test_a_file_that_cannot_be_parsed_is_read_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.dcm").write_bytes(b"no DICOM" * 99)
    source = Source(tmp_path, "a.dcm")
    with SourceReader() as slices:
        with pytest.raises(DicomError, match="is no DICOM file"):
            slices.slice(source, 1)
        monkeypatch.setattr(Source, "read", None)
        with pytest.raises(DicomError, match="is no DICOM file"):
            slices.slice(source, 2)


def test_a_large_file_is_read_frame_by_frame(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "MAX_FILE_BYTES", 1000)
    data = make_enhanced(FRAMES)
    (tmp_path / "a.dcm").write_bytes(data)
    (tmp_path / "b.dcm").write_bytes(make_dicom())
    a, b = (Source(tmp_path, name) for name in ("a.dcm", "b.dcm"))
    with SourceReader() as slices:
        for frame in (3, 1, 2):
            np.testing.assert_array_equal(slices.slice(a, frame).hu, FRAMES[frame - 1] - 1024.0)
        assert slices.sha256 == hashlib.sha256(data).hexdigest()
        with pytest.raises(DicomError, match="expected one slice") as caught:
            slices.slice(b, 0)
    assert caught.value.reason is Reason.TOO_LARGE
    monkeypatch.setattr(source_reader, "MAX_LARGE_FILE_BYTES", 1000)
    (found,) = scan_file(a)
    assert isinstance(found, Rejection) and found.reason == "TOO_LARGE"


def test_what_is_wrong_with_all_frames_is_one_rejection(tmp_path: Path) -> None:
    cut = make_enhanced(FRAMES)[:-2]
    (tmp_path / "slope.dcm").write_bytes(make_enhanced(FRAMES, slope="0"))
    (tmp_path / "cut.dcm").write_bytes(cut)
    for name, reason in (("cut.dcm", "TRUNCATED_PIXELS"), ("slope.dcm", "BAD_RESCALE")):
        (rejection,) = scan_file(Source(tmp_path, name))
        assert isinstance(rejection, Rejection) and rejection.reason == reason


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ZeroDivisionError("Meier"), Reason.INTERNAL),
        (MemoryError(), Reason.TOO_LARGE),
        (RecursionError("Meier"), Reason.TOO_LARGE),
        (OSError(5, "Input/output error", "/home/Meier"), Reason.UNREADABLE),
    ],
)
def test_whatever_a_file_causes_becomes_a_reason(
    error: Exception, reason: Reason, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.dcm").write_bytes(make_dicom())
    source = Source(tmp_path, "a.dcm")
    monkeypatch.setattr(reader, "parse", mock.Mock(side_effect=error))
    (rejection,) = scan_file(source)
    assert isinstance(rejection, Rejection)
    assert rejection.reason == reason.value and "Meier" not in rejection.message
    assert read_images(ImageTask(0, source, 32, ())).errors[0].reason is reason


@pytest.mark.parametrize("debug", [False, True])
def test_the_traceback_of_an_unforeseen_error_is_logged_under_debug(
    debug: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    # Set, not deleted: of a variable that was not there nothing would be undone.
    monkeypatch.setenv(debugging.VARIABLE, "")
    if debug:
        debugging.start_debugging()
    with pytest.raises(DicomError, match="nobody foresaw .KeyError."), guarded():
        raise KeyError("Meier")
    assert ("Meier" in caplog.text) == debug


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, Terminated])
def test_a_request_to_end_is_no_reason(error: type[BaseException]) -> None:
    with pytest.raises(error), guarded():
        raise error


@pytest.mark.parametrize(
    "tags",
    [
        {"ImagePositionPatient": ["0", "0", "1e39"]},
        {"ImagePositionPatient": ["0", "-2e5", "0"]},
        {"PixelSpacing": ["1e308", "1e308"]},
        {"PixelSpacing": ["0.5", "1e-9"]},
        {"PixelSpacing": ["101", "0.5"]},
    ],
)
def test_a_geometry_that_no_scanner_has_is_refused(tags: dict) -> None:
    assert reason_of(make_dicom(tags=tags)) is Reason.BAD_GEOMETRY


@pytest.mark.parametrize(
    "text",
    [
        b"nan",
        b"inf",
        b"-Infinity",
        b"0x10",
        b"1_0",
        b"1 2",
        b"1e",
        b"",
        b"1\\",
        b"--1",
        b"9" * 5000,
    ],
)
def test_a_number_is_one_of_the_standard(text: bytes) -> None:
    def change(dataset: Dataset) -> None:
        position = dataset["ImagePositionPatient"]
        value = b"0\\0\\" + text
        dataset[position.tag] = RawDataElement(
            position.tag, "DS", len(value), value, 0, False, True
        )

    assert reason_of(changed(make_dicom(), change)) is Reason.BAD_GEOMETRY


def test_a_number_may_have_spaces_a_sign_and_an_exponent() -> None:
    data = make_dicom(tags={"ImagePositionPatient": [" +1.5e1", "-.5 ", "2."]})
    assert read_slice(data).header.position_mm == (15, -0.5, 2)


@pytest.mark.parametrize("find_head", [False, True])
def test_a_frame_that_cannot_be_used_costs_itself_alone(tmp_path: Path, find_head: bool) -> None:
    def change(dataset: Dataset) -> None:
        groups = dataset.PerFrameFunctionalGroupsSequence
        groups[0].PlanePositionSequence[0].ImagePositionPatient = ["1e9", "0", "0"]
        groups[2].PixelValueTransformationSequence[0].RescaleIntercept = "-9000"

    (tmp_path / "a.dcm").write_bytes(changed(make_enhanced(FRAMES), change))
    source = Source(tmp_path, "a.dcm")
    *scanned, rejection = scan_file(source, find_head)
    assert [one.header.frame for one in scanned if isinstance(one, ScannedHeader)] == [2, 3]
    assert isinstance(rejection, Rejection)
    assert (rejection.path, rejection.reason) == ("a.dcm#1", "BAD_GEOMETRY")
    read = read_images(ImageTask(0, source, 32, (), {2: (), 3: ()}))
    assert [one.header.frame for one in read.slices] == [2]
    assert {frame: error.reason.value for frame, error in read.errors.items()} == {
        3: "HU_IMPLAUSIBLE"
    }
    with pytest.raises(DicomError, match="ImagePositionPatient"):
        read_headers(io.BytesIO((tmp_path / "a.dcm").read_bytes()))


def test_a_file_that_shrinks_while_it_is_read_is_cut() -> None:
    file = io.BytesIO(make_enhanced(FRAMES))
    opened = DicomFile(file)
    assert len(opened.headers()) == 3
    file.truncate(len(file.getvalue()) - 10)
    assert opened.slice(2).hu[0, 0] == FRAMES[1, 0, 0] - 1024
    with pytest.raises(DicomError, match="became shorter while it was read") as caught:
        opened.slice(3)
    assert caught.value.reason is Reason.TRUNCATED_PIXELS


@pytest.mark.parametrize("name", ["Müller-7", "山田-1", "Müller-7".replace("ü", "u\u0308")])
def test_a_patient_is_one_in_every_character_set(name: str) -> None:
    for character_set in ("ISO_IR 192", "GB18030", *["ISO_IR 100"] * (name == "Müller-7")):
        tags = {"SpecificCharacterSet": character_set, "PatientID": name}
        (header,) = read_headers(io.BytesIO(make_dicom(tags=tags)))
        assert header.patient_id == unicodedata.normalize("NFC", name), character_set


def test_bytes_of_no_character_set_are_letters_each() -> None:
    for character_set, value in (("", b"M\xfc"), ("ISO_IR 192", b"M\xfc"), ("ISO_IR 9", b"M\xfc")):
        assert in_character_set(value, character_set) == "M\xfc"
    value = b"\x1b$B;3ED\x1b(B-1"
    assert in_character_set(value, "\\ISO 2022 IR 87") == "山田-1"
