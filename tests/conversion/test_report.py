"""report.html: self-contained, escaped, the same whoever made it, and true."""

import base64
import shutil
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pytest

from ich_tf.conversion.convert import convert
from ich_tf.conversion.inspection import find_slice
from ich_tf.conversion.lookup import record_locations
from ich_tf.conversion.plan import load_plan
from ich_tf.labels import CLASSES
from ich_tf.records.data_files import MANIFEST, REPORT
from ich_tf.runtime.files import read_json
from ich_tf.runtime.html import column_chart, count_rows
from tests.support.conversions import config_for


class Page(HTMLParser):
    """What a page says, shows and asks for."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.text, self.images, self.links, self.scripts = "", {}, [], 0
        self.feed(path.read_text("utf-8"))

    def handle_data(self, data: str) -> None:
        self.text += data

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        if tag == "img":
            head, _, data = values["src"].partition(",")
            assert head == "data:image/png;base64"
            png = np.frombuffer(base64.b64decode(data), np.uint8)
            self.images[values["alt"]] = cv2.imdecode(png, cv2.IMREAD_UNCHANGED)
        self.links += [value for name, value in values.items() if name in ("href", "action")]
        self.scripts += tag == "script"


def test_it_says_what_was_converted(data_dir: Path) -> None:
    page = Page(data_dir / REPORT)
    manifest = read_json(data_dir / MANIFEST)
    for word in (*CLASSES, *manifest["patients"], *manifest["scanners"], "none of them"):
        assert word in page.text
    for name in manifest["transfer_syntaxes"]:
        assert name in page.text
    for shard in manifest["shards"]:
        assert shard["sha256"] in page.text
    assert f"all {manifest['num_records']} inputs are converted" in page.text
    assert page.links == []
    assert page.scripts == 0
    assert "http" not in (data_dir / REPORT).read_text("utf-8")


def test_its_pictures_are_the_records(data_dir: Path) -> None:
    """Each has the label it stands under and the pixels of its record's first window."""
    page = Page(data_dir / REPORT)
    assert len(page.images) > 10
    for text, image in page.images.items():
        identifier, _, labels = text.removeprefix("Slice ").partition(": ")
        found = find_slice(data_dir, identifier)
        np.testing.assert_array_equal(image, found.picture()[20:, :64])
        assert (labels.split(", ") if labels != "no hemorrhage" else []) == found.describe()[
            "labels"
        ]


def test_what_was_left_out_is_named_and_escaped(phantom_dir: Path, tmp_path: Path) -> None:
    source = Path(shutil.copytree(phantom_dir / "stage_2_train", tmp_path / "dicom"))
    (source / "<script>alert('x')&.dcm").write_text("no DICOM")
    cut = min(source.glob("ID*.dcm"))
    cut.write_bytes(cut.read_bytes()[:-900])
    convert(config_for(phantom_dir, tmp_path / "out", dicom_dir=str(source)))
    page = Page(tmp_path / "out" / REPORT)
    assert page.scripts == 0
    for word in ("<script>alert('x')&.dcm", "NOT_DICOM", "TRUNCATED_PIXELS", cut.name):
        assert word in page.text
    assert "rsna_12bit" in page.text
    assert "12-bit unsigned pixels that wrapped around" in page.text
    assert str(tmp_path) not in page.text


@pytest.mark.parametrize(
    "changes",
    [
        {"labels_csv": ""},
        {"encoding": "hu16", "windows": ("stroke",)},
        {"windows": ("bone", "brain"), "image_size": 200},
    ],
)
def test_every_kind_of_conversion_and_whoever_made_it(
    phantom_dir: Path, tmp_path: Path, changes: dict
) -> None:
    for workers in (1, 2):
        out_dir = tmp_path / str(workers)
        convert(config_for(phantom_dir, out_dir, num_workers=workers, **changes))
    one, two = ((tmp_path / name / REPORT).read_bytes() for name in "12")
    assert one == two
    page = Page(tmp_path / "1" / REPORT)
    assert page.images
    if "labels_csv" in changes:
        assert all(text.endswith("unlabelled") for text in page.images)


def test_a_shard_without_records(phantom_dir: Path, tmp_path: Path) -> None:
    """All files of a shard broke after they were indexed."""
    source = Path(shutil.copytree(phantom_dir / "stage_2_train", tmp_path / "dicom"))
    convert(config_for(phantom_dir, tmp_path / "first", dicom_dir=str(source)))
    plan, _ = load_plan(tmp_path / "first")
    for one in plan.shards[0].slices():
        path = source / one.name
        path.write_bytes(path.read_bytes()[:-100])
    convert(config_for(phantom_dir, tmp_path / "out", dicom_dir=str(source)))
    plan, _ = load_plan(tmp_path / "out")
    assert record_locations(tmp_path / "out", plan.shards[0]) == []
    assert Page(tmp_path / "out" / REPORT).images


def test_charts_and_tables_of_counts() -> None:
    chart = column_chart([4, 0, 2], ["a", "b", "c"], {0.5: "a"}, width=350)
    assert [bar["text"] for bar in chart["bars"]] == ["a: 4", "c: 2"]
    first, last = chart["bars"]
    assert first["height"] == 2 * last["height"]
    assert first["x"] < chart["x_marks"][0]["at"] < last["x"]
    logarithmic = column_chart([1_000_000, 1000], ["a", "b"], {}, log=True)
    assert [mark["text"] for mark in logarithmic["y_marks"]] == ["1", "100", "10k", "1M"]
    high, low = logarithmic["bars"]
    assert low["height"] == pytest.approx(high["height"] / 2, rel=0.01)
    rows = count_rows({str(i): i for i in range(1, 6)}, {"5": "five"}, most=2)
    assert [(row["name"], row["count"]) for row in rows] == [("5", 5), ("4", 4), ("3 others", 6)]
    assert [row["what"] for row in rows] == ["five", "", ""]
    assert column_chart([], [], {})["bars"] == []
