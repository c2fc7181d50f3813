"""What the functions of the API share: a configuration and a store that last for one call."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from mia_lab.api.held import held
from mia_lab.api.images import ArrayPairs, Images, JoinedPairs, joined
from mia_lab.api.victims import HELD, CalledVictim, Victim, victim_overrides
from mia_lab.config.component import Component
from mia_lab.config.compose import CONF, composed
from mia_lab.config.schema import Config
from mia_lab.data.manifest import Rows, write_roles
from mia_lab.errors import UserError


@dataclass(frozen=True)
class Settings:
    """Arguments that the functions of the API have in common.

    Attributes:
        difficulty: one of the choices of ``difficulty=``.
        backbone: one of the choices of ``backbone=``, or the name of a network of timm; None: the
            default.
        image_size: in pixels, one side or (width, height); None: that of the arrays, or the
            default for folders.
        overrides: overrides of the configuration, as on the command line.
        folder: where the store is; None: a temporary folder.
        seed: the seed of all random choices.
    """

    difficulty: str
    backbone: str | None
    image_size: int | Sequence[int] | None
    overrides: Sequence[str]
    folder: str | Path | None
    seed: int


@contextmanager
def call(
    task: str,
    settings: Settings,
    images: Mapping[str, tuple[str, Images | None]],
    *more: str,
    victim: Victim | None = None,
    value_range: Any = None,
) -> Iterator[tuple[Config, Path]]:
    """The configuration of a task, and a folder for its files, which is deleted after the call.

    Args:
        task: the command's ``task``.
        settings: see :class:`Settings`.
        images: for each role, the name of the argument and its value; None: the role has no
            images. If no role has images, the overrides choose the data.
        more: further overrides, from the function of the API.
        victim: the model; None: the overrides choose it.
        value_range: the range of values of the victim.

    Raises:
        UserError: an argument is wrong.
    """
    threads = torch.get_num_threads()
    given = {role: (name, some) for role, (name, some) in images.items() if some is not None}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mia_lab-")))
        overrides = [f"task={task}", "tracking.mode=disabled", "report.pictures=true"]
        if given:
            pairs = joined(given, settings.overrides)
            handle = stack.enter_context(held(pairs))
            overrides += _data(handle, pairs, folder / "roles.csv")
            overrides += _size(settings, pairs)
        elif settings.image_size is not None:
            overrides.append(_sides(settings.image_size))
        overrides += _victim(stack, victim, value_range)
        overrides += _networks(settings)
        root = folder if settings.folder is None else Path(settings.folder).expanduser()
        overrides += [f"seed={settings.seed}", f"paths.outputs={root}", *more]
        config = composed(*overrides, *settings.overrides)
        try:
            yield config, folder
        finally:
            torch.set_num_threads(threads)


def _data(handle: str, pairs: JoinedPairs, manifest: Path) -> list[str]:
    rows: Rows = {image_id: {"role": role} for image_id, role in pairs.roles.items()}
    write_roles(manifest, rows)
    return [
        "data=custom",
        "data.source=held",
        f"+data.sources.held={{_target_:{HELD},handle:{handle}}}",
        "data.protocol=manifest",
        f"data.manifest={manifest}",
    ]


def _size(settings: Settings, pairs: JoinedPairs) -> list[str]:
    """The size of the images, where an argument or arrays state it."""
    if settings.image_size is not None:
        return [_sides(settings.image_size)]
    sizes = {source.size for source in pairs.sources if isinstance(source, ArrayPairs)}
    if len(sizes) > 1:
        shown = " and ".join(f"{width} x {height}" for width, height in sorted(sizes))
        raise UserError(f"image_size: the images have {shown} pixels; give image_size")
    return [_sides(size) for size in sizes]


def _sides(size: int | Sequence[int]) -> str:
    return f"data.image_size={size if isinstance(size, int) else [*size]}"


def _victim(stack: ExitStack, victim: Victim | None, value_range: Any) -> list[str]:
    stated = [] if value_range is None else [f"victim.value_range={_nested(value_range)}"]
    if victim is None:
        return stated
    if isinstance(victim, str | Path):
        return [*victim_overrides(victim), *stated]
    if not callable(victim):
        raise UserError(
            f"victim: is a {type(victim).__name__}; give a function, a module, a path or a URL"
        )
    component = Component.of(
        "victim",
        {"_target_": f"{CalledVictim.__module__}.CalledVictim", "value_range": value_range},
        provided=["model"],
    )
    handle = stack.enter_context(held(component.build(model=victim)))
    name = getattr(victim, "__name__", type(victim).__name__)
    name = name if name.isidentifier() else "function"
    return ["victim=custom", f"victim._target_={HELD}", f"victim.name={name}",
            f"+victim.handle={handle}"]  # fmt: skip


def _nested(value: Any) -> str:
    """Numbers in nested sequences, as an override."""
    if isinstance(value, list | tuple):
        return f"[{','.join(map(_nested, value))}]"
    return "null" if value is None else str(value)


def _networks(settings: Settings) -> list[str]:
    found = [f"difficulty={settings.difficulty}"]
    name = settings.backbone
    if name is None:
        return found
    if (CONF / "backbone" / f"{name}.yaml").is_file():
        return [*found, f"backbone={name}"]
    return [*found, "backbone=timm", f"backbone.name={name}"]
