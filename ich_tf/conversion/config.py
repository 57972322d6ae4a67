"""Config of a conversion: frozen, and checked when it is made."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from ich_tf.labels import READERS
from ich_tf.masks.format_names import MASK_FORMATS
from ich_tf.records.schema import (
    CROPS,
    ENCODINGS,
    EXAM_SCHEMA_VERSION,
    LABEL_LEVELS,
    LOSSY,
    SCHEMA_VERSION,
)
from ich_tf.runtime.options import check_options, option, require
from ich_tf.windows import preset_windows

if TYPE_CHECKING:
    from ich_tf.conversion.mask_files import MaskOptions

# What a row of the label CSV names an image by, and what tells patients apart.
LABEL_KEYS = ("auto", "uid", "name", "path")
PATIENT_SOURCES = ("id", "study", "folder")
# What a row of a label CSV speaks of.
LABEL_LEVEL_CHOICES = ("auto", *LABEL_LEVELS)
RUNNERS = ("local", "dask", "beam")
# Options that a plan depends on; the others choose where and how fast the work is done.
_PLANNED = (
    "series",
    "slab_mm",
    "image_size",
    "windows",
    "crop",
    "patient_from",
    "encoding",
    "num_folds",
    "test_fraction",
    "seed",
    "shard_mb",
)

# The synthetic patients that the demo makes.
_DICOM_DIR = "data/phantoms/stage_2_train"
_LABELS_CSV = "data/phantoms/stage_2_train.csv"


@dataclass(frozen=True)
class ConversionConfig:
    """Options of a conversion; each is a flag of ich_tf.make_tfrecords, whose help describes it.

    Raises:
      ConfigError: If an option has a value that is not allowed.

    Examples:
      >>> config = ConversionConfig(dicom_dir="head_ct", labels_csv="", encoding="hu16")
      >>> config.planned()["encoding"], config.num_folds
      ('hu16', 5)
    """

    HEADINGS: ClassVar[dict[str, str]] = {
        "dicom_dir": "Files and folder",
        "masks_dir": "Masks",
        "series": "Series",
        "image_size": "Image",
        "num_folds": "Folds and shards",
        "num_workers": "Where it runs",
        "max_bad_fraction": "Safety",
    }

    dicom_dir: str = option(
        _DICOM_DIR,
        "Folder (nested, any extension) or zip archive of DICOM files, or a single file.",
        is_path=True,
    )
    labels_csv: str = option(
        _LABELS_CSV,
        "Label CSV in RSNA's format (columns ID,Label; six rows per image), or with a row per exam "
        "and a column per class, or per class and reader. Empty: convert without labels.",
        is_path=True,
    )
    label_key: str = option(
        "auto",
        "What the label CSV names an image by: its SOP instance UID, its file's name, or the "
        "file's path within --dicom_dir, with or without extension. auto: any of them.",
        LABEL_KEYS,
    )
    label_level: str = option(
        "auto",
        "What the labels of --exam_labels_csv, or of --labels_csv where that is not given, speak "
        "of. auto: each of what its key names: a slice, a series or study by UID, a patient by "
        "PatientID, or what lies in a folder.",
        LABEL_LEVEL_CHOICES,
    )
    exam_labels_csv: str = option(
        "",
        "CSV with labels of exams, beside those of slices in --labels_csv or, with --labels_csv=, "
        "alone. Empty: none.",
        is_path=True,
    )
    readers: str = option(
        "majority",
        "How labels of several readers become one. majority: what more than half of them say; all: "
        "the share of those who say yes.",
        READERS,
    )
    patient_from: str = option(
        "id",
        "What tells patients apart, each of whom is kept in one split: the PatientID, or, where it "
        "is empty, the study (a patient with two studies may then be in two splits) or the first "
        "folder below --dicom_dir.",
        PATIENT_SOURCES,
    )
    nifti_csv: str = option(
        "",
        "CSV with the columns file (path within --dicom_dir), patient and, where known, study and "
        "series: ids of NIfTI files, which have none inside. Empty: their names are their ids.",
        is_path=True,
    )
    join_duplicates: bool = option(
        False,
        "Keep patients who share an image, such as one that was anonymised twice, in one split; "
        "every file is read twice.",
    )
    out_dir: str = option("data/tfrecords", "Folder to write the shards to.", is_path=True)
    masks_dir: str = option(
        "",
        "Folder of masks: PNG, NIfTI, DICOM segmentations or RT structure sets. A PNG is named by "
        "its slice, a NIfTI file by its series, study or patient, or in masks.csv (columns "
        "file,series). Empty: none.",
        is_path=True,
    )
    mask_format: str = option(
        "auto", "Format of the masks. auto: by each file's name and content.", MASK_FORMATS
    )
    mask_classes: str = option(
        "",
        "Class of each value, segment or contour of the masks, such as 1:epidural,2:subdural; none "
        "for what is no bleed. Empty: PNGs have a bit a class, other masks the classes' names, or "
        "are binary masks of any.",
    )
    mask_images_dir: str = option(
        "",
        "Folder of the NIfTI images that the masks were drawn on, under the masks' names: a mask "
        "that is mirrored, turned or shifted by a slice is noticed. Empty: none.",
        is_path=True,
    )
    series: str = option(
        "best",
        "Series to convert. best: one a study, the plain axial one with a soft kernel and slices "
        "near 5 mm; all: every series; or conditions such as "
        "kernel=soft,thickness<=6,contrast!=yes, all of which a series must fulfil.",
    )
    slab_mm: float = option(
        0.0,
        "Thickness of slabs, mm: thinner slices are averaged in Hounsfield units before they are "
        "windowed. A slab has the labels of all its slices and the id of the middle one. 0: every "
        "slice as it is.",
        within="[0, 50]",
    )
    image_size: int = option(256, "Rows and columns of the stored images, px.", within="[16, 4096]")
    windows: tuple[str, ...] = option(
        ("brain", "subdural", "soft"),
        "Window presets, one per channel: brain, subdural, soft, stroke, bone.",
    )
    crop: str = option(
        "none",
        "head: crop every series to the head before resizing, which reads every file twice.",
        CROPS,
    )
    encoding: str = option(
        "png",
        "Image format of the records: png and raw hold the windows, hu16 holds Hounsfield units "
        "to which the model applies the windows, jpeg holds the windows with losses.",
        ENCODINGS,
    )
    allow_lossy: bool = option(False, "Allow --encoding=jpeg, which changes grey values.")
    num_folds: int = option(
        5, "Number of folds of patients for cross-validation.", within="[2, 1000]"
    )
    test_fraction: float = option(
        0.1, "Share of the patients held out as the test split.", within="[0, 1)"
    )
    seed: int = option(
        0, "Seed of the splits and of the order of series.", within=f"[0, {2**32 - 1}]"
    )
    shard_mb: int = option(128, "Size to aim at for a shard, MiB.", within="[1, inf)")
    num_workers: int = option(
        0, "Number of worker processes; 0 for one per core.", within="[0, 1024]"
    )
    runner: str = option("local", "Where the work is done.", RUNNERS)
    dask_scheduler: str = option(
        "", "Address of the scheduler for --runner=dask, such as tcp://HOST:8786."
    )
    beam_args: tuple[str, ...] = option(
        (), "Flags of Beam for --runner=beam, such as --runner=DirectRunner, separated by commas."
    )
    max_bad_fraction: float = option(
        0.01,
        "Largest share of the inputs that may be left out; above it the exit code is 1.",
        within="[0, 1]",
    )
    verify: str = option(
        "size",
        "Check by which a shard of an earlier run counts as finished: its size, or its size and "
        "hash (full).",
        ("size", "full"),
    )
    hash_key_file: str = option(
        "",
        "File with a secret, at least 16 bytes: all ids are stored as HMACs under "
        "it. Empty: a public key, under which known ids can be recognised.",
        is_path=True,
    )
    dry_run: bool = option(
        False,
        "Write nothing; print what would be written, the time, the disk space and the missing "
        "decoders.",
    )
    overwrite: bool = option(False, "Replace the conversion that is stored in --out_dir.")

    def __post_init__(self) -> None:
        check_options(self)
        preset_windows(self.windows)
        from ich_tf.dicom.choice import SeriesChoice  # --help answers without pydicom

        SeriesChoice.parse(self.series)
        from ich_tf.masks.class_map import ClassMap

        ClassMap.parse(self.mask_classes)
        for name, default in (
            ("mask_format", "auto"),
            ("mask_classes", ""),
            ("mask_images_dir", ""),
        ):
            value = getattr(self, name)
            require(bool(self.masks_dir) or value == default, name, value, "given with --masks_dir")
        require(
            self.allow_lossy or self.encoding not in LOSSY,
            "encoding",
            self.encoding,
            "a lossless format, or --allow_lossy must be given with it",
        )
        require(
            bool(self.dask_scheduler) == (self.runner == "dask"),
            "dask_scheduler",
            self.dask_scheduler,
            "an address with --runner=dask, and empty otherwise",
        )
        require(
            not self.beam_args or self.runner == "beam",
            "beam_args",
            self.beam_args,
            "empty without --runner=beam",
        )
        # A forgotten flag must not give someone's files the labels of the synthetic patients.
        require(
            self.labels_csv != _LABELS_CSV or Path(self.dicom_dir) == Path(_DICOM_DIR),
            "labels_csv",
            self.labels_csv,
            f"the label CSV of {self.dicom_dir}, or empty (--labels_csv=) to convert without "
            "labels",
        )
        require(
            not self.exam_labels_csv or self.label_level != "slice",
            "label_level",
            self.label_level,
            "auto, series, study or patient with --exam_labels_csv",
        )
        require(
            bool(self.dicom_dir), "dicom_dir", self.dicom_dir, "a folder, a zip archive or a file"
        )
        require(bool(self.out_dir), "out_dir", self.out_dir, "a folder")

    def mask_options(self) -> MaskOptions:
        """Options of the masks; `masks_dir` must be given."""
        from ich_tf.conversion.mask_files import MaskOptions
        from ich_tf.masks.class_map import ClassMap

        images = Path(self.mask_images_dir) if self.mask_images_dir else None
        classes = ClassMap.parse(self.mask_classes)
        return MaskOptions(Path(self.masks_dir), self.mask_format, classes, images)

    @property
    def is_labelled(self) -> bool:
        """Whether there are labels, of slices or of exams."""
        return bool(self.labels_csv or self.exam_labels_csv)

    def planned(self, hash_key: str = "", *, has_exams: bool = False) -> dict[str, Any]:
        """The options that the bytes of the shards depend on, as plan and manifest store them.

        Args:
          hash_key: `pseudonyms.key_fingerprint` of the secret; empty without one.
          has_exams: Whether there are labels of exams, or unknown ones.
        """
        content = {name: getattr(self, name) for name in _PLANNED}
        if self.masks_dir:
            content |= {"mask_format": self.mask_format, "mask_classes": self.mask_classes}
        if has_exams:
            content |= {"label_level": self.label_level, "readers": self.readers}
        return {
            **content,
            "windows": list(self.windows),
            "schema_version": EXAM_SCHEMA_VERSION if has_exams else SCHEMA_VERSION,
            "hash_key": hash_key,
        }
