"""Conversions of phantoms, and what they leave on the disk."""

import shutil
import sys
from pathlib import Path

import pandas as pd
import pydicom

from ich_tf.conversion.config import ConversionConfig
from ich_tf.conversion.convert import convert
from ich_tf.records.example import decode, parse
from ich_tf.records.schema import SliceRecord
from ich_tf.records.tfrecord import read_records


def config_for(phantom_dir: Path, out_dir: Path, **changes: object) -> ConversionConfig:
    values = {
        "dicom_dir": str(phantom_dir / "stage_2_train"),
        "labels_csv": str(phantom_dir / "stage_2_train.csv"),
        "out_dir": str(out_dir),
        "image_size": 32,
        "num_folds": 3,
        "test_fraction": 0.2,
        "shard_mb": 1,
        "num_workers": 1,
    }
    return ConversionConfig(**{**values, **changes})


_FLAGS = (
    "dicom_dir", "labels_csv", "out_dir", "image_size", "num_folds", "test_fraction", "shard_mb",
    "num_workers", "encoding", "masks_dir",
)  # fmt: skip


def conversion_command(config: ConversionConfig) -> list[str]:
    """The command that runs a config of `config_for`."""
    values = [f"--{name}={getattr(config, name)}" for name in _FLAGS]
    return [sys.executable, "-m", "ich_tf.make_tfrecords", *values]


def config_in(folder: Path, **changes: object) -> ConversionConfig:
    """The config of a small conversion of `dicom/` by `labels.csv` to `out/`."""
    values = {
        "dicom_dir": str(folder / "dicom"),
        "labels_csv": str(folder / "labels.csv"),
        "out_dir": str(folder / "out"),
        "image_size": 16,
        "num_workers": 1,
        "num_folds": 2,
    }
    return ConversionConfig(**{**values, **changes})


def undisturbed(phantom_dir: Path, folder: Path, **changes: object) -> Path:
    """A whole run: eight shards of a megabyte."""
    convert(config_for(phantom_dir, folder, image_size=128, encoding="raw", **changes))
    assert len(list(folder.glob("*.tfrecord"))) > 6
    return folder


def write_part(phantoms: Path, folder: Path, patients: slice) -> None:
    """Copies the files and labels of some of the phantoms."""
    (folder / "stage_2_train").mkdir(parents=True)
    files: dict[str, list[Path]] = {}
    for path in sorted((phantoms / "stage_2_train").iterdir()):
        patient = pydicom.dcmread(path, specific_tags=["PatientID"]).PatientID
        files.setdefault(patient, []).append(path)
    chosen = [path for patient in sorted(files)[patients] for path in files[patient]]
    for path in chosen:
        shutil.copy2(path, folder / "stage_2_train")
    frame = pd.read_csv(phantoms / "stage_2_train.csv")
    images = frame["ID"].str.rsplit("_", n=1).str[0]
    frame = frame[images.isin([path.stem for path in chosen])]
    frame.to_csv(folder / "stage_2_train.csv", index=False)


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def slice_records_of(folder: Path) -> list[SliceRecord]:
    return [
        decode(payload)
        for path in sorted(folder.glob("*.tfrecord"))
        for payload in read_records(path)
    ]


def records_of(folder: Path) -> list[dict]:
    return [
        {name: value for name, value in parse(payload).items() if name != "repairs"}
        for path in sorted(folder.glob("*.tfrecord"))
        for payload in read_records(path)
    ]
