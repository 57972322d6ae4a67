"""What the label CSVs of a conversion hold: labels of slices, of exams, or of both."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ich_tf.conversion.config import ConversionConfig
from ich_tf.conversion.exam_matching import ExamMatches
from ich_tf.conversion.exam_rows import AUTO, ExamRows
from ich_tf.conversion.label_rows import LabelRows
from ich_tf.conversion.matching import LabelMatcher
from ich_tf.labels import LabelError
from ich_tf.labels.columns import find_columns
from ich_tf.runtime.csv_files import open_csv
from ich_tf.runtime.csv_lines import CsvError

_EXAM_FILE = "exam label CSV"


@dataclass(frozen=True, eq=False)
class LabelSources:
    """Rows of the label CSVs of a conversion.

    Attributes:
      slices: Matcher of the rows of slices; None if there are none.
      exams: Rows of exams; None if there is no file of them.
      may_name_exams: Whether rows of `slices` that name no file may name an exam.
      not_slices: Why a CSV that looks like one of slices is read as one of exams; None if it does
        not, and the error to raise if it names no exam either.
    """

    slices: LabelMatcher | None = None
    exams: ExamRows | None = None
    may_name_exams: bool = False
    not_slices: LabelError | None = None

    def check(self, exams: ExamMatches | None) -> None:
        """Refuses a CSV that is neither one of slices nor one of exams here.

        Args:
          exams: What its rows of exams name.

        Raises:
          LabelError: If it looks like one of slices, cannot be read as such, and names no exam.
        """
        if self.not_slices is not None and (exams is None or not exams.exams):
            raise self.not_slices

    def __bool__(self) -> bool:
        return self.slices is not None or self.exams is not None


def read_labels(config: ConversionConfig) -> LabelSources:
    """Reads the label CSVs.

    Args:
      config: Config of the conversion.

    Raises:
      LabelError: If one cannot be read, or has no labels.
    """
    level = config.label_level
    if config.exam_labels_csv:
        slices = _slices(config) if config.labels_csv else None
        exams = ExamRows.from_csv(
            config.exam_labels_csv, readers=config.readers, level=level, file=_EXAM_FILE
        )
        return LabelSources(slices, exams)
    if not config.labels_csv:
        return LabelSources()
    if level == "slice":
        return LabelSources(_slices(config))
    if level != AUTO or not _looks_like_slices(config.labels_csv):
        return LabelSources(exams=_exams(config))
    try:
        return LabelSources(_slices(config), may_name_exams=True)
    except LabelError as error:
        # Such as shares of readers, which no slice has.
        try:
            return LabelSources(exams=_exams(config), not_slices=error)
        except LabelError:
            raise error from None


def _slices(config: ConversionConfig) -> LabelMatcher:
    return LabelMatcher(LabelRows.from_csv(config.labels_csv), config.label_key)


def _exams(config: ConversionConfig) -> ExamRows:
    return ExamRows.from_csv(
        config.labels_csv, readers=config.readers, level=config.label_level, file="label CSV"
    )


def _looks_like_slices(path: str) -> bool:
    """Whether the header of a label CSV is one of slices; so is a file that cannot be read."""
    try:
        with open_csv(Path(path)) as text:
            find_columns(text.header, any_alone=True)
    except CsvError:
        return True
    except ValueError:
        return False
    return True
