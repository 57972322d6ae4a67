"""State that the routes of a server share, kept as `app.state.server`."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import anyio

from ich_tf.dicom.choice import SeriesChoice
from ich_tf.inference.slice_predictor import Predictor
from ich_tf.serving.config import ServeConfig
from ich_tf.serving.errors import Refused
from ich_tf.serving.limits import Limits
from ich_tf.serving.monitoring import Monitor
from ich_tf.serving.open_uploads import OpenUploads, UploadSlots
from ich_tf.serving.pipeline import Pipeline
from ich_tf.serving.samples import SampleStudy, find_samples
from ich_tf.serving.studies import Studies
from ich_tf.serving.study import DONE, PredictedSeries, UploadedStudy

Result = TypeVar("Result")


@dataclass(frozen=True, eq=False)
class ServerState:
    """The model, the studies and the workers of one server.

    Attributes:
      predictor: Model that predicts.
      limits: Limits of the server.
      studies: Studies of the server, in memory and on the disk.
      pipeline: Workers that read and predict studies, and draw heat maps.
      upload_slots: Limit on the number of uploads that are received at the same time.
      open_uploads: Uploads that wait for their next part.
      samples: Sample studies by name.
      monitor: Counters of the server.
      large_answers: Limit on the number of large answers that are made at the same time.
      lists_studies: Whether all studies are listed for everyone who may ask.
      keeps_ids: Whether slices keep their SOP instance UIDs.
    """

    predictor: Predictor
    limits: Limits
    studies: Studies
    pipeline: Pipeline
    upload_slots: UploadSlots
    open_uploads: OpenUploads
    samples: Mapping[str, SampleStudy]
    monitor: Monitor
    large_answers: anyio.CapacityLimiter
    lists_studies: bool = False
    keeps_ids: bool = False

    @classmethod
    def start(cls, config: ServeConfig, predictor: Predictor, limits: Limits) -> ServerState:
        """Opens the state folder, and starts the workers.

        Args:
          config: Config of the server.
          predictor: Model that predicts.
          limits: Limits of the server, used instead of those of the config.

        Raises:
          InputError: If the state folder or the folder of samples cannot be used.
        """
        monitor = Monitor()
        studies = Studies.open(config.state_path, limits)
        pipeline = Pipeline(
            predictor,
            studies,
            limits,
            monitor,
            config.batch_size,
            SeriesChoice.parse(config.series),
            config.keep_ids,
        )
        samples = find_samples(config.samples_dir)
        slots = UploadSlots(limits.uploads)
        monitor.receiving.set_function(lambda: slots.num_taken)
        monitor.unfinished.set_function(studies.num_queued)
        monitor.finished.set_function(studies.num_finished)
        monitor.disk_free.set_function(studies.free_bytes)
        monitor.kept.set_function(studies.kept_bytes)
        pipeline.start()
        for name in pipeline.threads:
            monitor.threads.labels(name).set_function(functools.partial(pipeline.runs, name))
        model = pipeline.model
        monitor.model.info(
            {
                "sha256": model.sha256,
                "calibration_sha256": model.calibration_sha256 or "",
                "version": model.version,
                "name": model.name,
            }
        )
        return cls(
            predictor=predictor,
            limits=limits,
            studies=studies,
            pipeline=pipeline,
            upload_slots=slots,
            open_uploads=OpenUploads(studies, limits.uploads, limits.part_seconds),
            samples=samples,
            monitor=monitor,
            large_answers=anyio.CapacityLimiter(limits.large_answers),
            lists_studies=config.list_studies,
            keeps_ids=config.keep_ids,
        )

    def sweep(self) -> None:
        """Deletes studies that are too old, and uploads whose next part did not come."""
        self.open_uploads.sweep()
        self.studies.sweep()

    def close(self) -> None:
        """Ends the workers, and frees the state folder for another server."""
        self.pipeline.close()
        self.studies.close()

    async def run_large(self, function: Callable[[], Result]) -> Result:
        """Runs a function that makes a large answer; waits while too many of them run.

        Raises:
          Refused: 404, if the study is deleted while its files are read.
        """
        try:
            return await anyio.to_thread.run_sync(function, limiter=self.large_answers)
        except FileNotFoundError as error:
            raise Refused(404, "NO_STUDY", "the study was deleted while it was read.") from error

    def find_done(self, study_id: str) -> UploadedStudy:
        """Finds a study that is done.

        Raises:
          Refused: 404 if there is no such study, 409 if it is not done.
        """
        study = self.studies.find(study_id)
        if study.state != DONE:
            raise Refused(
                409,
                "NOT_DONE",
                f"the study is {study.state}; its results exist once it is done.",
                retry_after=0 if study.is_finished else 1,
            )
        return study

    def find_series(
        self, study_id: str, series: int, number: int = 0
    ) -> tuple[UploadedStudy, PredictedSeries]:
        """Finds a study that is done, and a series of it that holds a slice.

        Args:
          study_id: Key of the study.
          series: Index of the series in the study, from 0.
          number: Index of the slice in the series, from 0.

        Raises:
          Refused: 404 if there is no such study, series or slice, 409 if the study is not done.
        """
        study = self.find_done(study_id)
        if series >= len(study.series) or number >= len(study.series[series].slices):
            raise Refused(404, "NO_SLICE", "the study has no such series or slice.")
        return study, study.series[series]
