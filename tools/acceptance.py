"""The command `ich_tf.acceptance` under the name that it has in a checkout."""

from ich_tf.acceptance import __main__ as acceptance
from ich_tf.runtime import command

if __name__ == "__main__":
    command.run(acceptance.main, acceptance.__doc__)
