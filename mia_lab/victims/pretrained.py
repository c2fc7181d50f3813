"""Victims that were trained elsewhere and come as a file of weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from mia_lab.errors import UserError
from mia_lab.victims.blackbox import TorchBlackBox
from mia_lab.victims.networks import translate_unit_range
from mia_lab.victims.networks.unet import UNet

ARCHITECTURES: dict[str, type[nn.Module]] = {"UNet": UNet}
"""Networks that an exported file may name; loading a file never imports anything else."""


class Pretrained:
    """A generator exported by mia_lab (``victim.safetensors``), as a black box.

    Args:
        checkpoint: path of the file.
        image_size: side of the images it will be queried with.
        accelerator: ``auto``, ``cpu`` or ``gpu``.
        mode: ``eval`` or ``train``, see :class:`~mia_lab.victims.blackbox.TorchBlackBox`.

    Raises:
        UserError: the file is missing, foreign, damaged or made for another image size.
    """

    def __init__(
        self, checkpoint: str, image_size: int, accelerator: str = "auto", mode: str = "eval"
    ) -> None:
        network, arguments = load_generator(Path(checkpoint))
        trained_at = arguments.get("image_size", image_size)
        if trained_at != image_size:
            raise UserError(
                f"victim.checkpoint={checkpoint}: was trained at {trained_at} px, but "
                f"data.image_size={image_size}; set data.image_size={trained_at}"
            )
        self._box = TorchBlackBox(_UnitRange(network), accelerator, mode)

    def translate(self, x: Tensor) -> Tensor:
        return self._box.translate(x)


def load_generator(path: Path) -> tuple[nn.Module, dict[str, Any]]:
    """Read an exported generator: the network, and the arguments it was built with.

    Raises:
        UserError: the file is missing, foreign or damaged.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        recipe = json.loads(metadata["generator"])
        arguments = recipe["arguments"]
        network = ARCHITECTURES[recipe["architecture"]](**arguments)
        network.load_state_dict(tensors)
    except (OSError, SafetensorError) as error:
        raise UserError(f"victim.checkpoint={path}: cannot be read ({error})") from error
    except (KeyError, ValueError, TypeError, RuntimeError) as error:
        raise UserError(
            f"victim.checkpoint={path}: is not a generator exported by mia_lab "
            f"({', '.join(ARCHITECTURES)}); wrap other models in a class with a translate method"
        ) from error
    return network, arguments


class _UnitRange(nn.Module):
    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        return translate_unit_range(self.network, x)
