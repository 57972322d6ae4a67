"""Studies of a real archive, in by both ways and back into it, with a fake prediction."""

import datetime
from pathlib import Path

import pydicom
from pydicom.filebase import DicomBytesIO
from pynetdicom import AE, build_context

from ich_tf.gateway.config import DestinationSection, PollSection, ReceiverSection
from ich_tf.gateway.destinations import DicomWebDestination
from ich_tf.gateway.poller import Poller
from ich_tf.gateway.receiver import Receiver
from tests.support.gateway import SR, Bench, write_image
from tests.support.inboxes import CT
from tests.support.orthanc import Orthanc, needs_orthanc, orthanc

POLLED, SENT = "1.2.9.4", "1.2.9.5"
TODAY = f"{datetime.date.today():%Y%m%d}"


def store(port: int, files: list[bytes]) -> list[int]:
    """Statuses of C-STORE."""
    contexts = [build_context(uid, "1.2.840.10008.1.2.1") for uid in (CT, SR)]
    association = AE("ARCHIVE").associate("127.0.0.1", port, contexts, "ICH_TF")
    datasets = [pydicom.dcmread(DicomBytesIO(file)) for file in files]
    statuses = [association.send_c_store(dataset).Status for dataset in datasets]
    association.release()
    return statuses


def number_of_results(archive: Orthanc) -> dict[str, int]:
    return {uid: sum(s["Modality"] == "SR" for s in archive.series(uid)) for uid in (POLLED, SENT)}


@needs_orthanc
def test_each_study_is_handled_once_whichever_way_it_comes(tmp_path: Path) -> None:
    with orthanc() as archive:
        bench = Bench(
            tmp_path,
            receiver=ReceiverSection(enabled=True, port=0, calling_ae_titles=("ARCHIVE",)),
            poll=PollSection(enabled=True, url=archive.dicomweb),
            destination=DestinationSection(kind="dicomweb", url=archive.dicomweb),
        )
        bench.archive = DicomWebDestination(bench.config)
        bench.reopen()
        inbox = bench.gateway.inbox
        poller, receiver = Poller(bench.config, inbox), Receiver(bench.config, inbox)
        receiver.start()
        images = {
            study: [
                write_image(
                    tmp_path / "one", number, study=study, patient=study, StudyDate=TODAY
                ).read_bytes()
                for number in range(3)
            ]
            for study in (POLLED, SENT)
        }
        for image in images[POLLED]:
            archive.request("POST", "/instances", image)
        poller.step()
        # The other study comes by C-STORE alone; images of the first come once more.
        assert store(receiver.port, images[POLLED][:2] + images[SENT]) == [0] * 5
        assert bench.states() == ["receiving", "receiving"]
        bench.run()
        assert bench.states() == ["done", "done"]
        assert number_of_results(archive) == {POLLED: 1, SENT: 1}
        # Results come round: forwarded they are dropped, and no question asks for them.
        results = archive.files("SR")
        assert store(receiver.port, [*results, *images[SENT]]) == [0] * 5
        poller.step()
        bench.run()
        assert bench.states() == ["done", "done"]
        assert [study.late for study in bench.gateway.queue.studies()] == [0, 0]
        assert number_of_results(archive) == {POLLED: 1, SENT: 1}
        assert bench.files() == []
        receiver.close()
        poller.close()
        bench.gateway.close()
