"""Finds one slice of a conversion: its shard, fields, DICOM file and picture.

  python -m ich_tf.inspect_tfrecords --data_dir=T --id=ID

ID is an image id, a SOP Instance UID, or the path or name of a DICOM file.

Exit codes: 0 found; 1 not found, or left out of the conversion, with the reason; 2 wrong usage.
"""

from pathlib import Path

from absl import flags

from ich_tf.runtime import command

command.add_headings({"data_dir": "Slice", "out_png": "Output"})
_DATA_DIR = command.define_path(
    "data_dir", "data/tfrecords", "Folder that ich_tf.make_tfrecords wrote."
)
_ID = flags.DEFINE_string("id", "", "Image id, SOP Instance UID, or path or name of a DICOM file.")
_HASH_KEY_FILE = command.define_path(
    "hash_key_file",
    "",
    "File with the secret of the conversion, needed to find a slice by its UID. Empty: none.",
)
_OUT_PNG = command.define_path(
    "out_png", "", "PNG file to write. Empty: <image id>.png in the current folder."
)
_JSON = flags.DEFINE_bool("json", False, "Print JSON instead of lines.")


def main() -> None:
    """Finds the slice, writes its picture and prints its fields."""
    from ich_tf.errors import UsageError
    from ich_tf.runtime.files import write_bytes

    if not _ID.value:
        raise UsageError("--id is empty; expected an image id, a UID or a file's name.")

    import json

    import cv2

    from ich_tf.conversion.inspection import find_slice
    from ich_tf.conversion.pseudonyms import read_hash_key

    slice_ = find_slice(_DATA_DIR.value, _ID.value, read_hash_key(_HASH_KEY_FILE.value))
    out_png = Path(_OUT_PNG.value or f"{slice_.record.source_id.replace('/', '_')}.png")
    is_encoded, data = cv2.imencode(".png", slice_.picture())
    assert is_encoded
    write_bytes(out_png, [data.tobytes()])
    if _JSON.value:
        command.show(json.dumps({**slice_.describe(), "picture": str(out_png)}, indent=1))
    else:
        command.show(f"{slice_.report()}\n{'picture':<16} {out_png}")


if __name__ == "__main__":
    command.run(main, __doc__)
