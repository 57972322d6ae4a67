"""The six classes of the RSNA 2019 challenge, in the order of its CSV files."""

from __future__ import annotations

from ich_tf.errors import InputError

# Order of the rows of an image in the CSV files.
CLASSES = (
    "epidural",
    "intraparenchymal",
    "intraventricular",
    "subarachnoid",
    "subdural",
    "any",
)
SUBTYPES = CLASSES[:-1]
ANY = CLASSES.index("any")
# The metric of the challenge counts `any` twice.
WEIGHTS = (1.0, 1.0, 1.0, 1.0, 1.0, 2.0)

# From this share of readers on, a label is positive where a yes or no is needed.
POSITIVE_SHARE = 0.5

HEADER = ("ID", "Label")


class LabelError(InputError):
    """A label or submission CSV that is unreadable or has not six consistent rows an image."""
