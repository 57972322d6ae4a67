"""SeriesPredictor: networks over slices, and models over their features of a series.

A model of stage two reads the features of every fold's network, aligned to one set of axes; a model
that was trained end to end reads those of its own network, as they are.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from ich_tf.errors import InputError
from ich_tf.inference.ensemble import Member, combined_sha256, find_members
from ich_tf.inference.forward import (
    LogitsFn,
    NetworkOutputs,
    SliceOutputs,
    SlicePredictions,
    make_logits_fn,
    predict_split_outputs,
)
from ich_tf.inference.postprocessing.calibration_file import load_postprocessing
from ich_tf.inference.postprocessing.mixture import mix_logits
from ich_tf.inference.postprocessing.postprocessing import Postprocessing
from ich_tf.inference.postprocessing.smoothing import rows_of
from ich_tf.inference.slice_predictor import LoadedMember, Predictor, SeriesLogits, load_member
from ich_tf.models.bundle import naming
from ich_tf.models.end_to_end import EndToEndSpec, parts
from ich_tf.models.feature_axes import AXES, Axes, load_axes
from ich_tf.models.saved import Spec, load_model, read_spec
from ich_tf.models.series_layers import NUM_CLASSES
from ich_tf.models.series_model import SeriesSpec, pack_arrays, turned_series
from ich_tf.models.slice_model import with_features
from ich_tf.models.spec import ModelSpec
from ich_tf.records.manifest import Manifest
from ich_tf.records.splits import fold_name
from ich_tf.runtime.keras2 import keras
from ich_tf.runtime.precision import policy_scope

_NAMES = {
    ModelSpec: "a network over slices",
    SeriesSpec: "a model over features of series",
    EndToEndSpec: "a network and a model over series",
}
# What is said of the slices of a model that labels of exams alone taught.
WEAK = (
    "no label of a slice taught this model: its probabilities of slices say what made it take the "
    "exam for one with a bleed, and are not calibrated as those of slices"
)
# Series are padded to a multiple of so many slices: each length is traced once.
_SLOTS = 16


@dataclasses.dataclass(frozen=True, eq=False)
class LoadedSeriesModel:
    """A model over series with its weights, a member of a predictor.

    Attributes:
      model: Keras model built by `SeriesSpec.build`.
      spec: Spec of the model.
      share: Share of the model in the mean of probabilities, above 0.
      sha256: SHA-256 of the weights.
      logits_fn: Forward pass of the model.
      reads: Numbers of the networks whose features the model reads.
    """

    model: keras.Model
    spec: SeriesSpec
    share: float
    sha256: str
    logits_fn: LogitsFn
    reads: tuple[int, ...]

    def logits(self, packed: np.ndarray, num_slices: int) -> np.ndarray:
        """Computes the logits of a series, with `spec.reverse` the mean of both directions.

        Args:
          packed: Result of `series_model.pack_arrays`, float32 [slots, d + 8].
          num_slices: Number of slices of the series, n.

        Returns:
          float64 [1 + n, 6]: logits of the series as a whole, then of its slices.
        """
        directions = [packed]
        if self.spec.reverse:
            directions.append(turned_series(packed, num_slices))
        rows = self.logits_fn(np.stack(directions))[:, : 1 + num_slices].astype(np.float64)
        rows[1:, 1:] = rows[1:, :0:-1]
        return np.asarray(rows.mean(axis=0))


@dataclasses.dataclass(frozen=True, eq=False)
class LoadedEndToEnd:
    """A network and a model over series that were trained together, with their weights.

    Attributes:
      model: Keras model built by `EndToEndSpec.build`.
      spec: Spec of the model.
      share: Share of the model in the mean of probabilities, above 0.
      sha256: SHA-256 of the weights.
    """

    model: keras.Model
    spec: EndToEndSpec
    share: float = 1.0
    sha256: str = ""


class SeriesPredictor(Predictor):
    """Networks over slices, and models over their features of a series.

    Each model reads a series once with the features of each of its networks, and once more in
    reverse order if it was trained so; the probabilities are averaged. A series of a validation
    fold is read only with the network that was not trained on it.

    Attributes:
      axes: Axes of each network's features; None where features are read as they are.
      models: Loaded models over series.
      model_shares: Shares of the models in the mean of probabilities, float64, of sum 1.
    """

    def __init__(
        self,
        networks: Sequence[LoadedMember],
        axes: Sequence[Axes | None],
        models: Sequence[LoadedSeriesModel],
        strategy: tf.distribute.Strategy,
        postprocessing: Postprocessing | None = None,
    ) -> None:
        """Joins networks and models.

        Args:
          networks: Networks that the models read.
          axes: Axes of each network's features; None where they are read as they are.
          models: One or more models.
          strategy: Strategy whose replicas share each batch.
          postprocessing: Steps from logits to probabilities; None for the sigmoid alone.

        Raises:
          InputError: If the networks read different records.
        """
        super().__init__(networks, postprocessing)
        self.axes = list(axes)
        self.models = list(models)
        self._outputs_fns = [
            make_logits_fn(with_features(network.model), strategy) for network in networks
        ]
        shares = np.array([loaded.share for loaded in models])
        self.model_shares = shares / shares.sum()
        self.prior = np.asarray(
            self.model_shares @ np.array([loaded.spec.prior for loaded in models])
        )
        self._feature_dims = {i: loaded.spec.feature_dim for loaded in models for i in loaded.reads}
        # The hashes of the networks are part of the models' specs.
        self.sha256 = combined_sha256([loaded.sha256 for loaded in models], self.model_shares)

    def describe(self) -> str:
        """Describes networks and models in a few words, for logs and reports."""
        names = ", ".join(sorted({loaded.spec.backbone for loaded in self.models}))
        number = len(self.models)
        return (
            f"{super().describe()}, and {number} model{'s' if number > 1 else ''} over their "
            f"features of a series ({names}){', weakly supervised' if self.supervision else ''}"
        )

    @property
    def supervision(self) -> str:
        """What the probabilities of slices rest on where no label of a slice taught them."""
        return WEAK if any(loaded.spec.weakly_supervised for loaded in self.models) else ""

    def outputs(self, images: np.ndarray) -> np.ndarray:
        """Computes logits and aligned features of each network.

        Args:
          images: As for `Predictor.outputs`.

        Returns:
          float64 [n, k], one network after the other: 6 logits and d features each.
        """
        return self._outputs(images, range(len(self.members)))

    def series_logits(self, outputs: np.ndarray, z_mm: np.ndarray) -> SeriesLogits:
        """Computes the logits of one series, as `Predictor.series_logits`."""
        return self._series_logits(outputs, z_mm, range(len(self.members)))

    def predict_split(
        self, manifest: Manifest, split: str, batch_size: int, *, is_own: bool = True
    ) -> SlicePredictions:
        """Computes the logits of a split, as `Predictor.predict_split`.

        A fold is predicted only with the network that was not trained on it.
        """
        folds = [fold_name(fold) for fold in self.models[0].spec.validation_folds]
        networks = [i for i, fold in enumerate(folds) if is_own and fold == split]
        networks = networks or list(range(len(self.members)))
        slices = predict_split_outputs(
            manifest,
            split,
            batch_size,
            lambda images: self._outputs(images, networks),
            self.neighbours,
        )
        return self.read_series(slices, networks)

    def read_series(self, slices: SliceOutputs, networks: Sequence[int] = ()) -> SlicePredictions:
        """Computes logits from the outputs of all slices of some series.

        Args:
          slices: Slices with the outputs of `networks`, [n, k].
          networks: Numbers of the networks; empty for all.
        """
        networks = networks or range(len(self.members))
        logits, whole = np.empty((2, len(self.models), len(slices), NUM_CLASSES))
        for rows in rows_of(slices.series_key).values():
            rows = rows[np.argsort(slices.z_mm[rows], kind="stable")]
            by_model = self._model_logits(slices.outputs[rows], slices.z_mm[rows], networks)
            logits[:, rows], whole[:, rows] = by_model[:, 1:], by_model[:, :1]
        return slices.with_logits(
            self._mean(list(logits)),
            self._by_group(list(whole)),
            self._by_group(list(logits)),
            members=list(logits),
            series_members=list(whole),
        )

    def _calibrated_hashes(self) -> list[str]:
        return [loaded.sha256 for loaded in self.models]

    def _averaged_shares(self) -> np.ndarray:
        shares: np.ndarray = self.model_shares
        return shares

    def _series_logits(
        self, outputs: np.ndarray, z_mm: np.ndarray, networks: Sequence[int]
    ) -> SeriesLogits:
        rows = self._by_group(list(self._model_logits(outputs, z_mm, networks)))
        return SeriesLogits(rows[:, 1:], rows[:, :1])

    def _model_logits(
        self, outputs: np.ndarray, z_mm: np.ndarray, networks: Sequence[int]
    ) -> np.ndarray:
        """Logits of a series by each model, with the mean probability of the networks it reads.

        Returns:
          float64 [m, 1 + n, 6]: logits of the series as a whole, then of its slices.
        """
        num_slices = len(outputs)
        slots = -(-num_slices // _SLOTS) * _SLOTS
        z_mm = np.asarray(z_mm, np.float32)
        ends = np.cumsum([NUM_CLASSES + self._feature_dims[i] for i in networks])
        logits: list[list[np.ndarray]] = [[] for _ in self.models]
        for network, part in zip(networks, np.split(outputs, ends[:-1], axis=1), strict=True):
            values = NetworkOutputs.split(part)
            packed = pack_arrays(values.features, values.logits, z_mm, slots)
            for loaded, rows in zip(self.models, logits, strict=True):
                if network in loaded.reads:
                    rows.append(loaded.logits(packed, num_slices))
        return np.stack([mix_logits(rows, np.full(len(rows), 1 / len(rows))) for rows in logits])

    def _outputs(self, images: np.ndarray, networks: Sequence[int]) -> np.ndarray:
        columns = []
        for i in networks:
            visible, axes = self.members[i].select_slices(images), self.axes[i]
            outputs = self._outputs_fns[i](visible)
            if self.postprocessing.flip:
                outputs = (outputs + self._outputs_fns[i](visible[:, :, ::-1])) / 2
            logits, features = NetworkOutputs.split(outputs)
            columns += [logits, features if axes is None else axes(features)]
        return np.asarray(np.concatenate(columns, axis=1), np.float64)


def load_predictor(
    work_dir: str | Path,
    strategy: tf.distribute.Strategy,
    *,
    calibrated: bool = True,
    precision: str = "float32",
) -> Predictor:
    """Loads the model or models of a folder, with its `calibration.json` if there is one.

    Args:
      work_dir: Folder of a run, of runs by fold, or of an ensemble (`ensemble.find_members`); of
        models over slices or over series; or a bundle of one (`models.bundle`).
      strategy: Strategy whose replicas share each batch.
      calibrated: Whether to apply `calibration.json`.
      precision: Type of the networks' arithmetic, `float32`, `bfloat16` or `float16`.

    Raises:
      InputError: If there is no model, or a file is damaged or belongs to another.
    """
    with naming():
        predictor = predictor_of(find_members(work_dir), strategy, precision=precision)
        if calibrated:
            postprocessing = load_postprocessing(work_dir, predictor.sha256, predictor.num_averaged)
            predictor.postprocessing = postprocessing or predictor.postprocessing
    return predictor


def predictor_of(
    members: Sequence[Member],
    strategy: tf.distribute.Strategy,
    postprocessing: Postprocessing | None = None,
    *,
    precision: str = "float32",
) -> Predictor:
    """Loads members, all over slices or all over series, as one predictor.

    Args:
      members: Folders, weights and shares of the models.
      strategy: Strategy whose replicas share each batch.
      postprocessing: Steps from logits to probabilities; None for the sigmoid alone.
      precision: Type of the networks' arithmetic; models over features, which are small, compute in
        float32.

    Raises:
      InputError: If there is no model, a file is damaged or belongs to another, or the members are
        of several kinds.
    """
    kind = kind_of(members)
    if kind is ModelSpec:
        with policy_scope(precision):
            networks = [load_member(member, strategy) for member in members]
        return Predictor(networks, postprocessing)
    if kind is EndToEndSpec:
        with policy_scope(precision):
            pairs = [_load_end_to_end(member, strategy) for member in members]
        return end_to_end_predictor(pairs, strategy, postprocessing)
    models = [_load_series_model(member, strategy) for member in members]
    first = models[0].spec
    for member, loaded in zip(members, models, strict=True):
        if (loaded.spec.networks, loaded.spec.axes_sha256) != (first.networks, first.axes_sha256):
            raise InputError(
                f"{member.work_dir}: reads features of other networks than "
                f"{members[0].work_dir}. Average series models of one extraction."
            )
    folder = members[0].work_dir
    with policy_scope(precision):
        networks = [
            load_member(Member(folder / path, sha256=sha256), strategy)
            for path, sha256 in zip(first.network_dirs, first.networks, strict=True)
        ]
    axes = load_axes(folder / AXES, first.axes_sha256)
    return SeriesPredictor(networks, axes, models, strategy, postprocessing)


def kind_of(members: Sequence[Member]) -> type[Spec]:
    """Returns the class of the members' specs.

    Raises:
      InputError: If the members are of several classes, or one has no model.
    """
    specs = [read_spec(member.work_dir) for member in members]
    for member, spec in zip(members, specs, strict=True):
        if type(spec) is not type(specs[0]):
            raise InputError(
                f"{member.work_dir}: holds {_NAMES[type(spec)]} ({spec.backbone}), "
                f"{members[0].work_dir} {_NAMES[type(specs[0])]} ({specs[0].backbone}). Average "
                "models of one kind."
            )
    return type(specs[0])


def end_to_end_predictor(
    pairs: Sequence[LoadedEndToEnd],
    strategy: tf.distribute.Strategy,
    postprocessing: Postprocessing | None = None,
) -> SeriesPredictor:
    """Joins models that were trained end to end as one predictor.

    Args:
      pairs: One or more networks with their models over series.
      strategy: Strategy whose replicas share each batch.
      postprocessing: Steps from logits to probabilities; None for the sigmoid alone.
    """
    networks, models = [], []
    for number, pair in enumerate(pairs):
        with strategy.scope():
            network, series_model = parts(pair.model)
        networks.append(
            LoadedMember(
                network,
                pair.spec.network,
                pair.share,
                pair.sha256,
                make_logits_fn(network, strategy),
            )
        )
        models.append(
            LoadedSeriesModel(
                series_model,
                pair.spec.series,
                pair.share,
                pair.sha256,
                make_logits_fn(series_model, strategy),
                reads=(number,),
            )
        )
    return SeriesPredictor(networks, [None] * len(pairs), models, strategy, postprocessing)


def _load_series_model(member: Member, strategy: tf.distribute.Strategy) -> LoadedSeriesModel:
    with strategy.scope():
        model, spec, sha256 = load_model(member.work_dir, member.weights, member.sha256)
    assert isinstance(spec, SeriesSpec), "kind_of checked it"
    reads = tuple(range(len(spec.networks)))
    logits_fn = make_logits_fn(model, strategy)
    return LoadedSeriesModel(model, spec, member.share, sha256, logits_fn, reads)


def _load_end_to_end(member: Member, strategy: tf.distribute.Strategy) -> LoadedEndToEnd:
    with strategy.scope():
        model, spec, sha256 = load_model(member.work_dir, member.weights, member.sha256)
    assert isinstance(spec, EndToEndSpec), "kind_of checked it"
    return LoadedEndToEnd(model, spec, member.share, sha256)
