"""A point leaves nothing in its process for the next one, and its death is put into words."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.singleton import Singleton
from omegaconf import OmegaConf

from mia_lab.sweeps.program import _restored_process, exit_reason


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
