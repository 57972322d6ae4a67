"""Studies of an archive that is asked again and again: QIDO-RS, then WADO-RS."""

from __future__ import annotations

import logging
from collections import Counter
from datetime import date, timedelta

from ich_tf.gateway.archive import Archive, ArchiveError
from ich_tf.gateway.config import GatewayConfig
from ich_tf.gateway.dicomweb import (
    ArchiveInstance,
    ArchiveStudy,
    ct_images,
    ct_studies,
    instance_path,
    retrieve,
    series_path,
)
from ich_tf.gateway.loop import Loop, MachineError
from ich_tf.gateway.ports import POLL, Inbox, Refused
from ich_tf.gateway.spool import SpoolFile

_LOG = logging.getLogger(__name__)

# The time from one question to the next is doubled while the archive does not answer, up to this.
_MAX_WAIT_SECONDS = 900.0
# Times that a study is tried whose images do not come, while those of others do.
_MAX_TRIES = 5
# Reasons that are of the archive, not of one study.
_ARCHIVE_FAILURES = ("UNREACHABLE", "TIMEOUT", "TLS", "DENIED")


class Poller(Loop):
    """Fetches the CT images of an archive's new studies."""

    def __init__(self, config: GatewayConfig, inbox: Inbox) -> None:
        """Opens nothing yet.

        Args:
          config: Config of the gateway.
          inbox: Takes the files.

        Raises:
          InputError: If a file of `[tls]` cannot be used.
        """
        section = config.poll
        super().__init__("poller", self.step, pause_seconds=section.every_seconds)
        self._section, self._limits, self._inbox = section, config.limits, inbox
        self._archive = Archive(
            section.url, section.token_file, section.timeout_seconds, config.tls, config.limits
        )
        self._num_failures = 0
        # Study -> number of its instances when all of its images were here. Only in memory: after
        # a restart each study of these days is asked for once more.
        self._complete: dict[str, int] = {}
        # The same, of studies that do not come.
        self._given_up: dict[str, int] = {}
        self._tries: Counter[str] = Counter()

    def close(self, timeout_seconds: float = 5.0) -> None:
        """Ends. What is being fetched is fetched again after the next start."""
        super().close(timeout_seconds)
        self._archive.close()

    def step(self) -> float:
        """Asks, and fetches what is missing. Returns the time until the next question, s.

        Raises:
          MachineError: If something could not be fetched.
        """
        every = self._section.every_seconds
        problem = self._ask()
        wait: float = min(every * 2**self._num_failures, max(_MAX_WAIT_SECONDS, every))
        if problem:
            self.pause_seconds = wait
            raise MachineError(problem)
        return wait

    def _ask(self) -> str:
        today = date.today()
        try:
            first = today - timedelta(days=self._section.days - 1)
            studies = list(ct_studies(self._archive, first, today))
            known = {study.uid for study in studies}
            for numbers in (self._complete, self._given_up, self._tries):
                for uid in numbers.keys() - known:
                    del numbers[uid]
            problem = ""
            for study in studies:
                if self.is_closed:
                    break
                problem = self._fetch(study) or problem
        except (ArchiveError, Refused) as error:
            self._num_failures = min(self._num_failures + 1, 10)
            return error.text
        self._num_failures = 0
        return problem

    def _fetch(self, study: ArchiveStudy) -> str:
        """Fetches the images of a study that are not here. Returns why some did not come.

        Raises:
          ArchiveError: If the archive itself does not work.
          Refused: If this machine has no room.
        """
        if self._given_up.get(study.uid) == study.num_instances:
            return ""
        if study.num_instances >= 0 and self._complete.get(study.uid) == study.num_instances:
            return ""
        try:
            images = ct_images(self._archive, study, self._limits.study_instances)
            uids = [image.uid for image in images]
            missing = set(self._inbox.missing(study.uid, study.patient_id, uids))
            self._fetch_images(study, images, missing)
        except ArchiveError as error:
            if error.reason in _ARCHIVE_FAILURES:
                raise
            self._tries[study.uid] += 1
            if self._tries[study.uid] < _MAX_TRIES:
                return f"a study cannot be fetched: {error.text}"
            # Until it changes: an archive that has lost an image will not find it again.
            _LOG.error("poller: a study is given up after %d tries: %s", _MAX_TRIES, error.text)
            self._given_up[study.uid] = study.num_instances
        else:
            self._complete[study.uid] = study.num_instances
        self._tries.pop(study.uid, None)
        return ""

    def _fetch_images(
        self, study: ArchiveStudy, images: list[ArchiveInstance], missing: set[str]
    ) -> None:
        series: dict[str, list[ArchiveInstance]] = {}
        for image in images:
            series.setdefault(image.series_uid, []).append(image)
        for series_uid, members in series.items():
            absent = [image for image in members if image.uid in missing]
            if len(absent) == len(members):
                self._retrieve(series_path(study, series_uid), len(members))
            else:
                for image in absent:
                    self._retrieve(instance_path(study, image), 1)

    def _retrieve(self, path: str, expected: int) -> None:
        refusals: list[Refused] = []

        def take(file: SpoolFile) -> None:
            try:
                file.accept()
            except Refused as error:
                refusals.append(error)
            finally:
                file.discard()

        num_files = retrieve(self._archive, path, self._limits, self._new_file, take)
        for refused in refusals:
            if refused.may_be_sent_again:
                raise refused
        if refusals:
            _LOG.warning("poller: %d files refused: %s", len(refusals), refusals[0].text)
        if num_files < expected:
            raise ArchiveError(
                "BAD_ANSWER", f"the archive sent {num_files} of {expected} images of a series."
            )

    def _new_file(self) -> SpoolFile:
        return SpoolFile(self._inbox, self._limits, POLL)
