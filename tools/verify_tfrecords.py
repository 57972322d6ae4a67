"""The command `ich_tf.verify_tfrecords`, by its name in a checkout."""

from ich_tf import command, verify_tfrecords

if __name__ == "__main__":
    command.run(verify_tfrecords.main, verify_tfrecords.__doc__)
