"""The page shows the series that the command predicts, and says which it leaves out and why."""

from pathlib import Path

import pytest

from ich_tf.dicom.reader import read_slice
from tests.support.ct_study import KINDS, write_study
from tests.support.made_up import make_run
from tests.support.serving import files_of, running, served
from tests.support.studies import as_predicted, check_equal


@pytest.fixture(scope="module")
def work_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("w"), 16, 1, neighbours=3)


@pytest.fixture(scope="module")
def study_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("study")
    write_study(folder)
    return folder


def test_best_is_shown_and_the_others_are_named(
    study_dir: Path, work_dir: Path, tmp_path: Path
) -> None:
    expected = as_predicted(study_dir, work_dir, tmp_path / "out")
    assert [len(one["slices"]) for one in expected] == [6]
    with running(work_dir, tmp_path / "state") as client:
        study = served(client, files_of(study_dir))
        held = list((tmp_path / "state/studies" / study["study_id"]).glob("*-*"))
    check_equal([study], expected)
    assert {file["reason"] for file in study["rejected"]} == {"NOT_HOUNSFIELD"}
    # The chosen one is the repeat; the perfusion map is no CT.
    assert len(study["left_out"]) == len(KINDS) - 2
    reasons = {series["description"]: series["reason"] for series in study["left_out"]}
    sharp = "original axial, sharp kernel, contrast unknown, 6 slices of 5 mm"
    assert "sharper kernel" in reasons[sharp]
    # In the order of their numbers, each with a file to read its description from.
    (series,) = study["series"]
    assert series["chosen"] == f"the best of {len(KINDS) - 1} series"
    assert series["described"]["kernel"] == "soft"
    numbers = [one["described"]["series_number"] for one in study["left_out"]]
    assert numbers == sorted(numbers)
    files = files_of(study_dir)
    for one in study["left_out"]:
        header = read_slice(files[one["file"]][1]).header
        assert header.series_number == one["described"]["series_number"]
        assert one["entry"] is None and one["described"]["text"] == one["description"]
    # Hounsfield units of what nobody will see are not kept.
    assert len(held) == 6


@pytest.mark.slow
def test_all_shows_every_series(study_dir: Path, work_dir: Path, tmp_path: Path) -> None:
    with running(work_dir, tmp_path / "state", series="all") as client:
        study = served(client, files_of(study_dir))
    assert len(study["series"]) == len(KINDS) - 1
    assert study["left_out"] == []
    for series in study["series"]:
        assert series["z_mm"] == sorted(set(series["z_mm"]))


@pytest.mark.slow
def test_where_nothing_fulfils_the_conditions_the_study_says_so(
    study_dir: Path, work_dir: Path, tmp_path: Path
) -> None:
    with running(work_dir, tmp_path / "state", series="thickness>50") as client:
        study = served(client, files_of(study_dir, 6))
    assert study["state"] == "failed"
    assert study["error"]["code"] == "NO_SERIES"
    assert "thickness>50" in study["error"]["message"]
