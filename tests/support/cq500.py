"""CQ500 as it is distributed, with synthetic studies in place of the real ones.

    qct01/CQ500CT0 CQ500CT0/Unknown Study/CT PLAIN THIN/CT000000.dcm ...
    reads.csv

The table names the first study CQ500-CT-0. Folders are named by the patient's id and name, the
study's description, of which there is none, and the modality and description of the series.
"""

import csv
from pathlib import Path

import numpy as np
import pydicom

from ich_tf.labels import CLASSES, read_labels, write_long_csv
from tests.support.dicom_files import headers_of, rewrite

READERS = ("R1", "R2", "R3")
FINDINGS = (
    "ICH", "IPH", "IVH", "SDH", "EDH", "SAH", "BleedLocation-Left", "BleedLocation-Right",
    "ChronicBleed", "Fracture", "CalvarialFracture", "OtherFracture", "MassEffect", "MidlineShift",
)  # fmt: skip
HEADER = ("name", "Category", *(f"{reader}:{name}" for reader in READERS for name in FINDINGS))
_CLASS_OF = {
    "ICH": "any",
    "IPH": "intraparenchymal",
    "IVH": "intraventricular",
    "SDH": "subdural",
    "EDH": "epidural",
    "SAH": "subarachnoid",
}
_STUDIES_A_BATCH = 20  # of qct01, qct02, ...


def write_reads(path: Path, labels: np.ndarray, seed: int = 0) -> None:
    """Writes reads.csv.

    Two readers see the truth; the second one overlooks a bleed of ten.

    Args:
      path: CSV file to write.
      labels: Classes of each study, [n, 6], 0 or 1.
      seed: Seed of what is overlooked, and of the findings that are no classes.
    """
    rng = np.random.default_rng(seed)
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(HEADER)
        for number, truth in enumerate(labels):
            row: list[object] = [f"CQ500-CT-{number}", f"B{1 + number % 2}"]
            for reader in READERS:
                seen = truth * (reader != "R2" or rng.random() >= 0.1)
                row += [
                    int(seen[CLASSES.index(_CLASS_OF[name])])
                    if name in _CLASS_OF
                    else int(rng.random() < 0.2)
                    for name in FINDINGS
                ]
            writer.writerow(row)


def write_cq500(phantom_dir: Path, folder: Path) -> np.ndarray:
    """Writes studies of `make_phantoms --headers=archive` as CQ500 is distributed.

    Each study is a patient's only one. Every third has a second series, of every other slice.

    Args:
      phantom_dir: Folder of the phantoms; those of its training set are taken.
      folder: Folder to write.

    Returns:
      Classes of each study, int64 [n, 6].
    """
    table = read_labels(phantom_dir / "stage_2_train.csv")
    studies: dict[str, list[Path]] = {}
    for path in sorted((phantom_dir / "stage_2_train").iterdir()):
        header = pydicom.dcmread(path, stop_before_pixels=True)
        studies.setdefault(header.StudyInstanceUID, []).append(path)
    labels = np.zeros((len(studies), len(CLASSES)), np.int64)
    for number, paths in enumerate(studies.values()):
        name = f"CQ500CT{number}"
        home = folder / f"qct{1 + number // _STUDIES_A_BATCH:02d}" / f"{name} {name}"
        labels[number] = table.loc[[path.stem for path in paths]].max()
        order = sorted(
            paths,
            key=lambda path: pydicom.dcmread(path, stop_before_pixels=True).ImagePositionPatient[2],
        )
        _write_series(home, "CT PLAIN THIN", name, order, series=1)
        if number % 3 == 0:
            _write_series(home, "CT 5mm", name, order[::2], series=2)
    write_reads(folder / "reads.csv", labels)
    return labels


def _write_series(home: Path, title: str, name: str, paths: list[Path], series: int) -> None:
    folder = home / "Unknown Study" / title
    folder.mkdir(parents=True)
    for index, path in enumerate(paths):
        header = pydicom.dcmread(path, stop_before_pixels=True)
        data = rewrite(
            path.read_bytes(),
            PatientID=name,
            PatientName=name,
            StudyDescription="",
            SeriesDescription=title.removeprefix("CT "),
            SeriesInstanceUID=f"{header.SeriesInstanceUID}.{series}",
            SOPInstanceUID=f"{header.SOPInstanceUID}.{series}",
        )
        (folder / f"CT{index:06d}.dcm").write_bytes(data)


def write_mixed(phantom_dir: Path, slices_csv: Path, exams_csv: Path) -> None:
    """Writes labels of slices for every third study of phantoms, and of exams for the others.

    Args:
      phantom_dir: Folder of the phantoms; those of its training set are taken.
      slices_csv: Label CSV of slices to write.
      exams_csv: CSV of `any` by StudyInstanceUID to write.
    """
    table = read_labels(phantom_dir / "stage_2_train.csv")
    headers = headers_of((phantom_dir / "stage_2_train").iterdir())
    study_of = {header.image_id: header.study_id for header in headers}
    studies = np.array([study_of[image] for image in table.index])
    labelled = sorted(set(studies))[::3]
    slices = table[np.isin(studies, labelled)]
    write_long_csv(slices_csv, list(slices.index), slices.to_numpy())
    exams = table["any"].groupby(studies).max()
    exams[~exams.index.isin(labelled)].to_csv(exams_csv, index_label="StudyInstanceUID")
