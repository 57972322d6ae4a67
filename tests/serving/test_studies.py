"""Which studies come of an upload, how they are found, and which model made them."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from ich_tf.dicom.reader import read_slice
from ich_tf.inference.postprocessing.postprocessing import Postprocessing
from ich_tf.labels import CLASSES
from ich_tf.serving.errors import Refused
from ich_tf.serving.limits import Limits
from ich_tf.serving.open_uploads import OpenUploads
from ich_tf.serving.studies import Studies
from ich_tf.serving.uploads import Upload
from tests.support.made_up import make_run
from tests.support.serving import Upload as Sent
from tests.support.serving import files_of, running, served, served_all, wait, zipped


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("model") / "w", 32, 1)


@pytest.fixture(scope="module")
def patients(phantom_dir: Path) -> list[list[Sent]]:
    """Files of three studies, three each."""
    found: dict[str, list[Sent]] = {}
    for name, data in files_of(phantom_dir / "stage_2_train"):
        found.setdefault(read_slice(data).header.study_id, []).append((name, data))
    return [files[:3] for files in found.values() if len(files) > 2][:3]


@pytest.fixture(scope="module")
def client(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    state = tmp_path_factory.mktemp("state")
    limits = Limits(studies=2, kept_studies=99)
    with running(model, state, limits, list_studies=True, keep_ids=True) as started:
        yield started


def test_each_patient_is_a_study(client: httpx.Client, patients: list[list[Sent]]) -> None:
    first, second = patients[:2]
    mixed = [("notes.txt", b"x"), first[0], ("a.zip", zipped(second)), *first[1:]]
    studies = served_all(client, mixed)
    assert [study["state"] for study in studies] == ["done", "done"]
    assert studies[0]["upload"] == studies[1]["upload"] == [one["study_id"] for one in studies]
    assert studies[0]["received_at"] == studies[1]["received_at"]
    for study, files in zip(studies, (first, second), strict=True):
        (series,) = study["series"]
        ids = {read_slice(data).header.image_id for _, data in files}
        assert {slice_["sop_instance_uid"] for slice_ in series["slices"]} == ids
    places = [
        {(one["file"], one["entry"]) for one in study["series"][0]["slices"]} for study in studies
    ]
    assert places == [{(1, None), (3, None), (4, None)}, {(2, 0), (2, 1), (2, 2)}]
    assert [study["num_files"] for study in studies] == [4, 3]
    assert [len(study["rejected"]) for study in studies] == [1, 0]
    # Each is its own: the heat maps and the end of one are not those of the other.
    routes = [f"/api/studies/{study['study_id']}" for study in studies]
    assert client.delete(routes[0]).status_code == 204
    assert client.get(routes[0]).status_code == 404
    assert client.get(f"{routes[1]}/series/0/slices/0/heatmaps/any").status_code == 200
    table = client.get(f"{routes[1]}/results.csv").text
    assert table.startswith("series,slice,file,entry,frame,sop_instance_uid,z_mm,epidural")


def test_of_too_many_studies_none_is_read(client: httpx.Client, patients: list[list[Sent]]) -> None:
    study = served(client, [file for files in patients for file in files])
    assert len(patients) == 3
    assert study["state"] == "failed" and study["error"]["code"] == "TOO_MANY_STUDIES"


def test_an_upload_in_parts_is_one_study(client: httpx.Client, patients: list[list[Sent]]) -> None:
    files = patients[0]
    parts = [[("files", files[0])], [("files", ("a.zip", zipped([files[1]])))]]
    answer = client.post("/api/studies", files=parts[0], params={"more": True})
    assert answer.status_code == 202 and answer.json()["state"] == "receiving"
    route = answer.headers["location"]
    assert client.get(route).json()["state"] == "receiving"
    more = f"{route}/files"
    assert client.post(more, files=parts[1], params={"more": True}).json()["num_files"] == 2
    assert client.post(more, files=[("files", files[2])]).status_code == 202
    study = wait(client, answer.json()["study_id"])
    (series,) = study["series"]
    places = {(one["file"], one["entry"]) for one in series["slices"]}
    assert places == {(0, None), (1, 0), (2, None)}
    whole = served(client, files)
    assert whole["series"][0]["probabilities"] == series["probabilities"]
    late = client.post(more, files=parts[0])
    assert (late.status_code, late.json()["error"]["code"]) == (409, "NOT_RECEIVING")


def test_an_upload_whose_next_part_does_not_come_is_dropped(
    model: Path, tmp_path: Path, patients: list[list[Sent]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ich_tf.serving.api._SWEEP_SECONDS", 0.05)
    limits = Limits(part_seconds=0.2, unpacked_mb=1, uploads=1)
    with running(model, tmp_path / "state", limits) as client:
        sent = {"files": [("files", patients[0][0])], "params": {"more": True}}
        route = client.post("/api/studies", **sent).headers["location"]
        # One that waits takes no place from others.
        assert served(client, patients[0])["state"] == "done"
        while client.get(route).status_code == 200:
            time.sleep(0.01)
        assert list((tmp_path / "state/uploads").iterdir()) == []
        # All parts together keep to the limits.
        route = client.post("/api/studies", **sent).headers["location"]
        answer = client.post(f"{route}/files", files=[("files", ("a", bytes(2**20 - 999)))])
        assert (answer.status_code, answer.json()["error"]["code"]) == (413, "TOO_LARGE")
        assert client.get(route).status_code == 404
        assert list((tmp_path / "state/uploads").iterdir()) == []


def test_of_too_many_uploads_that_wait_the_oldest_is_dropped(tmp_path: Path) -> None:
    studies = Studies.open(tmp_path, Limits())
    waiting = OpenUploads(studies, limit=2, seconds=60)
    begun = [studies.reserve() for _ in range(3)]
    for study in begun:
        waiting.put(study, Upload(studies.upload_folder(study), Limits()))
    with pytest.raises(Refused, match="no such study"):
        waiting.take(begun[0].study_id)
    assert waiting.take(begun[1].study_id).study is begun[1]
    assert not studies.upload_folder(begun[0]).exists()
    studies.close()


def test_studies_are_listed_only_where_the_server_says_so(
    client: httpx.Client, patients: list[list[Sent]]
) -> None:
    """`test_http` asks one that does not."""
    studies = [served(client, patients[0]), served(client, [("a", b"x")])]
    listed = client.get("/api/studies").json()
    assert [one["study_id"] for one in listed[:2]] == [one["study_id"] for one in studies[::-1]]
    failed, done = listed[:2]
    assert (failed["state"], failed["num_slices"], failed["any"]) == ("failed", 0, None)
    assert (done["state"], done["num_series"], done["num_slices"]) == ("done", 1, 3)
    assert done["any"] == studies[0]["series"][0]["summary"]["max"]["any"]
    assert done["decision"] is None  # the model has no operating point
    service = client.get("/api/service").json()
    assert service["lists_studies"] and service["keeps_ids"] and service["studies"] == 2


def test_a_study_keeps_the_model_that_made_it(tmp_path: Path, patients: list[list[Sent]]) -> None:
    """Other weights or another calibration after a restart do not claim its results."""
    work_dir, state = make_run(tmp_path / "w", 32, 1), tmp_path / "state"
    with running(work_dir, state) as client:
        study = served(client, patients[0])
        former = client.get("/api/model").json()
        assert study["model"] == former
        heat_map = f"/api/studies/{study['study_id']}/series/0/slices/0/heatmaps/any"
        assert client.get(heat_map).status_code == 200
        kept_results = client.get(f"/api/studies/{study['study_id']}/results.json").content
    points = {"slice": {"youden": dict.fromkeys(CLASSES, 0.25)}}
    Postprocessing(
        model_sha256=former["sha256"], thresholds=points, fitted_on={"patients": 9}
    ).save(work_dir)
    with running(work_dir, state) as client:
        present = client.get("/api/model").json()
        assert present["sha256"] == former["sha256"]
        assert former["calibration_sha256"] is None and len(present["calibration_sha256"]) == 64
        assert present["thresholds"]["slice"]["any"] == 0.25
        answer = client.get(f"/api/studies/{study['study_id']}/results.json")
        assert answer.content == kept_results  # to the byte, the order of keys included
        results = answer.json()
        assert results["model"] == results["study"]["model"] == former
        answer = client.get(heat_map)
        assert (answer.status_code, answer.json()["error"]["code"]) == (409, "OTHER_MODEL")
    path = state / "studies" / study["study_id"] / "study.json"
    kept = json.loads(path.read_text())
    assert kept["model"] == former
    # One that an older server wrote in another form is forgotten.
    del kept["model"]["heat_scale"]
    path.write_text(json.dumps(kept))
    studies = Studies.open(state, Limits())
    assert studies.all() == [] and not path.exists()
    studies.close()
