"""A model on a site's own scans: inserted bleeds that it finds, and alarms on untouched scans."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from ich_tf.acceptance.case import DICOM
from ich_tf.acceptance.config import AcceptanceConfig
from ich_tf.acceptance.detectability import Estimate, Row, ScoredSlices, false_alarms, tables
from ich_tf.acceptance.insert import ASSUMPTION, LABELS, MANIFEST
from ich_tf.acceptance.scan import choose_series
from ich_tf.dicom.choice import SeriesChoice
from ich_tf.dicom.listing import list_sources
from ich_tf.dicom.nifti_names import is_nifti
from ich_tf.errors import InputError
from ich_tf.inference.config import PredictConfig
from ich_tf.inference.postprocessing.aggregation import SLICE
from ich_tf.inference.postprocessing.postprocessing import DEFAULT_POINT
from ich_tf.inference.prediction.predict import load_configured, predict
from ich_tf.labels import ANY, CLASSES, read_labels, read_submission
from ich_tf.runtime import html
from ich_tf.runtime.executors.local import LocalExecutor
from ich_tf.runtime.files import read_json, write_json, write_text
from ich_tf.runtime.names import printable
from ich_tf.runtime.writing import writing

_NO_POINT = 0.5
NOT_SHOWN = (
    ASSUMPTION,
    "Synthetic bleeds are as varied as their generator, no more: a model that finds them all may "
    "miss real ones. These are no sensitivities on patients.",
    "A model that was trained on the same generator's phantoms knows such bleeds: its scores here "
    "say what scanner, noise and anatomy of the site take away, not how well it knows bleeds.",
    "Subtypes, volumes and ages are those that were drawn, not those of the site's patients.",
    "Intervals resample source studies; with fewer than five of them there is none, and with fewer "
    "than about thirty they are too narrow.",
)


class _WholeFolder(PredictConfig):
    """Predicts every file of a folder: RSNA's folders have a sample beside them, of other files."""

    @property
    def sample_path(self) -> None:
        """No sample."""
        return None


@dataclasses.dataclass(frozen=True)
class AcceptanceResult:
    """Scores of a model at a site.

    Attributes:
      threshold: Least probability of any bleed of a positive decision.
      has_point: Whether the model's calibration gives it; else it is 0.5.
      num_sources: Number of source series.
      num_cases: Number of cases.
      num_untouched: Number of slices of the untouched scans.
      tables: Heading -> detectability of groups of cases.
      alarms_by_slice: Share of the untouched slices that are false alarms.
      alarms_by_scan: Share of the untouched scans with a false alarm.
    """

    threshold: float
    has_point: bool
    num_sources: int
    num_cases: int
    num_untouched: int
    tables: dict[str, list[Row]]
    alarms_by_slice: Estimate
    alarms_by_scan: Estimate

    def report(self) -> str:
        """Describes the result in a few lines."""
        (whole,) = self.tables["all"]
        lines = [
            f"{self.num_cases} cases of {self.num_sources} scans, threshold {self.threshold:.3f}"
            + ("" if self.has_point else " (no calibration gives one)"),
            f"all: AUC {whole.auc.text()}, slices found {whole.slice_sensitivity.text()}, cases "
            f"found {whole.case_sensitivity.text()}",
        ]
        lines += [
            f"{row.name}: AUC {row.auc.text()}, cases found {row.case_sensitivity.text()}"
            for row in self.tables["leading subtype"]
        ]
        lines.append(
            f"false alarms: {self.alarms_by_slice.text()} of the untouched slices, "
            f"{self.alarms_by_scan.text()} of the scans"
        )
        return "\n".join(lines)


def run_acceptance(config: AcceptanceConfig) -> AcceptanceResult:
    """Predicts inserted and untouched scans, scores them and writes the report.

    Args:
      config: Model and files.

    Raises:
      InputError: If there is no model, or the folders are not those of one insertion.
    """
    inserted, out = Path(config.inserted), Path(config.out)
    manifest = _manifest(inserted)
    untouched_of = _untouched_slices(config, manifest)
    labels = read_labels(inserted / LABELS)
    options: dict[str, Any] = {
        "work_dir": config.work_dir,
        "prevalence": config.prevalence,
        "batch_size": config.batch_size,
        "num_workers": config.num_workers,
    }
    with writing(out):
        out.parent.mkdir(parents=True, exist_ok=True)
    ours = _WholeFolder(
        dicom_dir=str(inserted / DICOM),
        series="all",
        out_csv=str(out.with_name(f"{out.stem}_inserted.csv")),
        **options,
    )
    theirs = _WholeFolder(
        dicom_dir=config.dicom_dir,
        series=manifest["config"]["series"],
        out_csv=str(out.with_name(f"{out.stem}_untouched.csv")),
        **options,
    )
    predictor = load_configured(ours)
    predict(ours, predictor)
    predict(theirs, predictor)
    point = predictor.postprocessing.thresholds.get(SLICE, {}).get(DEFAULT_POINT, {})
    given = point.get(CLASSES[ANY])
    threshold = _NO_POINT if given is None else float(given)
    cases = manifest["cases"]
    labelled = _scored(
        _labelled(cases, labels), read_submission(ours.submission_path), str(inserted)
    )
    untouched = _scored(untouched_of, read_submission(theirs.submission_path), config.dicom_dir)
    alarms = false_alarms(untouched, threshold, config.num_resamples)
    result = AcceptanceResult(
        threshold,
        given is not None,
        len({case["source"] for case in cases}),
        len(cases),
        len(untouched.scores),
        tables(cases, labelled, untouched, threshold, config.num_resamples),
        *alarms,
    )
    _write(out, config, result)
    return result


