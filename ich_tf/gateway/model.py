"""The model of a gateway, loaded once, and what it finds in a study."""

from __future__ import annotations

from pathlib import Path

from ich_tf.errors import InputError
from ich_tf.gateway.config import ModelSection
from ich_tf.gateway.prediction import StudyPrediction
from ich_tf.inference.config import PredictConfig
from ich_tf.labels import ANY, CLASSES
from ich_tf.runtime.files import read_json


class StudyPredictor:
    """Predicts studies with one model, loaded once; a `Predict`."""

    def __init__(self, model: ModelSection) -> None:
        """Loads the model.

        Args:
          model: `[model]` of the config.

        Raises:
          InputError: If there is no model.
        """
        # TensorFlow takes seconds, and is not needed by tests of the rest.
        from ich_tf.inference.prediction.predict import load_configured

        self._model = model
        self._predictor = load_configured(self._config(Path(), Path(), Path()))

    def __call__(self, images: Path, work: Path, results: Path) -> StudyPrediction:
        """Predicts a study; as `Predict`.

        Raises:
          InputError: If the study cannot be predicted.
        """
        from ich_tf.inference.prediction.predict import predict

        result = predict(self._config(images, work, results), self._predictor)
        if result.not_filed and not result.dicom_results:
            raise InputError(f"no results could be filed: {'; '.join(result.not_filed)}")
        return read_prediction(result.series_json, result.dicom_results)

    def _config(self, images: Path, work: Path, results: Path) -> PredictConfig:
        model = self._model
        return PredictConfig(
            dicom_dir=str(images),
            work_dir=model.work_dir,
            series=model.series,
            out_csv=str(work / "submission.csv"),
            calibrated=model.calibrated,
            batch_size=model.batch_size,
            mixed_precision=model.mixed_precision,
            num_workers=model.num_workers,
            dicom_results=str(results),
        )


def read_prediction(series_json: Path, files: tuple[Path, ...]) -> StudyPrediction:
    """Reads what was found in the series of a study.

    The probabilities are the greatest of its series: of the series model where there is one, else
    of the slices.

    Args:
      series_json: Summary of the series, as ich_tf.predict writes it.
      files: DICOM files of the results.
    """
    series = read_json(series_json)["series"]
    rows = [each["series_model"] or each["max"] for each in series]
    findings = {name: max(float(row[name]) for row in rows) for name in CLASSES}
    decisions = [each["decisions"][CLASSES[ANY]] for each in series]
    known = [decision for decision in decisions if decision is not None]
    warnings = dict.fromkeys(warning["code"] for each in series for warning in each["warnings"])
    is_suspected = any(known) if known else None
    return StudyPrediction(findings, is_suspected, tuple(warnings), files)
