"""The end of make demo-segmentation: volumes of new patients beside the true ones."""

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from ich_tf.dicom.reader import read_slice
from tools.demo_segmentation import volume_table


def test_volumes_stand_beside_the_true_ones(phantom_dir: Path, tmp_path: Path) -> None:
    masks = tmp_path / "submission_masks"
    shutil.copytree(phantom_dir / "stage_2_test_masks", masks)
    series: dict[str, dict[str, float]] = {}
    areas = {}
    for path in sorted((phantom_dir / "stage_2_test").iterdir()):
        header = read_slice(path.read_bytes()).header
        members = series.setdefault(header.series_id, {})
        members[path.stem] = 5.0 * len(members)
        marked = cv2.imread(str(masks / f"{path.stem}.png"), cv2.IMREAD_UNCHANGED) > 0
        areas[path.stem] = marked.sum() * np.prod(header.spacing_mm)
    volumes = {"ml": {"any": 12.34}}
    content = [
        {"slices": [{"image_id": name, "z_mm": z} for name, z in each.items()], "volumes": volumes}
        for each in series.values()
    ]
    (tmp_path / "submission_series.json").write_text(json.dumps({"series": content}))
    true_ml = [sum(areas[name] for name in each) * 5 / 1000 for each in series.values()]
    assert max(true_ml) > 1

    def rows() -> list[list[str]]:
        return [line.split() for line in volume_table(phantom_dir, tmp_path).splitlines()[2:]]

    for (_, true, predicted, dice), expected in zip(rows(), true_ml, strict=True):
        assert float(true) == pytest.approx(expected, abs=0.06)
        assert (predicted, dice) == ("12.3", "1.00" if expected else "-")
    # Of one slice that is marked, nothing is found any more.
    missed = max(areas, key=areas.__getitem__)
    cv2.imwrite(str(masks / f"{missed}.png"), np.zeros((64, 64), np.uint8))
    assert min(float(row[3]) for row in rows() if row[3] != "-") < 1
