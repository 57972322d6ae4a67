"""`python -m ich_tf COMMAND`, as `ich-tf COMMAND`."""

from ich_tf.cli import main

if __name__ == "__main__":
    main()
