"""The command `ich_tf.inspect_tfrecords` under the name that it has in a checkout."""

from ich_tf import inspect_tfrecords
from ich_tf.runtime import command

if __name__ == "__main__":
    command.run(inspect_tfrecords.main, inspect_tfrecords.__doc__)
