"""Diffusion and bridge victims: what is trained, how answers are drawn, and that both repeat."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler
from safetensors.torch import load_file
from torch import Tensor

from mia_lab.data.dataset import PairDataset
from mia_lab.errors import UserError
from mia_lab.victims.blackbox import TorchSampler
from mia_lab.victims.diffusion import DiffusionVictim
from mia_lab.victims.files import GENERATOR_FILE, snapshot_file
from mia_lab.victims.noising import (
    TRAIN_STEPS,
    BrownianBridge,
    Diffusion,
    Prediction,
    Sampling,
    scheduler,
)
from mia_lab.victims.settings import TrainingSettings
from mia_lab.victims.training import train
from mia_lab.victims.translation_pipeline import TranslationPipeline

Build = Callable[..., DiffusionVictim]

CPU = TrainingSettings("cpu", checkpoint_every_s=0)

SEEDS = [3, 2**62 + 1, 77]


def noise(n: int, seed: int, channels: int = 3, side: int = 32) -> Tensor:
    return torch.randn(n, channels, side, side, generator=torch.Generator().manual_seed(seed))


def weights(folder: Path) -> dict[str, Tensor]:
    return load_file(folder / GENERATOR_FILE)


@pytest.mark.parametrize("variant", ["diffusion", "bridge"])
def test_a_resumed_training_is_the_uninterrupted_one(
    tmp_path: Path, members: PairDataset, tiny_diffusion: Build, variant: str
) -> None:
    whole, halved, shorter = (tmp_path / name for name in ("whole", "halved", "shorter"))
    for folder in (whole, halved, shorter):
        folder.mkdir()
    settings = {"variant": variant, "keep_epochs": [1]}
    train(tiny_diffusion(**settings), members, whole, CPU)

    def stop(epoch: int, *_: object) -> None:
        if epoch == 2:
            raise KeyError

    with pytest.raises(KeyError):
        train(tiny_diffusion(**settings), members, halved, CPU, on_epoch=stop)
    seen: list[int] = []
    train(tiny_diffusion(**settings), members, halved, CPU, lambda epoch, *_: seen.append(epoch))
    assert seen == [2, 3]
    a, b = weights(whole), weights(halved)
    assert a.keys() == b.keys()
    assert all(torch.equal(a[key], b[key]) for key in a)
    train(tiny_diffusion(variant=variant, epochs=1, decay_fraction=0.0), members, shorter, CPU)
    early, last = load_file(whole / snapshot_file(1)), weights(shorter)
    assert all(torch.equal(early[key], last[key]) for key in early)


@pytest.mark.parametrize(
    ("variant", "prediction"),
    [
        ("diffusion", "sample"),
        pytest.param("diffusion", "v_prediction", marks=pytest.mark.slow),
        pytest.param("bridge", "sample", marks=pytest.mark.slow),
    ],
)
def test_answers_move_towards_the_targets_of_the_members(
    tmp_path: Path, members: PairDataset, tiny_diffusion: Build, variant: str, prediction: str
) -> None:
    module = tiny_diffusion(
        variant=variant, prediction=prediction, epochs=40, batch_size=6, load_scale=1.0, flip=False,
        learning_rate=4e-3, dropout=0.0,
    )  # fmt: skip
    (batch,) = members.batches(6)

    def error(victim: DiffusionVictim) -> float:
        drawn = TorchSampler(victim, "cpu").sample(batch.condition, list(range(6)))
        return float((drawn - batch.y).abs().mean())

    before = error(tiny_diffusion(variant=variant, prediction=prediction))
    train(module, members, tmp_path, CPU)
    assert error(module) < 0.75 * before


def test_the_average_follows_the_weights(
    tmp_path: Path, members: PairDataset, tiny_diffusion: Build
) -> None:
    """Recomputed from the weights after every step, in float64."""
    module, steps = tiny_diffusion(ema=0.5, epochs=1), []
    average = {k: v.double().clone() for k, v in module.generator.named_parameters()}
    moved = module.on_train_batch_end

    def watched(*arguments: object, **others: object) -> None:
        moved(*arguments, **others)
        steps.append({k: v.detach().double().clone() for k, v in module.network.named_parameters()})

    module.on_train_batch_end = watched  # type: ignore[method-assign]
    train(module, members, tmp_path, CPU)
    assert len(steps) == 3
    for number, now in enumerate(steps, start=1):
        decay = min(0.5, (1 + number) / (10 + number))
        average = {k: decay * v + (1 - decay) * now[k] for k, v in average.items()}
    for name, value in module.generator.named_parameters():
        torch.testing.assert_close(value.double(), average[name], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("sampling", ["ddim", "ddpm"])
@pytest.mark.parametrize("prediction", ["sample", "v_prediction", "epsilon"])
def test_answers_are_those_of_a_plain_loop_over_the_scheduler(
    tiny_diffusion: Build, prediction: str, sampling: str
) -> None:
    module = tiny_diffusion(prediction=prediction, sampling=sampling).eval()
    x = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    kind = DDIMScheduler if sampling == "ddim" else DDPMScheduler
    plain = kind(
        num_train_timesteps=TRAIN_STEPS,
        beta_schedule="squaredcos_cap_v2",
        prediction_type=prediction,
        rescale_betas_zero_snr=prediction != "epsilon",
        timestep_spacing="trailing",
    )
    alone = []
    for image, seed in zip(x, SEEDS, strict=True):
        generator = torch.Generator().manual_seed(seed)
        state = torch.randn(1, 3, 32, 32, generator=generator)
        plain.set_timesteps(4)
        with torch.inference_mode():
            for t in plain.timesteps:
                seen = torch.cat([state, 2 * image[None] - 1], 1)
                predicted = module.generator(seen, t).sample
                state = plain.step(predicted, t, state, generator=generator).prev_sample
        alone.append(((state + 1) / 2).clamp(0, 1))
    victim = TorchSampler(module, "cpu")
    singly = [victim.sample(x[row : row + 1], [SEEDS[row]]) for row in range(3)]
    assert torch.equal(torch.cat(singly), torch.cat(alone))
    together = victim.sample(x, SEEDS)
    torch.testing.assert_close(together, torch.cat(alone), rtol=0, atol=1e-4)
    assert not torch.allclose(victim.sample(x, [4, 5, 6]), together, atol=1e-2)


@pytest.mark.parametrize("prediction", ["sample", "v_prediction", "epsilon"])
def test_what_the_network_is_to_predict(prediction: Prediction) -> None:
    """Formulas of Ho et al. and of Salimans and Ho, in float64, with the signal's own schedule."""
    process = Diffusion(scheduler(prediction, "linear", "ddim"))
    x, y, drawn = noise(4, 0), noise(4, 1), noise(4, 2)
    t = torch.tensor([0, 10, 500, 990])
    seen, wanted = process.example(x, y, drawn, t)
    betas = np.linspace(1e-4, 0.02, TRAIN_STEPS)
    root = np.sqrt(np.cumprod(1 - betas))
    if prediction != "epsilon":  # Lin et al. 2024, algorithm 1
        root = (root - root[-1]) * root[0] / (root[0] - root[-1])
    a = root[t][:, None, None, None]
    s = np.sqrt(1 - a**2)
    target, gauss = y.double().numpy(), drawn.double().numpy()
    np.testing.assert_allclose(seen[:, :3], a * target + s * gauss, atol=1e-5)
    np.testing.assert_array_equal(seen[:, 3:], x)
    expected = {"sample": target, "epsilon": gauss, "v_prediction": a * gauss - s * target}
    np.testing.assert_allclose(wanted, expected[prediction], atol=1e-5)
    for row, step in enumerate(t.tolist()):
        if step:  # at step 0 there is next to no noise to recover
            found = process.noise(wanted[row], seen[row, :3], step)
            np.testing.assert_allclose(found, gauss[row], atol=2e-4)


