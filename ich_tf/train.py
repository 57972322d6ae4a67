"""Trains a classifier on a folder of TFRecords.

  python -m ich_tf.train --flagfile=@resnet50 --data_dir=T --work_dir=W --strategy=mirrored

Without flags it trains the ResNet50 recipe on data/tfrecords in runs/resnet50. The same command
continues an interrupted run from its last checkpoint; SIGTERM saves a checkpoint first.

--work_dir then holds best.weights.h5 and model.json (for evaluate and predict), history.csv,
training_curves.png, config.json, run.json, tensorboard/ and checkpoints/.

Exit codes: 0 done; 1 the data cannot be used, or --work_dir holds another run; 2 wrong usage;
143 terminated, with its progress saved.
"""

from __future__ import annotations

from ich_tf.runtime import command
from ich_tf.training.config import ALL_FOLDS, TrainConfig

command.define_flags(TrainConfig)
command.hold_no_patients()


def main() -> None:
    """Trains one fold, or all folds or several seeds one after the other."""
    config = command.config_from_flags(TrainConfig)
    # Imported after the flags are checked: TensorFlow takes seconds to load.
    if config.seeds:
        from ich_tf.evaluation.seeds import train_seeds

        train_seeds(config)
    elif config.validation_fold == ALL_FOLDS:
        from ich_tf.evaluation.cross_validation import train_folds

        train_folds(config)
    else:
        from ich_tf.training.trainer import train

        train(config)


if __name__ == "__main__":
    command.run(main, __doc__)
