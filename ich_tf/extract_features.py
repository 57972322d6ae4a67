"""Writes features and logits of every slice, a record a series: what a series model is trained on.

  python -m ich_tf.train --validation_fold=all --data_dir=T --work_dir=W
  python -m ich_tf.extract_features --data_dir=T --work_dir=W --out_dir=F

No patient's features come from a network that was trained on him. Exit codes: 0 done; 1 data or
runs cannot be used; 2 wrong usage.
"""

from ich_tf.inference.config import ExtractConfig
from ich_tf.runtime import command

command.define_flags(ExtractConfig)


def main() -> None:
    """Flags -> config -> features -> a few lines."""
    config = command.config_from_flags(ExtractConfig)
    from ich_tf.inference.feature_extraction import extract, summary

    print(summary(extract(config)))


if __name__ == "__main__":
    command.run(main, __doc__)
