r"""Converts head CT DICOMs and their labels into sharded, pre-windowed TFRecords.

  python -m ich_tf.make_tfrecords --dicom_dir=D/stage_2_train --labels_csv=D/stage_2_train.csv \
      --out_dir=T

Stopped at any moment, the same command continues. Exit codes: 0 done; 1 nothing could be
converted, or more inputs were left out than --max_bad_fraction; 2 wrong usage.
"""

from ich_tf.conversion.config import ConversionConfig
from ich_tf.runtime import command

command.define_flags(ConversionConfig)


def main() -> None:
    """Flags -> config -> conversion -> summary."""
    from ich_tf.conversion.convert import convert, too_many_bad
    from ich_tf.conversion.dry_run import estimate
    from ich_tf.errors import InputError

    config = command.config_from_flags(ConversionConfig)
    result = estimate(config) if config.dry_run else convert(config)
    print(result.report())
    if complaint := too_many_bad(result.rejections, result.num_inputs, config):
        raise InputError(complaint)


if __name__ == "__main__":
    command.run(main, __doc__)
