"""Image-to-image pipelines of the library diffusers, which draw their answers at random."""

from __future__ import annotations

import inspect
import logging
import math
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import torch
from PIL import Image
from safetensors import SafetensorError, safe_open
from torch import Tensor

from mia_lab.errors import UserError, listed, one_line
from mia_lab.hardware import torch_device
from mia_lab.parameters import (
    RUNTIME,
    Accelerator,
    File,
    ImageSize,
    InputEncoding,
    NonNegative,
    PositiveInt,
    Text,
    UnitInterval,
    Weight,
)
from mia_lab.victims.networks import misfit
from mia_lab.victims.pipeline_files import diffusers_library, pipeline_class

log = logging.getLogger(__name__)

IMAGES = ("image", "control_image")
"""Arguments of a pipeline that are given the input."""

SETTINGS = {
    "prompt": "prompt",
    "negative_prompt": "negative_prompt",
    "guidance_scale": "guidance_scale",
    "image_guidance_scale": "image_guidance_scale",
    "steps": "num_inference_steps",
    "strength": "strength",
    "controlnet_conditioning_scale": "controlnet_conditioning_scale",
    "mask": "mask_image",
}
"""Arguments of a pipeline, by the settings that give them."""

BATCHED = re.compile("Img2Img|Inpaint|Control|Pix2Pix|Adapter|Depth2Img|Translation")
"""Names of pipelines that answer each image of a batch. Others may take several images as
references for one answer, and are given one picture at a time."""

ADAPTER = "audited"
"""Name of the LoRA in the pipeline."""

Mask = Literal["whole", "centre"]


