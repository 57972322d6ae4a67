"""What a prediction wrote, and how many of each."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ich_tf.inference.prediction.heat_map_pictures import heatmaps_dir
from ich_tf.inference.prediction.mask_files import masks_dir


@dataclass(frozen=True)
class PredictionResult:
    """Files and counts of a prediction.

    Attributes:
      submission, series_csv, series_json, rejected: Paths of the written files.
      postprocessing: Description of the postprocessing.
      num_slices: Number of predicted slices.
      num_series: Number of their series.
      num_rejected: Number of files, and of frames of others, that could not be read.
      num_not_chosen: Number of slices of the series that were not chosen.
      num_prior: Number of images of the submission without a readable file, which get the prior
        probabilities of the training data.
      num_heatmaps: Number of heat maps.
      num_masks: Number of files of masks.
      dicom_results: Paths of the DICOM objects.
      not_filed: Reason of each series without DICOM objects, which names no patient.
      supervision: What is to be said of a weakly supervised model; empty for others.
    """

    submission: Path
    series_csv: Path
    series_json: Path
    rejected: Path
    postprocessing: str
    num_slices: int
    num_series: int
    num_rejected: int
    num_not_chosen: int
    num_prior: int
    num_heatmaps: int
    num_masks: int
    dicom_results: tuple[Path, ...] = ()
    not_filed: tuple[str, ...] = ()
    supervision: str = ""

    def report(self) -> str:
        """Describes the result in a few lines."""
        lines = [
            f"{self.submission}: {self.num_slices} slices predicted, {self.postprocessing}",
            f"{self.series_csv}, {self.series_json.name}: {self.num_series} series",
        ]
        if self.supervision:
            lines.append(f"weakly supervised: {self.supervision}")
        if self.num_rejected:
            lines.append(f"{self.rejected}: {self.num_rejected} files or frames could not be read")
        if self.num_not_chosen:
            lines.append(
                f"{self.num_not_chosen} slices of other series were not chosen by --series; they "
                f"are in {self.rejected.name}, with the reason"
            )
        if self.num_prior:
            lines.append(f"{self.num_prior} images without a readable file got the training prior")
        if self.num_heatmaps:
            lines.append(f"{heatmaps_dir(self.submission)}: {self.num_heatmaps} heat maps")
        if self.num_masks:
            lines.append(f"{masks_dir(self.submission)}: {self.num_masks} files of masks")
        if self.dicom_results:
            folder = self.dicom_results[0].parent
            lines.append(f"{folder}: {len(self.dicom_results)} DICOM objects")
        lines += [f"no DICOM objects: {reason}" for reason in self.not_filed]
        return "\n".join(lines)
