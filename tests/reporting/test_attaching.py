"""attach: pseudonymous results go into the study whose pixels they were made of."""

import io
from pathlib import Path

import numpy as np
import pydicom
import pytest

from ich_tf.dicom.reader import read_slices
from ich_tf.errors import InputError
from ich_tf.reporting.attaching import attach
from ich_tf.reporting.capture import capture
from ich_tf.reporting.config import AttachConfig
from ich_tf.reporting.pseudonyms import Pseudonyms
from ich_tf.reporting.structured_report import structured_report
from tests.support.dicom_files import make_enhanced, rewrite
from tests.support.findings import ARCHIVED, made_findings, require_valid, source_files

PICTURE = np.zeros((40, 32, 3), np.uint8)


def downloads(folder: Path, files: list[bytes], key: str = "key") -> Path:
    """A report and a capture of the third slice, as the page gives them."""
    ids = Pseudonyms(key)
    slices = [slice_ for data in files for slice_ in read_slices(data)]
    images = [ids.image(0, slice_.hu, slice_.header) for slice_ in slices]
    findings = made_findings([], study=ids.study(), images=images)
    folder.mkdir()
    (folder / "report-0.dcm").write_bytes(structured_report(findings))
    (folder / "heat-map-0-2-any.dcm").write_bytes(capture(findings, 2, PICTURE, "Slice 3"))
    return folder


def write(folder: Path, files: list[bytes]) -> Path:
    folder.mkdir()
    for number, data in enumerate(files):
        (folder / f"{number}.dcm").write_bytes(data)
    return folder


def config(results: Path, images: Path) -> AttachConfig:
    return AttachConfig(results=str(results), dicom_dir=str(images))


def test_results_name_nothing_and_are_attached_to_their_study(tmp_path: Path) -> None:
    files = source_files(4)
    results = downloads(tmp_path / "results", files)
    for path in results.iterdir():
        require_valid(path.read_bytes(), path)
        for text in ("4711", "Doe", "1.2.826.0.1.7", "2026"):
            assert text.encode() not in path.read_bytes()
    # Beside another study, and under names that say nothing.
    other = {"StudyInstanceUID": "1.2.9", "PatientID": "MRN-9", "SOPInstanceUID": "1.2.99"}
    other_file = rewrite(files[0], **other, ImagePositionPatient=["-8", "-8", "77"])
    images = write(tmp_path / "study", [*reversed(files), other_file, b"no DICOM file"])
    written = attach(config(results, images))
    assert written == [
        results / "attached" / name for name in ("heat-map-0-2-any.dcm", "report-0.dcm")
    ]
    picture, report = (pydicom.dcmread(path) for path in written)
    for path, read in zip(written, (picture, report), strict=True):
        require_valid(path.read_bytes(), tmp_path / "checked.dcm")
        for keyword in ("PatientName", "PatientID", "StudyInstanceUID", "AccessionNumber"):
            assert read[keyword].value == ARCHIVED[keyword]
        assert read.ContentDate == ARCHIVED["AcquisitionDate"]
        before = pydicom.dcmread(results / path.name)
        assert read.SOPInstanceUID != before.SOPInstanceUID
        assert read.file_meta.MediaStorageSOPInstanceUID == read.SOPInstanceUID
        assert before.SeriesInstanceUID != read.SeriesInstanceUID
        assert "ICH-TF-" not in str(read)
    assert picture.FrameOfReferenceUID == ARCHIVED["FrameOfReferenceUID"]
    assert picture.SourceImageSequence[0].ReferencedSOPInstanceUID == "1.2.826.0.1.7.2"
    (study,) = report.CurrentRequestedProcedureEvidenceSequence
    (series,) = study.ReferencedSeriesSequence
    assert (study.StudyInstanceUID, series.SeriesInstanceUID) == (
        ARCHIVED["StudyInstanceUID"], ARCHIVED["SeriesInstanceUID"],
    )  # fmt: skip
    cited = {item.ReferencedSOPInstanceUID for item in series.ReferencedSOPSequence}
    assert cited == {f"1.2.826.0.1.7.{number}" for number in range(4)}
    # The same as a report that was made where the files are, but for UIDs and hashes.
    of_files = pydicom.dcmread(io.BytesIO(structured_report(made_findings(files))))
    assert len(report.ContentSequence) == len(of_files.ContentSequence)
    before = [path.read_bytes() for path in written]
    assert [path.read_bytes() for path in attach(config(results, images))] == before


def test_frames_of_enhanced_ct_are_found(tmp_path: Path) -> None:
    stored = np.random.default_rng(0).integers(1000, 1100, (3, 32, 32), np.int16)
    uid = "1.2.840.10008.5.1.4.1.1.2.1"
    file = rewrite(make_enhanced(stored), SOPClassUID=uid, **ARCHIVED)
    results = downloads(tmp_path / "results", [file])
    written = attach(config(results, write(tmp_path / "study", [file])))
    (source,) = pydicom.dcmread(written[0]).SourceImageSequence
    assert (source.ReferencedSOPClassUID, source.ReferencedFrameNumber) == (uid, 3)
    for path in written:
        require_valid(path.read_bytes(), tmp_path / "checked.dcm")


