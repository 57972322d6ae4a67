"""The command `ich_tf.realism` under the name that it has in a checkout."""

from ich_tf import realism
from ich_tf.runtime import command

if __name__ == "__main__":
    command.run(realism.main, realism.__doc__)
