"""The command `ich_tf.insert_bleeds` under the name that it has in a checkout."""

from ich_tf import insert_bleeds
from ich_tf.runtime import command

if __name__ == "__main__":
    command.run(insert_bleeds.main, insert_bleeds.__doc__)
