"""Attaches results of the web page to the study that was sent.

  python -m ich_tf.attach --results=report-0.dcm --dicom_dir=study

The page knows no patient, and its DICOM results name none. On the machine that has the files, this
command finds the images of a result by their pixels, and files it in their study.

Exit codes: 0 done; 1 a result is none of the page's, or its images are not there; 2 wrong usage.
"""

from ich_tf.reporting.config import AttachConfig
from ich_tf.runtime import command

command.define_flags(AttachConfig)


def main() -> None:
    """Attaches and prints the paths of the results."""
    config = command.config_from_flags(AttachConfig)
    from ich_tf.reporting.attaching import attach

    for path in attach(config):
        command.show(path)


if __name__ == "__main__":
    command.run(main, __doc__)
