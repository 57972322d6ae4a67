"""State folders that lie in a work dir of a stranger, or that others write to."""

import dataclasses
import json
import os
from pathlib import Path

import pytest

from ich_tf.errors import InputError
from ich_tf.serving.study import (
    DONE,
    DescribedSeries,
    PredictedSeries,
    SliceFile,
    UploadedStudy,
)
from ich_tf.serving.study_folders import StudyFolders

KEY = "A" * 24


def planted(folder: Path, **changes: object) -> Path:
    """A study that a server finds when it starts."""
    study = folder / "studies" / KEY
    study.mkdir(parents=True)
    content = {**UploadedStudy(KEY, [KEY], 0.0, DONE).to_json(), **changes}
    (study / "study.json").write_text(json.dumps(content))
    return study


def found(folder: Path) -> list[UploadedStudy]:
    folders = StudyFolders(folder)
    try:
        return list(folders.read_all())
    finally:
        folders.close()


@pytest.mark.parametrize("name", ["", "uploads", "studies"])
def test_a_link_is_no_folder_of_studies(name: str, tmp_path: Path) -> None:
    """CWE-59: all that lay behind `studies` was deleted, as studies of another version."""
    theirs = tmp_path / "theirs"
    (theirs / "studies").mkdir(parents=True)
    (theirs / "work.txt").write_text("years")
    (theirs / "studies" / "work.txt").write_text("years")
    state = tmp_path / "serve"
    if name:
        state.mkdir()
    (state / name).symlink_to(theirs, target_is_directory=True)
    with pytest.raises(InputError, match="is a link"):
        StudyFolders(state)
    assert {path.name for path in theirs.iterdir()} == {"studies", "work.txt"}


def test_what_no_server_made_is_left_alone(tmp_path: Path) -> None:
    for path in (tmp_path / "studies" / "thesis", tmp_path / "uploads" / "thesis"):
        path.mkdir(parents=True)
        (path / "chapter").write_text("1")
    damaged = tmp_path / "studies" / ("B" * 24)
    damaged.mkdir()
    left = tmp_path / "uploads" / ("C" * 24)
    left.mkdir()
    assert found(tmp_path) == []
    assert (tmp_path / "studies" / "thesis" / "chapter").is_file()
    assert (tmp_path / "uploads" / "thesis" / "chapter").is_file()
    assert not damaged.exists() and not left.exists()


def test_a_study_holds_files_of_its_own(tmp_path: Path) -> None:
    """CWE-22, CWE-59: whoever knew the key read any file of the server's user."""
    secret = tmp_path / "secret.png"
    secret.write_text("key")
    study = planted(tmp_path / "linked")
    (study / "0-0.png").symlink_to(secret)
    assert found(tmp_path / "linked") == [] and secret.is_file()
    described = DescribedSeries(1, 1, "", "unknown", None, None, 0.0, "unknown", "scan", "other")
    names = {"0-0": 1, "3-0-12": 1, str(secret.with_suffix("")): 0, "../0-0": 0, "0-0/x": 0, "": 0}
    for number, (name, count) in enumerate(names.items()):
        slice_ = SliceFile(name, 1, 1, (0.0,) * 3, (1.0,) * 6, (1.0, 1.0))
        series = PredictedSeries((slice_,), described, "", 0.0, (0.0,), ((0.0,) * 6,), {})
        planted(tmp_path / str(number), series=[dataclasses.asdict(series)])
        assert len(found(tmp_path / str(number))) == count, name


@pytest.mark.parametrize("content", ["[" * 200_000, "1" * 5000, '{"version": 2', None])
def test_a_study_json_of_anybody_keeps_no_server_from_starting(
    content: str | None, tmp_path: Path
) -> None:
    path = planted(tmp_path) / "study.json"
    path.unlink()
    if content is None:
        os.mkfifo(path)
    else:
        path.write_text(content)
    assert found(tmp_path) == []
