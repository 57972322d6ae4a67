"""Measures what `calibrate --few` is worth at a site, by the number of labelled patients.

  python -m tools.compare_few --work_dir=W --data_dir=SITE

Draws so many patients from the folds of --data_dir, several times, and prints the weighted log loss
on its test split: as the model was, after Platt scaling of these patients, and after the fit that
stays near what was known. The work dir is not changed.

Exit codes: 0 done; 1 the data or the model cannot be used; 2 wrong usage.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from absl import flags

from ich_tf.runtime import command

if TYPE_CHECKING:
    import numpy as np

    from ich_tf.inference.forward import SlicePredictions

command.add_headings({"work_dir": "Model and data", "numbers": "Comparison"})
_WORK_DIR = command.define_path("work_dir", "runs/pretrained", "Folder of the model.")
_DATA_DIR = command.define_path(
    "data_dir", "data/tfrecords", "Folder of records of other patients than the model's."
)
_NUMBERS = flags.DEFINE_list("numbers", ["5", "10", "20", "40"], "Numbers of labelled patients.")
_REPEATS = flags.DEFINE_integer("repeats", 20, "Draws of each number.", lower_bound=1)


def main() -> None:
    """Predicts both parts of the site, and prints a row for each number of patients."""
    import numpy as np

    from ich_tf.inference.few_labels import without_site
    from ich_tf.inference.forward import SlicePredictions
    from ich_tf.inference.series_predictor import load_predictor
    from ich_tf.metrics import weighted_log_loss
    from ich_tf.records.manifest import Manifest
    from ich_tf.runtime.strategies import make_strategy

    manifest = Manifest.load(_DATA_DIR.value)
    predictor = load_predictor(_WORK_DIR.value, make_strategy("one"))
    predictor.check_data(manifest, _WORK_DIR.value)
    steps = without_site(predictor.postprocessing)

    def predicted(*splits: str) -> tuple[SlicePredictions, np.ndarray]:
        parts = [predictor.predict_split(manifest, split, 64, is_own=False) for split in splits]
        slices = SlicePredictions.concatenate(parts)
        return slices, steps.probabilities(slices.by_group, slices.z_mm, slices.series_key)

    folds, seen = predicted(*(name for name in manifest.patients if name.startswith("fold-")))
    test, new = predicted("test")
    constant = np.broadcast_to(folds.labels.mean(axis=0).clip(1e-4), new.shape)
    print(
        f"test split: {len(test)} slices of {len(set(test.patient_key))} patients; weighted log "
        f"loss {weighted_log_loss(test.labels, new):.4f} as the model was, "
        f"{weighted_log_loss(test.labels, constant):.4f} of a constant"
    )
    print(
        "| labelled patients | Platt, mean (worst) | --few, mean (worst) |\n| ---: | ---: | ---: |"
    )
    keys = np.array(folds.patient_key)
    for number in map(int, _NUMBERS.value):
        cells = []
        for fit in (_platt, _few):
            losses = [
                weighted_log_loss(test.labels, fit(folds.labels[rows], seen[rows], keys[rows], new))
                for rows in _draws(keys, number)
            ]
            cells.append(f"{np.mean(losses):.4f} ({max(losses):.4f})")
        print(f"| {number} | {' | '.join(cells)} |", flush=True)


def _draws(keys: np.ndarray, number: int) -> Iterator[np.ndarray]:
    """Rows of the slices of some patients, once a repeat."""
    import numpy as np

    patients = np.unique(keys)
    for repeat in range(_REPEATS.value):
        yield np.isin(keys, np.random.default_rng(repeat).permutation(patients)[:number])


def _few(labels: np.ndarray, seen: np.ndarray, keys: np.ndarray, new: np.ndarray) -> np.ndarray:
    from ich_tf.inference.postprocessing.site import fit_site

    return fit_site(labels, seen, keys.tolist()).calibrator(new)


def _platt(labels: np.ndarray, seen: np.ndarray, keys: np.ndarray, new: np.ndarray) -> np.ndarray:
    from ich_tf.inference.postprocessing.calibrators import fit_platt
    from ich_tf.inference.postprocessing.site import logits_of

    return fit_platt(labels, logits_of(seen))(logits_of(new))


if __name__ == "__main__":
    command.run(main, __doc__)
