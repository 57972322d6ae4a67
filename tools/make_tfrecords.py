"""The command `ich_tf.make_tfrecords`, by its name in a checkout."""

from ich_tf import make_tfrecords
from ich_tf.runtime import command

if __name__ == "__main__":
    command.run(make_tfrecords.main, make_tfrecords.__doc__)
