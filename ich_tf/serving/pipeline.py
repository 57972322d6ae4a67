"""From an upload to a finished study: one thread reads files, the model's thread predicts.

While the model works on a study the next one is read.
"""

from __future__ import annotations

import gzip
import queue
import threading
import time
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass

import numpy as np

from ich_tf.dicom.choice import ALL_SERIES, SeriesChoice
from ich_tf.inference.explainer import Explainer
from ich_tf.inference.slice_predictor import Predictor
from ich_tf.serving import analysis
from ich_tf.serving.decoding import DecodedSlice, Decoders
from ich_tf.serving.errors import Refused
from ich_tf.serving.limits import MIB, Limits
from ich_tf.serving.model_thread import ModelThread
from ich_tf.serving.monitoring import Monitor, log_failure
from ich_tf.serving.studies import (
    PREDICTING,
    READING,
    PredictedSeries,
    Rejected,
    Studies,
    UploadedStudy,
)
from ich_tf.serving.uploads import UploadedFile

# Level 6 takes three times as long for a tenth less.
GZIP_LEVEL = 1


class _Cancelled(Exception):  # noqa: N818 - a request of the client, not an error
    """Signal that the study that is worked on was deleted, or that the server stops."""


@dataclass(frozen=True)
class PackedHeatMap:
    """A heat map, compressed for sending.

    Attributes:
      packed: Values, uint8 [rows, columns], compressed by gzip.
      rows, columns: Number of pixels of the slice.
      peak, caption: As in `analysis.HeatMap`.
    """

    packed: bytes
    rows: int
    columns: int
    peak: float
    caption: str

    def unpacked(self) -> np.ndarray:
        """Decompresses the values, uint8 [rows, columns]."""
        values = np.frombuffer(gzip.decompress(self.packed), np.uint8)
        return values.reshape(self.rows, self.columns)


# Key of the study, indices of series and slice, class.
_Key = tuple[str, int, int, str]


