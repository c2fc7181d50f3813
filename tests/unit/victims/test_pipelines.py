"""Pipelines of diffusers as victims: their answers, and what is refused."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from mia_lab.api.victims import victim_overrides
from mia_lab.errors import UserError
from mia_lab.victims.blackbox import Sampler
from mia_lab.victims.pipelines import Pipeline
from tiny_pipelines import KINDS

ROOT = Path(__file__).resolve().parents[3]

SIDE = 32
SEEDS = [5, 2**62 + 1, 7]
TEXTS = ["red brick", "a map", "night"]

CASES: dict[str, dict[str, Any]] = {
    "pix2pix": {"image_guidance_scale": 2.0, "guidance_scale": 5.0},
    "img2img": {"strength": 0.6, "negative_prompt": "dark"},
    "inpaint": {"mask": "centre", "strength": 1.0},
    "controlnet": {"controlnet_conditioning_scale": 0.7},
    "lora": {"lora_scale": 0.5},
    "kontext": {"guidance_scale": 2.0},
}
"""Settings of each kind of pipeline."""


@pytest.fixture(scope="module")
def x() -> torch.Tensor:
    """Three pictures of 8 bits."""
    levels = torch.randint(0, 256, (3, 3, SIDE, SIDE), generator=torch.Generator().manual_seed(0))
    return levels.float() / 255


def victim(folder: Path, name: str, **settings: Any) -> Pipeline:
    if name == "lora":
        name, settings = "pix2pix", {"lora": str(folder / "lora"), **settings}
    if name == "inpaint":
        settings = {"mask": "whole", **settings}
    return Pipeline(str(folder / name), SIDE, steps=3, accelerator="cpu", **settings)


def asked_directly(folder: Path, name: str, x: torch.Tensor) -> np.ndarray:
    """The answers of the pipeline to the images one by one, without any code of ours."""
    import diffusers

    base = "pix2pix" if name == "lora" else name
    pipe = getattr(diffusers, KINDS[base]).from_pretrained(folder / base)
    pipe.set_progress_bar_config(disable=True)
    given = dict(CASES[name])
    if name == "lora":
        pipe.load_lora_weights(folder / "lora")
        pipe.set_adapters(pipe.get_active_adapters(), [given.pop("lora_scale")])
    answers = []
    for image, seed, text in zip(x, SEEDS, TEXTS, strict=True):
        call = {**given, "image": image[None], "prompt": text, "num_inference_steps": 3}
        if call.pop("mask", None):
            call["mask_image"] = torch.zeros(1, 1, SIDE, SIDE)
            call["mask_image"][..., 8:24, 8:24] = 1
            call |= {"height": SIDE, "width": SIDE}
        if name == "kontext":
            levels = (image * 255).round().byte().permute(1, 2, 0).numpy()
            call |= {"image": Image.fromarray(levels), "height": SIDE, "width": SIDE}
            call |= {"max_area": SIDE * SIDE, "_auto_resize": False}
        generator = torch.Generator().manual_seed(seed)
        answers.append(pipe(**call, generator=generator, output_type="np").images[0])
    return np.stack(answers).transpose(0, 3, 1, 2)


@pytest.mark.parametrize("name", CASES)
def test_answers_are_those_of_the_pipeline(pipelines: Path, x: torch.Tensor, name: str) -> None:
    box = victim(pipelines, name, **CASES[name])
    assert isinstance(box, Sampler)
    wanted = asked_directly(pipelines, name, x)
    alone = [box.sample(x[i : i + 1], [SEEDS[i]], [TEXTS[i]]) for i in range(3)]
    assert np.array_equal(torch.cat(alone).numpy(), wanted)
    together = box.sample(x, SEEDS, TEXTS)
    assert together.dtype == torch.float32
    assert together.is_contiguous()
    assert float(together.min()) >= 0
    assert float(together.max()) <= 1
    assert np.abs(together.numpy() - wanted).max() < 1e-4
    assert torch.equal(box.sample(x, SEEDS, TEXTS), together)
    other = box.sample(x, [seed + 1 for seed in SEEDS], TEXTS)
    changed = (other - together).abs().amax(dim=(1, 2, 3))
    assert (changed > 1e-2).all()


def test_a_lora_and_its_scale_change_answers(pipelines: Path, x: torch.Tensor) -> None:
    given = x, SEEDS, TEXTS
    base, off, half, full = (
        victim(pipelines, name, **more).sample(*given)
        for name, more in [("pix2pix", {})] + [("lora", {"lora_scale": s}) for s in (0.0, 0.5, 1.0)]
    )
    assert (base - off).abs().max() < 1e-4
    assert (half - base).abs().max() > 1e-3
    assert (full - half).abs().max() > 1e-3
    one_file = str(pipelines / "lora" / "pytorch_lora_weights.safetensors")
    assert torch.equal(victim(pipelines, "pix2pix", lora=one_file).sample(*given), full)


def test_prompts_reach_the_pipeline(pipelines: Path, x: torch.Tensor) -> None:
    box = victim(pipelines, "pix2pix")
    first, second = (box.sample(x, SEEDS, [text] * 3) for text in TEXTS[:2])
    assert ((first - second).abs().amax(dim=(1, 2, 3)) > 1e-3).all()
    for_all = victim(pipelines, "pix2pix", prompt=TEXTS[0])
    assert torch.equal(for_all.sample(x, SEEDS), first)


def test_only_the_mask_is_repainted_differently(pipelines: Path, x: torch.Tensor) -> None:
    centre, whole = (
        victim(pipelines, "inpaint", mask=mask, prompt="a").sample(x, SEEDS)
        for mask in ("centre", "whole")
    )
    apart = (centre - whole).abs()
    assert apart[..., 8:24, 8:24].mean() > 1e-3
    assert apart.max() > 1e-2


def test_rectangles_and_other_sizes(pipelines: Path) -> None:
    box = Pipeline(str(pipelines / "img2img"), [48, 16], steps=2, accelerator="cpu", prompt="a")
    assert box.sample(torch.rand(2, 3, 16, 48), [1, 2]).shape == (2, 3, 16, 48)
    with pytest.raises(UserError, match=r"multiples of 2, at least 2.*set data.image_size=32"):
        Pipeline(str(pipelines / "img2img"), 33, accelerator="cpu", prompt="a")


def test_half_precision(pipelines: Path, x: torch.Tensor) -> None:
    full = victim(pipelines, "img2img", prompt="a").sample(x, SEEDS)
    half = victim(pipelines, "img2img", prompt="a", dtype="bfloat16").sample(x, SEEDS)
    assert half.dtype == torch.float32
    assert 0 < (half - full).abs().mean() < 0.05


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        (
            "pix2pix",
            {"strength": 0.5},
            r"victim.strength=0.5: a StableDiffusionInstructPix2PixPipeline does not take it; set "
            r"victim.strength=null \(it takes prompt, negative_prompt, guidance_scale, "
            r"image_guidance_scale, steps\)",
        ),
        ("img2img", {"mask": "whole"}, "victim.mask=whole: .* does not take it"),
        ("inpaint", {"mask": None}, "victim.mask: .*set victim.mask=whole or victim.mask=centre"),
        ("text", {}, "makes pictures of nothing but text"),
        ("img2img", {"offload": "model"}, "victim.offload=model: is for a GPU"),
        ("img2img", {"input_encoding": "one_hot"}, "set data.input_encoding=rgb"),
        ("nowhere", {}, "no such folder; nothing is downloaded"),
        ("pix2pix/model_index.json", {}, "is a file, and a pipeline is a folder"),
        ("tokens", {}, r"has no file model_index.json; give the folder that pipe.save_pretrained"),
        ("img2img", {"lora": "nowhere"}, "is no .safetensors file, and no folder with one"),
    ],
)
def test_what_cannot_be_asked_is_refused(
    pipelines: Path, name: str, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        victim(pipelines, name, **settings)


def test_a_call_that_fails_is_one_line(pipelines: Path, x: torch.Tensor) -> None:
    with pytest.raises(UserError, match="is below 1, so that no step is left") as failed:
        victim(pipelines, "img2img", strength=0.3, prompt="a").sample(x, SEEDS)
    assert "\n" not in str(failed.value)
    assert "StableDiffusionImg2ImgPipeline fails on images of 32 x 32 px" in str(failed.value)


def no_index(folder: Path) -> None:
    (folder / "model_index.json").write_text("{")


def index(**changes: Any) -> Callable[[Path], None]:
    """Change entries of the file that names the classes."""

    def change(folder: Path) -> None:
        path = folder / "model_index.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))

    return change


class Payload:
    """Runs code when it is unpickled."""

    def __reduce__(self) -> Any:
        return pytest.fail, ("the file was unpickled",)


def pickled(folder: Path) -> None:
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    weights.with_suffix(".bin").write_bytes(pickle.dumps(Payload()))
    weights.unlink()


def code(folder: Path) -> None:
    (folder / "unet" / "my_unet.py").write_text("raise SystemExit('this ran')\n")
    index(unet=["my_unet", "MyUNet"])(folder)


def auto_map(folder: Path) -> None:
    path = folder / "text_encoder" / "config.json"
    config = {**json.loads(path.read_text()), "auto_map": {"AutoModel": "mine.Model"}}
    path.write_text(json.dumps(config))


def adapter(folder: Path) -> None:
    (folder / "text_encoder" / "adapter_config.json").write_text("{}")


def shortened(folder: Path) -> None:
    path = folder / "vae" / "diffusion_pytorch_model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (no_index, "model_index.json cannot be read"),
        (pickled, r"unet are pickled \(.bin\).*pipe.save_pretrained\(DIR, safe_serialization=True"),
        (code, r"holds code \(unet/my_unet.py\), which is never run"),
        (auto_map, r"text_encoder/config.json names code \(auto_map\)"),
        (adapter, "text_encoder holds an adapter"),
        (shortened, "cannot be loaded as a StableDiffusionInstructPix2PixPipeline"),
        (lambda folder: shutil.rmtree(folder / "vae"), "lacks the folder vae of its AutoencoderKL"),
        (index(unet=["os", "system"]), "its unet is of the class os.system"),
        (index(unet=["diffusers", "DiffusionPipeline"]), "only parts of diffusers and transform"),
        (index(unet=["diffusers", "AutoModel"]), "its unet is of the class diffusers.AutoModel"),
        (index(text_encoder=["transformers", "pipeline"]), "only parts of diffusers and transfor"),
        (index(_class_name=["mine", "MyPipeline"]), "is no pipeline of diffusers"),
        (index(_class_name="UNet2DConditionModel"), "is no pipeline of diffusers"),
        (index(_class_name="KandinskyImg2ImgCombinedPipeline"), "is made of several pipelines"),
        (index(_class_name="KandinskyV22Img2ImgPipeline"), "cannot do without image_embeds"),
        (index(_class_name="StableVideoDiffusionPipeline"), "does not answer an image with an im"),
    ],
)
def test_other_folders_are_refused(
    pipelines: Path, tmp_path: Path, change: Callable[[Path], None], message: str
) -> None:
    folder = Path(shutil.copytree(pipelines / "pix2pix", tmp_path / "pix2pix"))
    change(folder)
    with pytest.raises(UserError, match=message) as refused:
        victim(tmp_path, "pix2pix")
    assert "\n" not in str(refused.value)
    assert str(folder) in str(refused.value)


def test_a_lora_of_another_network_is_refused(pipelines: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    tensors = load_file(pipelines / "lora" / "pytorch_lora_weights.safetensors")
    other = {name.replace("unet.", "transformer."): value for name, value in tensors.items()}
    save_file(other, tmp_path / "other.safetensors")
    with pytest.raises(UserError, match="fit no part of the StableDiffusionInstructPix2PixPip"):
        victim(pipelines, "pix2pix", lora=str(tmp_path / "other.safetensors"))
    (tmp_path / "pytorch_lora_weights.bin").write_bytes(pickle.dumps(Payload()))
    with pytest.raises(UserError, match=r"is no \.safetensors file"):
        victim(pipelines, "pix2pix", lora=str(tmp_path / "pytorch_lora_weights.bin"))


def test_the_safety_checker_is_not_loaded(pipelines: Path, tmp_path: Path, x: torch.Tensor) -> None:
    folder = Path(shutil.copytree(pipelines / "img2img", tmp_path / "img2img"))
    checker = {"safety_checker": ["stable_diffusion", "StableDiffusionSafetyChecker"]}
    index(**checker, requires_safety_checker=True)(folder)
    answers = victim(tmp_path, "img2img", prompt="a").sample(x, SEEDS)
    assert torch.equal(answers, victim(pipelines, "img2img", prompt="a").sample(x, SEEDS))


def test_bars_are_off_and_a_warning_is_told_once(
    pipelines: Path,
    x: torch.Tensor,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    box = victim(pipelines, "img2img", prompt="far too many letters for sixteen tokens")
    for _ in range(2):
        box.sample(x, SEEDS)
    assert capfd.readouterr().err == ""
    assert caplog.text.count("input was truncated") == 1


@pytest.mark.parametrize(
    ("name", "prompt", "given", "message"),
    [
        ("img2img", None, {}, "set victim.prompt=TEXT for all images, or give data.manifest a col"),
        (
            "img2img",
            "a",
            {"1": "b", "2": "c"},
            "victim.prompt gives one prompt .*leave one of",
        ),
        ("img2img", None, {"1": "b"}, "column prompt is empty for 1 of 2 images, such as 2"),
    ],
)
def test_each_image_has_one_prompt(
    pipelines: Path, name: str, prompt: str | None, given: dict[str, str], message: str
) -> None:
    box = victim(pipelines, name, prompt=prompt)
    with pytest.raises(UserError, match=message):
        box.check_prompts(given, ["1", "2"])
    fitting = {} if prompt else {"1": "b", "2": "c"}
    box.check_prompts(fitting, ["1", "2"])


def test_the_api_knows_the_folder_of_a_pipeline(pipelines: Path) -> None:
    folder = pipelines / "img2img"
    chosen = ["victim=diffusers", f"victim.checkpoint={folder}"]
    assert victim_overrides(folder) == victim_overrides(str(folder)) == chosen


def test_without_the_extra(pipelines: Path, tmp_path: Path) -> None:
    """An environment without the libraries: nothing else needs them."""
    extra = ("diffusers", "transformers", "peft", "accelerate")
    for installed in Path(torch.__file__).parents[1].iterdir():
        if not installed.name.startswith(extra):
            (tmp_path / installed.name).symlink_to(installed)
    program = f"""
import mia_lab, mia_lab.cli, mia_lab.victims.external, mia_lab.victims.pretrained
from mia_lab.errors import UserError
from mia_lab.victims.pipelines import Pipeline
try:
    Pipeline({str(pipelines / "img2img")!r}, 32)
except UserError as error:
    print(error)
"""
    ran = subprocess.run(
        [sys.executable, "-S", "-c", program],  # -S: without the packages of this environment
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{tmp_path}"},
        capture_output=True,
        text=True,
    )
    message = "victim=diffusers: transformers is not installed; pip install 'mia_lab[diffusers]'\n"
    assert (ran.stdout, ran.returncode) == (message, 0), ran.stderr
