"""The model that a caller gives, as a victim: a function, a module, a file or a URL."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from mia_lab.api.held import thing
from mia_lab.config.compose import CONF
from mia_lab.errors import UserError, nearest
from mia_lab.parameters import Text, ValueRanges
from mia_lab.victims.pipeline_files import INDEX
from mia_lab.victims.value_range import UNIT, intervals

Victim = Callable[[Tensor], Any] | nn.Module | str | Path
"""A function or a module that maps a float32 batch (N, C, H, W) in [0, 1] to the answers, with the
number of channels of the targets; or the path of a file, or of a folder of answers or of a
pipeline of diffusers; or a URL; or the name of a kind of victim, such as ``pix2pix``, which is then
trained on the members."""

LOADERS = {
    ".onnx": "onnx",
    ".pt2": "exported",
    ".pt": "exported",
    ".ts": "exported",
    ".pth": "pretrained",
    ".ckpt": "pretrained",
    ".safetensors": "pretrained",
}
"""The kind of victim that loads a file, by the suffix of its name."""


class CalledVictim:
    """A function or a module in this process, as a black box.

    A module is queried in evaluation mode, on the device of its first parameter. After a query, it
    is in the same mode as before.

    Args:
        model: the function or module.
        value_range: the values that stand for 0 and 1 in its inputs and answers, such as [-1, 1].

    Raises:
        UserError: an answer to a query is not an array, or is outside its range.
    """

    def __init__(
        self, model: Callable[[Tensor], Any] | nn.Module, value_range: ValueRanges | None = None
    ) -> None:
        self._model = model
        inputs, answers = intervals(value_range)
        self._inputs, self._answers = inputs or UNIT, answers or UNIT

    def translate(self, x: Tensor) -> Tensor:
        """Answers float32 (N, C, H, W) in [0, 1] of inputs float32 (N, C, H, W) in [0, 1]."""
        with torch.no_grad():  # a function may switch gradients on
            answer = self._asked(self._inputs.scaled(x).to(x.dtype))
        if isinstance(answer, np.ndarray):
            answer = torch.from_numpy(np.ascontiguousarray(answer))
        if not isinstance(answer, Tensor):
            raise UserError(
                f"victim: answers with a {type(answer).__name__}; return one tensor "
                "(N, C, H, W), such as lambda x: model(x)[0]"
            )
        found = answer.detach().float().cpu()
        if not found.numel() or not found.isfinite().all():
            return found
        low, high = float(found.min()), float(found.max())
        if not self._answers.contains(low, high):
            raise UserError(
                f"victim: answers with values from {low:.3g} to {high:.3g}, outside "
                f"{self._answers}; give the values that stand for 0 and 1, such as "
                "value_range=(-1, 1), or clip the answers"
            )
        return self._answers.unit(found).float()

    def _asked(self, x: Tensor) -> Any:
        model = self._model
        if not isinstance(model, nn.Module):
            return model(x)
        weights = next(model.parameters(), None)
        modes = {module: module.training for module in model.modules()}
        model.eval()
        try:
            return model(x if weights is None else x.to(weights.device))
        finally:
            for module, training in modes.items():
                module.training = training


def called(handle: Text, value_range: ValueRanges | None = None) -> CalledVictim:
    """The function or module of a handle, see :func:`mia_lab.api.held.held`."""
    return CalledVictim(cast(Any, thing(handle)), value_range)


def victim_overrides(victim: str | Path) -> list[str]:
    """The overrides that choose a victim by its file, its folder, its URL or its name.

    Raises:
        UserError: the text names no victim.
    """
    text = str(victim)
    names = sorted(file.stem for file in (CONF / "victim").glob("*.yaml"))
    if isinstance(victim, str) and text in names:  # ./pix2pix is a folder
        return [f"victim={text}"]
    if text.startswith(("http://", "https://")):
        return ["victim=http", f"victim.url={text}"]
    path = Path(text).expanduser()
    if text and (path / INDEX).is_file():
        return ["victim=diffusers", f"victim.checkpoint={path}"]
    if text and path.is_dir():
        return ["victim=outputs", f"victim.folder={path}"]
    if loader := LOADERS.get(path.suffix.lower()):
        return [f"victim={loader}", f"victim.checkpoint={path}"]
    raise UserError(
        f"victim={text}: is no file that ends in {', '.join(LOADERS)}, no folder of answers, no "
        f"URL, and none of {', '.join(names)}{nearest(text, names)}"
    )
