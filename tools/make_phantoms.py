"""The command `ich_tf.make_phantoms` under the name that it has in a checkout."""

from ich_tf import make_phantoms
from ich_tf.runtime import command

if __name__ == "__main__":
    command.run(make_phantoms.main, make_phantoms.__doc__)
