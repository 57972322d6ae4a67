"""What scanners and archives send to the gateway, by C-STORE and STOW-RS."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from pydicom import Dataset
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import AE, build_context
from pynetdicom.association import Association
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

from ich_tf.gateway.requestor import keep_answers
from tools.soaking.deliveries import Deliveries
from tools.soaking.pacing import Action, Random
from tools.soaking.services import Service
from tools.soaking.studies import CT, GoodStudy, as_file
from tools.soaking.tally import expect

SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
_BOUNDARY = "soak"
# A slow machine is not sent more than it can handle: its queue would be what grows.
_MOST_ON_THEIR_WAY = 5
_NOT_SENT = "not sent, five are on their way"
_PAGES = (
    "/",
    "/api/worklist",
    "/api/worklist?hours=0",
    "/healthz",
    "/metrics",
    "/shared/style.css",
)


@contextmanager
def associated(
    service: Service, calling: str = "SCANNER", called: str = "ICH_TF"
) -> Iterator[Association]:
    """An association with the gateway, established or not; released or aborted at the end."""
    entity = AE(calling)
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = 60
    contexts = [
        build_context(uid, ExplicitVRLittleEndian) for uid in (CT, SECONDARY_CAPTURE, Verification)
    ]
    association = entity.associate("127.0.0.1", service.dicom_port, contexts, called)
    if association.is_established:
        keep_answers(association)
    try:
        yield association
    finally:
        if association.is_established:
            association.release()


def store(association: Association, dataset: Dataset) -> int:
    """The status of a C-STORE; -1 without an answer."""
    return int(association.send_c_store(dataset).get("Status", -1))


def multipart(files: Sequence[bytes], kind: str = "application/dicom") -> tuple[bytes, str]:
    """The body of STOW-RS, and its Content-Type."""
    parts = [
        b"--%s\r\nContent-Type: %s\r\n\r\n%s\r\n" % (_BOUNDARY.encode(), kind.encode(), data)
        for data in files
    ]
    content_type = f'multipart/related; type="{kind}"; boundary={_BOUNDARY}'
    return b"".join(parts) + b"--%s--\r\n" % _BOUNDARY.encode(), content_type


class GatewayLoad:
    """Good senders of one gateway."""

    def __init__(
        self, service: Service, studies: Sequence[GoodStudy], deliveries: Deliveries, seed: int
    ) -> None:
        """Stores its arguments.

        Args:
          service: The gateway.
          studies: Studies to send under new ids.
          deliveries: Is told of all that were acknowledged.
          seed: Seed of the ids.
        """
        logging.getLogger("pynetdicom").setLevel(logging.CRITICAL)
        self._service, self._studies = service, studies
        self._deliveries, self._seed = deliveries, seed
        self._lock, self._count = threading.Lock(), 0

    def actions(self) -> Mapping[str, Action]:
        """Kind -> action."""
        return {
            "gateway: C-STORE": Action(self.c_store, 3),
            "gateway: STOW-RS": Action(self.stow, 2),
            "gateway: sent twice": Action(self.twice, 1),
            "gateway: aborted, then sent": Action(self.aborted, 1),
            "gateway: C-ECHO": Action(self.echo, 1),
            "gateway: pages": Action(self.browse, 3),
        }

    def c_store(self, random: Random) -> str:
        """A study by C-STORE."""
        if self._deliveries.num_waiting >= _MOST_ON_THEIR_WAY:
            return _NOT_SENT
        key, study = self.drawn(random)
        images = study.renewed(key)
        self._store_all(images)
        self._deliveries.add(key, study.number, len(images))
        return "0000"

    def stow(self, random: Random) -> str:
        """A study by STOW-RS."""
        if self._deliveries.num_waiting >= _MOST_ON_THEIR_WAY:
            return _NOT_SENT
        key, study = self.drawn(random)
        images = study.renewed(key)
        body, kind = multipart([as_file(image) for image in images])
        with self._service.client() as client:
            headers = {"content-type": kind}
            answer = client.post("/dicom-web/studies", content=body, headers=headers)
        expect(answer.status_code == 200, f"STOW-RS: {answer.status_code} {answer.text[:200]}")
        self._deliveries.add(key, study.number, len(images))
        return "200"

    def twice(self, random: Random) -> str:
        """A study that is sent once more, in another order: its images are taken once."""
        if self._deliveries.num_waiting >= _MOST_ON_THEIR_WAY:
            return _NOT_SENT
        key, study = self.drawn(random)
        images = study.renewed(key)
        self._store_all(images)
        self._store_all([images[place] for place in random.permutation(len(images))])
        self._deliveries.add(key, study.number, len(images))
        return "0000"

    def aborted(self, random: Random) -> str:
        """An association that is aborted after some images; then all come."""
        if self._deliveries.num_waiting >= _MOST_ON_THEIR_WAY:
            return _NOT_SENT
        key, study = self.drawn(random)
        images = study.renewed(key)
        with associated(self._service) as association:
            expect(association.is_established, "no association")
            for image in images[: random.integers(1, 6)]:
                status = store(association, image)
                expect(status == 0, f"C-STORE: {status:04X}")
            association.abort()
        self._store_all(images)
        self._deliveries.add(key, study.number, len(images))
        return "0000"

    def echo(self, random: Random) -> str:
        """Many C-ECHO requests in a row, some on an association each."""
        with associated(self._service) as association:
            expect(association.is_established, "no association")
            for _ in range(40):
                status = int(association.send_c_echo().get("Status", -1))
                expect(status == 0, f"C-ECHO: {status:04X}")
        for _ in range(5):
            with associated(self._service) as association:
                expect(association.is_established, "no association")
        return "0000"

    def browse(self, random: Random) -> str:
        """The worklist's page, its files and counters."""
        with self._service.client() as client:
            for path in _PAGES:
                status = client.get(path).status_code
                expect(status == 200, f"{path}: {status}")
            # Not ready while the archive is away is a documented answer as well.
            status = client.get("/readyz").status_code
            expect(status in (200, 503), f"/readyz: {status}")
        return "200"

    def drawn(self, random: Random) -> tuple[str, GoodStudy]:
        """A phantom, and a new text for its ids."""
        with self._lock:
            self._count += 1
            key = f"{self._seed}-{self._count}"
        return key, self._studies[random.integers(len(self._studies))]

    def _store_all(self, images: Sequence[Dataset]) -> None:
        with associated(self._service) as association:
            expect(association.is_established, "no association")
            for image in images:
                status = store(association, image)
                expect(status == 0, f"C-STORE: {status:04X}")
