"""Reader: DICOM files to the images that a model reads, cropped, windowed, with neighbours."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

import numpy as np

from ich_tf.conversion.pseudonyms import pseudonym
from ich_tf.dicom import series
from ich_tf.dicom.choice import ALL_SERIES, SeriesChoice
from ich_tf.dicom.crop import Box
from ich_tf.dicom.header import Header
from ich_tf.dicom.header_scan import ScannedHeader, scan_headers
from ich_tf.dicom.reasons import DicomError, split_quarantine_path
from ich_tf.dicom.sources import Source
from ich_tf.inference.prediction.layout import FileGroup
from ich_tf.inference.prediction.model_image import ImageTask, ModelSlice, died, read_images
from ich_tf.inference.prediction.store import PredictionStore
from ich_tf.inference.slice_predictor import Predictor
from ich_tf.records.neighbours import neighbour_places
from ich_tf.runtime.executors.local import LocalExecutor
from ich_tf.runtime.names import printable

# Files whose tasks are handed to the executor at once; between two lots the workers are idle for a
# moment.
_FILES_PER_LOT = 4096


class Reader:
    """Reads DICOM files for a model.

    Attributes:
      sources: The files.
      predictor: The model.
      store: Store of the predictions, which also holds which files belong together.
      image_ids: Image id of each file, by RSNA's rule: the stem of its name, or the path where
        stems repeat.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        predictor: Predictor,
        executor: LocalExecutor,
        store: PredictionStore,
        choice: SeriesChoice = ALL_SERIES,
    ) -> None:
        """Reads no file yet.

        Args:
          sources: The files.
          predictor: The model.
          executor: Executor whose workers read the files.
          store: Store of the predictions.
          choice: Rule by which the series to predict are chosen.
        """
        self.sources = sources
        self.predictor = predictor
        self.store = store
        self.image_ids = _image_ids(sources)
        self._executor = executor
        self._choice = choice
        self._windows = () if predictor.stored_hu else predictor.windows

    def image_id(self, slice_: ModelSlice) -> str:
        """Returns the id of a slice in a submission, in a multi-frame file `<id>/<frame>`."""
        name, frame = self.image_ids[slice_.source], slice_.header.frame
        return f"{name}/{frame}" if frame else name

    def groups(self) -> Iterator[FileGroup]:
        """Yields the files of the chosen series, in the groups in which they are read.

        The headers of all files are scanned once and stored: series, neighbours and crops follow
        from them.
        """
        layout = self.store.layout
        if not layout.is_laid_out:
            layout.add(self._scan(), self._choice)
        groups = layout.groups(len(self.sources))
        if self.predictor.neighbours > 1:
            return groups
        # File by file, so that no more than a batch is in memory.
        return (
            FileGroup([source], {source: group.slices.get(source, {})})
            for group in groups
            for source in group.sources
        )

    def _scan(self) -> Iterator[tuple[int, Header, Box]]:
        places = {source: place for place, source in enumerate(self.sources)}
        source: Source | None = None
        for scanned in scan_headers(self.sources, self._executor, self.predictor.crop):
            if isinstance(scanned, ScannedHeader):
                source = scanned.source
                yield places[source], _without_patient(scanned.header), scanned.crop
                continue
            name, frame = split_quarantine_path(scanned.path)
            # Of a file whose other frames can be used; the rest is read again.
            if source is not None and frame and name == source.shown:
                self.store.reject(places[source], frame, scanned.reason, scanned.message)

    def read(
        self, groups: Iterable[FileGroup]
    ) -> Iterator[tuple[FileGroup, list[ModelSlice], list[tuple[int, int, DicomError]]]]:
        """Reads groups of files in the workers, in order.

        As in training, the last slice is repeated beyond the ends of a series, and the neighbours
        of a slice are those that can be read.

        Yields:
          The group; its slices, with their neighbours; and the place, the frame and the error of
          each slice that could not be read, with frame 0 if nothing of its file could be.
        """
        neighbours = self.predictor.neighbours
        for lot in _lots(groups):
            results = self._executor.map(read_images, [*self._tasks(lot)], on_death=died)
            for group in lot:
                slices: list[ModelSlice] = []
                errors: list[tuple[int, int, DicomError]] = []
                for source in group.sources:
                    result = next(results)
                    errors += [(source, frame, error) for frame, error in result.errors.items()]
                    slices += map(_of_pass, result.slices, itertools.repeat(group))
                if neighbours > 1:
                    slices = [
                        slice_
                        for members in _by_series_id(slices)
                        for slice_ in _with_neighbours(members, neighbours)
                    ]
                yield group, slices, errors

    def _tasks(self, lot: Sequence[FileGroup]) -> Iterator[ImageTask]:
        size = self.predictor.record_shape[0]
        for group in lot:
            for source in group.sources:
                chosen = group.slices.get(source, {})
                crops = {frame: slice_.crop for frame, slice_ in chosen.items()}
                yield ImageTask(source, self.sources[source], size, self._windows, crops)


def _without_patient(header: Header) -> Header:
    """The header with a hash of the patient's id, which tells patients apart and is no name."""
    patient_id = header.patient_id and pseudonym(header.patient_id)
    return replace(header, patient_id=patient_id)


def _of_pass(slice_: ModelSlice, group: FileGroup) -> ModelSlice:
    """The slice with the id of its pass as that of its series."""
    header = _without_patient(slice_.header)
    slice_ = replace(slice_, header=header)
    chosen = group.slices.get(slice_.source, {}).get(header.frame)
    if chosen is None or chosen.series_id == header.series_id:
        return slice_
    return replace(slice_, header=replace(header, series_id=chosen.series_id))


def _by_series_id(slices: Sequence[ModelSlice]) -> Iterator[list[ModelSlice]]:
    """The slices of each pass, in order."""
    passes: dict[str, list[ModelSlice]] = {}
    for slice_ in slices:
        passes.setdefault(slice_.header.series_id, []).append(slice_)
    yield from map(series.order, passes.values())


def _with_neighbours(members: Sequence[ModelSlice], count: int) -> Iterator[ModelSlice]:
    """Yields the slices of a series, in order, each with its neighbours along the channels."""
    places = neighbour_places(len(members), count).tolist()
    for slice_, row in zip(members, places, strict=True):
        image = np.concatenate([members[place].image for place in row], axis=-1)
        yield replace(slice_, image=image)


def _lots(groups: Iterable[FileGroup]) -> Iterator[list[FileGroup]]:
    """Batches groups to lots of `_FILES_PER_LOT` files or a few more."""
    groups = iter(groups)
    for first in groups:
        lot, count = [first], len(first.sources)
        for group in groups:
            lot.append(group)
            count += len(group.sources)
            if count >= _FILES_PER_LOT:
                break
        yield lot


def _image_ids(sources: Sequence[Source]) -> list[str]:
    unique = len({source.stem for source in sources}) == len(sources)
    return [printable(source.stem if unique else source.name) for source in sources]
