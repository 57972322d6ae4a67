"""A trained model as it is used: its weights or several models', and what follows the logits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from ich_tf.errors import InputError
from ich_tf.inference.ensemble import Member, combined_sha256
from ich_tf.inference.forward import LogitsFn, SlicePredictions, make_logits_fn, predict_records
from ich_tf.inference.postprocessing.calibrators import shift_prevalence
from ich_tf.inference.postprocessing.mixture import mix
from ich_tf.inference.postprocessing.postprocessing import Postprocessing
from ich_tf.labels import ANY
from ich_tf.metrics import logit, sigmoid
from ich_tf.models.saved import load_model
from ich_tf.models.spec import ModelSpec
from ich_tf.records.input_pipeline import eval_batches
from ich_tf.records.manifest import Manifest, damage_named, num_records
from ich_tf.runtime.keras2 import keras


class SeriesLogits(NamedTuple):
    """Logits of a series of n slices.

    Attributes:
      slices: Logits of each slice, float64 [n, 6], in the order of `z_mm`.
      whole: Logits of the series as a whole, float64 [6]; None without a series model.
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
    """A model of a predictor.

    Attributes:
      model: As `ModelSpec.build` gives it, with its weights.
      spec: Of the model.
      share: Of the mean of probabilities.
      sha256: Of its weights.
      logits_fn: Of the model.
    """

    model: keras.Model
    spec: ModelSpec
    share: float
    sha256: str
    logits_fn: LogitsFn

    def sees(self, images: np.ndarray) -> np.ndarray:
        """Its part of images that hold as many neighbours as any member wants: the middle.

        Args:
          images: [n, H, W, neighbours * C].
        """
        own = self.spec.neighbours * self.spec.record_shape[2]
        first = (images.shape[-1] - own) // 2
        return images[..., first : first + own]


