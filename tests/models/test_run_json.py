"""Files of a run that were edited or damaged are refused in a paragraph."""

import json
from pathlib import Path
from typing import Any

import pytest

from ich_tf.errors import InputError
from ich_tf.inference.ensemble import Member, find_members
from ich_tf.models.origins import read_origin
from ich_tf.models.run_files import ENSEMBLE, RUN
from ich_tf.models.run_json import read_run

DATA = {"data": {"sha256": "ab"}}
ORIGIN = {
    "origin": "run",
    "weights_sha256": "",
    "data_sha256": "ab",
    "validation_fold": 0,
    "gave_features": False,
    "ancestors": [],
}
NOTED = {**DATA, "patients": {}, "ancestors": [], "origin": ORIGIN}


@pytest.mark.parametrize(
    "content",
    [
        [],
        {},
        {"data": []},
        {"data": {"sha256": 1}},
        {**DATA, "sessions": {}},
        {**DATA, "sessions": [1]},
        {**DATA, "id": 5},
        {**NOTED, "origin": {**ORIGIN, "validation_fold": float("inf")}},
        {**NOTED, "origin": {**ORIGIN, "validation_fold": 10**400}},
        {**NOTED, "origin": {**ORIGIN, "origin": "heaven"}},
        {**NOTED, "ancestors": 3},
    ],
)
def test_an_edited_run_json_is_refused(content: Any, tmp_path: Path) -> None:
    (tmp_path / RUN).write_text(json.dumps(content))
    with pytest.raises(InputError, match=rf"{RUN}: (does not describe a run|not JSON)"):
        read_origin(tmp_path)
    if content == {}:
        for read in (read_run, lambda folder: Member(folder).data_sha256()):
            with pytest.raises(InputError, match="does not describe a run"):
                read(tmp_path)


def test_an_intact_run_json_is_read(tmp_path: Path) -> None:
    (tmp_path / RUN).write_text(json.dumps(NOTED))
    assert read_origin(tmp_path).data_sha256 == Member(tmp_path).data_sha256() == "ab"
    (tmp_path / RUN).write_text("[" * 100_000)
    with pytest.raises(InputError, match="not JSON"):
        read_run(tmp_path)


@pytest.mark.parametrize("share", [float("nan"), -1, 0, "a", 1e300 * 1e10])
def test_shares_of_an_ensemble_are_numbers_above_0(share: Any, tmp_path: Path) -> None:
    member = {"work_dir": "run", "weights": "best.weights.h5", "share": share, "sha256": ""}
    (tmp_path / ENSEMBLE).write_text(json.dumps({"version": 1, "members": [member]}))
    with pytest.raises(InputError, match="not an ensemble of this version"):
        find_members(tmp_path)
