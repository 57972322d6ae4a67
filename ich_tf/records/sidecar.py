"""Sidecar of a shard: a JSON file beside it, and the mark that the shard is committed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from ich_tf.dicom.pixel_hash import hashes_from_text
from ich_tf.dicom.reasons import Rejection
from ich_tf.errors import DataError
from ich_tf.labels import CLASSES
from ich_tf.records.data_files import sidecar_path
from ich_tf.records.exam_statistics import ExamStatistics
from ich_tf.records.manifest import Shard, repair_advice
from ich_tf.records.manifest_content import check_shard
from ich_tf.records.mask_statistics import MaskStatistics
from ich_tf.records.statistics import HISTOGRAM_BINS, SliceStatistics
from ich_tf.runtime.files import read_json
from ich_tf.runtime.json_types import read_fields

# Fields with a number for each class.
_OF_MASKS = ("annotated", "marked", "volume_mm3")
_OF_EXAMS = ("slices_known", "known", "positive")


@dataclass(frozen=True, eq=False)
class Sidecar:
    """Description of a committed shard.

    Attributes:
      name: Name of the TFRecord file.
      split: `test`, `fold-0` ..., or `unlabelled`.
      plan_sha256: SHA-256 of the shard's part of the plan.
      sources_sha256: SHA-256 of the stamps of the DICOM files that the shard was made of
        (`sources.stamps_sha256`).
      versions: Version of each library that the shard's bytes depend on.
      num_records: Number of records.
      num_bytes: Size of the TFRecord file, bytes.
      sha256: SHA-256 of the TFRecord file, hexadecimal.
      statistics: Statistics of the stored slices; in the file its fields are the sidecar's own.
      quarantine: Slices that were left out, with their reasons.
      pixel_hashes: Pixel hash of each record, in order, as hexadecimal text
        (`pixel_hash.hashes_text`).
      masks: Statistics of the masks; None in a conversion without masks, whose files lack it.
      mask_quarantine: Masks that could be read when the plan was made and no more when the shard
        was written, with their reasons; files without any lack it.
      exams: Statistics of known labels, of slices and of exams; None in a conversion whose labels
        are all of slices and known, whose files lack it.
    """

    name: str
    split: str
    plan_sha256: str
    sources_sha256: str
    versions: Mapping[str, str]
    num_records: int
    num_bytes: int
    sha256: str
    statistics: SliceStatistics
    quarantine: tuple[Rejection, ...]
    pixel_hashes: str = ""
    masks: MaskStatistics | None = None
    mask_quarantine: tuple[Rejection, ...] = ()
    exams: ExamStatistics | None = None

    @property
    def to_retry(self) -> tuple[Rejection, ...]:
        """Slices that were left out for a reason of the machine, not of the file."""
        return tuple(rejection for rejection in self.quarantine if rejection.is_of_machine)

    def shard(self, folder: Path) -> Shard:
        """The shard in a folder that the sidecar describes."""
        return Shard(
            path=folder / self.name,
            split=self.split,
            num_records=self.num_records,
            num_bytes=self.num_bytes,
            sha256=self.sha256,
            label_counts=self.statistics.label_counts,
        )

    def text(self) -> str:
        """Content of the sidecar's file: JSON, a field per line, sorted by name."""
        content = {**vars(self), **vars(self.statistics)}
        del content["statistics"]
        content["hu_histogram"] = self.statistics.hu_histogram.tolist()
        content["quarantine"] = [asdict(rejection) for rejection in self.quarantine]
        content["masks"] = self.masks and asdict(self.masks)
        content["mask_quarantine"] = [asdict(rejection) for rejection in self.mask_quarantine]
        content["exams"] = self.exams and asdict(self.exams)
        for name in ("masks", "mask_quarantine", "exams"):
            if not content[name]:
                del content[name]
        lines = (f"{json.dumps(name)}: {json.dumps(content[name])}" for name in sorted(content))
        return "{\n" + ",\n".join(lines) + "\n}\n"


_NAMES = {field.name for kind in (Sidecar, SliceStatistics) for field in fields(kind)}


def read_sidecar(shard: Path) -> Sidecar:
    """Reads the sidecar of a shard.

    Args:
      shard: Path of the TFRecord file.

    Raises:
      DataError: If there is no sidecar, or it is not one of this version.
    """
    path = sidecar_path(shard)
    content = read_json(path, repair_advice(shard.parent))
    try:
        if isinstance(content, dict) and not _NAMES.issuperset(content):
            raise ValueError("it has other fields")
        sidecar = read_fields(Sidecar, content and {**content, "statistics": content})
        statistics = sidecar.statistics
        numbers = sidecar.num_records, sidecar.num_bytes, statistics.label_counts
        check_shard(sidecar.name, *numbers)
        if len(statistics.hu_histogram) != HISTOGRAM_BINS:
            raise ValueError(f"hu_histogram has not {HISTOGRAM_BINS} values")
        for part, names in ((sidecar.masks, _OF_MASKS), (sidecar.exams, _OF_EXAMS)):
            if part and any(len(getattr(part, name)) != len(CLASSES) for name in names):
                raise ValueError(f"{', '.join(names)} have not {len(CLASSES)} values each")
        hashes_from_text(sidecar.pixel_hashes)
    except ValueError as error:
        raise DataError(
            f"{path}: not a sidecar of this version ({error}). {repair_advice(shard.parent)}"
        ) from error
    return sidecar
