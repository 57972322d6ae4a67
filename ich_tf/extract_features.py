"""Extracts features of every slice, to train series models on.

  python -m ich_tf.train --validation_fold=all --data_dir=T --work_dir=W
  python -m ich_tf.extract_features --data_dir=T --work_dir=W --out_dir=F

Writes one record a series, with features and logits. The features of a patient come from a
network that was not trained on that patient. A single run on other data, such as pretrained
weights, gives the features of all patients, if it was trained on none of them.

Exit codes: 0 done; 1 the data or the runs cannot be used; 2 wrong usage.
"""

from ich_tf.inference.config import ExtractConfig
from ich_tf.runtime import command

command.define_flags(ExtractConfig)


def main() -> None:
    """Extracts the features and prints a summary."""
    config = command.config_from_flags(ExtractConfig)
    from ich_tf.inference.feature_extraction import extract, summary

    command.show(summary(extract(config)))


if __name__ == "__main__":
    command.run(main, __doc__)
