"""Serves a web page: a head CT, six probabilities a slice, heat maps.

  python -m ich_tf.serve --work_dir=W

Research only: not for clinical use. Needs the extra `web`: pip install 'ich_tf[web]'.

Exit codes: 0 stopped; 1 no model, or the state folder or the port cannot be used; 2 wrong usage.
"""

from ich_tf.runtime import command
from ich_tf.serving.config import ServeConfig

command.define_flags(ServeConfig)


def main() -> None:
    """Runs the server until it is stopped."""
    config = command.config_from_flags(ServeConfig)
    from ich_tf.serving.server import serve

    serve(config)


if __name__ == "__main__":
    command.run(main, __doc__)
