"""Any number of DICOM files from few phantoms, and their labels."""

from __future__ import annotations

import io
import tempfile
from pathlib import Path

import numpy as np

from ich_tf.dicom.listing import list_sources
from ich_tf.dicom.reader import read_headers
from ich_tf.labels import ANY, CLASSES, write_long_csv
from ich_tf.phantom import PhantomConfig, write_dataset


def write_slices(folder: Path, count: int, matrix: int, num_workers: int = 0) -> None:
    """Writes DICOM files: phantoms, and copies of them under the ids of other patients.

    Args:
      folder: New folder.
      count: Number of slices.
      matrix: Rows and columns of each slice, px.
      num_workers: Worker processes; 0: one per core.
    """
    with tempfile.TemporaryDirectory() as phantoms:
        config = PhantomConfig(num_patients=20, seed=0, matrix=matrix)
        write_dataset(phantoms, config, num_workers)
        sources = list_sources(Path(phantoms) / "stage_2_train").sources
        files = [source.read() for source in sources]
    headers = [read_headers(io.BytesIO(data))[0] for data in files]
    folder.mkdir()
    for number in range(count):
        copy, index = divmod(number, len(files))
        data, header = files[index], headers[index]
        # Ids of the same length can be replaced within the bytes.
        for identifier in (header.patient_id, header.study_id, header.series_id):
            data = data.replace(identifier.encode(), f"{identifier[:-4]}{copy:04x}".encode())
        name = f"ID_{number:09x}"
        (folder / f"{name}.dcm").write_bytes(data.replace(header.image_id.encode(), name.encode()))


def write_labels(path: Path, count: int) -> None:
    """Writes a label CSV of random labels for the files of `write_slices`.

    Args:
      path: CSV file to write.
      count: Number of slices.
    """
    values = np.random.default_rng(0).integers(0, 2, (count, len(CLASSES)))
    values[:, ANY] = 1
    write_long_csv(path, [f"ID_{number:09x}" for number in range(count)], values)
