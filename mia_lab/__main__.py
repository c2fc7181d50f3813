"""``python -m mia_lab``: compose the configuration, check it, run the task."""

from mia_lab import cli, process


def main() -> None:
    """The command in a process of its own."""
    process.start()
    cli.main()


if __name__ == "__main__":
    main()