class Pipeline:
    """A pipeline of diffusers in a folder. Nothing is downloaded, and no code of the folder runs.

    An answer is that of the pipeline, called with the input, the prompt, the settings that are not
    None, and ``generator=torch.Generator("cpu").manual_seed(seed)``. The safety checker and the
    invisible watermark are off, because they would change answers.

    Args:
        checkpoint: folder that ``save_pretrained`` of the pipeline wrote, with weights in
            safetensors.
        image_size: of the images it will be queried with.
        lora: LoRA weights that are added: a ``.safetensors`` file, or the folder of one.
        lora_scale: their weight.
        prompt: the text that is sent with each image; None: that of the manifest.
        negative_prompt: what answers should not look like.
        guidance_scale: weight of the prompt.
        image_guidance_scale: weight of the input, of InstructPix2Pix.
        steps: of the sampler (``num_inference_steps``).
        strength: in [0, 1]; how much of the input is replaced by noise.
        controlnet_conditioning_scale: weight of a ControlNet.
        mask: the part that an inpainting pipeline repaints: ``whole``, or ``centre``, the rectangle
            of half the width and half the height in the middle.
        dtype: of the weights.
        offload: ``model`` or ``sequential`` keeps parts in the memory of the computer that the GPU
            does not need at the time.
        accelerator: where the pipeline computes, see ``trainer.accelerator``.
        input_encoding: see ``data.input_encoding``; pictures alone, but for a pipeline that mia_lab
            wrote.

    Attributes:
        in_channels, out_channels: of the images.
        costly: each of its answers is stored at once, and no check asks for more.
        reading: what was loaded, in one line.

    Raises:
        UserError: diffusers is not installed, the folder cannot be loaded, or the pipeline takes no
            image, or not these settings.
    """

    version: ClassVar[int] = 1
    trainable: ClassVar[bool] = False
    stochastic: ClassVar[bool] = True
    costly: ClassVar[bool] = True

    def __init__(
        self,
        checkpoint: File,
        image_size: ImageSize,
        lora: File | None = None,
        lora_scale: Weight = 1.0,
        prompt: Text | None = None,
        negative_prompt: Text | None = None,
        guidance_scale: NonNegative | None = None,
        image_guidance_scale: NonNegative | None = None,
        steps: PositiveInt | None = None,
        strength: UnitInterval | None = None,
        controlnet_conditioning_scale: NonNegative | None = None,
        mask: Mask | None = None,
        dtype: Literal["float32", "float16", "bfloat16"] = "float32",
        offload: Annotated[Literal["none", "model", "sequential"], RUNTIME] = "none",
        accelerator: Accelerator = "auto",
        input_encoding: InputEncoding = "rgb",
    ) -> None:
        self._key = f"victim.checkpoint={checkpoint}"
        device = torch_device(accelerator)
        if offload != "none" and device.type != "cuda":
            raise UserError(
                f"victim.offload={offload}: is for a GPU, and the victim computes on the CPU; set "
                "victim.offload=none"
            )
        for name in ("transformers", "accelerate", "diffusers", *(["peft"] if lora else [])):
            diffusers_library(name)
        self._told: set[str] = set()
        folder = Path(checkpoint)
        with self._heard():
            kind = pipeline_class(folder)
        self._kind = kind.__name__
        self._takes = inspect.signature(kind.__call__).parameters
        settings: dict[str, Any] = {
            "prompt": prompt,
            "negative_prompt": negative_prompt,
            "guidance_scale": guidance_scale,
            "image_guidance_scale": image_guidance_scale,
            "steps": steps,
            "strength": strength,
            "controlnet_conditioning_scale": controlnet_conditioning_scale,
            "mask": mask,
        }
        self._given = {name: value for name, value in settings.items() if value is not None}
        self._check_call()
        with self._heard():
            self._pipe = self._loaded(kind, folder, getattr(torch, dtype))
            if lora is not None:
                _add_lora(self._pipe, Path(lora), lora_scale)
        self._check_size(image_size)
        taken = getattr(self._pipe, "input_encoding", "rgb")  # of one that mia_lab wrote
        if input_encoding != taken:
            raise UserError(
                f"data.input_encoding={input_encoding}: a {self._kind} takes "
                f"{'pictures' if taken == 'rgb' else 'labels'}; set data.input_encoding={taken}"
            )
        self.in_channels: int = getattr(self._pipe, "in_channels", 3)
        self.out_channels: int = getattr(self._pipe, "out_channels", 3)
        self._pipe.set_progress_bar_config(disable=True)
        self._place(offload, device)
        self.reading = f"{self._kind} in {dtype}{' with LoRA' if lora else ''}"
        log.info("%s: %s", self._key, self.reading)

    def _place(self, offload: str, device: torch.device) -> None:
        """Move the pipeline to where it computes."""
        try:
            if offload == "model":
                self._pipe.enable_model_cpu_offload(device=device)
            elif offload == "sequential":
                self._pipe.enable_sequential_cpu_offload(device=device)
            else:
                self._pipe.to(device)
        except (ValueError, RuntimeError) as error:
            raise UserError(
                f"victim.offload={offload}: not possible with a {self._kind} "
                f"({one_line(str(error), 300)}); choose another value"
            ) from error

    @property
    def takes_prompts(self) -> bool:
        """Whether it is given the prompts of a manifest."""
        return "prompt" in self._takes and "prompt" not in self._given

    def check_prompts(self, prompts: Mapping[str, str], ids: Sequence[str]) -> None:
        """Make sure that there is one prompt for each image.

        Args:
            prompts: those of the manifest, by id.
            ids: of the images that it will be queried with.

        Raises:
            UserError: there is none for an image, there are two, or it takes none.
        """
        if "prompt" not in self._takes:
            if prompts:
                raise UserError(
                    f"data.manifest has a column prompt, and a {self._kind} takes no prompt; "
                    "remove the column"
                )
            return
        if prompts and not self.takes_prompts:
            raise UserError(
                "victim.prompt gives one prompt for all images, and the column prompt of "
                "data.manifest gives one for each; leave one of them out"
            )
        missing = [image_id for image_id in ids if image_id not in prompts]
        if self.takes_prompts and len(missing) == len(ids):
            raise UserError(
                f"victim.prompt: a {self._kind} takes a prompt; set victim.prompt=TEXT for all "
                "images, or give data.manifest a column prompt"
            )
        if self.takes_prompts and missing:
            raise UserError(
                f"data.manifest: its column prompt is empty for {len(missing)} of {len(ids)} "
                f"images, such as {missing[0]}; fill it in, or set victim.prompt=TEXT for all "
                "images instead"
            )

    def sample(self, x: Tensor, seeds: Sequence[int], prompts: Sequence[str] = ()) -> Tensor:
        """Draw an answer for each image; see :class:`~mia_lab.victims.blackbox.Sampler`.

        Raises:
            UserError: the pipeline fails, or its answers have another size.
        """
        size = len(x) if BATCHED.search(self._kind) else 1
        parts = [slice(start, start + size) for start in range(0, len(x), size)]
        return torch.cat([self._drawn(x[p], seeds[p], prompts[p]) for p in parts])

    def _drawn(self, x: Tensor, seeds: Sequence[int], prompts: Sequence[str]) -> Tensor:
        """The answers of one call of the pipeline."""
        call = self._call(x, prompts)
        call["generator"] = [torch.Generator("cpu").manual_seed(seed) for seed in seeds]
        with self._heard():
            try:
                images = np.asarray(self._pipe(**call).images, dtype=np.float32)
            except torch.OutOfMemoryError as error:
                raise UserError(
                    f"{self._key}: the GPU has too little memory for {len(x)} images of "
                    f"{x.shape[3]} x {x.shape[2]} px at once; set a smaller query.batch_size, "
                    "victim.dtype=float16 or victim.offload=model"
                ) from error
            except Exception as error:  # of any of some hundred pipelines
                reason = one_line(str(error), 300) or type(error).__name__
                raise UserError(
                    f"{self._key}: the {self._kind} fails on images of {x.shape[3]} x "
                    f"{x.shape[2]} px: {reason}{self._hint()}"
                ) from error
        expected = (len(x), *x.shape[2:], self.out_channels)
        if images.shape != expected:
            raise UserError(
                f"{self._key}: the {self._kind} answers {len(x)} images of {x.shape[3]} x "
                f"{x.shape[2]} px with an array of shape {images.shape}, expected {expected}; a "
                "victim has to answer each image with one of its size"
            )
        return torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()

    def _call(self, x: Tensor, prompts: Sequence[str]) -> dict[str, Any]:
        """The arguments of the pipeline for some images, but the generators."""
        n, _, height, width = x.shape
        call: dict[str, Any] = {SETTINGS[name]: value for name, value in self._given.items()}
        if "prompt" in self._takes:
            call["prompt"] = [call["prompt"]] * n if "prompt" in call else list(prompts)
        if "negative_prompt" in call:
            call["negative_prompt"] = [call["negative_prompt"]] * n
        if "mask_image" in call:
            call["mask_image"] = _mask(call["mask_image"], height, width).expand(n, 1, -1, -1)
        for name in IMAGES:
            if name in self._takes:
                call[name] = x if BATCHED.search(self._kind) else _picture(x)
        # Without these, some pipelines answer in the size that they were trained at.
        sizes = {"height": height, "width": width, "max_area": height * width}
        call |= {name: value for name, value in sizes.items() if name in self._takes}
        if "_auto_resize" in self._takes:
            call["_auto_resize"] = False
        return {**call, "output_type": "np"}

    def _check_call(self) -> None:
        """Refuse a pipeline that is no victim, or does not take a setting."""
        takes, key = self._takes, self._key
        if not any(name in takes for name in IMAGES):
            raise UserError(
                f"{key}: a {self._kind} makes pictures of nothing but "
                f"{'text' if 'prompt' in takes else 'noise'}, and an audit gives images; use a "
                "pipeline that takes an image, such as StableDiffusionInstructPix2PixPipeline"
            )
        if "num_frames" in takes or "output_type" not in takes or "generator" not in takes:
            raise UserError(
                f"{key}: a {self._kind} does not answer an image with an image drawn from a seed; "
                "wrap it in a class of your own (victim=custom)"
            )
        known = [name for name, argument in SETTINGS.items() if argument in takes]
        for name in self._given:
            if name not in known:
                raise UserError(
                    f"victim.{name}={self._given[name]}: a {self._kind} does not take it; set "
                    f"victim.{name}=null (it takes {listed(known) or 'no settings'})"
                )
        if "mask_image" in takes and "mask" not in self._given:
            raise UserError(
                f"victim.mask: a {self._kind} repaints a part of the image; set "
                "victim.mask=whole or victim.mask=centre"
            )
        given = {*IMAGES, *(SETTINGS[name] for name in known)}
        given |= {"generator", "height", "width", "self"}
        for name, parameter in takes.items():
            is_needed = parameter.default is parameter.empty and parameter.kind not in (
                parameter.VAR_KEYWORD,
                parameter.VAR_POSITIONAL,
            )
            if is_needed and name not in given:
                raise UserError(
                    f"{key}: a {self._kind} cannot do without {name}, which an audit does not "
                    "give; wrap it in a class of your own (victim=custom)"
                )

    def _hint(self) -> str:
        """What may be wrong with a call that fails; "" if nothing is known."""
        found: list[Any] = [
            self._given.get(name, getattr(self._takes.get(SETTINGS[name]), "default", None))
            for name in ("steps", "strength")
        ]
        if all(isinstance(n, int | float) for n in found) and math.prod(found) < 1:
            return "; victim.steps times victim.strength is below 1, so that no step is left"
        return ""

    def _check_size(self, image_size: int | Sequence[int]) -> None:
        pipe = self._pipe
        strides = {int(getattr(pipe, "vae_scale_factor", 1)) * int(getattr(pipe, "patch_size", 1))}
        for name in ("image_processor", "control_image_processor", "mask_processor"):
            config = getattr(getattr(pipe, name, None), "config", None)
            strides.add(int(getattr(config, "vae_scale_factor", 1)))
        stride = math.lcm(*strides)
        if problem := misfit(image_size, stride, stride):
            raise UserError(f"{self._key}: a {self._kind} {problem}")

    def _loaded(self, kind: Any, folder: Path, dtype: torch.dtype) -> Any:
        """The pipeline, from the folder alone."""
        named = inspect.signature(kind.__init__).parameters
        off = {"safety_checker": None, "requires_safety_checker": False, "add_watermarker": False}
        try:
            return kind.from_pretrained(
                str(folder),
                dtype=dtype,
                use_safetensors=True,
                local_files_only=True,
                **{name: value for name, value in off.items() if name in named},
            )
        except Exception as error:  # of any component
            reason = one_line(str(error), 300) or type(error).__name__
            raise UserError(
                f"{self._key}: cannot be loaded as a {self._kind}: {reason}; nothing is "
                "downloaded, and weights are read from safetensors only"
            ) from error

    @contextmanager
    def _heard(self) -> Iterator[None]:
        """Libraries stay offline and draw no bars; each of their warnings is told once."""
        handler = _Listener(logging.WARNING)
        with _offline(), _without_bars(), _handled_by(handler), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of interest to those who write pipelines
            yield
        for message in handler.heard:
            if message not in self._told:
                self._told.add(message)
                log.warning("%s: %s", self._key, message)


