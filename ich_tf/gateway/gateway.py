"""A gateway's parts, put together: inbox, worker, outbox, and what watches over them."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from ich_tf.errors import InputError
from ich_tf.gateway.arrivals import Arrivals
from ich_tf.gateway.config import GatewayConfig
from ich_tf.gateway.database import Database, StateError
from ich_tf.gateway.folders import Folders
from ich_tf.gateway.inbox import StudyInbox
from ich_tf.gateway.keys import Keys
from ich_tf.gateway.loop import Loop
from ich_tf.gateway.monitoring import GatewayMonitor
from ich_tf.gateway.notices import MAX_RETRY_SECONDS, Notices
from ich_tf.gateway.outbox import Outbox
from ich_tf.gateway.ports import Destination, Refused, Service
from ich_tf.gateway.prediction import Predict
from ich_tf.gateway.queue import StudyQueue
from ich_tf.gateway.retention import Retention
from ich_tf.gateway.worker import Worker
from ich_tf.runtime.folder_lock import FolderLock

_KEEPER_SECONDS = 1.0


@dataclass(frozen=True, eq=False)
class Gateway:
    """The parts of one gateway.

    Attributes:
      config: Config of the gateway.
      inbox: Takes the files of studies.
      queue: Knows what is done with each study.
      monitor: Counters.
      services: Parts that run in threads, in the order of their start.
      notices: Studies that the webhook is to tell of.
      destination_name: Where results go, in words.
      dry_run: Whether nothing is sent.
    """

    config: GatewayConfig
    inbox: StudyInbox
    queue: StudyQueue
    monitor: GatewayMonitor
    services: list[Service]
    notices: Notices
    destination_name: str
    dry_run: bool
    _database: Database
    _lock: FolderLock
    _started: list[Service] = field(default_factory=list)

    @classmethod
    def open(
        cls,
        config: GatewayConfig,
        predict: Predict,
        destination: Destination | None,
        *,
        dry_run: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> Gateway:
        """Opens the state folder, and goes on from what is in it; starts nothing.

        Args:
          config: Config of the gateway.
          predict: Function that predicts a study.
          destination: Where results go; None for nowhere.
          dry_run: Whether to log what would be sent, and send nothing.
          clock: Function that returns seconds since 1970.

        Raises:
          InputError: If the state folder cannot be used, or another gateway uses it.
        """
        folders = Folders(config.state_path)
        lock = FolderLock(folders.root, "Or give another keep.state_dir.", mode=0o700)
        lock.take()
        try:
            is_new = folders.open()
            keys = Keys.open(folders.root, is_new=is_new)
            database = Database.open(folders.database)
        except InputError:
            lock.free()
            raise
        monitor = GatewayMonitor()
        queue = StudyQueue(database, clock)
        retention = Retention(database, folders, config.keep, clock)
        predictions = Worker(database, queue, folders, keys, predict, monitor)
        outbox = Loop(
            "outbox",
            Outbox(queue, folders, destination, config.destination, monitor, dry_run=dry_run).step,
        )

        def work() -> float:
            seconds = predictions.step()
            outbox.wake()
            return seconds

        worker = Loop("worker", work)

        def keep() -> float:
            queue.heed_clock(max(config.destination.max_retry_seconds, MAX_RETRY_SECONDS))
            if queue.close_stable(config.study.stable_seconds):
                worker.wake()
            retention.sweep()
            _measure(queue, folders, monitor)
            return _KEEPER_SECONDS

        arrivals = Arrivals(database, config.study, config.limits, clock)
        inbox = StudyInbox(config, database, folders, keys, arrivals, monitor)
        services: list[Service] = [worker, outbox, Loop("keeper", keep)]
        gateway = cls(
            config=config,
            inbox=inbox,
            queue=queue,
            monitor=monitor,
            services=services,
            notices=Notices(database, clock),
            destination_name="nowhere" if destination is None else destination.name,
            dry_run=dry_run,
            _database=database,
            _lock=lock,
        )
        try:
            retention.clean_up()
            queue.recover()
            if config.study.identify_by == "number":
                queue.forget_names()
        except (StateError, OSError) as error:
            gateway.close()
            raise InputError(f"{folders.root}: {error}") from error
        return gateway

    def start(self) -> None:
        """Starts all services.

        Raises:
          InputError: If one cannot work; those that were started are ended.
        """
        for service in self.services:
            try:
                service.start()
            except InputError:
                self.close()
                raise
            self._started.append(service)

    def dead(self) -> list[str]:
        """Names of parts whose thread has ended, which only a restart mends."""
        return [service.name for service in self.services if not service.is_alive]

    def problems(self) -> dict[str, str]:
        """Why parts do not work at present, by name; empty while all do."""
        problems = {}
        for service in self.services:
            problem = service.problem()
            self.monitor.services.labels(service.name).set(0 if problem else 1)
            if problem:
                problems[service.name] = problem
        try:
            self.queue.counts()
        except StateError as error:
            problems["queue"] = str(error)
        try:
            self.inbox.check_room()
        except Refused as refused:
            problems["disk"] = refused.text
        return problems

    def close(self) -> None:
        """Ends all services, those that take studies first, and frees the state folder."""
        while self._started:
            self._started.pop().close()
        self._database.close()
        self._lock.free()


def _measure(queue: StudyQueue, folders: Folders, monitor: GatewayMonitor) -> None:
    """Sets the gauges of the queue and of the disk."""
    for state, number in queue.counts().items():
        monitor.studies.labels(state).set(number)
    oldest = queue.oldest_waiting()
    monitor.queue_age.set(0 if oldest is None else max(0.0, queue.clock() - oldest))
    monitor.free_bytes.set(folders.free_bytes())
