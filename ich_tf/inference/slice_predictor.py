"""Predictor: the networks over slices of a work dir, and the postprocessing of their logits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from ich_tf.errors import InputError
from ich_tf.inference.ensemble import Member, combined_sha256
from ich_tf.inference.forward import (
    LogitsFn,
    SlicePredictions,
    make_logits_fn,
    predict_split_outputs,
)
from ich_tf.inference.postprocessing.mixture import mix_logits, mix_logits_graph
from ich_tf.inference.postprocessing.postprocessing import Postprocessing, group_rows
from ich_tf.inference.postprocessing.prevalence import shift_prevalence
from ich_tf.labels import ANY
from ich_tf.models import segmentation
from ich_tf.models.saved import load_model
from ich_tf.models.spec import ModelSpec
from ich_tf.records.manifest import Manifest
from ich_tf.runtime.keras2 import keras


class SeriesLogits(NamedTuple):
    """Logits of a series of n slices.

    Attributes:
      slices: Logits of each slice by each group of members, float64 [g, n, 6], in the order of
        `z_mm`.
      whole: Logits of the series as a whole, float64 [g, 1, 6]; None without a series model.
    """

    slices: np.ndarray
    whole: np.ndarray | None = None


class SeriesProbabilities(NamedTuple):
    """Probabilities of a series of n slices.

    Attributes:
      slices: Probabilities of each slice, float64 [n, 6], in the order of `z_mm`.
      whole: Probabilities of the series as a whole, float64 [6]; None without a series model, and
        at another prevalence, which holds for slices and not for series.
    """

    slices: np.ndarray
    whole: np.ndarray | None = None


@dataclass(frozen=True, eq=False)
class LoadedMember:
    """A network over slices with its weights, a member of a predictor.

    Attributes:
      model: Keras model built by `ModelSpec.build`; of one with segmentation, the classifier in it.
      spec: Spec of the model.
      share: Share of the member in the mean of probabilities, above 0.
      sha256: SHA-256 of the weights.
      logits_fn: Forward pass of the model.
      mask_logits_fn: Function of the same images: logits of each pixel of the network's input,
        float32 [n, image_size, image_size, 6]; None without segmentation.
      segmenter: Keras model that `mask_logits_fn` runs.
    """

    model: keras.Model
    spec: ModelSpec
    share: float
    sha256: str
    logits_fn: LogitsFn
    mask_logits_fn: LogitsFn | None = None
    segmenter: keras.Model | None = None

    def select_slices(self, images: np.ndarray) -> np.ndarray:
        """Selects the channels that this member reads, from the middle.

        Args:
          images: Images with as many neighbours as the widest member reads,
            [n, H, W, neighbours * C], array or tensor.
        """
        channels = self.spec.neighbours * self.spec.record_shape[2]
        first = (images.shape[-1] - channels) // 2
        return images[..., first : first + channels]


class Predictor:
    """One or several networks over slices that read the same records, and their postprocessing.

    Attributes:
      members: Loaded networks.
      shares: Shares of the members in the mean of probabilities, float64, of sum 1.
      postprocessing: Steps from logits to probabilities.
      record_shape, windows, stored_hu, crop: Form of the records, as in `ModelSpec`.
      neighbours: Number of slices along the channels that the widest member reads, odd.
      prior: Prior probabilities of the training data, averaged over the members, float64 [6].
      sha256: SHA-256 of the weights and shares.
    """

    def __init__(
        self, members: Sequence[LoadedMember], postprocessing: Postprocessing | None = None
    ) -> None:
        """Joins networks.

        Args:
          members: One or more networks.
          postprocessing: Steps from logits to probabilities; None for the sigmoid alone.

        Raises:
          InputError: If the networks read different records.
        """
        self.members = tuple(members)
        first = members[0].spec
        for member in members[1:]:
            if _record_form(member.spec) != _record_form(first):
                raise InputError(
                    f"the models read different records: {_record_form(first)} and "
                    f"{_record_form(member.spec)} (shape, windows, stored as Hounsfield units, "
                    "crop). Average models that were trained on one conversion."
                )
        self.record_shape, self.windows = first.record_shape, first.windows
        self.stored_hu, self.crop = first.stored_hu, first.crop
        self.neighbours = max(member.spec.neighbours for member in members)
        shares = np.array([member.share for member in members])
        self.shares = shares / shares.sum()
        self.prior = np.asarray(self.shares @ np.array([member.spec.prior for member in members]))
        self.sha256 = combined_sha256([member.sha256 for member in members], self.shares)
        self.postprocessing = postprocessing or Postprocessing(prevalence=float(self.prior[ANY]))

    def describe(self) -> str:
        """Describes the models in a few words, for logs and reports."""
        names = ", ".join(sorted({member.spec.backbone for member in self.members}))
        number = len(self.members)
        return f"{number} network{'s' if number > 1 else ''} over slices ({names})"

    @property
    def supervision(self) -> str:
        """What the probabilities of slices rest on where no label of a slice taught them.

        It is empty where labels of slices did.
        """
        return ""

    def logits(self, images: np.ndarray) -> np.ndarray:
        """Computes the logits of slices, before smoothing and calibration.

        Args:
          images: Images as records hold them, [n, H, W, neighbours * C], array or eager tensor.

        Returns:
          float64 [n, 6]; of several members, the logits of their mean probability.
        """
        return self._mean(self._members_of(self.outputs(images)))

    def outputs(self, images: np.ndarray) -> np.ndarray:
        """Computes the outputs of slices from which `series_logits` predicts their series.

        Args:
          images: Images as records hold them, [n, H, W, neighbours * C], array or eager tensor.

        Returns:
          float64 [n, k]; for m networks over slices their logits, k = 6 * m. With `flip` each
          member's logits are the mean with those of the mirror images.
        """
        return np.concatenate(
            [self._member_logits(member, images) for member in self.members], axis=1
        )

    def series_logits(self, outputs: np.ndarray, z_mm: np.ndarray) -> SeriesLogits:
        """Computes the logits of one series.

        Args:
          outputs: Result of `outputs` for the n slices of the series, float64 [n, k], sorted by
            `z_mm`.
          z_mm: Positions of the slices along the normal of the series, mm, [n].
        """
        return SeriesLogits(self._by_group(self._members_of(outputs)))

    def series_probabilities(
        self, outputs: np.ndarray, z_mm: np.ndarray, prevalence: float = 0.0
    ) -> SeriesProbabilities:
        """Predicts one series: its logits, then the postprocessing.

        Args:
          outputs: Result of `outputs` for the n slices of the series, float64 [n, k], sorted by
            `z_mm`.
          z_mm: Positions of the slices along the normal of the series, mm, [n].
          prevalence: Share of slices with a bleed that the probabilities are to hold for, in
            (0, 1); 0 keeps that of the validation patients.
        """
        postprocessing = self.postprocessing
        logits = self.series_logits(outputs, z_mm)
        slices = postprocessing.probabilities(logits.slices, z_mm, [""] * len(outputs), prevalence)
        whole = None if prevalence else postprocessing.series_probabilities(logits.whole)
        return SeriesProbabilities(slices, None if whole is None else whole[0])

    def predict_split(
        self, manifest: Manifest, split: str, batch_size: int, *, is_own: bool = True
    ) -> SlicePredictions:
        """Computes the logits of the labelled records of a split.

        Args:
          manifest: Manifest of the conversion.
          split: Name of the split, such as `test` or `fold-0`.
          batch_size: Number of slices a batch.
          is_own: Whether the models may have been trained on folds of these data: then a fold is
            predicted by what was not trained on it, if the predictor holds models of several folds.

        Raises:
          InputError: If the split is empty, or a record cannot be read.
        """
        slices = predict_split_outputs(manifest, split, batch_size, self.outputs, self.neighbours)
        members = self._members_of(slices.outputs)
        return slices.with_logits(
            self._mean(members), groups=self._by_group(members), members=members
        )

    def _members_of(self, outputs: np.ndarray) -> list[np.ndarray]:
        """Splits `outputs` of networks over slices into the logits of each."""
        return np.split(outputs, len(self.members), axis=1)

    @property
    def precision(self) -> str:
        """Type of the networks' arithmetic, `float32`, `bfloat16` or `float16`."""
        policies = [layer.dtype_policy for layer in self.members[0].model.layers]
        halves = {policy.compute_dtype for policy in policies} - {"float32", None}
        return next((str(dtype) for dtype in halves if "float" in dtype), "float32")

    @property
    def num_averaged(self) -> int:
        """Number of models whose probabilities are averaged."""
        return len(self._averaged_shares())

    def group_of_members(self) -> list[int]:
        """Number of the group (`Postprocessing.groups`) of each model that is averaged."""
        groups = group_rows(self.postprocessing.groups, self._calibrated_hashes())
        return [
            next(number for number, rows in enumerate(groups) if member in rows)
            for member in range(self.num_averaged)
        ]

    def _calibrated_hashes(self) -> list[str]:
        """SHA-256 of the models whose probabilities are averaged."""
        return [member.sha256 for member in self.members]

    def _averaged_shares(self) -> np.ndarray:
        """Shares of these models, of sum 1."""
        shares: np.ndarray = self.shares
        return shares

    def _mean(self, logits: Sequence[np.ndarray]) -> np.ndarray:
        """Logits of the mean probability of all models, from those of each."""
        return mix_logits(logits, self._averaged_shares())

    def _by_group(self, logits: Sequence[np.ndarray]) -> np.ndarray:
        """Logits of the mean probability of each group, [g, n, 6], from those of each model."""
        groups = group_rows(self.postprocessing.groups, self._calibrated_hashes())
        shares = self._averaged_shares()
        return np.stack(
            [
                mix_logits([logits[i] for i in rows], shares[rows] / shares[rows].sum())
                for rows in groups
            ]
        )

    def by_group_graph(self, logits: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        """Averages the models of each group in a graph: m tensors, float64 [n, 6] -> g tensors."""
        groups = group_rows(self.postprocessing.groups, self._calibrated_hashes())
        shares = self._averaged_shares()
        return [
            mix_logits_graph(
                [logits[i] for i in rows], (shares[rows] / shares[rows].sum()).tolist()
            )
            for rows in groups
        ]

    def _member_logits(self, member: LoadedMember, images: np.ndarray) -> np.ndarray:
        images = member.select_slices(images)
        logits = member.logits_fn(images).astype(np.float64)
        if self.postprocessing.flip:
            logits = (logits + member.logits_fn(images[:, :, ::-1])) / 2
        return logits

    def prior_at(self, prevalence: float) -> np.ndarray:
        """Returns the probabilities of a slice that cannot be read, float64 [6].

        Args:
          prevalence: Share of slices with a bleed that they are to hold for, in (0, 1); 0 keeps
            that of the training data.
        """
        if not prevalence:
            return self.prior
        shifted = shift_prevalence(self.prior[None], float(self.prior[ANY]), prevalence)
        return np.asarray(shifted[0])

    def check_data(self, manifest: Manifest, work_dir: str | Path) -> None:
        """Checks that the models can read the records of a conversion.

        Args:
          manifest: Manifest of the conversion.
          work_dir: Folder of the models, for the message.

        Raises:
          InputError: If shape, windows, encoding or crop differ.
        """
        stored_hu = manifest.encoding == "hu16"
        form = (manifest.image_shape, manifest.windows, stored_hu, manifest.crop)
        if form != _record_form(self.members[0].spec):
            raise InputError(
                f"{manifest.data_dir}: holds images {manifest.image_shape} of windows "
                f"{','.join(manifest.windows)}, crop {manifest.crop}; the model in {work_dir} was "
                f"trained on {self.record_shape} of {','.join(self.windows)}, crop {self.crop}. "
                "Convert the data alike."
            )


def load_member(member: Member, strategy: tf.distribute.Strategy) -> LoadedMember:
    """Builds a network over slices and loads its weights.

    Args:
      member: Folder, weights and share of the network.
      strategy: Strategy whose replicas share each batch.

    Raises:
      InputError: If there is no model, a file is damaged, or the model is one over series.
    """
    with strategy.scope():
        model, spec, sha256 = load_model(member.work_dir, member.weights, member.sha256)
    if not isinstance(spec, ModelSpec):
        raise InputError(
            f"{member.work_dir}: holds a model of series ({spec.backbone}), where one of slices is "
            "asked for."
        )
    segmenter = mask_logits_fn = None
    if spec.segmentation:
        with strategy.scope():
            segmenter, model = segmentation.segmenter(model), segmentation.classifier(model)
        mask_logits_fn = make_logits_fn(segmenter, strategy)
    logits_fn = make_logits_fn(model, strategy)
    return LoadedMember(model, spec, member.share, sha256, logits_fn, mask_logits_fn, segmenter)


def _record_form(
    spec: ModelSpec,
) -> tuple[tuple[int, int, int], tuple[str, ...], bool, str]:
    return spec.record_shape, spec.windows, spec.stored_hu, spec.crop
