"""The command `ich_tf.inspect_tfrecords`, by its name in a checkout."""

from ich_tf import command, inspect_tfrecords

if __name__ == "__main__":
    command.run(inspect_tfrecords.main, inspect_tfrecords.__doc__)
