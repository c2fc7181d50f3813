"""``task=export``: write a victim to files that other programs read and that can be audited."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytorch_lightning as pl
import torch
from hydra.core.hydra_config import HydraConfig
from torch import Tensor, nn

from mia_lab.config.choices import Protocol
from mia_lab.config.schema import Config
from mia_lab.data.manifest import write_manifest
from mia_lab.errors import UserError
from mia_lab.stages.graph import run_stages
from mia_lab.stages.victim import TrainedVictim
from mia_lab.store import Stage
from mia_lab.tasks import common
from mia_lab.tasks.ending import point_latest
from mia_lab.victims.blackbox import BlackBox, TorchSampler
from mia_lab.victims.export import EXAMPLES, to_onnx, to_pt2
from mia_lab.victims.external import Exported, Onnx
from mia_lab.victims.files import export as to_safetensors
from mia_lab.victims.networks import UnitRange
from mia_lab.victims.pipelines import Pipeline
from mia_lab.victims.pretrained import Pretrained

NOT_OF_THE_DATA = (
    *("task=", "victim", "query.", "fail_if"),
    *("data.protocol", "data.manifest", "data.n_", "data.group_by", "data.assignment"),
)
"""Overrides of a command that concern the exported victim, or roles, which the manifest gives."""

TOLERANCE = 1e-4
"""Largest difference that a file's answers may have from the victim's."""


def run(config: Config, folder: Path, group: str) -> None:
    """Write a victim as safetensors, torch.export and ONNX, with the split it was trained on.

    A diffusion model is written as a folder of ``diffusers``.

    Args:
        config: a validated configuration.
        folder: the run's output folder; exists.

    Raises:
        UserError: the victim is no PyTorch module, cannot be exported, or a file does not answer
            as it does.
    """
    stages = run_stages(config)
    victim = stages.victim
    # This run does not draw the members of a victim that somebody else trained.
    has_known_members = isinstance(victim, TrainedVictim) or (
        config.data.protocol is not Protocol.resplit
    )
    goals: list[Stage[Any]] = [stages.split, victim] if has_known_members else [victim]
    manifest = folder / "split.csv" if has_known_members else Path("ROLES.csv")
    with common.started(config, folder, goals) as store:
        if has_known_members:
            split, images = store.result(stages.split).split, stages.images
            write_manifest(manifest, split, images.listed, images.dataset.prompts)
        querying = stages.reconstructions.querying
        opened = querying.open(victim, store).victim
        dataset = stages.images.dataset
        batch = next(dataset.subset(dataset.ids[:EXAMPLES]).batches(EXAMPLES))
        if len(batch) < EXAMPLES:
            raise UserError(f"task=export: needs at least {EXAMPLES} images to try the victim on")
        if isinstance(opened, TorchSampler):
            written = _write_pipeline(config, opened.module, batch.condition, folder)
        else:
            module = _module(config, opened)
            expected = cast(BlackBox, opened).translate(batch.condition)
            written = _write(config, module.cpu().eval(), batch.condition, expected, folder)
    point_latest(Path(config.paths.outputs) / "latest", folder)
    _print(written, manifest)


def _module(config: Config, victim: object) -> nn.Module:
    """What translates images in [0, 1]."""
    module = getattr(victim, "module", None)
    if not isinstance(module, nn.Module):
        raise UserError(
            f"task=export: victim={config.victim.get('name')} is no PyTorch module that could be "
            "exported; export one that mia_lab trains, or victim=pretrained"
        )
    if isinstance(module, pl.LightningModule) and "input_encoding" in module.hparams:
        # A trainer's module does not trace; its network does.
        module = UnitRange(module.generator, module.hparams["input_encoding"])  # type: ignore[arg-type]
    return module


def _write(
    config: Config, module: nn.Module, example: Tensor, expected: Tensor, folder: Path
) -> dict[str, tuple[Path, float]]:
    """Each file with its largest difference on some images, by the victim that reads it."""
    safetensors, pt2, onnx = (folder / f"victim.{end}" for end in ("safetensors", "pt2", "onnx"))
    size, encoding = config.data.image_size, cast(Any, config.data.input_encoding.value)
    readers: dict[str, tuple[Path, Callable[[], BlackBox]]] = {
        "exported": (pt2, lambda: Exported(str(pt2), "cpu")),
        "onnx": (onnx, lambda: Onnx(str(onnx), "cpu")),
    }
    network: Any = getattr(module, "network", None)
    if hasattr(network, "arguments"):
        to_safetensors(network, safetensors, getattr(module, "input_encoding", encoding))

        def read() -> BlackBox:
            return Pretrained(str(safetensors), size, "cpu", input_encoding=encoding)

        readers = {"pretrained": (safetensors, read), **readers}
    try:
        to_pt2(module, example, pt2)
        to_onnx(module, example, onnx)
    except UserError:
        raise
    except Exception as error:  # PyTorch's exporters have many
        reason = str(error).strip().partition("\n")[0]
        raise UserError(
            f"victim={config.victim.get('name')}: PyTorch cannot export it ({reason})"
        ) from error
    return {
        name: (path, _difference(path, read(), example, expected))
        for name, (path, read) in readers.items()
    }


def _write_pipeline(
    config: Config, module: nn.Module, example: Tensor, folder: Path
) -> dict[str, tuple[Path, float]]:
    """A folder of ``diffusers``, with the largest difference of its answers on some images."""
    if not hasattr(module, "pipeline"):
        raise UserError(
            f"task=export: victim={config.victim.get('name')} draws its answers and has no method "
            "pipeline() that gives a pipeline of diffusers; export one that mia_lab trains"
        )
    path, seeds = folder / "pipeline", list(range(len(example)))
    expected = TorchSampler(module, "cpu").sample(example, seeds)
    cast(Any, module).pipeline().save_pretrained(path)
    encoding: Any = config.data.input_encoding.value
    size = config.data.image_size
    loaded = Pipeline(str(path), size, accelerator="cpu", input_encoding=encoding)
    difference = float((loaded.sample(example, seeds) - expected).abs().max())
    if not difference <= TOLERANCE:
        shutil.rmtree(path)
        raise UserError(
            f"{path}: answers differ from the victim's by {difference:.2g} (at most "
            f"{TOLERANCE:g}); the folder was removed"
        )
    return {"diffusers": (path, difference)}


def _difference(path: Path, victim: BlackBox, example: Tensor, expected: Tensor) -> float:
    # One image and all of them: a file must take batches of any size.
    answers = torch.cat([victim.translate(example[:1]), victim.translate(example)[1:]])
    difference = float((answers - expected).abs().max())
    if not difference <= TOLERANCE:
        path.unlink()
        raise UserError(
            f"{path}: answers differ from the victim's by {difference:.2g} (at most "
            f"{TOLERANCE:g}); the file was removed"
        )
    return difference


def _print(written: dict[str, tuple[Path, float]], manifest: Path) -> None:
    for path, difference in written.values():
        files = [path] if path.is_file() else [*path.rglob("*")]
        size = sum(file.stat().st_size for file in files if file.is_file()) / 1e6
        print(f"{path}: {size:.1f} MB, answers within {difference:.1g} of the victim's")
    print("audit one of them with")
    asked = HydraConfig.get().overrides.task
    data = [o for o in asked if not o.lstrip("+~").startswith(NOT_OF_THE_DATA)]
    given = [*data, "data.protocol=manifest", f"data.manifest={manifest}"]
    for name, (path, _) in written.items():
        command = [*given, f"victim={name}", f"victim.checkpoint={path}"]
        print(f"  python -m mia_lab {shlex.join(command)}")
