"""Pipelines of diffusers with few weights, built from configurations without a download."""

from __future__ import annotations

import json
import string
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict
from tokenizers import Tokenizer
from tokenizers.models import Unigram
from tokenizers.pre_tokenizers import Metaspace

KINDS = {
    "pix2pix": "StableDiffusionInstructPix2PixPipeline",
    "img2img": "StableDiffusionImg2ImgPipeline",
    "inpaint": "StableDiffusionInpaintPipeline",
    "controlnet": "StableDiffusionControlNetPipeline",
    "text": "StableDiffusionPipeline",
    "kontext": "FluxKontextPipeline",
}


def save_pipelines(folder: Path, names: Iterable[str] = KINDS) -> None:
    """A folder for each of some :data:`KINDS`, and ``lora`` for InstructPix2Pix."""
    transformers.utils.logging.disable_progress_bar()
    for name in names:
        torch.manual_seed(0)
        if name == "kontext":
            _kontext(_tokenizer(folder / "tokens")).save_pretrained(folder / name)
            continue
        unet = _unet(8 if name == "pix2pix" else 4)
        more: dict[str, Any] = {}
        if name == "controlnet":
            net = diffusers.ControlNetModel.from_unet(
                unet, conditioning_embedding_out_channels=(4, 8)
            )
            for weights in net.parameters():  # its last layers begin with zeros
                torch.nn.init.normal_(weights, std=0.1)
            more["controlnet"] = net
        pipe = getattr(diffusers, KINDS[name])(
            vae=_vae(),
            text_encoder=_text_encoder(),
            tokenizer=_tokenizer(folder / "tokens"),
            unet=unet,
            scheduler=diffusers.DDIMScheduler(
                beta_start=0.00085,
                beta_end=0.012,
                beta_schedule="scaled_linear",
                clip_sample=False,
                set_alpha_to_one=False,
                steps_offset=1,
            ),
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
            **more,
        )
        pipe.save_pretrained(folder / name)
        if name == "pix2pix":
            _save_lora(pipe, folder / "lora")
    transformers.utils.logging.enable_progress_bar()


def counting(sample: Callable[..., Any], asked: list[int], most: float = float("inf")) -> Any:
    """The method ``sample`` of a victim that notes the seeds it is given, and stops after some."""

    def counted(self: Any, x: Any, seeds: Any, prompts: Any = ()) -> Any:
        if len(asked) >= most:
            raise KeyboardInterrupt
        asked.extend(seeds)
        return sample(self, x, seeds, prompts)

    return counted


def _unet(channels: int) -> Any:
    return diffusers.UNet2DConditionModel(
        sample_size=8,
        in_channels=channels,
        out_channels=4,
        block_out_channels=(8, 16),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=32,
        attention_head_dim=8,
        norm_num_groups=4,
    )


def _vae() -> Any:
    return diffusers.AutoencoderKL(
        block_out_channels=(8, 16),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        norm_num_groups=4,
        sample_size=32,
    )


def _text_encoder() -> Any:
    config = transformers.CLIPTextConfig(
        vocab_size=2 + 2 * len(string.ascii_lowercase),
        hidden_size=32,
        intermediate_size=37,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=16,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=1,
    )
    return transformers.CLIPTextModel(config)


def _tokenizer(folder: Path) -> Any:
    """Every letter is a token."""
    folder.mkdir(parents=True, exist_ok=True)
    letters = string.ascii_lowercase
    tokens = ["<|startoftext|>", "<|endoftext|>", *letters, *(f"{a}</w>" for a in letters)]
    vocabulary = {token: number for number, token in enumerate(tokens)}
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    files = str(folder / "vocab.json"), str(folder / "merges.txt")
    return transformers.CLIPTokenizer(*files, model_max_length=16)


def _kontext(tokenizer: Any) -> Any:
    """A pipeline that takes one picture beside the prompt."""
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("\u2581", -1.0)]
    letters = [(letter, -2.0) for letter in string.ascii_lowercase]
    words = Tokenizer(Unigram([*pieces, *letters], unk_id=2))
    words.pre_tokenizer = Metaspace()
    second = transformers.T5TokenizerFast(
        tokenizer_object=words,
        pad_token="<pad>",
        eos_token="</s>",
        unk_token="<unk>",
        extra_ids=0,
        model_max_length=16,
    )
    encoder = transformers.T5Config(
        vocab_size=len(second), d_model=32, d_kv=8, d_ff=37, num_layers=2, num_heads=4
    )
    return diffusers.FluxKontextPipeline(
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(),
        vae=diffusers.AutoencoderKL(
            block_out_channels=(4,),
            latent_channels=1,
            norm_num_groups=1,
            use_quant_conv=False,
            use_post_quant_conv=False,
            shift_factor=0.06,
            scaling_factor=0.15,
            sample_size=32,
        ),
        text_encoder=_text_encoder(),
        tokenizer=tokenizer,
        text_encoder_2=transformers.T5EncoderModel(encoder),
        tokenizer_2=second,
        transformer=diffusers.FluxTransformer2DModel(
            patch_size=1,
            in_channels=4,
            num_layers=1,
            num_single_layers=1,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=32,
            pooled_projection_dim=32,
            axes_dims_rope=[4, 4, 8],
        ),
    )


def _save_lora(pipe: Any, folder: Path) -> None:
    targets = ["to_k", "to_q", "to_v", "to_out.0"]
    pipe.unet.add_adapter(LoraConfig(r=2, init_lora_weights=False, target_modules=targets))
    layers = get_peft_model_state_dict(pipe.unet)
    pipe.save_lora_weights(str(folder), unet_lora_layers=layers)
