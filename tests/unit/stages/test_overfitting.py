"""The course of a training is measured without any effect on the training."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mia_lab.stages.graph import run_stages
from mia_lab.stages.overfitting import Course
from mia_lab.store import Store
from mia_lab.victims.files import GENERATOR_FILE
from support import composed

SMALL = (
    "+experiment=facades_pix2pix",
    "data.image_size=32",
    "data.n_members=6",
    "data.n_nonmembers=5",
    "victim.width=4",
    "victim.discriminator_width=4",
    "victim.epochs=5",
    "trainer=cpu",
    "trainer.threads=1",
)


def course(*overrides: str) -> Course:
    stages = run_stages(composed(*SMALL, *overrides))
    return Course.of(stages.victim, stages.images, "cpu", 4)  # type: ignore[arg-type]


def train(found: Course, store: Store, measured: bool = True) -> Path:
    """Train as an audit does; return the folder of the victim."""

    states: list[tuple[torch.Tensor, list[bool]]] = []

    def state(module: torch.nn.Module) -> tuple[torch.Tensor, list[bool]]:
        return torch.get_rng_state(), [layer.training for layer in module.modules()]

    class Watched(Course):
        def measure(self, epoch: int, module: Any) -> None:
            random, modes = states[-1]
            super().measure(epoch, module)
            assert torch.equal(random, state(module)[0])
            assert modes == state(module)[1]

    if measured:
        watched = Watched(
            found.victim, found.members, found.nonmembers, found.accelerator, found.batch_size
        )
        watched.train(
            store, [found.victim], lambda _epoch, _losses, module: states.append(state(module))
        )
    return store.folder(found.victim)


def test_a_measured_training_ends_with_the_same_weights(tmp_path: Path) -> None:
    weights = []
    for name, measured in (("a", True), ("b", False)):
        with Store(tmp_path / name) as store:
            weights.append((train(course(), store, measured) / GENERATOR_FILE).read_bytes())
    assert weights[0] == weights[1]
    assert course().victim.key == course("data.n_nonmembers=4").victim.key


def test_errors_of_powers_of_two_of_kept_epochs_and_of_the_last(tmp_path: Path) -> None:
    """Live and from kept weights alike."""
    with Store(tmp_path) as store:
        train(live := course("victim.keep_epochs=[1,3]"), store)
        found = live.result(store)
        assert found is not None
        assert [mean.epoch for mean in found.means] == [1, 2, 3, 4, 5]
        assert (found.n_members, found.n_nonmembers, len(found.loss)) == (6, 5, 5)
        first = np.load(store.folder(live.at(1)) / "errors.npy")
        assert found.means[0].members.value == pytest.approx(first[:6].mean())
        assert found.means[0].nonmembers.value == pytest.approx(first[6:].mean())
        shutil.rmtree(tmp_path / "overfitting")
        (kept,) = [live.at(1)]
        np.testing.assert_array_equal(np.load(store.folder(kept) / "errors.npy"), first)


def test_a_training_of_another_command_is_measured_as_far_as_weights_are_kept(
    tmp_path: Path,
) -> None:
    with Store(tmp_path) as store:
        train(course(), store, measured=False)
        found = course().result(store)
        assert found is not None
        assert [mean.epoch for mean in found.means] == [5]
        # The audit's own numbers, where it queries the same images.
        stages = run_stages(composed(*SMALL))
        answers = store.result(stages.reconstructions)
        error = answers.mean_error(stages.images.members).mean()
        assert found.means[0].members.value == pytest.approx(error, abs=1e-6)
        shutil.rmtree(store.path(course().victim))
        assert course().result(store) is None


def test_a_network_that_answers_nonsense_is_left_out(tmp_path: Path) -> None:
    found = course()
    module = found.victim._build()
    with torch.no_grad():
        next(module.parameters()).fill_(float("nan"))
    found.measure(1, module)
    assert not found._measured
