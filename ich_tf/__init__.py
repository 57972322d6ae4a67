"""Head CT DICOMs to TFRecords, and intracranial hemorrhage classifiers in Keras.

Importing ich_tf, ich_tf.labels, ich_tf.windows, ich_tf.dicom, ich_tf.records or ich_tf.metrics
loads no TensorFlow.
"""

__version__ = "0.1.0"
