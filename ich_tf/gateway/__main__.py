"""Receives studies from an archive, predicts them, and sends the results back.

  python -m ich_tf.gateway --config=gateway.toml

Research only: not for clinical use. Needs the extra `gateway`: pip install 'ich_tf[gateway]'.

Exit codes: 0 stopped; 1 no model, or an address or the state folder cannot be used; 2 wrong usage,
or a wrong config.
"""

from ich_tf.gateway.run import GatewayFlags
from ich_tf.runtime import command

command.define_flags(GatewayFlags)


def main() -> None:
    """Runs the gateway until it is stopped."""
    given = command.config_from_flags(GatewayFlags)
    from ich_tf.gateway.config_file import load_config
    from ich_tf.gateway.run import run

    run(load_config(given.config), dry_run=given.dry_run)


if __name__ == "__main__":
    command.run(main, __doc__)
