"""Fits calibration, smoothing and operating points on validation patients.

  python -m ich_tf.calibrate --data_dir=T --work_dir=W
  python -m ich_tf.calibrate --data_dir=T --members=W1,W2 --work_dir=ENSEMBLE
  python -m ich_tf.calibrate --few --data_dir=SITE --work_dir=W

With --members, also the weights of an ensemble. With --few, adapts a calibration to another site,
from tens of its labelled series. Writes calibration.json into --work_dir, which
evaluate, predict, export and serve apply.

Exit codes: 0 done; 1 the data or a model cannot be used; 2 wrong usage.
"""

from ich_tf.inference.config import CalibrateConfig
from ich_tf.runtime import command

command.define_flags(CalibrateConfig)
command.hold_no_patients()


def main() -> None:
    """Fits the postprocessing and prints what was chosen."""
    config = command.config_from_flags(CalibrateConfig)
    from ich_tf.inference.calibration import calibrate
    from ich_tf.inference.few_labels import calibrate_few

    command.show((calibrate_few if config.few else calibrate)(config).report())


if __name__ == "__main__":
    command.run(main, __doc__)
