"""The command `ich_tf.verify_tfrecords` under the name that it has in a checkout."""

from ich_tf import verify_tfrecords
from ich_tf.runtime import command

if __name__ == "__main__":
    command.run(verify_tfrecords.main, verify_tfrecords.__doc__)
