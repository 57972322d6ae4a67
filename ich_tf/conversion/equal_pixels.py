"""Equal pixels under two patients: one image that was anonymised twice, say.

Such an image may stand on both sides of a split, where a model is scored on what it has seen.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ich_tf.conversion.lookup import written_slices
from ich_tf.conversion.plan import Plan
from ich_tf.dicom.pixel_hash import hashes_from_text
from ich_tf.records.data_files import MANIFEST
from ich_tf.records.manifest import repair_advice
from ich_tf.records.sidecar import Sidecar
from ich_tf.runtime.json_types import read_object


@dataclass(frozen=True)
class EqualPixels:
    """Images that several patients share.

    Attributes:
      images: Number of different images that two or more patients have.
      patients: Number of these patients.
      images_in_two_splits: Number of these images that stand in two or more splits.
    """

    images: int = 0
    patients: int = 0
    images_in_two_splits: int = 0

    def __post_init__(self) -> None:
        """Checks the numbers, which may come from a file.

        Raises:
          ValueError: If one is negative.
        """
        if min(self.images, self.patients, self.images_in_two_splits) < 0:
            raise ValueError("equal_pixels has a negative number")

    def report(self) -> str:
        """A sentence or two; empty if there are no such images."""
        if not self.images:
            return ""
        text = (
            f"{self.images} images have equal pixels under two patients or more "
            f"({self.patients} patients); {self.images_in_two_splits} of them stand on both sides "
            "of a split."
        )
        if self.images_in_two_splits:
            text += " --join_duplicates, in a new --out_dir, keeps such patients in one split."
        return text


def find_equal_pixels(plan: Plan, sidecars: Sequence[Sidecar]) -> EqualPixels:
    """Finds the images of a conversion that several patients share.

    Args:
      plan: Plan of the conversion.
      sidecars: Sidecars of all shards, in the plan's order.
    """
    numbers: dict[str, int] = {}
    splits: list[int] = []
    split_numbers: dict[str, int] = {}
    hashes, patients = [], []
    for shard, sidecar in zip(plan.shards, sidecars, strict=True):
        of_shard = [numbers.setdefault(series.keys[0], len(numbers)) for series in shard.series]
        splits += [split_numbers.setdefault(shard.split, len(split_numbers))] * (
            len(numbers) - len(splits)
        )
        if sidecar.quarantine:
            written = [numbers[slice_.patient_key] for slice_ in written_slices(shard, sidecar)]
        else:
            written = np.repeat(of_shard, [series.num_slices for series in shard.series]).tolist()
        of_records = hashes_from_text(sidecar.pixel_hashes)
        if len(of_records) == len(written):
            hashes.append(of_records)
            patients.append(np.asarray(written, np.int32))
    if not hashes:
        return EqualPixels()
    image, patient = shared_images(np.concatenate(hashes), np.concatenate(patients))
    in_splits = np.unique(np.stack([image, np.asarray(splits)[patient]]), axis=1)
    num_splits = np.bincount(in_splits[0]) if len(image) else np.zeros(0)
    return EqualPixels(
        images=len(np.unique(image)),
        patients=len(np.unique(patient)),
        images_in_two_splits=int(np.sum(num_splits > 1)),
    )


@dataclass(frozen=True)
class _Stored:
    """What manifest.json tells of equal pixels; an older one tells nothing."""

    equal_pixels: EqualPixels | None = None


def stored_equal_pixels(data_dir: str | Path) -> EqualPixels:
    """The images of a finished conversion that several patients share, by its manifest.

    Args:
      data_dir: Folder of the conversion.

    Raises:
      DataError: If the manifest cannot be read.
    """
    path, advice = Path(data_dir) / MANIFEST, repair_advice(Path(data_dir))
    return read_object(path, _Stored, advice).equal_pixels or EqualPixels()


def shared_images(hashes: np.ndarray, patients: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Images that several patients share.

    Args:
      hashes: Pixel hash of each slice, uint64 [n]; 0 for one that shows nothing.
      patients: Number of the patient of each slice, int [n].

    Returns:
      Number of an image and number of a patient who has it, int [pairs] each: every patient of
      every shared image once.

    Examples:
      >>> hashes = np.array([7, 7, 8, 0, 0, 7], np.uint64)
      >>> shared_images(hashes, np.array([1, 2, 2, 1, 2, 2]))
      (array([0, 0]), array([1, 2]))
    """
    shows = hashes != 0
    hashes, patients = hashes[shows], patients[shows]
    order = np.lexsort((patients, hashes))
    hashes, patients = hashes[order], patients[order]
    is_first = np.ones(len(hashes), bool)  # of a pair of image and patient
    is_first[1:] = (hashes[1:] != hashes[:-1]) | (patients[1:] != patients[:-1])
    hashes, patients = hashes[is_first], patients[is_first]
    _, image, counts = np.unique(hashes, return_inverse=True, return_counts=True)
    is_shared = counts[image] > 1
    _, image = np.unique(image[is_shared], return_inverse=True)
    return image, patients[is_shared]


class SharedImages:
    """Pixel hashes of patients' slices, by which patients who share an image are joined."""

    def __init__(self) -> None:
        """Has no slices yet."""
        self._hashes = array("Q")
        self._patients = array("i")
        self._numbers: dict[str, int] = {}

    def add(self, patient: str, hashes: Iterable[int]) -> None:
        """Adds slices of a patient; those whose hash is 0 show nothing."""
        number = self._numbers.setdefault(patient, len(self._numbers))
        for value in filter(None, hashes):
            self._hashes.append(value)
            self._patients.append(number)

    def groups(self) -> dict[str, str]:
        """Patients who share an image, or share one with those who do.

        Returns:
          Name of the group, which is that of its first patient in alphabetical order, of each
          patient who is in a group of two or more.

        Examples:
          >>> images = SharedImages()
          >>> images.add("c", [7])
          >>> images.add("b", [7, 8])
          >>> images.add("a", [8])
          >>> images.add("d", [9])
          >>> images.groups()
          {'a': 'a', 'b': 'a', 'c': 'a'}
        """
        names = [*self._numbers]
        group: dict[str, str] = {}

        def find(name: str) -> str:
            while group.setdefault(name, name) != name:
                group[name] = group[group[name]]
                name = group[name]
            return name

        image, patient = shared_images(
            np.asarray(self._hashes, np.uint64), np.asarray(self._patients, np.int64)
        )
        # Patients of one image follow each other.
        follows = np.flatnonzero(image[1:] == image[:-1])
        for first, second in zip(patient[follows], patient[follows + 1], strict=True):
            low, high = sorted((find(names[first]), find(names[second])))
            group[high] = low
        return {name: find(name) for name in sorted(group)}
