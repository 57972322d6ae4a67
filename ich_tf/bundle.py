"""Packs a trained model into one file with hashes, which other commands take.

  python -m ich_tf.bundle --work_dir=W --out_file=model.zip
  python -m ich_tf.bundle --work_dir=model.zip --check
  python -m ich_tf.bundle --work_dir=model.zip --unpack_dir=W

The bundle holds weights, spec, calibration and card: no checkpoints, no predictions, no path of
this machine, and nothing of a patient. predict, serve, gateway, evaluate and export take it as
--work_dir, train as --weights. Prints its SHA-256, which --work_dir=model.zip#sha256=DIGITS asks
for. Research only: not for clinical use.

Exit codes: 0 done; 1 no model, a damaged file, or another bundle is there; 2 wrong usage.
"""

from ich_tf.inference.bundle_config import BundleConfig
from ich_tf.runtime import command

command.define_flags(BundleConfig)
command.hold_no_patients()


def main() -> None:
    """Writes, checks or unpacks a bundle, and prints what it is."""
    config = command.config_from_flags(BundleConfig)
    from ich_tf.inference.bundling import check_bundle, make_bundle, unpack_bundle

    if config.check:
        command.show(check_bundle(config))
    elif config.unpack_dir:
        command.show(unpack_bundle(config))
    else:
        command.show(make_bundle(config))


if __name__ == "__main__":
    command.run(main, __doc__)
