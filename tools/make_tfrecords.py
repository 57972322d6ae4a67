"""The command `ich_tf.make_tfrecords` under the name that it has in a checkout."""

from ich_tf import make_tfrecords
from ich_tf.runtime import command

if __name__ == "__main__":
    command.run(make_tfrecords.main, make_tfrecords.__doc__)
