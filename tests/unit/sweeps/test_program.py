"""A point leaves nothing in its process for the next one, and its death is put into words."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from unittest.mock import MagicMock, patch

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra._internal.callbacks import Callbacks
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.singleton import Singleton
from hydra.core.utils import JobStatus
from hydra.types import HydraContext
from omegaconf import DictConfig, OmegaConf

from mia_lab.config.compose import CONF
from mia_lab.sweeps.point import Point
from mia_lab.sweeps.program import Program, _restored_process, exit_reason


def test_a_point_leaves_its_process_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KEPT", "before")
    folder, threads = Path.cwd(), torch.get_num_threads()
    known = HydraConfig.instance(), GlobalHydra.instance()
    with pytest.raises(ZeroDivisionError), _restored_process():  # noqa: PT012
        os.environ["KEPT"] = "changed"
        os.environ["ADDED"] = "by the point"
        os.chdir(tmp_path)
        torch.set_num_threads(threads + 1)
        Singleton._instances = {}
        OmegaConf.register_new_resolver("of_the_point", lambda: 1)
        raise ZeroDivisionError
    assert os.environ["KEPT"] == "before"
    assert "ADDED" not in os.environ
    assert Path.cwd() == folder
    assert torch.get_num_threads() == threads
    assert (HydraConfig.instance(), GlobalHydra.instance()) == known
    assert not OmegaConf.has_resolver("of_the_point")


def test_a_point_that_was_interrupted_runs_again(tmp_path: Path) -> None:
    """A cluster's job is pickled while its point runs, and queued again with that configuration."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        overrides = ["+experiment=facades_pix2pix", f"hydra.sweep.dir={tmp_path}"]
        config = compose("config", overrides, return_hydra_config=True)
    point = Point(tmp_path / "0", ("seed=0",))
    config.hydra.job.num, config.hydra.sweep.subdir = 0, "0"
    config.hydra.job.name = "of_the_point"
    seen = []

    def task(given: DictConfig) -> None:
        job = pickle.loads(pickle.dumps(config))
        seen.append((HydraConfig.get().job.id, given.seed))
        if len(seen) == 1:
            assert program.run(point, job).status is JobStatus.COMPLETED

    context = HydraContext(MagicMock(), Callbacks())
    program = Program(config, context, task, {})
    for job in ("7", "8"):
        with patch.dict(os.environ, SLURM_JOB_ID=job):
            assert program.run(point, config).status is JobStatus.COMPLETED
    assert seen == [("7", config.seed), ("7", config.seed), ("8", config.seed)]


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (-9, "killed by signal 9 (too little memory?)"),
        (137, "killed by signal 9 (too little memory?)"),
        (-15, "stopped by signal 15"),
        (3, "ended with exit code 3"),
    ],
)
def test_exit_codes_in_words(code: int, reason: str) -> None:
    assert exit_reason(code) == reason
