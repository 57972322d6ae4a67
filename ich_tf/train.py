r"""Trains a classifier on a folder of TFRecords.

Without flags it is the ResNet50 recipe on data/tfrecords, in runs/resnet50. Run the same
command again to continue a run where its last checkpoint stands; SIGTERM saves one first.

    python -m ich_tf.train --flagfile=configs/resnet50.flags --data_dir=T --work_dir=W \
        --strategy=mirrored --validation_fold=0

The work dir then holds best.weights.h5 and model.json (for evaluate and predict), history.csv,
training_curves.png, config.json, run.json, tensorboard/ and checkpoints/.
"""

from __future__ import annotations

from ich_tf.runtime import command
from ich_tf.training.config import ALL_FOLDS, TrainConfig

command.define_flags(TrainConfig)


def main() -> None:
    """Flags -> config -> `trainer.train`, or one run a fold."""
    config = command.config_from_flags(TrainConfig)
    # TensorFlow loads here, so that --help and a wrong flag answer at once.
    from ich_tf.evaluation.cross_validation import train_folds
    from ich_tf.training.trainer import train

    if config.validation_fold == ALL_FOLDS:
        train_folds(config)
    else:
        train(config)


if __name__ == "__main__":
    command.run(main, __doc__)
