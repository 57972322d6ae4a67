"""The six classes of the RSNA 2019 challenge and its CSV files.

A label table is a pandas DataFrame with one row an image, indexed by image id (`ID_xxxxxxxxx`),
with the columns `CLASSES`. The CSV files are long, with one row for each image and class, such as
`ID_xxxxxxxxx_epidural,0`; or wide, with one row an image and a column for each class. Labels of
whole exams are an `ExamTable`, in which unknown ones are NaN.
"""

from ich_tf.labels.classes import ANY, CLASSES, HEADER, SUBTYPES, WEIGHTS, LabelError
from ich_tf.labels.exam_table import READERS, ExamTable, read_exam_table
from ich_tf.labels.tables import (
    LabelTable,
    read_label_table,
    read_labels,
    read_labels_and_conflicts,
    read_submission,
    write_long_csv,
)

__all__ = [
    "ANY",
    "CLASSES",
    "ExamTable",
    "HEADER",
    "LabelError",
    "LabelTable",
    "READERS",
    "SUBTYPES",
    "WEIGHTS",
    "read_exam_table",
    "read_label_table",
    "read_labels",
    "read_labels_and_conflicts",
    "read_submission",
    "write_long_csv",
]
