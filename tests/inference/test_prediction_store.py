"""The store of a prediction: its owner's alone, without patients' ids, and gone in the end."""

import os
import signal
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from ich_tf.errors import InputError, NothingToPredictError
from ich_tf.inference.config import PredictConfig
from ich_tf.inference.prediction import predict as prediction
from ich_tf.runtime.files import temporary_path
from tests.support.dicom_files import make_dicom
from tests.support.made_up import make_run


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("model") / "run", 32, 1)


@pytest.fixture(autouse=True)
def umask() -> Iterator[None]:
    former = os.umask(0)
    yield
    os.umask(former)


def config(model: Path, tmp_path: Path, **tags: object) -> PredictConfig:
    folder = tmp_path / "dicom"
    folder.mkdir(exist_ok=True)
    for i in range(3):
        tags = {
            "SOPInstanceUID": f"1.2.3.{i}", "PatientID": "PATIENT-4711", **tags,
            "ImagePositionPatient": ["-120", "-110.5", str(5 * i)],
        }  # fmt: skip
        (folder / f"{i}.dcm").write_bytes(make_dicom(tags=tags))
    return PredictConfig(
        dicom_dir=str(folder), work_dir=str(model), out_csv=str(tmp_path / "s.csv"), num_workers=1
    )


def test_an_interrupted_run_leaves_no_patient_to_others(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = tmp_path / ".s.partial.sqlite"
    left = temporary_path(tmp_path / "s_series.csv")
    left.write_text("of a run that was killed")
    with monkeypatch.context() as patch:
        # Of a shell's background it would be ignored.
        former = signal.signal(signal.SIGINT, signal.default_int_handler)
        patch.setattr(prediction, "_write", lambda *_, **__: os.kill(os.getpid(), signal.SIGINT))
        with pytest.raises(KeyboardInterrupt):
            prediction.predict(config(model, tmp_path))
        signal.signal(signal.SIGINT, former)
    assert stat.S_IMODE(store.stat().st_mode) == 0o600
    assert b"PATIENT-4711" not in store.read_bytes() and b"1.2.3.0" in store.read_bytes()
    assert not left.exists()
    result = prediction.predict(config(model, tmp_path))
    assert result.num_slices == 3
    assert {path.name for path in tmp_path.iterdir() if path.name.startswith(".")} == set()


def test_where_nothing_can_be_predicted_nothing_is_left(model: Path, tmp_path: Path) -> None:
    with pytest.raises(NothingToPredictError):
        prediction.predict(config(model, tmp_path, Modality="MR"))
    assert {path.name for path in tmp_path.iterdir()} == {"dicom"}


def test_a_link_in_the_place_of_the_store_is_not_followed(model: Path, tmp_path: Path) -> None:
    target = tmp_path / "precious"
    target.write_text("precious")
    (tmp_path / ".s.partial.sqlite").symlink_to(target)
    with pytest.raises((InputError, OSError)):
        prediction.predict(config(model, tmp_path))
    assert target.read_text() == "precious"
