"""What to convert, and how: a frozen config, validated at construction."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from ich_tf.errors import ConfigError
from ich_tf.records.schema import CROPS, ENCODINGS, LOSSY, SCHEMA_VERSION
from ich_tf.windows import preset_windows

RUNNERS = ("local", "dask", "beam")
# A change in any of these is another plan; the others say where and how fast.
_PLANNED = (
    "image_size",
    "windows",
    "crop",
    "encoding",
    "num_folds",
    "test_fraction",
    "seed",
    "shard_mb",
)

# The synthetic patients, which the demo makes.
_DICOM_DIR = "data/phantoms/stage_2_train"
_LABELS_CSV = "data/phantoms/stage_2_train.csv"


def _flag(default: Any, help_text: str, choices: tuple[str, ...] | None = None) -> Any:
    metadata: dict[str, Any] = {"help": help_text}
    if choices:
        metadata["choices"] = choices
    return field(default=default, metadata=metadata)


@dataclass(frozen=True)
class ConversionConfig:
    """One conversion; each field is a flag of ich_tf.make_tfrecords, described there."""

    HEADINGS: ClassVar[dict[str, str]] = {
        "dicom_dir": "Files and folder",
        "image_size": "Image",
        "num_folds": "Folds and shards",
        "num_workers": "Where it runs",
        "max_bad_fraction": "Safety",
    }

    dicom_dir: str = _flag(
        _DICOM_DIR,
        "Folder (nested, any extension) or zip archive of DICOM files, or one file.",
    )
    labels_csv: str = _flag(
        _LABELS_CSV,
        "RSNA's label CSV (ID,Label; six rows an image). Empty: convert without labels.",
    )
    out_dir: str = _flag("data/tfrecords", "Folder for the shards.")
    image_size: int = _flag(256, "Rows and columns of the stored images.")
    windows: tuple[str, ...] = _flag(
        ("brain", "subdural", "soft"),
        "Window presets, one a channel: brain, subdural, soft, stroke, bone.",
    )
    crop: str = _flag(
        "none",
        "head: cut every series to its head before resizing. Reads every file twice.",
        CROPS,
    )
    encoding: str = _flag(
        "png",
        "Image format of the records: png and raw hold the windows, hu16 holds Hounsfield units, "
        "and the model applies the windows; jpeg holds windows with losses.",
        ENCODINGS,
    )
    allow_lossy: bool = _flag(False, "Allow --encoding=jpeg, which changes grey values.")
    num_folds: int = _flag(5, "Folds of patients for cross-validation, 2 or more.")
    test_fraction: float = _flag(0.1, "Share of the patients held out as the test split.")
    seed: int = _flag(0, "Of the splits and of the order of series.")
    shard_mb: int = _flag(128, "Size of a shard to aim at, MiB.")
    num_workers: int = _flag(0, "Processes; 0 means one per core.")
    runner: str = _flag("local", "Where the work is done.", RUNNERS)
    dask_scheduler: str = _flag("", "For --runner=dask: the scheduler, tcp://HOST:8786.")
    beam_args: tuple[str, ...] = _flag(
        (), "For --runner=beam: Beam's own flags, as --runner=DirectRunner, with commas between."
    )
    max_bad_fraction: float = _flag(
        0.01, "Exit with 1 if more than this share of the inputs could not be converted."
    )
    verify: str = _flag(
        "size",
        "What makes a shard of an earlier run count as done: its size, or its full hash too.",
        ("size", "full"),
    )
    hash_key_file: str = _flag(
        "",
        "File with a secret: ids that are not RSNA's are stored as HMACs under it. Empty: a "
        "public key, under which known ids can be recognised.",
    )
    dry_run: bool = _flag(
        False,
        "Write nothing; say what would be written, how long it takes, how much disk, and which "
        "decoders are missing.",
    )
    overwrite: bool = _flag(False, "Replace the conversion that stands in --out_dir.")

    def __post_init__(self) -> None:
        object.__setattr__(self, "windows", tuple(self.windows))
        object.__setattr__(self, "beam_args", tuple(self.beam_args))
        preset_windows(self.windows)
        self._check("image_size", 16 <= self.image_size <= 4096, "16 to 4096")
        self._check("crop", self.crop in CROPS, " or ".join(CROPS))
        self._check("encoding", self.encoding in ENCODINGS, " or ".join(ENCODINGS))
        self._check(
            "encoding",
            self.allow_lossy or self.encoding not in LOSSY,
            "a lossless format, or --allow_lossy with it",
        )
        self._check("num_folds", self.num_folds >= 2, "2 or more")
        self._check("test_fraction", 0 <= self.test_fraction < 1, "at least 0 and below 1")
        self._check("seed", 0 <= self.seed < 2**32, "0 to 2**32 - 1")
        self._check("shard_mb", self.shard_mb >= 1, "1 or more")
        self._check("num_workers", self.num_workers >= 0, "0 or more")
        self._check("runner", self.runner in RUNNERS, " or ".join(RUNNERS))
        self._check(
            "dask_scheduler",
            bool(self.dask_scheduler) == (self.runner == "dask"),
            "an address with --runner=dask, and nothing otherwise",
        )
        self._check(
            "beam_args",
            not self.beam_args or self.runner == "beam",
            "nothing without --runner=beam",
        )
        self._check("max_bad_fraction", 0 <= self.max_bad_fraction <= 1, "0 to 1")
        self._check("verify", self.verify in ("size", "full"), "size or full")
        # A forgotten flag must not give someone's files the labels of the synthetic patients.
        self._check(
            "labels_csv",
            self.labels_csv != _LABELS_CSV or Path(self.dicom_dir) == Path(_DICOM_DIR),
            f"the label CSV of {self.dicom_dir}, or nothing (--labels_csv=) to convert without "
            "labels",
        )
        self._check("dicom_dir", bool(self.dicom_dir), "a folder, a zip archive or a file")
        self._check("out_dir", bool(self.out_dir), "a folder")

    def _check(self, name: str, valid: bool, expected: str) -> None:
        if not valid:
            raise ConfigError(f"{name} is {getattr(self, name)!r}; expected {expected}.")

    def planned(self) -> dict[str, Any]:
        """What the shards' bytes depend on, for the plan and the manifest."""
        content = {name: getattr(self, name) for name in _PLANNED}
        return {**content, "windows": list(self.windows), "schema_version": SCHEMA_VERSION}
