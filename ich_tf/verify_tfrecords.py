"""Verifies a folder of TFRecords, and rebuilds damaged shards.

  python -m ich_tf.verify_tfrecords --data_dir=T --full --repair

Exit codes: 0 no damage, or all of it repaired; 1 damaged or unfinished; 2 wrong usage.
"""

from absl import flags

from ich_tf.runtime import command

command.add_headings({"data_dir": "Verification", "repair": "Repair"})
_DATA_DIR = command.define_path(
    "data_dir", "data/tfrecords", "Folder that ich_tf.make_tfrecords wrote."
)
_FULL = flags.DEFINE_bool(
    "full", False, "Read every byte: hashes, CRCs, and the fields of every record."
)
_REPAIR = flags.DEFINE_bool(
    "repair",
    False,
    "Rebuild damaged shards, byte for byte, and try slices again that the machine could not read.",
)
_DICOM_DIR = command.define_path(
    "dicom_dir",
    "",
    "With --repair: folder of the DICOM files. Empty: the folder that was converted.",
)
_MASKS_DIR = command.define_path(
    "masks_dir",
    "",
    "With --repair: folder of the masks. Empty: the folder that was converted.",
)
_NUM_WORKERS = flags.DEFINE_integer(
    "num_workers", 0, "Worker processes of --full and --repair; 0: one per core.", lower_bound=0
)


def main() -> None:
    """Verifies the folder, repairs it if asked to, and verifies it again."""
    from ich_tf.conversion.equal_pixels import stored_equal_pixels
    from ich_tf.conversion.repair import repair
    from ich_tf.conversion.summary import retry_remark
    from ich_tf.conversion.verification import verify
    from ich_tf.errors import InputError
    from ich_tf.records.data_files import shard_of

    problems = verify(_DATA_DIR.value, _FULL.value, _NUM_WORKERS.value)
    for problem in problems:
        command.show(f"{problem.file}: {problem.description}")
    damaged = {shard_of(problem.file) for problem in problems}
    if problems and _REPAIR.value:
        rebuilt = repair(
            _DATA_DIR.value, damaged, _DICOM_DIR.value, _NUM_WORKERS.value, _MASKS_DIR.value
        )
        command.show(f"{_DATA_DIR.value}: rebuilt {', '.join(rebuilt) or 'nothing'}")
        problems = verify(_DATA_DIR.value, _FULL.value, _NUM_WORKERS.value)
    if problems:
        raise InputError(
            f"{_DATA_DIR.value}: {len(problems)} problems, the first {problems[0].file}: "
            f"{problems[0].description} Run with --repair to rebuild damaged shards; if the "
            "conversion is unfinished, run ich_tf.make_tfrecords again."
        )
    command.show(
        f"{_DATA_DIR.value}: {'every byte' if _FULL.value else 'every shard'} is as planned"
    )
    if remark := retry_remark(_DATA_DIR.value):
        command.show(remark)
    if remark := stored_equal_pixels(_DATA_DIR.value).report():
        command.show(remark)


if __name__ == "__main__":
    command.run(main, __doc__)
