"""Traces a slice of a conversion: its record's place and fields, its DICOM file, its picture.

  python -m ich_tf.inspect_tfrecords --data_dir=T --id=ID

ID is an image id, a SOP instance UID, or a DICOM file's path or name. Exit codes: 0 found; 1 not
there, or left out of the conversion, with the reason; 2 wrong usage.
"""

from pathlib import Path

from absl import flags

from ich_tf.runtime import command

_DATA_DIR = flags.DEFINE_string("data_dir", "data/tfrecords", "Folder of shards.")
_ID = flags.DEFINE_string("id", "", "Image id, SOP instance UID, or path or name of a file.")
_OUT_PNG = flags.DEFINE_string(
    "out_png", "", "The picture to write. Empty: <id>.png in the current folder."
)
_HASH_KEY_FILE = flags.DEFINE_string(
    "hash_key_file", "", "The secret of the conversion, to find a slice by its UID."
)
_JSON = flags.DEFINE_bool("json", False, "Print JSON.")


def main() -> None:
    """Flags -> the slice -> lines and a picture."""
    from ich_tf.errors import UsageError

    if not _ID.value:
        raise UsageError("--id is empty; expected an image id, a UID or a file's name.")

    import json

    import cv2

    from ich_tf.conversion.inspection import find_slice
    from ich_tf.conversion.pseudonyms import read_hash_key

    found = find_slice(_DATA_DIR.value, _ID.value, read_hash_key(_HASH_KEY_FILE.value))
    out_png = Path(_OUT_PNG.value or f"{found.record.source_id.replace('/', '_')}.png")
    done, data = cv2.imencode(".png", found.picture())
    assert done
    out_png.write_bytes(data.tobytes())
    if _JSON.value:
        print(json.dumps({**found.describe(), "picture": str(out_png)}, indent=1))
    else:
        print(f"{found.report()}\n{'picture':<16} {out_png}")


if __name__ == "__main__":
    command.run(main, __doc__)
