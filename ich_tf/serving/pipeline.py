"""From an upload to a finished study: one thread reads, the model's thread predicts.

The next study is read while the model works on the one before.
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

from ich_tf.inference.explainer import Explainer
from ich_tf.inference.slice_predictor import Predictor
from ich_tf.serving import analysis
from ich_tf.serving.decoding import DecodedSlice, Decoders
from ich_tf.serving.errors import Refused
from ich_tf.serving.limits import MIB, Limits
from ich_tf.serving.model_thread import ModelThread
from ich_tf.serving.monitoring import Monitor, log_failure
from ich_tf.serving.studies import PREDICTING, READING, FoundSeries, Rejected, Studies, Study
from ich_tf.serving.uploads import UploadedFile

# Of speed and size: level 6 takes three times as long for a tenth less.
GZIP_LEVEL = 1


class _Cancelled(Exception):  # noqa: N818 - no error: it was asked for
    """The study that is worked on was deleted."""


@dataclass(frozen=True)
class PackedHeatMap:
    """A heat map as it is sent.

    Attributes:
      packed: uint8 [rows, columns], by gzip.
      rows, columns: Of the slice.
      peak: As of `analysis.HeatMap`.
    """

    packed: bytes
    rows: int
    columns: int
    peak: float

    def unpacked(self) -> np.ndarray:
        """uint8 [rows, columns]."""
        values = np.frombuffer(gzip.decompress(self.packed), np.uint8)
        return values.reshape(self.rows, self.columns)


_Key = tuple[str, int, int, str]


class Pipeline:
    """Works off studies, and makes heat maps of finished ones."""

    def __init__(
        self,
        predictor: Predictor,
        studies: Studies,
        limits: Limits,
        monitor: Monitor,
        batch_size: int = 32,
    ) -> None:
        """Starts threads and decoders, and runs the model once, so that nobody waits for that."""
        self.predictor = predictor
        self._studies, self._limits, self._monitor = studies, limits, monitor
        self._batch_size = batch_size
        self._decoders = Decoders(limits)
        self._model = ModelThread(limits.heat_maps)
        self._explainer: Explainer | None = None
        self._heat_maps: OrderedDict[_Key, PackedHeatMap] = OrderedDict()
        self._under_way: dict[_Key, Future[PackedHeatMap]] = {}
        self._lock = threading.Lock()
        self._waiting: queue.SimpleQueue[tuple[Study, Sequence[UploadedFile]] | None] = (
            queue.SimpleQueue()
        )
        self._is_closed = False
        self._decoders.start()
        self._model.later(self._warm_up).result()
        self._reader = threading.Thread(target=self._read_all, name="reading", daemon=True)
        self._reader.start()

    def submit(self, study: Study, files: Sequence[UploadedFile]) -> None:
        """Puts a study in the queue, which `Studies.reserve` bounds."""
        study.num_files = study.total = len(files)
        self._studies.commit(study)
        self._waiting.put((study, files))

    def heat_map(self, study: Study, series: int, number: int, name: str) -> PackedHeatMap:
        """A heat map, from the cache or made now.

        Args:
          study: A finished one.
          series: Of the study, from 0.
          number: Of the slice, from 0.
          name: Of the class.

        Raises:
          Refused: 503 if too many wait; 409 if another model predicted the study.
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
                found = study.series[series]
                future = self._model.urgent(lambda: self._draw(study, found, number, name))
                self._under_way[key] = future
        try:
            heat = future.result()
        finally:
            with self._lock:
                self._under_way.pop(key, None)
        with self._lock:
            self._heat_maps[key] = heat
            while sum(len(one.packed) for one in self._heat_maps.values()) > (
                self._limits.cache_mb * MIB
            ):
                self._heat_maps.popitem(last=False)
        return heat

    def forget(self, study: Study) -> None:
        """Takes the heat maps of a study out of the cache."""
        with self._lock:
            for key in [one for one in self._heat_maps if one[0] == study.study_id]:
                del self._heat_maps[key]

    def close(self) -> None:
        """Ends threads and decoders; studies that are under way are lost."""
        self._is_closed = True
        self._waiting.put(None)
        self._decoders.close()
        self._reader.join()
        self._model.close()

    def _warm_up(self) -> None:
        size, _, channels = self.predictor.record_shape
        kind = np.uint16 if self.predictor.stored_hu else np.uint8
        shape = (self._batch_size, size, size, channels * self.predictor.neighbours)
        self.predictor.outputs(np.zeros(shape, kind))
        self._explainer = Explainer(self.predictor)

    def _draw(self, study: Study, found: FoundSeries, number: int, name: str) -> PackedHeatMap:
        begun = time.perf_counter()
        assert self._explainer is not None, "made before the first request"
        heat = analysis.heat_map(
            self.predictor, self._explainer, self._studies.folder(study), found, number, name
        )
        self._monitor.heat_map_seconds.observe(time.perf_counter() - begun)
        rows, columns = heat.values.shape
        return PackedHeatMap(
            gzip.compress(heat.values.tobytes(), GZIP_LEVEL), rows, columns, heat.peak
        )

    def _read_all(self) -> None:
        while (one := self._waiting.get()) is not None:
            study, files = one
            # Whatever happens to a study, the next one is read.
            try:
                self._check(study)
                self._read(study, files)
            except Exception as error:
                self._give_up(study, error)

    def _read(self, study: Study, files: Sequence[UploadedFile]) -> None:
        begun = time.perf_counter()
        study.state = READING
        study.total = len(files)
        sent = [one for one in files if one.path is not None]
        paths = [one.path for one in sent if one.path is not None]
        reasons = {
            (one.file, one.entry): (one.reason, one.message) for one in files if one.path is None
        }
        study.done = len(reasons)
        slices: list[DecodedSlice] = []
        find_head = self.predictor.crop != "none"
        for read in self._decoders.decode(paths, self._studies.folder(study), find_head):
            self._check(study)
            slices += read.slices
            one = sent[read.place]
            if not read.slices:
                reasons[one.file, one.entry] = (read.reason, read.message)
            study.done += 1
        study.rejected = [
            Rejected(one.file, one.entry, *reasons[one.file, one.entry])
            for one in files
            if (one.file, one.entry) in reasons
        ]
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
        study.done, study.total = 0, len(slices)
        study.state = PREDICTING
        self._model.later(lambda: self._predict(study, slices))

    def _predict(self, study: Study, slices: Sequence[DecodedSlice]) -> None:
        begun = time.perf_counter()

        def on_batch(done: int) -> None:
            study.done = done
            self._model.run_urgent()
            self._check(study)

        # Whatever happens to a study, the next one is predicted.
        try:
            study.series = analysis.predict_study(
                self.predictor, slices, self._batch_size, on_batch
            )
            study.model_sha256 = self.predictor.sha256
            self._studies.finish(study)
        except Exception as error:
            self._give_up(study, error)
            return
        self._monitor.model_seconds.observe(time.perf_counter() - begun)
        self._monitor.slices.inc(len(slices))
        self._monitor.studies.labels("done").inc()

    def _check(self, study: Study) -> None:
        if study.is_cancelled or self._is_closed:
            raise _Cancelled

    def _give_up(self, study: Study, error: Exception) -> None:
        if self._is_closed:
            return  # a restart says that the study is lost
        if isinstance(error, _Cancelled):
            self._studies.drop(study)
            self._monitor.studies.labels("deleted").inc()
            return
        if not isinstance(error, Refused):
            log_failure("a study", error)
            error = Refused(
                500,
                "FAILED",
                f"the server could not work on this study ({type(error).__name__}). Tell whoever "
                "runs it.",
            )
        self._studies.finish(study, error)
        self._monitor.studies.labels("failed").inc()
