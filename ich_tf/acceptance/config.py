"""Configs of inserting bleeds and of the acceptance report."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from ich_tf.inference.config import model_option
from ich_tf.phantom.shares import parse_shares
from ich_tf.runtime.options import check_options, option, require

# Each subtype as often: a report by type needs some of each.
_SHARES = (
    "epidural=1",
    "intraparenchymal=1",
    "intraventricular=1",
    "subarachnoid=1",
    "subdural=1",
)


@dataclasses.dataclass(frozen=True)
class InsertConfig:
    """Settings of `ich_tf.insert_bleeds`; the help of each field is its documentation.

    Raises:
      ConfigError: If a field is out of range.
    """

    HEADINGS: ClassVar[dict[str, str]] = {
        "dicom_dir": "Files",
        "per_study": "Bleeds",
    }

    dicom_dir: str = option(
        "data/negatives",
        "Folder (nested, any extension) or zip archive of head CTs without a bleed, one file, or a "
        "text file (.txt) with a path a line. Nobody checks that they have none.",
        is_path=True,
    )
    out_dir: str = option(
        "data/inserted", "Folder to write; it must be empty or missing.", is_path=True
    )
    series: str = option(
        "best",
        "Series to use. best: one a study, the plain axial one with a soft kernel and slices near "
        "5 mm; all: every series; or conditions such as kernel=soft,thickness<=6.",
    )
    patient: str = option(
        "made_up",
        "Patient in the new files' headers. made_up: a new id and name, one for all copies of a "
        "patient, and no name of anybody else; kept: those of the source, for an archive of tests "
        "alone. Dates, institution and private elements stay either way.",
        ("made_up", "kept"),
    )
    per_study: int = option(
        5, "Number of copies of each series, each with bleeds of its own.", within="[1, 1000]"
    )
    seed: int = option(
        0,
        "Seed of everything random: the same files, flags and seed give the same bytes.",
        within="[0, inf)",
    )
    subtype_shares: tuple[str, ...] = option(
        _SHARES,
        "Frequency of each subtype as the leading bleed: subtype=weight. Others join it as they do "
        "in patients.",
    )
    min_volume_ml: float = option(0.5, "Smallest volume of a leading bleed, ml.", within="(0, inf)")
    max_volume_ml: float = option(
        60.0,
        "Largest volume of a leading bleed, ml, from --min_volume_ml to 200.",
        within="(0, 200]",
    )
    min_area_mm2: float = option(
        30.0,
        "Smallest area of a subtype in a slice that is labelled, mm2: the pixels that are at least "
        "half filled with it, after partial volume.",
        within="(0, inf)",
    )

    def __post_init__(self) -> None:
        check_options(self)
        from ich_tf.dicom.choice import SeriesChoice  # --help answers without pydicom

        SeriesChoice.parse(self.series)
        require(bool(self.dicom_dir), "dicom_dir", self.dicom_dir, "a folder, archive or file")
        require(bool(self.out_dir), "out_dir", self.out_dir, "an empty or new folder")
        require(
            self.min_volume_ml <= self.max_volume_ml,
            "max_volume_ml",
            self.max_volume_ml,
            f"from min_volume_ml, which is {self.min_volume_ml}, to 200",
        )
        parse_shares(self.subtype_shares)  # checks the subtypes and their weights


@dataclasses.dataclass(frozen=True)
class AcceptanceConfig:
    """Settings of `ich_tf.acceptance`; the help of each field is its documentation.

    Raises:
      ConfigError: If a field is out of range.
    """

    HEADINGS: ClassVar[dict[str, str]] = {
        "work_dir": "Model and files",
        "prevalence": "Scores",
        "batch_size": "Speed",
    }

    work_dir: str = model_option()
    inserted: str = option("data/inserted", "Folder that ich_tf.insert_bleeds wrote.", is_path=True)
    dicom_dir: str = option(
        "data/negatives",
        "The scans without a bleed that the bleeds were put into, as insert_bleeds was given them.",
        is_path=True,
    )
    out: str = option(
        "acceptance.html",
        "Report to write; a JSON file and the predictions are written beside it.",
        is_path=True,
    )
    prevalence: float = option(
        0.0,
        "Share of slices with a bleed where these files come from: probabilities are moved to it. "
        "0: as in the validation patients.",
        within="[0, 1)",
    )
    num_resamples: int = option(
        1000, "Number of bootstrap resamples of studies; 0: no intervals.", within="[0, inf)"
    )
    batch_size: int = option(32, "Number of slices a batch.", within="[1, inf)")
    num_workers: int = option(
        0, "Number of processes that read DICOM files. 0: one per core.", within="[0, 1024]"
    )

    def __post_init__(self) -> None:
        check_options(self)
        for name in ("work_dir", "inserted", "dicom_dir", "out"):
            require(bool(getattr(self, name)), name, getattr(self, name), "a path")
