"""A gateway process to kill: it takes the files of a folder, predicts by a fake, and sends."""

import sys
import threading
import time
from pathlib import Path

from ich_tf.gateway.config import GatewayConfig, KeepSection, StowSection, StudySection
from ich_tf.gateway.gateway import Gateway
from ich_tf.gateway.prediction import StudyPrediction
from tests.support.gateway import Archive, fake_predict

# Longer than a killed sender needs to go on, or a study would be taken for complete.
_STABLE_SECONDS = 3.0


def slow_predict(images: Path, work: Path, results: Path) -> StudyPrediction:
    """Predicts in a time in which it may be killed."""
    prediction = fake_predict(images, work, results)
    time.sleep(0.1)
    return prediction


def main() -> None:
    """Runs until all files are taken and all studies are finished."""
    folder = Path(sys.argv[1])
    config = GatewayConfig(
        stow=StowSection(enabled=True),
        keep=KeepSection(state_dir=str(folder / "state")),
        study=StudySection(stable_seconds=_STABLE_SECONDS),
    )
    gateway = Gateway.open(config, slow_predict, Archive(folder / "archive"))
    gateway.start()

    def send() -> None:
        for path in sorted((folder / "pending").iterdir()):
            copy = gateway.inbox.spool_dir / path.name
            copy.write_bytes(path.read_bytes())
            gateway.inbox.accept(copy, "dimse")
            path.unlink()  # acknowledged
            time.sleep(0.02)

    sender = threading.Thread(target=send)
    sender.start()
    sender.join()
    while {study.state for study in gateway.queue.studies()} != {"done"}:
        time.sleep(0.1)
    time.sleep(2.0)  # the keeper deletes files
    gateway.close()


if __name__ == "__main__":
    main()
