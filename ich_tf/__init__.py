"""Head CT DICOMs to TFRecords, and intracranial hemorrhage classifiers in Keras.

Importing the package, or its rooms labels, dicom, series, windows, splits, shards and
metrics, loads no TensorFlow.
"""

__version__ = "0.1.0"
