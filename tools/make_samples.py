"""The command `ich_tf.make_samples` under the name that it has in a checkout."""

from ich_tf import make_samples
from ich_tf.runtime import command

if __name__ == "__main__":
    command.run(make_samples.main, make_samples.__doc__)
