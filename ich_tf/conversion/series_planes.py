"""A series as masks are placed on it: the planes of its slices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ich_tf.conversion.slice_index import IndexedSlice
from ich_tf.dicom.listing import SourceListing
from ich_tf.dicom.sources import Source
from ich_tf.masks.planes import Plane

# Name and frame of a slice.
Place = tuple[str, int]


@dataclass(frozen=True)
class SeriesPlanes:
    """A series that a mask may belong to.

    Attributes:
      patient_id: PatientID; empty if it has none.
      study_id: Study instance UID.
      series_id: Series instance UID.
      image_ids: Image id of each slice.
      places: Name and frame of each slice.
      planes: Plane of each slice.
      sources: File of each slice.
    """

    patient_id: str
    study_id: str
    series_id: str
    image_ids: tuple[str, ...]
    places: tuple[Place, ...]
    planes: tuple[Plane, ...]
    sources: tuple[Source, ...]

    @classmethod
    def of(cls, members: Sequence[IndexedSlice], listing: SourceListing) -> SeriesPlanes:
        """The planes of a series.

        Args:
          members: Its slices, in order.
          listing: DICOM files.
        """
        header = members[0].header
        return cls(
            header.patient_id,
            header.study_id,
            header.series_id,
            tuple(slice_.header.image_id for slice_ in members),
            tuple((slice_.name, slice_.header.frame) for slice_ in members),
            tuple(Plane.of(slice_.header) for slice_ in members),
            tuple(listing.find(slice_.name) for slice_ in members),
        )