class Pipeline:
    """The workers of a server: they read and predict studies, and draw heat maps."""

    def __init__(
        self,
        predictor: Predictor,
        studies: Studies,
        limits: Limits,
        monitor: Monitor,
        batch_size: int = 32,
        choice: SeriesChoice = ALL_SERIES,
    ) -> None:
        """Stores its arguments; `start` starts the workers.

        Args:
          predictor: Model that predicts.
          studies: Studies of the server.
          limits: Limits of the server.
          monitor: Counters to update.
          batch_size: Slices in a batch.
          choice: Rule by which the series to predict are chosen.
        """
        self.predictor = predictor
        self._studies, self._limits, self._monitor = studies, limits, monitor
        self._batch_size, self._choice = batch_size, choice
        self._decoders = Decoders(limits)
        self._model = ModelThread(limits.heat_maps)
        self._explainer: Explainer | None = None
        self._heat_maps: OrderedDict[_Key, PackedHeatMap] = OrderedDict()
        self._under_way: dict[_Key, Future[PackedHeatMap]] = {}
        self._lock = threading.Lock()
        self._waiting: queue.SimpleQueue[tuple[UploadedStudy, Sequence[UploadedFile]] | None] = (
            queue.SimpleQueue()
        )
        self._is_closed = False
        self._reader = threading.Thread(target=self._read_all, name="reading", daemon=True)

    def start(self) -> None:
        """Starts processes and threads, and runs the model once, so that no study waits for it."""
        self._decoders.start()
        self._model.start()
        self._model.later(self._warm_up).result()
        self._reader.start()

    def submit(self, study: UploadedStudy, files: Sequence[UploadedFile]) -> None:
        """Puts a study in the queue, which `Studies.reserve` limits."""
        study.num_files = study.total = len(files)
        self._studies.commit(study)
        self._waiting.put((study, files))

    def heat_map(self, study: UploadedStudy, series: int, number: int, name: str) -> PackedHeatMap:
        """Draws a heat map, or takes it from the cache.

        Args:
          study: A study that is done.
          series: Index of the series in the study, from 0.
          number: Index of the slice in the series, from 0.
          name: Class, one of `CLASSES`.

        Raises:
          Refused: 503 if too many heat maps wait; 409 if another model predicted the study.
        """
        if study.model_sha256 != self.predictor.sha256:
            raise Refused(
                409, "OTHER_MODEL", "another model predicted this study. Send the study again."
            )
        key = study.study_id, series, number, name
        with self._lock:
            if key in self._heat_maps:
                self._heat_maps.move_to_end(key)
                return self._heat_maps[key]
            future = self._under_way.get(key)
            if future is None:
                predicted = study.series[series]
                future = self._model.urgent(lambda: self._draw(study, predicted, number, name))
                self._under_way[key] = future
        try:
            heat = future.result()
        finally:
            with self._lock:
                self._under_way.pop(key, None)
        with self._lock:
            self._heat_maps[key] = heat
            size = sum(len(cached.packed) for cached in self._heat_maps.values())
            while size > self._limits.cache_mb * MIB:
                size -= len(self._heat_maps.popitem(last=False)[1].packed)
        return heat

    def forget(self, study: UploadedStudy) -> None:
        """Removes the heat maps of a study from the cache."""
        with self._lock:
            for key in [key for key in self._heat_maps if key[0] == study.study_id]:
                del self._heat_maps[key]

    def close(self) -> None:
        """Ends threads and processes; studies that are unfinished are lost."""
        self._is_closed = True
        self._waiting.put(None)
        self._decoders.close()
        self._reader.join()
        self._model.close()

    def _warm_up(self) -> None:
        size, _, channels = self.predictor.record_shape
        dtype = np.uint16 if self.predictor.stored_hu else np.uint8
        shape = (self._batch_size, size, size, channels * self.predictor.neighbours)
        self.predictor.outputs(np.zeros(shape, dtype))
        self._explainer = Explainer(self.predictor)

    def _draw(
        self, study: UploadedStudy, series: PredictedSeries, number: int, name: str
    ) -> PackedHeatMap:
        begun = time.perf_counter()
        assert self._explainer is not None, "made before the first request"
        heat = analysis.heat_map(
            self.predictor, self._explainer, self._studies.folder(study), series, number, name
        )
        self._monitor.heat_map_seconds.observe(time.perf_counter() - begun)
        rows, columns = heat.values.shape
        return PackedHeatMap(
            gzip.compress(heat.values.tobytes(), GZIP_LEVEL), rows, columns, heat.peak, heat.caption
        )

    def _read_all(self) -> None:
        while (waiting := self._waiting.get()) is not None:
            study, files = waiting
            # Whatever happens to a study, the next one is read.
            try:
                self._check(study)
                self._read(study, files)
            except Exception as error:
                self._give_up(study, error)

    def _read(self, study: UploadedStudy, files: Sequence[UploadedFile]) -> None:
        begun = time.perf_counter()
        study.state = READING
        study.total = len(files)
        slices = self._decode(study, files)
        for rejected in study.rejected:
            self._monitor.rejected.labels(rejected.reason).inc()
        self._monitor.reading_seconds.observe(time.perf_counter() - begun)
        if not slices:
            first = study.rejected[0]
            raise Refused(
                422,
                "NO_SLICES",
                f"none of {len(files)} files is an axial CT slice; the first: {first.reason}, "
                f"{first.message}",
            )
        groups, study.left_out = analysis.choose_series(slices, self._choice)
        chosen = {slice_.path for members in groups for slice_ in members}
        for slice_ in slices:
            if slice_.path not in chosen:
                slice_.path.unlink(missing_ok=True)
        if not groups:
            raise Refused(
                422,
                "NO_SERIES",
                f"none of {len(study.left_out)} series is chosen; the first: "
                f"{study.left_out[0].description}: its series {study.left_out[0].reason}.",
            )
        study.done, study.total = 0, len(chosen)
        study.state = PREDICTING
        self._model.later(lambda: self._predict(study, groups))

    def _decode(self, study: UploadedStudy, files: Sequence[UploadedFile]) -> list[DecodedSlice]:
        """Decodes the files of a study, notes those without a slice, and returns the slices."""
        unpacked = [(file, file.path) for file in files if file.path is not None]
        paths = [path for _, path in unpacked]
        reasons = {
            (file.file, file.entry): (file.reason, file.message)
            for file in files
            if file.path is None
        }
        study.done = len(reasons)
        slices: list[DecodedSlice] = []
        find_head = self.predictor.crop != "none"
        for decoded in self._decoders.decode(paths, self._studies.folder(study), find_head):
            self._check(study)
            slices += decoded.slices
            file, _ = unpacked[decoded.place]
            if decoded.reason:
                reasons[file.file, file.entry] = (decoded.reason, decoded.message)
            study.done += 1
        study.rejected = [
            Rejected(file.file, file.entry, *reasons[file.file, file.entry])
            for file in files
            if (file.file, file.entry) in reasons
        ]
        return slices

    def _predict(self, study: UploadedStudy, groups: Sequence[Sequence[DecodedSlice]]) -> None:
        begun = time.perf_counter()

        def on_batch(done: int) -> None:
            study.done = done
            self._model.run_urgent()
            self._check(study)

        # Whatever happens to a study, the next one is predicted.
        try:
            study.series = analysis.predict_study(
                self.predictor, groups, self._batch_size, on_batch
            )
            study.model_sha256 = self.predictor.sha256
            self._studies.finish(study)
        except Exception as error:
            self._give_up(study, error)
            return
        self._monitor.model_seconds.observe(time.perf_counter() - begun)
        self._monitor.slices.inc(sum(map(len, groups)))
        self._monitor.studies.labels("done").inc()

    def _check(self, study: UploadedStudy) -> None:
        if study.is_cancelled or self._is_closed:
            raise _Cancelled

    def _give_up(self, study: UploadedStudy, error: Exception) -> None:
        if self._is_closed:
            return  # a restart reports the study as interrupted
        if isinstance(error, _Cancelled):
            self._studies.drop(study)
            self._monitor.studies.labels("deleted").inc()
            return
        if not isinstance(error, Refused):
            log_failure("a study", error)
            error = Refused(
                500,
                "FAILED",
                f"the server could not process this study ({type(error).__name__}). Tell the "
                "person who runs it.",
            )
        self._studies.finish(study, error)
        self._monitor.studies.labels("failed").inc()