class Predictor:
    """One or several models that read the same records, and their postprocessing.

    Attributes:
      members: The models.
      postprocessing: Of their logits.
      record_shape, windows, stored_hu, crop: Of the records, as of `ModelSpec`.
      neighbours: Slices along the channels that the widest member sees.
      prior: float64 [6], the members' mean.
      sha256: Of the weights and shares.
    """

    def __init__(
        self, members: Sequence[LoadedMember], postprocessing: Postprocessing | None = None
    ) -> None:
        """Joins members.

        Raises:
          InputError: If they read other records.
        """
        self.members = tuple(members)
        first = members[0].spec
        for one in members[1:]:
            if _reads(one.spec) != _reads(first):
                raise InputError(
                    f"the models read different records: {_reads(first)} and {_reads(one.spec)} "
                    "(shape, windows, stored as Hounsfield units, crop). Average models that were "
                    "trained on one conversion."
                )
        self.record_shape, self.windows = first.record_shape, first.windows
        self.stored_hu, self.crop = first.stored_hu, first.crop
        self.neighbours = max(one.spec.neighbours for one in members)
        shares = np.array([one.share for one in members])
        self.shares = shares / shares.sum()
        self.prior = np.asarray(self.shares @ np.array([one.spec.prior for one in members]))
        self.sha256 = combined_sha256([one.sha256 for one in members], self.shares)
        self.postprocessing = postprocessing or Postprocessing(prevalence=float(self.prior[ANY]))

    def logits(self, images: np.ndarray) -> np.ndarray:
        """The logits of slices, before any postprocessing but the mean with mirror images.

        Args:
          images: As the records hold them, [n, H, W, neighbours * C], array or eager tensor.

        Returns:
          float64 [n, 6]; of several models those of their mean probability.
        """
        each = [self._member_logits(one, images) for one in self.members]
        if len(each) == 1:
            return each[0]
        return logit(mix(np.stack([sigmoid(one) for one in each]), self.shares))

    def describe(self) -> str:
        """What it is made of, in a few words."""
        names = ", ".join(sorted({one.spec.backbone for one in self.members}))
        number = len(self.members)
        return f"{number} network{'s' if number > 1 else ''} over slices ({names})"

    def outputs(self, images: np.ndarray) -> np.ndarray:
        """What has to be known of each slice before its series is: here its logits.

        Args:
          images: As of `logits`.

        Returns:
          float64 [n, w].
        """
        return self.logits(images)

    def series_logits(self, outputs: np.ndarray, z_mm: np.ndarray) -> SeriesLogits:
        """The logits of one series and its slices.

        Args:
          outputs: [n, w], of `outputs`, in the order of the body.
          z_mm: [n], along the series' normal.
        """
        return SeriesLogits(outputs)

    def series_probabilities(
        self, outputs: np.ndarray, z_mm: np.ndarray, prevalence: float = 0.0
    ) -> SeriesProbabilities:
        """Predicts one series: its logits, then the postprocessing.

        Args:
          outputs: Result of `outputs` for the n slices of the series, float64 [n, w], sorted by
            `z_mm`.
          z_mm: Positions of the slices along the normal of the series, mm, [n].
          prevalence: Share of slices with a bleed that the probabilities are to hold for, in
            (0, 1); 0 keeps that of the validation patients.
        """
        postprocessing = self.postprocessing
        logits = self.series_logits(outputs, z_mm)
        slices = postprocessing.probabilities(logits.slices, z_mm, [""] * len(outputs), prevalence)
        whole = None if prevalence else postprocessing.series_probabilities(logits.whole)
        return SeriesProbabilities(slices, whole)

    def predict_split(self, manifest: Manifest, split: str, batch_size: int) -> SlicePredictions:
        """The labelled records of a split, each with its logits.

        Raises:
          InputError: If the split is empty, or a record cannot be read.
        """
        return self._predict_split(manifest, split, batch_size, self.outputs)

    def _predict_split(
        self, manifest: Manifest, split: str, batch_size: int, outputs_fn: LogitsFn
    ) -> SlicePredictions:
        shards = manifest.split_shards(split)
        batches = eval_batches(
            shards,
            manifest.image_shape,
            batch_size=batch_size,
            encoding=manifest.encoding,
            neighbours=self.neighbours,
        )
        with damage_named(shards):
            return predict_records(outputs_fn, batches, num_records(shards))

    def _member_logits(self, member: LoadedMember, images: np.ndarray) -> np.ndarray:
        images = member.sees(images)
        found = member.logits_fn(images).astype(np.float64)
        if self.postprocessing.flip:
            found = (found + member.logits_fn(images[:, :, ::-1])) / 2
        return found

    def prior_at(self, prevalence: float) -> np.ndarray:
        """What is said of a slice that cannot be read, float64 [6].

        Args:
          prevalence: Share of slices with a bleed where it is to be true; 0 for no change.
        """
        if not prevalence:
            return self.prior
        shifted = shift_prevalence(self.prior[None], float(self.prior[ANY]), prevalence)
        return np.asarray(shifted[0])

    def check_data(self, manifest: Manifest, work_dir: str | Path) -> None:
        """Checks that a conversion's records are what the models read.

        Raises:
          InputError: If they are not.
        """
        stored_hu = manifest.encoding == "hu16"
        given = (manifest.image_shape, manifest.windows, stored_hu, manifest.crop)
        if given != _reads(self.members[0].spec):
            raise InputError(
                f"{manifest.data_dir}: holds images {manifest.image_shape} of windows "
                f"{','.join(manifest.windows)}, crop {manifest.crop}; the model in {work_dir} was "
                f"trained on {self.record_shape} of {','.join(self.windows)}, crop {self.crop}. "
                "Convert the data alike."
            )


def load_member(member: Member, strategy: tf.distribute.Strategy) -> LoadedMember:
    """Builds a model and reads its weights.

    Raises:
      InputError: As `checkpoints.load_model`.
    """
    with strategy.scope():
        model, spec, sha256 = load_model(member.work_dir, member.weights, member.sha256)
    if not isinstance(spec, ModelSpec):
        raise InputError(
            f"{member.work_dir}: holds a model of series ({spec.backbone}), where one of slices is "
            "asked for."
        )
    return LoadedMember(model, spec, member.share, sha256, make_logits_fn(model, strategy))


def _reads(
    spec: ModelSpec,
) -> tuple[tuple[int, int, int], tuple[str, ...], bool, str]:
    return spec.record_shape, spec.windows, spec.stored_hu, spec.crop
