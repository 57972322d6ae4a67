"""From an upload to finished studies: one thread reads files, the model's thread predicts.

While the model works on a study the next one is read.
"""

from __future__ import annotations

import contextlib
import queue
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ich_tf.dicom.choice import ALL_SERIES, SeriesChoice
from ich_tf.inference.explainer import Explainer
from ich_tf.inference.slice_predictor import Predictor
from ich_tf.runtime.writing import is_full
from ich_tf.serving import analysis
from ich_tf.serving.analysis import ChosenSeries
from ich_tf.serving.answers import Model
from ich_tf.serving.decoding import DecodedSlice, Decoders
from ich_tf.serving.errors import DISK_FULL, Refused, disk_full
from ich_tf.serving.heat_map_cache import HeatMapCache, PackedHeatMap
from ich_tf.serving.limits import Limits
from ich_tf.serving.model_answers import model_answer
from ich_tf.serving.model_thread import ModelThread
from ich_tf.serving.monitoring import Monitor, log_failure
from ich_tf.serving.studies import Studies
from ich_tf.serving.study import PREDICTING, READING, Rejected, UploadedStudy
from ich_tf.serving.supervised_thread import SupervisedThread
from ich_tf.serving.uploads import UploadedFile


class _Cancelled(Exception):  # noqa: N818 - a request of the client, not an error
    """Signal that the study that is worked on was deleted, or that the server stops."""


@dataclass(frozen=True)
class _Waiting:
    """A study that waits to be read."""

    study: UploadedStudy
    files: Sequence[UploadedFile]
    since: float  # time.monotonic()


