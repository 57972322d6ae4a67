"""The command `ich_tf.check_submission` under the name that it has in a checkout."""

from ich_tf import check_submission
from ich_tf.runtime import command

if __name__ == "__main__":
    command.run(check_submission.main, check_submission.__doc__)