def _manifest(inserted: Path) -> dict[str, Any]:
    path = inserted / MANIFEST
    advice = "Give --inserted the folder that python -m ich_tf.insert_bleeds finished."
    if not path.is_file():
        raise InputError(f"{path}: no such file. {advice}")
    manifest = read_json(path, advice)
    if not (isinstance(manifest, dict) and manifest.get("cases") and "config" in manifest):
        raise InputError(f"{path}: has no cases. {advice}")
    if any("source_digest" not in case for case in manifest["cases"]):
        raise InputError(f"{path}: its cases do not say which series they were made from. {advice}")
    return manifest


def _untouched_slices(
    config: AcceptanceConfig, manifest: dict[str, Any]
) -> dict[str, tuple[str, str]]:
    """Image id of each slice of the source series -> its source, as the cases name it, and scan."""
    listing = list_sources(config.dicom_dir)
    volumes_aside = [source for source in listing.sources if not is_nifti(source.name)]
    with LocalExecutor(config.num_workers) as executor:
        choice = SeriesChoice.parse(manifest["config"]["series"])
        chosen, _ = choose_series(volumes_aside, choice, executor)
    stems_differ = len({source.stem for source in listing.sources}) == len(listing.sources)
    series_of = {series.digest: series for series in chosen}
    found = {}
    for case in manifest["cases"]:
        source, series = case["source"], series_of.get(case["source_digest"])
        if series is None:
            raise InputError(
                f"{config.dicom_dir}: lacks the series of {case['first_file']}, which "
                f"{config.inserted} was made from, or its headers have changed. Give the "
                "--dicom_dir that insert_bleeds was given."
            )
        for slice_ in series.slices:
            name = printable(slice_.source.stem if stems_differ else slice_.source.name)
            frame = slice_.header.frame
            found[f"{name}/{frame}" if frame else name] = (source, source)
    return found


def _labelled(cases: list[dict[str, Any]], labels: Any) -> dict[str, tuple[str, str]]:
    """Image id of each labelled slice -> its source and its case."""
    sources = {case["case"]: case["source"] for case in cases}
    positive = labels.index[labels[CLASSES[ANY]] > 0]
    owners = {image_id: str(image_id).split("/")[0].rpartition("_")[0] for image_id in positive}
    unknown = next((image_id for image_id, case in owners.items() if case not in sources), None)
    if unknown is not None:
        raise InputError(
            f"{LABELS} has {unknown}, which belongs to none of the cases of {MANIFEST}: the files "
            "are not of one insertion."
        )
    return {image_id: (sources[case], case) for image_id, case in owners.items()}


def _scored(slices: dict[str, tuple[str, str]], predictions: Any, folder: str) -> ScoredSlices:
    """Slices with their predictions.

    Raises:
      InputError: If one has none.
    """
    missing = [image_id for image_id in slices if image_id not in predictions.index]
    if missing:
        raise InputError(
            f"{folder}: {len(missing)} of the {len(slices)} slices to score have no prediction, "
            f"{missing[0]} the first; the table of rejected files beside the report says why. "
            "Restore the files, and keep --inserted and --out outside of --dicom_dir."
        )
    ids = list(slices)
    scores = predictions.loc[ids, CLASSES[ANY]].to_numpy(np.float64)
    return ScoredSlices(
        scores,
        np.array([slices[image_id][0] for image_id in ids], str),
        np.array([slices[image_id][1] for image_id in ids], str),
    )


def _write(out: Path, config: AcceptanceConfig, result: AcceptanceResult) -> None:
    content = {"result": result, "config": config, "not_shown": NOT_SHOWN}
    write_text(out, html.render("ich_tf.acceptance", "acceptance.html", content))
    write_json(
        out.with_suffix(".json"),
        {
            "config": dataclasses.asdict(config),
            **dataclasses.asdict(result),
            "not_shown": list(NOT_SHOWN),
        },
    )
