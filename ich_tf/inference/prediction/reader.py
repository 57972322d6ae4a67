"""DICOM files -> slices as a model sees them: cropped, windowed, between their neighbours."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ich_tf.dicom import series
from ich_tf.dicom.crop import Box
from ich_tf.dicom.header import Header
from ich_tf.dicom.header_scan import ScannedHeader, scan_headers
from ich_tf.dicom.sources import Source
from ich_tf.inference.prediction.model_image import ReadSlice, ReadTask, read_task
from ich_tf.inference.prediction.store import PredictionStore
from ich_tf.inference.slice_predictor import Predictor
from ich_tf.records.neighbours import neighbour_places
from ich_tf.runtime.executors.local import LocalExecutor

# Files whose tasks are made at once; between two lots the workers stand still for a moment.
_FILES_AT_ONCE = 4096


@dataclass(frozen=True)
class Group:
    """Files that are read together, because a slice is seen between its neighbours.

    Attributes:
      sources: Places in the list of sources.
      crops: Source -> frame -> what to cut out; nothing for whole images.
    """

    sources: list[int]
    crops: dict[int, dict[int, Box]]


@dataclass(frozen=True, eq=False)
class SeenSlice:
    """A slice as the model sees it.

    Attributes:
      source: Its file's place in the list of sources.
      header: Where it is.
      image: [H, W, neighbours * C].
    """

    source: int
    header: Header
    image: np.ndarray


class Reader:
    """Files -> what the model sees of them.

    Attributes:
      sources: The files.
      predictor: The model.
      store: Where it notes which files belong together.
      image_ids: Of the files, by RSNA's rule: the stem, or the path where stems repeat.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        predictor: Predictor,
        executor: LocalExecutor,
        store: PredictionStore,
    ) -> None:
        """Reads nothing yet."""
        self.sources = sources
        self.predictor = predictor
        self.store = store
        self.image_ids = _image_ids(sources)
        self._executor = executor
        self._windows = () if predictor.stored_hu else predictor.windows

    def image_id(self, one: SeenSlice) -> str:
        """What a submission calls a slice."""
        name = self.image_ids[one.source]
        return f"{name}/{one.header.frame}" if one.header.frame else name

    def groups(self) -> Iterator[Group]:
        """All files, in the groups in which they are read."""
        if self.predictor.neighbours == 1 and self.predictor.crop == "none":
            return (Group([source], {}) for source in range(len(self.sources)))
        if not self.store.is_laid_out:
            self.store.add_layout(self._look())
        return (Group(*found) for found in self.store.layout(len(self.sources)))

    def _look(self) -> Iterator[tuple[int, Header, Box]]:
        """Every slice of every file, once, before the first is predicted."""
        places = {source: place for place, source in enumerate(self.sources)}
        for one in scan_headers(self.sources, self._executor, self.predictor.crop):
            if isinstance(one, ScannedHeader):
                yield places[one.source], one.header, one.crop

    def read(
        self, groups: Iterable[Group]
    ) -> Iterator[tuple[Group, list[tuple[int, ReadSlice]], list[SeenSlice]]]:
        """Each group with its files that could not be read, and its slices.

        As in training, at a series' ends the last slice stands again, and a slice that cannot be
        read is passed over.
        """
        neighbours = self.predictor.neighbours
        for lot in _lots(groups):
            tasks = [
                ReadTask(
                    self.sources[source],
                    self.predictor.record_shape[0],
                    self._windows,
                    group.crops.get(source, {}),
                )
                for group in lot
                for source in group.sources
            ]
            found = self._executor.map(read_task, tasks)
            for group in lot:
                rejected, slices = [], []
                for source in group.sources:
                    for one in next(found):
                        if one.header is None or one.image is None:
                            rejected.append((source, one))
                        else:
                            slices.append(SeenSlice(source, one.header, one.image))
                if neighbours > 1:
                    slices = [
                        member
                        for members in series.group_by_series(slices).values()
                        for member in _with_neighbours(members, neighbours)
                    ]
                yield group, rejected, slices


def _with_neighbours(members: Sequence[SeenSlice], count: int) -> Iterator[SeenSlice]:
    """The slices of a series, in order, each with those beside it."""
    places = neighbour_places(len(members), count).tolist()
    for slice_, row in zip(members, places, strict=True):
        image = np.concatenate([members[place].image for place in row], axis=-1)
        yield SeenSlice(slice_.source, slice_.header, image)


def _lots(groups: Iterable[Group]) -> Iterator[list[Group]]:
    """Groups, some thousand files at a time."""
    groups = iter(groups)
    for first in groups:
        lot, count = [first], len(first.sources)
        for group in groups:
            lot.append(group)
            count += len(group.sources)
            if count >= _FILES_AT_ONCE:
                break
        yield lot


def _image_ids(sources: Sequence[Source]) -> list[str]:
    """RSNA's rule, the file's stem; the path within the source where stems repeat."""
    unique = len({source.stem for source in sources}) == len(sources)
    names = [source.stem if unique else source.name for source in sources]
    # A name that is not UTF-8 could not be written into a CSV.
    return [name.encode("utf-8", "backslashreplace").decode() for name in names]