class Pipeline:
    """The workers of a server: they read and predict studies, and draw heat maps.

    Attributes:
      predictor: Model that predicts.
      model: Answer that describes it; there once `start` has returned.
    """

    model: Model

    def __init__(
        self,
        predictor: Predictor,
        studies: Studies,
        limits: Limits,
        monitor: Monitor,
        batch_size: int = 32,
        choice: SeriesChoice = ALL_SERIES,
        keeps_ids: bool = False,
    ) -> None:
        """Stores its arguments; `start` starts the workers.

        Args:
          predictor: Model that predicts.
          studies: Studies of the server.
          limits: Limits of the server.
          monitor: Counters to update.
          batch_size: Slices in a batch.
          choice: Rule by which the series to predict are chosen.
          keeps_ids: Whether slices keep their SOP instance UIDs.
        """
        self.predictor = predictor
        self._studies, self._limits, self._monitor = studies, limits, monitor
        self._batch_size, self._choice, self._keeps_ids = batch_size, choice, keeps_ids
        self._decoders = Decoders(limits)
        self._model = ModelThread(limits.heat_maps)
        self._heat_maps: HeatMapCache | None = None
        self._waiting: queue.SimpleQueue[_Waiting | None] = queue.SimpleQueue()
        self._is_closed = False
        self._reader = SupervisedThread("reading", self._read_all)

    def start(self) -> None:
        """Starts processes and threads, and runs the model once, so that no study waits for it."""
        self._decoders.start()
        self._model.start()
        self._model.later(self._warm_up).result()
        self._reader.start()

    @property
    def threads(self) -> dict[str, bool]:
        """Whether each of the threads runs, by name."""
        return {self._reader.name: self._reader.is_alive, "model": self._model.is_alive}

    def runs(self, thread: str) -> bool:
        """Whether one of the threads runs."""
        return self.threads[thread]

    def submit(self, study: UploadedStudy, files: Sequence[UploadedFile]) -> None:
        """Puts a study in the queue.

        Raises:
          Refused: 503, if the queue is full; 507, if the disk is.
        """
        study.num_files = study.total = len(files)
        self._studies.commit(study)
        self._waiting.put(_Waiting(study, files, time.monotonic()))

    def heat_map(self, study: UploadedStudy, series: int, number: int, name: str) -> PackedHeatMap:
        """Draws a heat map, or takes it from the cache, as `HeatMapCache.get`.

        Raises:
          Refused: 503 if too many heat maps wait; 409 if another model, or this one with another
            calibration, predicted the study.
        """
        assert study.model is not None and self._heat_maps is not None, "a study that is done"
        present = self.model.sha256, self.model.calibration_sha256
        if (study.model["sha256"], study.model["calibration_sha256"]) != present:
            raise Refused(
                409,
                "OTHER_MODEL",
                "another model or calibration predicted this study. Send the study again.",
            )
        return self._heat_maps.get(study, series, number, name)

    def forget(self, study: UploadedStudy) -> None:
        """Removes the heat maps of a study from the cache."""
        if self._heat_maps is not None:
            self._heat_maps.forget(study)

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
        explainer = Explainer(self.predictor)
        self._heat_maps = HeatMapCache(
            self.predictor, explainer, self._studies, self._model, self._limits, self._monitor
        )
        self.model = model_answer(self.predictor, explainer.scale())

    def _read_all(self) -> None:
        while (waiting := self._waiting.get()) is not None:
            self._monitor.queue_seconds.observe(time.monotonic() - waiting.since)
            # Whatever happens to a study, the next one is read.
            try:
                self._check(waiting.study)
                self._read(waiting.study, waiting.files)
            except Exception as error:
                self._give_up(waiting.study, error)

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
        groups = analysis.split_by_study(slices)
        if len(groups) > self._limits.studies:
            raise Refused(
                422,
                "TOO_MANY_STUDIES",
                f"the files are of {len(groups)} studies; expected {self._limits.studies} at most. "
                "Send fewer at once.",
            )
        studies = self._studies.split(study, len(groups))
        for one, members in zip(studies[1:], groups[1:], strict=True):
            one.num_files = len({(member.file, member.entry) for member in members})
            study.num_files -= one.num_files
        for one, members in zip(studies, groups, strict=True):
            self._go_on(one, members)

    def _go_on(self, study: UploadedStudy, slices: Sequence[DecodedSlice]) -> None:
        """Takes a study of an upload to the model; whatever happens to it, others are predicted."""
        try:
            self._check(study)
            folder = self._studies.folder(study)
            self._choose(
                study,
                [
                    replace(slice_, path=slice_.path.rename(folder / slice_.path.name))
                    for slice_ in slices
                ],
            )
        except Exception as error:
            self._give_up(study, error)

    def _choose(self, study: UploadedStudy, slices: Sequence[DecodedSlice]) -> None:
        """Chooses the series of a study, and lets the model predict them."""
        chosen, study.left_out = analysis.choose_series(slices, self._choice)
        kept = {slice_.path for one in chosen for slice_ in one.slices}
        for slice_ in slices:
            if slice_.path not in kept:
                slice_.path.unlink(missing_ok=True)
        if not chosen:
            first = study.left_out[0]
            raise Refused(
                422,
                "NO_SERIES",
                f"none of {len(study.left_out)} series is chosen; the first: "
                f"{first.described.text}: its series {first.reason}.",
            )
        study.done, study.total = 0, len(kept)
        study.state = PREDICTING
        self._model.later(lambda: self._predict(study, chosen))

    def _decode(self, study: UploadedStudy, files: Sequence[UploadedFile]) -> list[DecodedSlice]:
        """Decodes the files of a study, notes those without a slice, and returns the slices.

        Raises:
          Refused: 507, if the disk is full.
        """
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
        folder = self._studies.folder(study)
        with contextlib.closing(self._decoders.decode(paths, folder, find_head)) as results:
            for decoded in results:
                self._check(study)
                if decoded.reason == DISK_FULL:
                    raise disk_full()
                file, _ = unpacked[decoded.place]
                slices += [
                    replace(slice_, file=file.file, entry=file.entry) for slice_ in decoded.slices
                ]
                if decoded.reason:
                    reasons[file.file, file.entry] = (decoded.reason, decoded.message)
                study.done += 1
        study.rejected = [
            Rejected(file.file, file.entry, *reasons[file.file, file.entry])
            for file in files
            if (file.file, file.entry) in reasons
        ]
        return slices

    def _predict(self, study: UploadedStudy, chosen: Sequence[ChosenSeries]) -> None:
        begun = time.perf_counter()

        def on_batch(done: int) -> None:
            study.done = done
            self._model.run_urgent()
            self._check(study)

        # Whatever happens to a study, the next one is predicted.
        try:
            self._check(study)
            study.series = analysis.predict_study(
                self.predictor, chosen, self._batch_size, on_batch, self._keeps_ids
            )
            study.model = self.model.model_dump()
            self._studies.finish(study)
        except Exception as error:
            self._give_up(study, error)
            return
        self._monitor.model_seconds.observe(time.perf_counter() - begun)
        self._monitor.slices.inc(sum(len(one.slices) for one in chosen))
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
        if is_full(error):
            error = disk_full()
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
