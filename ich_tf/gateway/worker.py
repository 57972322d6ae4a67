"""The worker: studies that wait are predicted, one after the other."""

from __future__ import annotations

import logging
import time

from ich_tf.errors import InputError, NothingToPredictError
from ich_tf.gateway.database import Database, StateError
from ich_tf.gateway.folders import Folders, remove, sync_file
from ich_tf.gateway.ids import read_ids
from ich_tf.gateway.keys import Keys
from ich_tf.gateway.loop import MachineError
from ich_tf.gateway.monitoring import GatewayMonitor
from ich_tf.gateway.prediction import Predict, StudyPrediction
from ich_tf.gateway.queue import StudyQueue
from ich_tf.gateway.states import FAILED, REFUSED, Study
from ich_tf.gateway.stored_images import check_images
from ich_tf.runtime.out_of_memory import describe_out_of_memory
from ich_tf.runtime.writing import OF_THE_DISK, disk_problem
from ich_tf.serving.monitoring import log_failure

_LOG = logging.getLogger(__name__)
_IDLE_SECONDS = 1.0


class Worker:
    """Predicts the studies of a queue."""

    def __init__(
        self,
        database: Database,
        queue: StudyQueue,
        folders: Folders,
        keys: Keys,
        predict: Predict,
        monitor: GatewayMonitor,
    ) -> None:
        """Takes the parts of an open state folder.

        Args:
          database: The database of the queue.
          queue: The queue.
          folders: The state folder.
          keys: Keys of ids.
          predict: Function that predicts a study.
          monitor: Counters to update.
        """
        self._database, self._queue = database, queue
        self._folders, self._keys = folders, keys
        self._predict, self._monitor = predict, monitor

    def step(self) -> float:
        """Predicts the next study; returns the time until there may be another, seconds.

        Raises:
          MachineError: If the machine could not, and the study waits again.
          StateError: If the queue cannot be written.
        """
        study = self._queue.begin_prediction()
        if study is None:
            return _IDLE_SECONDS
        begun = time.monotonic()
        # Whatever a study causes: the next one must not wait for it.
        try:
            prediction = self._predicted(study.number)
        except StateError:
            raise
        except NothingToPredictError as error:
            counted = ", ".join(f"{number} {code}" for code, number in error.reasons.items())
            text = f"no series of {study.images} images can be read: {counted}."
            self._end(study, REFUSED, "NO_SERIES", text)
        except Exception as error:
            self._fail(study, error)
        else:
            self._monitor.prediction_seconds.observe(time.monotonic() - begun)
            self._store(study, prediction)
        return 0.0

    def _predicted(self, number: int) -> StudyPrediction:
        check_images(self._database, self._folders, number)
        work, results = self._folders.work(number), self._folders.results(number)
        for folder in (work, results):
            remove(folder)
        work.mkdir()
        try:
            prediction = self._predict(self._folders.images(number), work, results)
            for path in (*prediction.files, results, results.parent):
                sync_file(path)
            return prediction
        finally:
            remove(work)

    def _store(self, study: Study, prediction: StudyPrediction) -> None:
        ids = map(read_ids, prediction.files)
        keys = [self._keys.instance(each.study_uid, each.sop_uid) for each in ids]
        is_same = self._queue.end_prediction(study, prediction, keys)
        _LOG.info(
            "study %d: predicted, %d results%s",
            study.number,
            len(keys),
            "" if is_same else "; more images came meanwhile, it begins again",
        )

    def _fail(self, study: Study, error: Exception) -> None:
        """Ends a study whose prediction failed, or lets it wait if the machine is at fault."""
        problem = disk_problem(error)
        if problem in OF_THE_DISK:
            self._queue.give_back(study)
            raise MachineError(f"study {study.number} waits: {problem}.") from error
        if describe_out_of_memory(error) is not None:
            text = "more memory was needed than there is. Lower model.batch_size or num_workers."
            self._end(study, FAILED, "OUT_OF_MEMORY", text)
        elif isinstance(error, InputError):
            self._end(study, FAILED, "PREDICTION", str(error))
        else:
            log_failure(f"study {study.number}", error)
            self._end(study, FAILED, "INTERNAL", f"{type(error).__name__}; the log says where.")

    def _end(self, study: Study, state: str, reason: str, text: str) -> None:
        if self._queue.finish(study, state, reason, text):
            self._monitor.ended.labels(state, reason).inc()
            _LOG.warning("study %d: %s, %s: %s", study.number, state, reason, text)
