"""A series model as it is used: the networks whose features it reads, and it.

Stage two reads the features of every fold's network, in one set of axes; a model that was trained
end to end those of its own network, as they are.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from ich_tf.errors import InputError
from ich_tf.inference.ensemble import Member, combined_sha256, find_members
from ich_tf.inference.forward import LogitsFn, SlicePredictions, make_logits_fn
from ich_tf.inference.postprocessing.mixture import mix
from ich_tf.inference.postprocessing.postprocessing import Postprocessing, load_postprocessing
from ich_tf.inference.postprocessing.smoothing import rows_of
from ich_tf.inference.slice_predictor import LoadedMember, Predictor, SeriesLogits, load_member
from ich_tf.metrics import logit, sigmoid
from ich_tf.models.end_to_end import EndToEndSpec, parts
from ich_tf.models.feature_axes import AXES, Axes, load_axes
from ich_tf.models.saved import Spec, load_model, read_spec
from ich_tf.models.series_model import NUM_CLASSES, SeriesSpec, pack_arrays, turned_series
from ich_tf.models.slice_model import with_features
from ich_tf.models.spec import ModelSpec
from ich_tf.records.manifest import Manifest
from ich_tf.records.splits import fold_name
from ich_tf.runtime.keras2 import keras

_NAMES = {
    ModelSpec: "a network over slices",
    SeriesSpec: "a model over features of series",
    EndToEndSpec: "a network and a model over series",
}
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
      reads: The places of the networks whose features it reads.
    """

    model: keras.Model
    spec: SeriesSpec
    share: float
    sha256: str
    logits_fn: LogitsFn
    reads: tuple[int, ...]


@dataclasses.dataclass(frozen=True, eq=False)
class LoadedEndToEnd:
    """A network and a model over series that were trained together.

    Attributes:
      model: As `EndToEndSpec.build` gives it, with its weights.
      spec: Of the model.
      share: Of the mean of probabilities.
      sha256: Of its weights.
    """

    model: keras.Model
    spec: EndToEndSpec
    share: float = 1.0
    sha256: str = ""


