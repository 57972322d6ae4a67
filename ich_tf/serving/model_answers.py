"""The model's description as an answer of the server."""

from __future__ import annotations

from ich_tf import __version__
from ich_tf.inference.masks.mask_network import MaskNetwork
from ich_tf.inference.postprocessing.aggregation import SLICE
from ich_tf.inference.postprocessing.postprocessing import Postprocessing
from ich_tf.inference.prediction.series_summary import SERIES_LEVEL
from ich_tf.inference.slice_predictor import Predictor
from ich_tf.labels import CLASSES
from ich_tf.serving.answers import Model, Thresholds


def model_answer(predictor: Predictor, heat_scale: float) -> Model:
    """Describes the model.

    Args:
      predictor: The model.
      heat_scale: Logit that 255 stands for in heat maps.
    """
    postprocessing = predictor.postprocessing
    masks = MaskNetwork.of(predictor)
    names = sorted({member.spec.backbone for member in predictor.members})
    return Model(
        name=", ".join(names),
        version=__version__,
        sha256=predictor.sha256,
        calibration_sha256=postprocessing.sha256 or None,
        description=predictor.describe(),
        postprocessing=postprocessing.describe(),
        calibrated=postprocessing.method != "none",
        classes=list(CLASSES),
        thresholds=Thresholds(
            slice=_points(postprocessing, SLICE), series=_points(postprocessing, SERIES_LEVEL)
        ),
        mask_thresholds=None
        if masks is None
        else dict(zip(CLASSES, masks.thresholds.tolist(), strict=True)),
        heat_scale=dict.fromkeys(CLASSES, heat_scale),
    )


def _points(postprocessing: Postprocessing, level: str) -> dict[str, float | None]:
    return {name: postprocessing.threshold(level, name) for name in CLASSES}