def test_without_its_images_a_result_stays_where_it_is(tmp_path: Path) -> None:
    files = source_files(4)
    results = downloads(tmp_path / "results", files)
    with pytest.raises(
        InputError, match=r"1 of its 4 images are not in the files.*--dicom_dir"
    ) as e:
        attach(config(results, write(tmp_path / "some", files[:3])))
    # What could be attached was, and nothing else is named.
    assert "1 of 2 results were attached" in str(e.value) and "4711" not in str(e.value)
    (written,) = (results / "attached").iterdir()
    assert written.name == "heat-map-0-2-any.dcm"


def test_images_of_two_patients_are_refused(tmp_path: Path) -> None:
    files = source_files(3)
    results = downloads(tmp_path / "results", files)
    mixed = [*files[:2], rewrite(files[2], PatientID="MRN-2")]
    with pytest.raises(InputError, match=r"report-0.dcm: its images lie in 2 studies"):
        attach(config(results, write(tmp_path / "study", mixed)))


@pytest.mark.parametrize("kind", ["own", "text", "ct", "none"])
def test_other_files_are_refused(kind: str, tmp_path: Path) -> None:
    files = source_files(1)
    images = write(tmp_path / "study", files)
    own = structured_report(made_findings(files))
    contents = {"own": own, "text": b"text", "ct": files[0]}
    results = tmp_path / "results"
    results.mkdir()
    if kind != "none":
        (results / "a.dcm").write_bytes(contents[kind])
    with pytest.raises(InputError, match=r"Expected .* of the web page|downloaded from"):
        attach(config(results, images))
    assert not (results / "attached").exists()


def test_results_of_two_studies_share_no_uid() -> None:
    (slice_,) = read_slices(source_files(1)[0])
    first, second = (Pseudonyms(key).image(0, slice_.hu, slice_.header) for key in "ab")
    assert first.sop_instance_uid != second.sop_instance_uid


def test_an_image_or_a_download_is_never_replaced(tmp_path: Path) -> None:
    files = source_files(4)
    results = downloads(tmp_path / "results", files)
    images = write(tmp_path / "study", files)
    (images / "0.dcm").rename(images / "report-0.dcm")
    before = {path: path.read_bytes() for path in (*results.iterdir(), *images.iterdir())}
    for folder in (results, images):
        with pytest.raises(InputError, match=r"dcm: is there already.*--out_dir"):
            attach(AttachConfig(str(results), str(images), out_dir=str(folder)))
    assert {path: path.read_bytes() for path in before} == before
    attached = attach(config(results, images))
    # Nor is what was attached of another upload, under the same name.
    other = AttachConfig(
        str(downloads(tmp_path / "other", files, "other key")),
        str(images),
        out_dir=str(attached[0].parent),
    )
    before = {path: path.read_bytes() for path in attached}
    with pytest.raises(InputError, match=r"dcm: is there already.*--out_dir"):
        attach(other)
    assert {path: path.read_bytes() for path in before} == before


@pytest.mark.parametrize("other", [{"PatientID": "ANON"}, {"StudyInstanceUID": "1.2.9"}])
def test_of_copies_of_a_study_none_is_guessed(other: dict[str, str], tmp_path: Path) -> None:
    files = source_files(3)
    results = downloads(tmp_path / "results", files)
    images = write(tmp_path / "study", [*files, *(rewrite(data, **other) for data in files)])
    with pytest.raises(InputError, match=r"report-0.dcm: its images lie in each of 2 studies"):
        attach(config(results, images))
    # A copy of some images is not the study.
    (images / "5.dcm").unlink()
    report = AttachConfig(str(results / "report-0.dcm"), str(images))
    assert pydicom.dcmread(attach(report)[0]).PatientID == ARCHIVED["PatientID"]


@pytest.mark.parametrize("end", [1500, -700, -1])
def test_a_broken_download_is_refused(end: int, tmp_path: Path) -> None:
    files = source_files(3)
    results = downloads(tmp_path / "results", files)
    for path in results.iterdir():
        path.write_bytes(path.read_bytes()[:end])
        with pytest.raises(InputError, match=rf"{path.name}: is not whole"):
            attach(AttachConfig(str(path), str(write(tmp_path / path.stem, files))))
    assert not (results / "attached").exists()


def test_a_file_in_the_place_of_the_folder_is_named(tmp_path: Path) -> None:
    files = source_files(3)
    results = downloads(tmp_path / "results", files)
    (results / "attached").write_bytes(b"")
    with pytest.raises(InputError, match=r"attached: cannot be written"):
        attach(config(results, write(tmp_path / "study", files)))
