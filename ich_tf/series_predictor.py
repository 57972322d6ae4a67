"""A series model as it is used: the networks whose features it reads, and it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from ich_tf.alignment import AXES, Axes, load_axes
from ich_tf.checkpoints import load_model, read_spec
from ich_tf.ensemble import Member, combined_sha256, find_members
from ich_tf.errors import InputError
from ich_tf.inference import LogitsFn, SlicePredictions, make_logits_fn
from ich_tf.metrics import logit, sigmoid
from ich_tf.mixing import mix
from ich_tf.models import with_features
from ich_tf.postprocessing import Postprocessing, load_postprocessing
from ich_tf.predictor import LoadedMember, Predictor, load_member
from ich_tf.series_model import NUM_CLASSES, SeriesSpec, pack_arrays, turned_series
from ich_tf.shards import Manifest
from ich_tf.smoothing import rows_of
from ich_tf.splits import fold_name
from ich_tf.stack import keras

# Few shapes, few traces.
_SLOTS = 16


@dataclasses.dataclass(frozen=True, eq=False)
class LoadedSeriesModel:
    """A series model of a predictor.

    Attributes:
      model: As `SeriesSpec.build` gives it, with its weights.
      spec: Of the model.
      share: Of the mean of probabilities.
      sha256: Of its weights.
      logits_fn: Of the model.
    """

    model: keras.Model
    spec: SeriesSpec
    share: float
    sha256: str
    logits_fn: LogitsFn


class SeriesPredictor(Predictor):
    """Networks over slices, and models over what they say of a series.

    A series is read once by each network that did not train on its patient, and once turned round
    if the models were trained so; the mean of the probabilities counts.

    Attributes:
      axes: Of each network's features.
      models: Over the series.
      model_shares: Of each of them, float64, of sum 1.
      spec: Of the first of them; all read the same features.
    """

    def __init__(
        self,
        networks: Sequence[LoadedMember],
        axes: Sequence[Axes],
        models: Sequence[LoadedSeriesModel],
        strategy: tf.distribute.Strategy,
        postprocessing: Postprocessing | None = None,
    ) -> None:
        """Joins networks and models.

        Args:
          networks: In the order of the models' `SeriesSpec.networks`.
          axes: Of each of them.
          models: One or several, which read the same features.
          strategy: Its replicas share each batch.
          postprocessing: Of the logits.

        Raises:
          InputError: If the networks read different records.
        """
        super().__init__(networks, postprocessing)
        self.axes = list(axes)
        self.models = list(models)
        self.spec = models[0].spec
        self._outputs_fns = [make_logits_fn(with_features(one.model), strategy) for one in networks]
        shares = np.array([one.share for one in models])
        self.model_shares = shares / shares.sum()
        self.prior = np.asarray(self.model_shares @ np.array([one.spec.prior for one in models]))
        # The networks' hashes stand in the models' specs.
        self.sha256 = combined_sha256([one.sha256 for one in models], self.model_shares)

    def describe(self) -> str:
        """As of `Predictor`."""
        names = ", ".join(sorted({one.spec.backbone for one in self.models}))
        number = len(self.models)
        return (
            f"{super().describe()}, and {number} model{'s' if number > 1 else ''} over their "
            f"features of a series ({names})"
        )

    def outputs(self, images: np.ndarray) -> np.ndarray:
        """Of each network logits and aligned features, one network after the other."""
        return self._outputs(images, range(len(self.members)))

    def series_logits(self, outputs: np.ndarray, z_mm: np.ndarray) -> np.ndarray:
        """As of `Predictor`."""
        number = len(outputs)
        slots = -(-number // _SLOTS) * _SLOTS
        z_mm = np.asarray(z_mm, np.float32)
        each = []
        for part in np.split(outputs, outputs.shape[1] // self._width, axis=1):
            packed = pack_arrays(part[:, NUM_CLASSES:], part[:, :NUM_CLASSES], z_mm, slots)
            ways = [packed, turned_series(packed, number)] if self.spec.reverse else [packed]
            for model in self.models:
                found = model.logits_fn(np.stack(ways))[:, 1 : 1 + number].astype(np.float64)
                there = found[0]
                each.append((there + found[1][::-1]) / 2 if len(ways) > 1 else there)
        if len(each) == 1:
            return np.asarray(each[0])
        shares = np.tile(self.model_shares, len(each) // len(self.models))
        return np.asarray(logit(mix(sigmoid(np.stack(each)), shares / shares.sum())))

    def predict_split(self, manifest: Manifest, split: str, batch_size: int) -> SlicePredictions:
        """As of `Predictor`; a fold only by the network that did not train on it."""
        folds = [fold_name(fold) for fold in self.spec.validation_folds]
        chosen = [i for i, fold in enumerate(folds) if fold == split] or range(len(folds))
        found = self._predict_split(
            manifest, split, batch_size, lambda images: self._outputs(images, chosen)
        )
        logits = np.empty((len(found), NUM_CLASSES))
        for rows in rows_of(found.series_key).values():
            rows = rows[np.argsort(found.z_mm[rows], kind="stable")]
            logits[rows] = self.series_logits(found.logits[rows], found.z_mm[rows])
        return dataclasses.replace(found, logits=logits)

    @property
    def _width(self) -> int:
        """Numbers that a network says of a slice."""
        return NUM_CLASSES + self.spec.feature_dim

    def _outputs(self, images: np.ndarray, networks: Sequence[int]) -> np.ndarray:
        found = []
        for i in networks:
            own = self.members[i].sees(images)
            outputs = self._outputs_fns[i](own)
            if self.postprocessing.flip:
                outputs = (outputs + self._outputs_fns[i](own[:, :, ::-1])) / 2
            found += [outputs[:, :NUM_CLASSES], self.axes[i](outputs[:, NUM_CLASSES:])]
        return np.asarray(np.concatenate(found, axis=1), np.float64)


def load_predictor(
    work_dir: str | Path, strategy: tf.distribute.Strategy, *, calibrated: bool = True
) -> Predictor:
    """The model or models of a folder, with its `calibration.json` if there is one.

    Args:
      work_dir: Of a run, of runs by fold, or of an ensemble (`ensemble.find_members`); over slices
        or over series.
      strategy: Its replicas share each batch.
      calibrated: False leaves `calibration.json` aside.

    Raises:
      InputError: If there is no model, or a file is damaged or belongs to another.
    """
    predictor = predictor_of(find_members(work_dir), strategy)
    if calibrated:
        found = load_postprocessing(work_dir, predictor.sha256)
        predictor.postprocessing = found or predictor.postprocessing
    return predictor


def predictor_of(
    members: Sequence[Member],
    strategy: tf.distribute.Strategy,
    postprocessing: Postprocessing | None = None,
) -> Predictor:
    """A predictor of some members, all over slices or all over series.

    Raises:
      InputError: As `load_predictor`.
    """
    specs = [read_spec(one.work_dir) for one in members]
    first = specs[0]
    if not isinstance(first, SeriesSpec):
        return Predictor([load_member(one, strategy) for one in members], postprocessing)
    models = [_load_series_model(one, strategy) for one in members]
    for one, loaded in zip(members, models, strict=True):
        if (loaded.spec.networks, loaded.spec.axes_sha256) != (first.networks, first.axes_sha256):
            raise InputError(
                f"{one.work_dir}: reads features of other networks than "
                f"{members[0].work_dir}. Average series models of one extraction."
            )
    folder = members[0].work_dir
    networks = [
        load_member(Member(folder / path, sha256=sha256), strategy)
        for path, sha256 in zip(first.network_dirs, first.networks, strict=True)
    ]
    axes = load_axes(folder / AXES, first.axes_sha256)
    return SeriesPredictor(networks, axes, models, strategy, postprocessing)


def _load_series_model(member: Member, strategy: tf.distribute.Strategy) -> LoadedSeriesModel:
    with strategy.scope():
        model, spec, sha256 = load_model(member.work_dir, member.weights, member.sha256)
    if not isinstance(spec, SeriesSpec):
        raise InputError(
            f"{member.work_dir}: holds a model of slices ({spec.backbone}), where one of series is "
            "asked for. Average models of one kind."
        )
    return LoadedSeriesModel(model, spec, member.share, sha256, make_logits_fn(model, strategy))