class SeriesPredictor(Predictor):
    """Networks over slices, and models over what they say of a series.

    A series is read once by each network that did not train on its patient, and once turned round
    if the models were trained so; the mean of the probabilities counts.

    Attributes:
      axes: Of each network's features; None where they are read as they are.
      models: Over the series.
      model_shares: Of each of them, float64, of sum 1.
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
          networks: Those that the models read.
          axes: Of each of them.
          models: One or several.
          strategy: Its replicas share each batch.
          postprocessing: Of the logits.

        Raises:
          InputError: If the networks read different records.
        """
        super().__init__(networks, postprocessing)
        self.axes = list(axes)
        self.models = list(models)
        self._outputs_fns = [make_logits_fn(with_features(one.model), strategy) for one in networks]
        shares = np.array([one.share for one in models])
        self.model_shares = shares / shares.sum()
        self.prior = np.asarray(self.model_shares @ np.array([one.spec.prior for one in models]))
        self._feature_dims = {i: one.spec.feature_dim for one in models for i in one.reads}
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

    def series_logits(self, outputs: np.ndarray, z_mm: np.ndarray) -> SeriesLogits:
        """As of `Predictor`."""
        return self._series_logits(outputs, z_mm, range(len(self.members)))

    def predict_split(self, manifest: Manifest, split: str, batch_size: int) -> SlicePredictions:
        """As of `Predictor`; a fold only by the network that did not train on it."""
        every = range(len(self.members))
        folds = [fold_name(fold) for fold in self.models[0].spec.validation_folds]
        chosen = [i for i, fold in enumerate(folds) if fold == split] or every
        found = self._predict_split(
            manifest, split, batch_size, lambda images: self._outputs(images, chosen)
        )
        return self.read_series(found, chosen)

    def read_series(
        self, found: SlicePredictions, networks: Sequence[int] = ()
    ) -> SlicePredictions:
        """Slices with `outputs` for logits -> the same with logits.

        Args:
          found: All slices of some series.
          networks: Whose outputs they have; none for all.
        """
        networks = networks or range(len(self.members))
        logits, whole = np.empty((2, len(found), NUM_CLASSES))
        for rows in rows_of(found.series_key).values():
            rows = rows[np.argsort(found.z_mm[rows], kind="stable")]
            logits[rows], whole[rows] = self._series_logits(
                found.logits[rows], found.z_mm[rows], networks
            )
        return dataclasses.replace(found, logits=logits, series_logits=whole)

    def _series_logits(
        self, outputs: np.ndarray, z_mm: np.ndarray, networks: Sequence[int]
    ) -> SeriesLogits:
        number = len(outputs)
        slots = -(-number // _SLOTS) * _SLOTS
        z_mm = np.asarray(z_mm, np.float32)
        ends = np.cumsum([NUM_CLASSES + self._feature_dims[i] for i in networks])
        each, shares = [], []
        for network, part in zip(networks, np.split(outputs, ends[:-1], axis=1), strict=True):
            packed = pack_arrays(part[:, NUM_CLASSES:], part[:, :NUM_CLASSES], z_mm, slots)
            turned = turned_series(packed, number)
            for model, share in zip(self.models, self.model_shares, strict=True):
                if network not in model.reads:
                    continue
                ways = [packed, turned] if model.spec.reverse else [packed]
                # The series' own row first, then its slices'.
                found = model.logits_fn(np.stack(ways))[:, : 1 + number].astype(np.float64)
                found[1:, 1:] = found[1:, :0:-1]
                each.append(found.mean(axis=0))
                shares.append(share)
        rows = each[0]
        if len(each) > 1:
            rows = logit(mix(sigmoid(np.stack(each)), np.array(shares) / sum(shares)))
        return SeriesLogits(rows[1:], rows[0])

    def _outputs(self, images: np.ndarray, networks: Sequence[int]) -> np.ndarray:
        found = []
        for i in networks:
            own, axes = self.members[i].sees(images), self.axes[i]
            outputs = self._outputs_fns[i](own)
            if self.postprocessing.flip:
                outputs = (outputs + self._outputs_fns[i](own[:, :, ::-1])) / 2
            features = outputs[:, NUM_CLASSES:]
            found += [outputs[:, :NUM_CLASSES], features if axes is None else axes(features)]
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
    kind = kind_of(members)
    if kind is ModelSpec:
        return Predictor([load_member(one, strategy) for one in members], postprocessing)
    if kind is EndToEndSpec:
        both = [_load_end_to_end(one, strategy) for one in members]
        return end_to_end_predictor(both, strategy, postprocessing)
    models = [_load_series_model(one, strategy) for one in members]
    first = models[0].spec
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


def kind_of(members: Sequence[Member]) -> type[Spec]:
    """What kind of models some members are.

    Raises:
      InputError: If they are of several, or one holds no model.
    """
    specs = [read_spec(one.work_dir) for one in members]
    for one, spec in zip(members, specs, strict=True):
        if type(spec) is not type(specs[0]):
            raise InputError(
                f"{one.work_dir}: holds {_NAMES[type(spec)]} ({spec.backbone}), "
                f"{members[0].work_dir} {_NAMES[type(specs[0])]} ({specs[0].backbone}). Average "
                "models of one kind."
            )
    return type(specs[0])


def _load_series_model(member: Member, strategy: tf.distribute.Strategy) -> LoadedSeriesModel:
    with strategy.scope():
        model, spec, sha256 = load_model(member.work_dir, member.weights, member.sha256)
    assert isinstance(spec, SeriesSpec), "kind_of said so"
    reads = tuple(range(len(spec.networks)))
    logits_fn = make_logits_fn(model, strategy)
    return LoadedSeriesModel(model, spec, member.share, sha256, logits_fn, reads)


def end_to_end_predictor(
    both: Sequence[LoadedEndToEnd],
    strategy: tf.distribute.Strategy,
    postprocessing: Postprocessing | None = None,
) -> SeriesPredictor:
    """A predictor of models that were trained together with their networks."""
    networks, models = [], []
    for place, one in enumerate(both):
        with strategy.scope():
            network, series = parts(one.model)
        about = (one.share, one.sha256)
        networks.append(
            LoadedMember(network, one.spec.network, *about, make_logits_fn(network, strategy))
        )
        logits_fn = make_logits_fn(series, strategy)
        models.append(LoadedSeriesModel(series, one.spec.series, *about, logits_fn, (place,)))
    return SeriesPredictor(networks, [None] * len(both), models, strategy, postprocessing)


def _load_end_to_end(member: Member, strategy: tf.distribute.Strategy) -> LoadedEndToEnd:
    with strategy.scope():
        model, spec, sha256 = load_model(member.work_dir, member.weights, member.sha256)
    assert isinstance(spec, EndToEndSpec), "kind_of said so"
    return LoadedEndToEnd(model, spec, member.share, sha256)
