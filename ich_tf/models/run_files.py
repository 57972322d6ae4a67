"""Names of the files and folders in a work dir."""

from __future__ import annotations

CONFIG = "config.json"
MODEL = "model.json"
BEST_WEIGHTS = "best.weights.h5"
HISTORY = "history.csv"
CURVES = "training_curves.png"
RUN = "run.json"
TENSORBOARD = "tensorboard"
CHECKPOINTS = "checkpoints"
EPOCHS = "epochs"
# In the folder of the epochs: name of a weights file -> its SHA-256.
EPOCH_HASHES = "sha256.json"
ENSEMBLE = "ensemble.json"
CALIBRATION = "calibration.json"
# Of shared weights: how they were made (`models.shared_weights`), and the same for people.
CARD = "card.json"
CARD_PAGE = "card.md"
# Of a fold of a cross-validation: its result, and the hashes of what it was made of.
FINISHED = "finished.json"