@pytest.mark.parametrize("sampling", ["ddim", "ddpm"])
def test_a_network_that_knows_the_target_answers_with_it(sampling: Sampling) -> None:
    x, y = noise(2, 0, side=4), noise(2, 1, side=4).clamp(-1, 1)
    process = Diffusion(scheduler("sample", "squaredcos_cap_v2", sampling))
    for steps in (1, 2, 8, 10, 40, 125):
        asked: list[int] = []

        def knows(_: Tensor, t: Tensor, asked: list[int] = asked) -> Tensor:
            asked.append(int(t[0]))
            return y

        draws = [torch.Generator().manual_seed(seed) for seed in range(2)]
        answer = process.draw(knows, x, 3, draws, steps)
        torch.testing.assert_close(answer, y, rtol=0, atol=1e-5)
        assert asked == [TRAIN_STEPS - 1 - n * TRAIN_STEPS // steps for n in range(steps)]


def test_a_bridge_leads_from_the_target_to_the_input() -> None:
    x, y, drawn = noise(3, 0), noise(3, 1), noise(3, 2)
    t = torch.tensor([0, 400, TRAIN_STEPS - 1])
    seen, wanted = BrownianBridge().example(x, y, drawn, t)
    m = np.linspace(0.001, 0.999, TRAIN_STEPS)[t][:, None, None, None]
    expected = (1 - m) * y.double().numpy() + m * x.double().numpy()
    expected += np.sqrt(2 * (m - m**2)) * drawn.double().numpy()
    np.testing.assert_allclose(seen, expected, atol=1e-5)
    np.testing.assert_allclose(wanted, expected - y.double().numpy(), atol=1e-5)


def test_the_steps_of_a_bridge_keep_its_distribution() -> None:
    """With a network that knows the target, each state has the mean and the variance of Eq. 4."""
    n, states = 4000, []
    x, y = torch.full((n, 1, 2, 2), 0.8), torch.full((n, 1, 2, 2), -0.6)

    def knows(state: Tensor, t: Tensor) -> Tensor:
        states.append((int(t[0]), state))
        return state - y

    draws = [torch.Generator().manual_seed(seed) for seed in range(n)]
    answer = BrownianBridge().draw(knows, x, 1, draws, 5)
    torch.testing.assert_close(answer, y, rtol=0, atol=1e-6)
    assert [t for t, _ in states] == [999, 799, 599, 400, 200]
    for t, state in states[1:]:
        m = float(np.linspace(0.001, 0.999, TRAIN_STEPS)[t])
        values, variance = state.double().flatten(), 2 * (m - m**2)
        spread = (variance / len(values)) ** 0.5
        assert abs(float(values.mean()) - ((1 - m) * -0.6 + m * 0.8)) < 4 * spread
        assert abs(float(values.var()) / variance - 1) < 4 * (2 / len(values)) ** 0.5


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image_size": 33}, "set data.image_size="),
        ({"width": 12}, "victim.width=12: is no multiple of 8.*set victim.width=16"),
        ({"variant": "bridge", "in_channels": 1}, "set data.input_channels=3"),
        ({"variant": "bridge", "input_encoding": "one_hot"}, "data.input_encoding=rgb"),
        ({"epoch": 2}, "victim.epoch=2: is not kept"),
        ({"steps": 15}, "victim.steps=15: must divide 1000; set victim.steps="),
    ],
)
def test_settings_that_do_not_fit(
    tiny_diffusion: Build, changes: dict[str, object], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        tiny_diffusion(**changes)


@pytest.mark.parametrize("variant", ["diffusion", "bridge"])
def test_a_saved_pipeline_answers_as_the_victim(
    tmp_path: Path, tiny_diffusion: Build, variant: str
) -> None:
    module = tiny_diffusion(variant=variant).eval()
    x = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    module.pipeline().save_pretrained(tmp_path)
    files = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert {"model_index.json", "unet/diffusion_pytorch_model.safetensors"} <= files
    loaded = TranslationPipeline.from_pretrained(tmp_path, local_files_only=True)
    draws = [torch.Generator().manual_seed(seed) for seed in SEEDS]
    answers = loaded(x, generator=draws).images
    assert torch.equal(answers, TorchSampler(module, "cpu").sample(x, SEEDS))
