"""Evaluation of masks: what is scored of a series, sizes of pixels, the report's section."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from ich_tf.evaluation.config import EvaluateConfig
from ich_tf.evaluation.evaluate import evaluate
from ich_tf.evaluation.masks.evaluate_masks import MaskResults, evaluate_masks
from ich_tf.evaluation.masks.mask_estimate import INFINITE
from ich_tf.evaluation.masks.mask_evaluation import score_masks, series_table, summarize
from ich_tf.evaluation.masks.mask_section import mask_section, percent
from ich_tf.evaluation.masks.original_size import Marked, original_sides
from ich_tf.evaluation.masks.outlines import outline_path
from ich_tf.evaluation.masks.segmented_series import SegmentedSeries, SegmentedSlice
from ich_tf.inference.masks.image_masks import encode_bits
from ich_tf.inference.masks.mask_network import MaskNetwork
from ich_tf.labels import ANY, CLASSES
from ich_tf.masks.bits import unpack
from ich_tf.records.input_pipeline import eval_batches
from ich_tf.records.manifest import Manifest
from ich_tf.runtime import html
from tests.support.made_up import make_run

ALL = (1 << len(CLASSES)) - 1
SUBDURAL = CLASSES.index("subdural")
RNG = np.random.default_rng(0)


def slice_of(z_mm, reference, prediction, annotated=ALL):
    areas = unpack(reference).sum(axis=(1, 2)).astype(np.float32)
    return SegmentedSlice(
        f"ID_{z_mm}", z_mm, (1.0, 1.0), annotated,
        encode_bits(reference), encode_bits(prediction), areas,
    )  # fmt: skip


def series_of(slices, key="s", pixel_mm=(1.0, 1.0)):
    made = SegmentedSeries.of(key, f"patient of {key}", slices)
    return SegmentedSeries(made.series_key, made.patient_key, made.slices, pixel_mm)


def marked(low, high):
    """A square of subdural blood."""
    bits = np.zeros((16, 16), np.uint8)
    bits[low:high, low:high] = 1 << SUBDURAL | 1 << ANY
    return bits


def of_class(scored, name="subdural"):
    return {each.series_key: each for each in scored if each.class_name == name}


def test_a_slice_that_is_not_annotated_counts_in_neither_mask() -> None:
    empty, bleed, model = marked(0, 0), marked(4, 8), marked(4, 7)
    without_subdural = ALL & ~(1 << SUBDURAL)
    series = series_of(
        # In no order, with a copy of a plane.
        [slice_of(5.0, bleed, model), slice_of(0.0, empty, empty), slice_of(5.001, bleed, bleed),
         slice_of(10.0, empty, model, without_subdural), slice_of(20.0, bleed, model)]
    )  # fmt: skip
    scored = score_masks([series])
    subdural, any_bleed = of_class(scored)["s"], of_class(scored, "any")["s"]
    assert (subdural.num_slices, subdural.num_annotated) == (4, 3)
    # Slices at 0, 5, 10 and 20 mm stand for 5, 5, 7.5 and 7.5 mm.
    assert subdural.scores.reference_ml == pytest.approx(16 * (5 + 7.5) / 1000)
    assert subdural.scores.predicted_ml == pytest.approx(9 * (5 + 7.5) / 1000)
    assert any_bleed.scores.predicted_ml == pytest.approx(9 * (5 + 7.5 + 7.5) / 1000)
    assert [score.dice for score in subdural.slices] == pytest.approx([2 * 9 / (16 + 9)] * 2)


def test_series_of_which_too_little_is_known_are_left_out() -> None:
    empty, bleed = marked(0, 0), marked(4, 8)
    scored = score_masks(
        [
            series_of([slice_of(0.0, empty, bleed), slice_of(5.0, empty, empty)], "negative"),
            series_of([slice_of(0.0, empty, bleed), slice_of(5.0, empty, bleed, 0)], "in part"),
            series_of([slice_of(0.0, bleed, bleed)], "single"),
            series_of([slice_of(0.0, bleed, bleed)] * 2, "no size", (float("nan"),) * 2),
        ]
    )
    assert set(of_class(scored)) == {"negative"}
    summary = summarize(scored, dict.fromkeys(CLASSES, 0.5), 0)["subdural"]
    assert (summary.num_bleeds, summary.num_negative, summary.slices) == (0, 1, {})
    assert summary.series["dice"].value is None
    assert summary.series["false_ml"].value == pytest.approx(16 * 5 / 1000)


def test_the_size_of_images_follows_from_areas_unless_a_crop_tells_it() -> None:
    sides = original_sides(
        [
            Marked(64_000, 1000, 64),
            Marked(256_100, 1000, 64),  # of images of twice the size
            Marked(0, 0, 64),
            Marked(640, 8, 64),  # too few pixels to tell
            Marked(100, 50, 64, crop_side=300),
        ]
    )
    common = 64 * np.sqrt((64_000 + 256_100 + 640) / 2008)
    assert sides.tolist() == pytest.approx([512, 64 * np.sqrt(256.1), common, common, 300])
    assert np.isnan(original_sides([Marked(0, 0, 64)])).all()


def test_an_outline_follows_the_edges_of_pixels() -> None:
    mask = RNG.random((9, 12)) < 0.4
    edges = np.zeros((9, 13), int)
    for part in outline_path(mask).split("M")[1:]:
        if "v" in part:
            column, row, length = map(int, part.replace("v", " ").split())
            edges[row : row + length, column] += 1
    # A pixel is marked if an odd number of edges lies to its left.
    assert (np.cumsum(edges, axis=1)[:, :-1] % 2 == mask).all()
    assert outline_path(np.zeros((3, 3), bool)) == ""


class Knowing(MaskNetwork):
    """A network that knows the masks of the records, and finds a share of them."""

    def __init__(self, manifest: Manifest, finds: bool) -> None:
        self.thresholds = np.full(6, 0.5)
        self.masks: dict[bytes, np.ndarray] = {}
        shards = manifest.split_shards("test")
        for batch in eval_batches(shards, manifest.image_shape, batch_size=16, masks=True):
            for image, bits in zip(batch["image"].numpy(), batch["mask_bits"].numpy(), strict=True):
                found = unpack(bits) if finds else np.zeros((6, 64, 64))
                self.masks[image.tobytes()] = found.transpose(1, 2, 0).astype(np.float32)

    def probabilities(self, images) -> np.ndarray:
        return np.stack([self.masks[image.numpy().tobytes()] for image in images])


def results_of(masked_dir: Path, monkeypatch, finds: bool) -> MaskResults:
    manifest = Manifest.load(masked_dir)
    monkeypatch.setattr(MaskNetwork, "of", lambda predictor: Knowing(manifest, finds))
    found = evaluate_masks(SimpleNamespace(neighbours=1), manifest, "test", 16, with_pictures=finds)  # type: ignore[arg-type]
    assert found is not None
    return found


def test_a_model_that_knows_is_right_everywhere(masked_dir: Path, monkeypatch) -> None:
    results = results_of(masked_dir, monkeypatch, finds=True)
    masks = results.summary(20)
    any_bleed = masks["any"].series
    assert masks["any"].num_bleeds and masks["any"].num_negative
    values = {name: estimate.value for name, estimate in any_bleed.items()}
    for name in ("dice", "surface_dice", "lesion_sensitivity", "lesion_precision", "lesion_f1"):
        assert values[name] == 1, name
    for name in ("hausdorff_mm", "missed_share", "volume_bias_ml", "false_ml"):
        assert values[name] == 0, name
    table = series_table(results.scored)
    assert (table["reference_ml"] == table["predicted_ml"]).all()
    section = mask_section(masks, results.scored, results.pictures)
    template = html._environment("ich_tf.evaluation").get_template("masks.html")
    page = template.module.mask_section(section, percent)
    ranks = [each["rank"] for each in section["pictures"][0]["series"]]
    assert ranks == {1: ["only"], 2: ["best", "worst"]}.get(
        masks["any"].num_bleeds, ["best", "median", "worst"]
    )
    assert f"{ranks[-1].capitalize()}: " in page
    picture = section["pictures"][0]["series"][0]["slices"][0]
    assert picture["truth"] == picture["model"] and f'd="{picture["truth"]}"' in page


def test_what_is_missed_altogether_is_infinitely_far_away(masked_dir: Path, monkeypatch) -> None:
    results = results_of(masked_dir, monkeypatch, finds=False)
    summary = results.summary(20)["any"]
    series = summary.series
    assert series["hausdorff_mm"].value == INFINITE and series["dice"].value == 0
    assert series["missed_share"].value == 1 and series["lesion_precision"].value is None
    assert "HD95 infinite mm" in summary.text()
    table = series_table(results.scored)
    assert np.isinf(table["hausdorff_mm"].dropna()).all() and table["dice"].isna().any()


@pytest.mark.slow
def test_an_evaluation_writes_masks_into_every_file(masked_dir: Path, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", 64, seed=1, segmentation=True)
    config = EvaluateConfig(data_dir=str(masked_dir), work_dir=str(run), bootstrap=20)
    evaluation = evaluate(config)
    folder = next((run / "evaluation").iterdir())

    def refused(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    text = (folder / "metrics.json").read_text()
    masks = json.loads(text, parse_constant=refused)["masks"]
    assert masks["any"]["series"]["dice"]["value"] == evaluation.masks["any"].series["dice"].value
    assert 0 < masks["any"]["series"]["dice"]["value"] < 1
    assert masks["any"]["threshold"] == 0.5
    table = pd.read_csv(folder / "masks.csv")
    assert (table["class"] == "any").sum() == (
        masks["any"]["num_bleeds"] + masks["any"]["num_negative"]
    )
    page = (folder / "report.html").read_text()
    assert "Masks: where the bleed is" in page and 'class="truth" d="M' in page
    assert "masks of any: Dice" in (folder / "summary.txt").read_text()
    assert "### Masks" in (folder / "model_card.md").read_text()
