"""The inbox: a file is on the disk and in the queue before it is acknowledged."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Sequence
from pathlib import Path

from ich_tf.gateway.arrivals import TOO_LARGE, Arrival, Arrivals
from ich_tf.gateway.config import GatewayConfig
from ich_tf.gateway.database import Database, StateError
from ich_tf.gateway.folders import Folders, remove, sync_file
from ich_tf.gateway.ids import read_ids
from ich_tf.gateway.keys import Keys
from ich_tf.gateway.monitoring import GatewayMonitor
from ich_tf.gateway.ports import POLL, Refused
from ich_tf.gateway.stored_images import remove_unknown
from ich_tf.runtime.rationed_log import RationedLog
from ich_tf.runtime.writing import disk_problem

_RATIONED = RationedLog(logging.getLogger(__name__))
# CT and enhanced CT image storage (PS3.4 B.5).
CT_CLASSES = ("1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.2.1")


class StudyInbox:
    """Takes the files of studies; a `ports.Inbox`."""

    def __init__(
        self,
        config: GatewayConfig,
        database: Database,
        folders: Folders,
        keys: Keys,
        arrivals: Arrivals,
        monitor: GatewayMonitor,
    ) -> None:
        """Takes the parts of an open state folder.

        Args:
          config: Config of the gateway.
          database: The database of the queue.
          folders: The state folder.
          keys: Keys of ids.
          arrivals: The queue's end at which images come in.
          monitor: Counters to update.
        """
        self._config, self._database = config, database
        self._folders, self._keys = folders, keys
        # One at a time: a deflated file takes up to 192 MiB until its ids are read.
        self._reading = threading.Lock()
        self._arrivals, self._monitor = arrivals, monitor

    @property
    def spool_dir(self) -> Path:
        """Folder in which a file is written before `accept`."""
        return self._folders.spool

    def check_room(self) -> None:
        """Checks that another file can be taken, before it is received.

        Raises:
          Refused: If the disk is nearly full, or gone.
        """
        try:
            free = self._folders.free_bytes()
        except OSError as error:
            raise Refused(
                "STATE", f"the gateway's state folder cannot be used ({error.strerror})."
            ) from error
        if free < self._config.limits.num_bytes("free_mb"):
            raise Refused(
                "DISK_FULL",
                f"the gateway's disk has {free >> 20} MiB left, less than limits.free_mb "
                f"({self._config.limits.free_mb}). Send it later.",
            )

    def accept(self, path: Path, source: str) -> None:
        """Takes a file; as `ports.Inbox.accept`.

        Args:
          path: DICOM file in `spool_dir`. It is moved from there, or deleted, whatever happens.
          source: Way by which it came: `dimse`, `stow` or `poll`.

        Raises:
          Refused: If it is not taken.
        """
        try:
            self._accept(path, source)
        except Refused as refused:
            self._monitor.refused(source, refused.reason)
            raise
        except StateError as error:
            self._monitor.refused(source, "STATE")
            _RATIONED.warning("an image was refused: %s", error)
            raise Refused("STATE", f"the gateway cannot store it: {error}") from error
        except OSError as error:
            problem = disk_problem(error) or error.strerror or type(error).__name__
            self._monitor.refused(source, "DISK_FULL")
            _RATIONED.warning(
                "an image was refused: the state folder cannot be written (%s)", problem
            )
            raise Refused("DISK_FULL", f"the gateway cannot store it ({problem}).") from error
        finally:
            path.unlink(missing_ok=True)

    def missing(self, study_uid: str, patient_id: str, sop_uids: Sequence[str]) -> list[str]:
        """Chooses the instances of a study that never came; as `ports.Inbox.missing`.

        Args:
          study_uid: StudyInstanceUID.
          patient_id: PatientID; empty for none.
          sop_uids: SOPInstanceUIDs that an archive holds.

        Raises:
          Refused: If the queue cannot be read.
        """
        keys = {self._keys.instance(study_uid, uid): uid for uid in sop_uids}
        try:
            study_key = self._keys.study(study_uid, patient_id) if patient_id else None
            return self._arrivals.missing(self._keys.study_uid(study_uid), study_key, keys)
        except StateError as error:
            raise Refused("STATE", str(error)) from error

    def _accept(self, path: Path, source: str) -> None:
        num_bytes = path.stat().st_size
        if num_bytes > self._config.limits.num_bytes("instance_mb"):
            raise Refused(
                "TOO_LARGE",
                f"the file has {num_bytes >> 20} MiB; expected limits.instance_mb "
                f"({self._config.limits.instance_mb}) at most.",
            )
        with self._reading:
            ids = read_ids(path)
        key = self._keys.instance(ids.study_uid, ids.sop_uid)
        if ids.sop_class not in CT_CLASSES:
            self._drop(key, source)
            return
        self.check_room()
        sync_file(path)
        shows_ids = self._config.study.identify_by == "accession"
        arrival = Arrival(
            study_key=self._keys.study(ids.study_uid, ids.patient_id),
            uid_key=self._keys.study_uid(ids.study_uid),
            key=key,
            num_bytes=num_bytes,
            accession=ids.accession if shows_ids else "",
            study_uid=ids.study_uid if shows_ids else "",
        )

        placed: list[int] = []

        def place(number: int) -> None:
            folder = self._folders.images(number)
            if not folder.is_dir():
                folder.mkdir(parents=True)
                sync_file(self._folders.studies)
                sync_file(folder.parent)
            placed.append(number)
            path.rename(self._folders.image(number, key))
            sync_file(folder)

        try:
            outcome, number = self._arrivals.add(arrival, place)
        except BaseException:
            # Without its row it is no image of the study, whose number may be another's next.
            for number in placed:
                with contextlib.suppress(StateError, OSError):
                    remove_unknown(self._database, self._folders, number)
            raise
        self._monitor.received(source, outcome)
        if outcome == TOO_LARGE:
            # A prediction that is under way may still write; what it leaves, retention deletes.
            with contextlib.suppress(OSError):
                remove(self._folders.study(number))
            raise Refused(
                "TOO_MANY_INSTANCES",
                f"study {number} of the queue has more images, or larger ones, than [limits] "
                "allows.",
            )

    def _drop(self, key: bytes, source: str) -> None:
        """Takes an object that is no CT image and forgets it, or refuses it."""
        if self._arrivals.is_own(key):
            self._monitor.received(source, "own")
            return
        if source == POLL:
            # Of another source it is no reason not to fetch what the archive has under its UID.
            self._arrivals.remember_unwanted(key)
        if self._config.study.other_objects == "ignore":
            self._monitor.received(source, "ignored")
            return
        raise Refused("NOT_CT", "it is no CT image (CT or enhanced CT image storage).")
