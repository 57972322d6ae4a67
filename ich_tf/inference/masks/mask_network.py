"""Masks of slices from the networks of a predictor that give logits of pixels."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

import cv2
import numpy as np
import tensorflow as tf

from ich_tf.dicom.crop import Box
from ich_tf.dicom.header import Header
from ich_tf.inference.masks.image_masks import image_bits
from ich_tf.inference.slice_predictor import LoadedMember, Predictor
from ich_tf.labels import CLASSES
from ich_tf.metrics import sigmoid
from ich_tf.windows import resize_square_graph

DEFAULT_THRESHOLD = 0.5


class MaskNetwork:
    """The members of a predictor that segment; their probabilities are averaged.

    Attributes:
      thresholds: Least probability of a marked pixel, by class, float64 [6].
    """

    def __init__(
        self, members: Sequence[LoadedMember], flip: bool, thresholds: Sequence[float] = ()
    ) -> None:
        """Takes the members that segment; see `of`.

        Args:
          members: Loaded networks, one or more.
          flip: Whether probabilities are averaged with those of the mirror image.
          thresholds: Threshold of each class; empty for 0.5.
        """
        self._members = tuple(members)
        shares = np.array([member.share for member in members])
        self._shares = shares / shares.sum()
        self._flip = flip
        self.thresholds = np.array(thresholds or [DEFAULT_THRESHOLD] * len(CLASSES))

    @classmethod
    def of(cls, predictor: Predictor) -> MaskNetwork | None:
        """The networks of a predictor that segment, as it is calibrated; None without any."""
        members = [member for member in predictor.members if member.mask_logits_fn is not None]
        after = predictor.postprocessing
        return cls(members, after.flip, after.mask_thresholds) if members else None

    @property
    def fingerprint(self) -> str:
        """Hash of what the masks depend on, beside the predictor."""
        parts = [self.thresholds.tolist(), [member.sha256 for member in self._members]]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    def probabilities(self, images: np.ndarray) -> np.ndarray:
        """Computes the probability of each class in each pixel.

        Args:
          images: Images as `Predictor.outputs` takes them, [n, H, W, neighbours * C].

        Returns:
          float32 [n, S, S, 6], S being the greatest image size of the members; pixels cover the
          whole stored image.
        """
        maps = [self._member_probabilities(member, images) for member in self._members]
        size = max(values.shape[1] for values in maps)
        resized = np.stack([_resized(values, size) for values in maps])
        return np.asarray(np.tensordot(self._shares, resized, axes=1), np.float32)

    def probabilities_graph(self, images: tf.Tensor) -> tf.Tensor:
        """`probabilities` in a graph."""
        maps = [self._member_probabilities_graph(member, images) for member in self._members]
        size = max(values.shape[1] for values in maps)
        resized = [_resized_graph(values, size) for values in maps]
        shares = self._shares.tolist()
        return sum(share * values for share, values in zip(shares, resized, strict=True))

    def bits(self, images: np.ndarray, slices: Sequence[tuple[Header, Box]]) -> list[np.ndarray]:
        """Marks the pixels of the DICOM images, uint8 [rows, columns] each, a bit a class.

        Args:
          images: Images of the slices, and possibly padding behind them.
          slices: Header of each slice, and the box that its image shows, empty for all of it.
        """
        maps = self.probabilities(images)
        return [
            image_bits(values, self.thresholds, crop, header.rows, header.columns)
            for values, (header, crop) in zip(maps, slices, strict=False)
        ]

    def _member_probabilities(self, member: LoadedMember, images: np.ndarray) -> np.ndarray:
        assert member.mask_logits_fn is not None
        images = member.select_slices(images)
        values = sigmoid(member.mask_logits_fn(images))
        if self._flip:
            mirrored = sigmoid(member.mask_logits_fn(images[:, :, ::-1]))
            values = (values + mirrored[:, :, ::-1]) / 2
        return values

    def _member_probabilities_graph(self, member: LoadedMember, images: tf.Tensor) -> tf.Tensor:
        assert member.segmenter is not None
        images = member.select_slices(images)
        values = tf.sigmoid(member.segmenter(images, training=False))
        if self._flip:
            mirrored = tf.sigmoid(member.segmenter(images[:, :, ::-1], training=False))
            values = (values + mirrored[:, :, ::-1]) / 2
        return values


def _resized(maps: np.ndarray, size: int) -> np.ndarray:
    """Enlarges maps [n, S, S, 6] to a size."""
    if maps.shape[1] == size:
        return maps
    return np.stack([cv2.resize(values.astype(np.float32), (size, size)) for values in maps])


def _resized_graph(maps: tf.Tensor, size: int) -> tf.Tensor:
    """`_resized` in a graph."""
    if maps.shape[1] == size:
        return maps
    return tf.stack([resize_square_graph(each, size) for each in tf.unstack(maps, axis=-1)], -1)
