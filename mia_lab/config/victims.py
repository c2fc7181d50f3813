"""The type of every key of a victim: one dataclass a member of the group."""

from __future__ import annotations

from dataclasses import dataclass, field

from omegaconf import MISSING

from mia_lab.config.choices import InputEncoding, QueryMode


@dataclass
class Trained:
    """What all victims of ours have."""

    _target_: str = MISSING
    name: str = MISSING
    image_size: int = MISSING
    in_channels: int | None = None
    input_encoding: InputEncoding = InputEncoding.rgb
    width: int = MISSING
    learning_rate: float = MISSING
    beta1: float = MISSING
    epochs: int = MISSING
    batch_size: int = MISSING
    seed: int = MISSING
    keep_epochs: list[int] = field(default_factory=list)
    epoch: int | None = None


@dataclass
class Adversarial(Trained):
    """What those have that are trained against a discriminator."""

    discriminator_width: int = MISSING
    decay_fraction: float = MISSING
    load_scale: float = MISSING
    flip: bool = MISSING


@dataclass
class Pix2Pix(Adversarial):
    """A victim of ours: pix2pix."""

    generator: str = MISSING
    norm: str = MISSING
    dropout: float = MISSING
    gan_loss: str = MISSING
    lambda_l1: float = MISSING


@dataclass
class Pix2PixHD(Adversarial):
    """A victim of ours: pix2pixHD."""

    n_downsamplings: int = MISSING
    n_blocks: int = MISSING
    n_discriminators: int = MISSING
    perceptual: str = MISSING
    perceptual_weights: str | None = None
    lambda_feature: float = MISSING
    lambda_perceptual: float = MISSING


@dataclass
class DpUNet(Trained):
    """A victim of ours with a privacy guarantee."""

    epsilon: float = MISSING
    delta: float = MISSING
    max_grad_norm: float = MISSING


@dataclass
class Pretrained:
    """A victim from a file of weights."""

    _target_: str = MISSING
    name: str = MISSING
    format: str = MISSING
    checkpoint: str = MISSING
    image_size: int = MISSING
    input_encoding: InputEncoding = InputEncoding.rgb
    dropout: float = MISSING
    accelerator: str = MISSING
    mode: QueryMode = MISSING


@dataclass
class Exported:
    """A victim in an exported program: torch.export or TorchScript."""

    _target_: str = MISSING
    name: str = MISSING
    checkpoint: str = MISSING
    accelerator: str = MISSING


@dataclass
class Onnx:
    """A victim in an ONNX file."""

    _target_: str = MISSING
    name: str = MISSING
    checkpoint: str = MISSING
    accelerator: str = MISSING
    threads: int = MISSING


@dataclass
class Http:
    """A victim behind a URL."""

    _target_: str = MISSING
    name: str = MISSING
    url: str = MISSING
    version: str | None = None
    encoding: str = MISSING
    token_variable: str | None = None
    timeout_s: float = MISSING
    retries: int = MISSING
    requests_per_s: float | None = None


@dataclass
class Outputs:
    """A victim's answers as pictures in a folder."""

    _target_: str = MISSING
    name: str = MISSING
    folder: str = MISSING
    image_size: int = MISSING


VICTIMS = (Pix2Pix, Pix2PixHD, DpUNet, Pretrained, Exported, Onnx, Http, Outputs)
"""All members of the group that have keys of their own."""
