"""--dry_run shows what does not join, and by which rule it would."""

import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ich_tf.conversion.config import ConversionConfig
from ich_tf.conversion.convert import convert
from ich_tf.conversion.dry_run import estimate
from ich_tf.conversion.joining_rules import UnlabelledSlice
from ich_tf.conversion.side_by_side import joining_rule
from ich_tf.errors import InputError
from ich_tf.labels import write_long_csv
from tests.support.conversions import config_in
from tests.support.dicom_files import make_dicom

NAMES = ["ct/s/ID_01.dcm", "ct/s/ID_02.dcm", "ct/t/ID_13.dcm"]


def rule(ids: list[str], names: list[str] = NAMES, label_key: str = "auto") -> str:
    slices = [UnlabelledSlice(name, f"1.2.{number}") for number, name in enumerate(names)]
    return joining_rule(ids, slices, label_key)


@pytest.mark.parametrize(
    ("ids", "expected"),
    [
        (["id_01", "id_02", "id_13"], "if upper and lower case were alike"),
        (["ID_1", "ID_2", "ID_13"], "if leading zeros did not count"),
        (["ID-01", "ID-02", "ID-13"], "if _, - and spaces were alike"),
        (["ID_01.png", "ID_02.png", "ID_13.png"], "ids had no extension"),
        (["x/ID_01", "y/ID_02", "z/ID_13"], "ids had no folder"),
        (["x/ID_01.png", "y/ID_02.png", "z/ID_13.png"], "ids had neither folder nor extension"),
        (["s\\ID_01.dcm"], "ids had no folder"),
        (["s/ID_01", "s/ID_02", "t/ID_13"], "if --dicom_dir were the folder within it"),
        (["01", "02", "13"], "if the label CSV's ids began with 'ID_'"),
        (["ID_01_a", "ID_02_a", "ID_13_a"], "if the label CSV's ids did not end with '_a'"),
        (
            ["case01", "case02", "case13"],
            "if the label CSV's ids began with 'ID_' instead of 'case'",
        ),
        (["id-1", "id-2", "id-13"], "if upper and lower case, leading zeros, and _, - and spaces"),
    ],
)
def test_the_rule_that_joins_them_is_found(ids: list[str], expected: str) -> None:
    assert rule(ids).startswith("They would join ")
    assert expected in rule(ids)


def test_another_key_is_a_rule() -> None:
    assert rule(["1.2.0", "1.2.1"], label_key="name") == "They would join by --label_key=uid."
    assert rule(["ct/s/ID_01"], label_key="uid") == "They would join by --label_key=path."


def test_what_nothing_joins_is_said_to_be_so() -> None:
    assert rule(["Müller", "Meier"]).startswith("None of the rules that were tried joins them")


def test_a_rule_that_joins_some_says_how_many() -> None:
    names = [f"{number}.dcm" for number in range(4)]
    ids = ["a0", "a1", "a2", "nobody"]
    assert rule(ids, names) == "3 of them would join if the label CSV's ids did not begin with 'a'."


@pytest.fixture
def unjoined(tmp_path: Path) -> ConversionConfig:
    """12 files whose labels say `case-` where the files say `scan-`."""
    (tmp_path / "dicom").mkdir()
    for number in range(12):
        tags = dict.fromkeys(("PatientID", "SOPInstanceUID"), f"1.{number}")
        (tmp_path / "dicom" / f"scan-{number:02}.dcm").write_bytes(make_dicom(tags=tags))
    ids = [f"case-{number:02}" for number in range(12)]
    write_long_csv(tmp_path / "labels.csv", ids, np.zeros((12, 6), np.int64))
    return config_in(tmp_path)


def test_a_conversion_that_fails_names_the_flag(unjoined: ConversionConfig) -> None:
    with pytest.raises(InputError, match="--dry_run shows labels and files"):
        convert(unjoined)


def test_a_dry_run_shows_ten_of_each(unjoined: ConversionConfig) -> None:
    with pytest.raises(InputError, match="none of 12 files") as caught:
        estimate(replace(unjoined, dry_run=True))
    text = str(caught.value)
    assert "label CSV without a file: 12, slices without a label: 12" in text
    assert re.search(r"case-00 +scan-00\.dcm +1\.0\n", text)
    assert "scan-09" in text and "scan-10" not in text
    assert text.endswith("ids began with 'scan-' instead of 'case-'.")


def test_a_dry_run_that_joins_most_shows_the_rest(
    unjoined: ConversionConfig, tmp_path: Path
) -> None:
    ids = [f"scan-{number:02}" for number in range(11)] + ["SCAN-11"]
    write_long_csv(tmp_path / "labels.csv", ids, np.zeros((12, 6), np.int64))
    report = estimate(replace(unjoined, dry_run=True)).report()
    assert re.search(r"SCAN-11 +scan-11\.dcm", report)
    assert "They would join if upper and lower case were alike." in report
    shutil.copy(tmp_path / "dicom/scan-11.dcm", tmp_path / "dicom/copy.dcm")
    copied = estimate(replace(unjoined, dry_run=True, max_bad_fraction=1.0)).side_by_side
    assert "slices without a label: 2" in copied
    (tmp_path / "dicom/copy.dcm").unlink()
    ids[-1] = "scan-11"
    write_long_csv(tmp_path / "labels.csv", ids, np.zeros((12, 6), np.int64))
    assert estimate(replace(unjoined, dry_run=True)).side_by_side == ""