class _Listener(logging.Handler):
    """Collects messages, each as one line."""

    def __init__(self, level: int) -> None:
        super().__init__(level)
        self.heard: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.heard.append(one_line(record.getMessage(), 300))


def _picture(x: Tensor) -> Image.Image:
    """One image, float32 (1, 3, H, W) in [0, 1], as a picture of 8 bits."""
    levels = (x[0] * 255).round().to(torch.uint8).permute(1, 2, 0)
    return Image.fromarray(levels.contiguous().numpy())


def _mask(mask: Mask, height: int, width: int) -> Tensor:
    """What is repainted: float32 (1, 1, H, W), 1 inside and 0 outside."""
    if mask == "whole":
        return torch.ones(1, 1, height, width)
    found = torch.zeros(1, 1, height, width)
    top, left = height // 4, width // 4
    found[..., top : height - top, left : width - left] = 1
    return found


def _add_lora(pipe: Any, lora: Path, scale: float) -> None:
    """Load LoRA weights on a pipeline.

    Raises:
        UserError: there are none, they are pickled, or do not fit the pipeline.
    """
    key = f"victim.lora={lora}"
    files = sorted(lora.glob("*.safetensors")) if lora.is_dir() else [lora]
    if len(files) != 1 or not files[0].is_file() or files[0].suffix != ".safetensors":
        raise UserError(
            f"{key}: is no .safetensors file, and no folder with one; LoRA weights are read from "
            "safetensors only (pipe.save_lora_weights writes it)"
        )
    kind = type(pipe).__name__
    if not hasattr(pipe, "load_lora_weights"):
        raise UserError(f"{key}: a {kind} takes no LoRA; set victim.lora=null")
    try:
        with safe_open(files[0], "pt") as file:
            # A scale that is stored beside a pair of matrices is no parameter of the network.
            wanted = sum(1 for name in file.keys() if not name.endswith(".alpha"))  # noqa: SIM118
        pipe.load_lora_weights(
            str(files[0].parent),
            weight_name=files[0].name,
            adapter_name=ADAPTER,
            use_safetensors=True,
            local_files_only=True,
        )
        found = sum(
            f".{ADAPTER}." in f"{name}."
            for part in pipe.components.values()
            if isinstance(part, torch.nn.Module)
            for name, _ in part.named_parameters()
        )
        if found:
            pipe.set_adapters([ADAPTER], [scale])
    except (SafetensorError, OSError, ValueError, KeyError, RuntimeError, TypeError) as error:
        raise UserError(
            f"{key}: cannot be loaded on the {kind}: {one_line(str(error), 300)}"
        ) from error
    if found < wanted:
        raise UserError(
            f"{key}: {wanted - found} of its {wanted} tensors fit no part of the {kind}; was it "
            "trained on another pipeline?"
        )


@contextmanager
def _offline() -> Iterator[None]:
    """No library downloads anything."""
    constants = diffusers_library("huggingface_hub").constants
    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


@contextmanager
def _without_bars() -> Iterator[None]:
    """No library draws bars of its progress; ours shows how many images are done."""
    logs = [diffusers_library(f"{name}.utils.logging") for name in ("diffusers", "transformers")]
    shown = [entry for entry in logs if entry.is_progress_bar_enabled()]
    for entry in shown:
        entry.disable_progress_bar()
    try:
        yield
    finally:
        for entry in shown:
            entry.enable_progress_bar()


@contextmanager
def _handled_by(handler: logging.Handler) -> Iterator[None]:
    """What the libraries log goes to one handler."""
    loggers = [logging.getLogger(name) for name in ("diffusers", "transformers")]
    before = [(logger.handlers, logger.propagate) for logger in loggers]
    for logger in loggers:
        logger.handlers, logger.propagate = [handler], False
    try:
        yield
    finally:
        for logger, (handlers, propagate) in zip(loggers, before, strict=True):
            logger.handlers, logger.propagate = handlers, propagate
