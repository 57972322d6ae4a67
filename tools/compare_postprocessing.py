"""Compares steps of postprocessing on synthetic patients: mirroring, smoothing, calibration.

  python -m tools.compare_postprocessing

Trains the recipe of the demo on more phantoms, fits every step on the validation fold, and writes
tables of the losses on held-out patients, and of heat maps against the phantoms' masks. The results
show that the code works, and say nothing about real CT. The same command continues an interrupted
comparison.

Exit codes: 0 done; 1 a step failed; 2 wrong usage.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from absl import flags

from ich_tf.runtime import command
from tools.steps import make_records, run_step

command.add_headings({"out_dir": "Comparison"})
_OUT_DIR = command.define_path(
    "out_dir", "runs/postprocessing", "Folder for phantoms, records, the run and the tables."
)
_NUM_PATIENTS = flags.DEFINE_integer(
    "num_patients", 200, "Number of synthetic patients.", lower_bound=20
)
_TRAIN_FLAGS = flags.DEFINE_list("train_flags", [], "More flags of ich_tf.train.")

# (smoothing in mm, calibration method); -1 mm: the best width on validation patients.
_STEPS = (
    (0.0, "none"), (0.0, "temperature"), (0.0, "platt"), (0.0, "isotonic"),
    (-1.0, "none"), (-1.0, "temperature"), (-1.0, "platt"), (-1.0, "isotonic"), (-1.0, "auto"),
)  # fmt: skip
_MIRRORED = ((0.0, "none"), (-1.0, "auto"))
_METHODS = {
    "none": "not calibrated",
    "temperature": "temperature",
    "platt": "Platt",
    "isotonic": "isotonic",
    "auto": "as ich_tf.calibrate chooses: {}",
}


def main() -> None:
    """Makes the records, trains one run, and writes the tables."""
    from ich_tf.records.manifest import Manifest
    from ich_tf.runtime.files import write_text

    out_dir = Path(_OUT_DIR.value)
    work_dir = out_dir / "run"
    records = make_records(
        out_dir,
        "configs/demo_phantoms.flags",
        "--num_folds=4",
        "--test_fraction=0.3",
        num_patients=_NUM_PATIENTS.value,
    )
    run_step(
        "ich_tf.train",
        "--flagfile=configs/demo.flags",
        f"--data_dir={records}",
        f"--work_dir={work_dir}",
        *_TRAIN_FLAGS.value,
    )
    text = _tables(Manifest.load(records), work_dir, out_dir / "phantoms/stage_2_train_masks")
    print(text)
    write_text(out_dir / "postprocessing.md", text + "\n")


def _tables(manifest: Any, work_dir: Path, masks_dir: Path) -> str:
    """Tables of postprocessing steps and of heat maps, as Markdown."""
    from ich_tf.evaluation.heat_map_scores import measure_heat_maps
    from ich_tf.inference.postprocessing.fitting import fit_postprocessing
    from ich_tf.inference.postprocessing.postprocessing import Postprocessing
    from ich_tf.inference.series_predictor import load_predictor
    from ich_tf.inference.slice_predictor import Predictor
    from ich_tf.masks.png_masks import Masks
    from ich_tf.runtime.strategies import make_strategy

    members = load_predictor(work_dir, make_strategy("one"), calibrated=False).members
    lines = [
        "| after the logits | weighted log loss | ECE, mean of the classes |",
        "| --- | ---: | ---: |",
    ]
    for flip in (False, True):
        predictor = Predictor(members, Postprocessing(flip=flip))
        fitted_on = predictor.predict_split(manifest, "fold-0", 64)
        held_out = predictor.predict_split(manifest, "test", 64)
        for smoothing_mm, method in _MIRRORED if flip else _STEPS:
            fitted = fit_postprocessing(
                [fitted_on], model_sha256="", smoothing_mm=smoothing_mm, method=method
            )
            steps = [
                *(["mean with mirror image"] if flip else []),
                *([f"smoothed over {fitted.smoothing_mm:g} mm"] if smoothing_mm else []),
                _METHODS[method].format(fitted.method),
            ]
            lines.append(f"| {', '.join(steps)} | {_scores(held_out, fitted)} |")
    lines += [
        "",
        f"{len(held_out)} slices of {len(set(held_out.patient_key))} held-out synthetic patients; "
        f"fitted on {len(fitted_on)} of {len(set(fitted_on.patient_key))}.",
        "",
        "| heat maps of any | pointing game | IoU at the best threshold | slices |",
        "| --- | ---: | ---: | ---: |",
    ]
    scores = measure_heat_maps(Predictor(members), manifest, "test", held_out, Masks(masks_dir))
    lines += [
        f"| {score.method.replace('_', ' ')} | {score.pointing:.2f} | {score.iou:.2f} | "
        f"{score.num_slices} |"
        for score in scores
        if score.name == "any"
    ]
    return "\n".join(lines)


def _scores(held_out: Any, fitted: Any) -> str:
    """Two cells of the table: weighted log loss, and calibration error as mean of the classes."""
    import numpy as np

    from ich_tf.metrics import expected_calibration_error, weighted_log_loss

    labels = held_out.labels
    probabilities = fitted.probabilities(held_out.by_group, held_out.z_mm, held_out.series_key)
    errors = [
        float(expected_calibration_error(*of_class))
        for of_class in zip(labels.T, probabilities.T, strict=True)
    ]
    return f"{weighted_log_loss(labels, probabilities):.4f} | {np.mean(errors):.4f}"


if __name__ == "__main__":
    command.run(main, __doc__)
