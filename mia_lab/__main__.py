"""``python -m mia_lab``: compose the configuration, check it, run the task."""

from mia_lab.cli import main

if __name__ == "__main__":
    main()
