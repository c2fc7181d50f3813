"""``python -m mia_lab``: compose the configuration, check it, run the task."""

from __future__ import annotations

import os
import sys

import hydra
from omegaconf import DictConfig

from mia_lab.cli import CONF, exit_with_one_line, prepare, run_job


@hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")
def _job(cfg: DictConfig) -> None:
    run_job(cfg)


def main() -> None:
    """Run the command; errors that a user can mend end in one line, not a traceback."""
    traceback_wanted = "HYDRA_FULL_ERROR" in os.environ
    os.environ["HYDRA_FULL_ERROR"] = "1"  # let errors out of Hydra, we print them ourselves
    prepare()
    try:
        _job()
    except KeyboardInterrupt:
        sys.exit("interrupted; the same command goes on with what is stored")
    except Exception as error:
        if traceback_wanted:
            raise
        sys.exit(exit_with_one_line(error))


if __name__ == "__main__":
    main()
