r"""Converts head CT DICOM files and their labels to sharded TFRecords.

  python -m ich_tf.make_tfrecords --dicom_dir=D/stage_2_train --labels_csv=D/stage_2_train.csv \
      --out_dir=T

The same command continues a conversion that was interrupted.

Labels that belong to no file are shown by --dry_run beside the files that they might mean. Files
whose PatientID is empty are converted if --patient_from is study or folder.

Exit codes: 0 done; 1 nothing could be converted, or the share of rejected inputs is above
--max_bad_fraction; 2 wrong usage.
"""

from ich_tf.conversion.config import ConversionConfig
from ich_tf.runtime import command

command.define_flags(ConversionConfig)


def main() -> None:
    """Converts, or estimates a conversion, and prints a summary."""
    from ich_tf.conversion.convert import convert, too_many_bad
    from ich_tf.conversion.dry_run import estimate
    from ich_tf.errors import InputError

    config = command.config_from_flags(ConversionConfig)
    result = estimate(config) if config.dry_run else convert(config)
    command.show(result.report())
    if complaint := too_many_bad(result.rejections, result.num_inputs, config):
        raise InputError(complaint)


if __name__ == "__main__":
    command.run(main, __doc__)
