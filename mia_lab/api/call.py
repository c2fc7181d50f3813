"""What the functions of the API share: a configuration and a store that last for one call."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from mia_lab.api.arguments import ARGUMENTS, named
from mia_lab.api.held import held, thing
from mia_lab.api.images import Images, JoinedPairs, check_unread, data_choice, joined
from mia_lab.api.victims import Victim, called, victim_overrides
from mia_lab.config.compose import CONF, composed
from mia_lab.config.overrides import key_of
from mia_lab.config.schema import Config
from mia_lab.data import manifest
from mia_lab.data.manifest import Rows, write_roles
from mia_lab.errors import UserError
from mia_lab.types import Role

STATED = {
    "task": "each function has its own task; leave it out",
    "until": "a function of the API ends with its result; leave it out",
    "tracking": "W&B tracks commands only; leave it out",
    "tracking.mode": "W&B tracks commands only; leave it out",
    **{key: f"give the argument {argument} instead" for key, argument in ARGUMENTS.items()},
}
"""Keys that arguments state, or that a call has no use for, and what to do instead."""

COLLECTION = "collection/"
"""What the part of a collection's images begins with; its name follows."""

PLACES = {f"data.{key}" for key in ("source", "root", "train", "test", "protocol", "manifest")}
"""Keys of the place and the roles of images."""


@dataclass(frozen=True)
class Settings:
    """Arguments that the functions of the API have in common.

    Attributes:
        difficulty: one of the choices of ``difficulty=``; None: as configured.
        backbone: one of the choices of ``backbone=``, or the name of a network of timm; None: the
            default.
        image_size: in pixels, one side or (width, height); None: that of the arrays, or the
            default for folders.
        overrides: overrides of the configuration, as on the command line.
        folder: where the store is; None: a temporary folder.
        seed: the seed of all random choices.

    Raises:
        UserError: an argument has another type.
    """

    difficulty: str | None
    backbone: str | None
    image_size: int | Sequence[int] | None
    overrides: Sequence[str]
    folder: str | Path | None
    seed: int

    def __post_init__(self) -> None:
        if isinstance(self.overrides, str):
            raise UserError(f"overrides={self.overrides}: is one text; give a list of overrides")
        for override in self.overrides:
            if stated := STATED.get(key_of(override)):
                raise UserError(f"{override}: {stated}")


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
        images: for each role, or `COLLECTION` and a name, the name of the argument and its value;
            None: the role has no images. If no role has images, the overrides choose the data.
        more: further overrides, from the function of the API.
        victim: the model; None: the overrides choose it.
        value_range: the range of values of the victim.

    Raises:
        UserError: an argument is wrong.
    """
    threads = torch.get_num_threads()
    given = {role: (name, some) for role, (name, some) in images.items() if some is not None}
    with named(images=bool(given)), ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mia_lab-")))
        root = folder if settings.folder is None else Path(settings.folder).expanduser()
        overrides = [
            f"task={task}",
            "tracking.mode=disabled",
            "report.pictures=true",
            f"seed={settings.seed}",
            f"paths.outputs={root}",
            *_victim(stack, victim, value_range),
            *_networks(settings),
            *more,
        ]
        size = settings.image_size
        if size is not None:
            overrides.append(_sides(size))
        pairs: JoinedPairs | None = None
        if given:
            _check_places(settings.overrides)
            pairs = joined(given, settings.overrides, size is not None)
            handle = stack.enter_context(held(pairs))
            overrides += data_choice(settings.overrides)
            overrides += _data(handle, pairs, folder / "roles.csv")
            if size is None:
                overrides += _size(pairs)
        config = composed(*overrides, *settings.overrides)
        if pairs and pairs.arrays:
            check_unread(settings.overrides, config.data)
        try:
            yield config, folder
        finally:
            torch.set_num_threads(threads)


def _check_places(overrides: Sequence[str]) -> None:
    """Refuse overrides that say where the images are, or which role they have."""
    for override in overrides:
        if key_of(override) in PLACES:
            raise UserError(f"{override}: the images are arguments of the call; leave it out")


def _data(handle: str, pairs: JoinedPairs, roles: Path) -> list[str]:
    kind = "arrays" if pairs.arrays else "folders"
    rows: Rows = {image_id: _row(part) for image_id, part in pairs.roles.items()}
    write_roles(roles, rows)
    return [
        f"data.source={kind}",
        f"+data.sources.{kind}={{_target_:{thing.__module__}.{thing.__name__},handle:{handle}}}",
        "data.protocol=manifest",
        f"data.manifest={roles}",
    ]


def _row(part: str) -> dict[str, str]:
    """The role of the images of a part, and their collection."""
    if part.startswith(COLLECTION):
        return {"role": Role.CANDIDATE, manifest.COLLECTION: part.removeprefix(COLLECTION)}
    return {"role": part}


def _size(pairs: JoinedPairs) -> list[str]:
    """The size of arrays."""
    sizes = {source.size for source in pairs.arrays}
    if len(sizes) > 1:
        shown = " and ".join(f"{width} x {height}" for width, height in sorted(sizes))
        raise UserError(f"image_size: the images have {shown} pixels; give image_size")
    return [_sides(size) for size in sizes]


def _sides(size: Any) -> str:
    return f"data.image_size={_nested(size)}"


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
    handle = stack.enter_context(held(victim))
    name = getattr(victim, "__name__", type(victim).__name__)
    name = name if name.isidentifier() else "function"
    return [
        "victim=custom",
        f"victim._target_={called.__module__}.{called.__name__}",
        f'victim.name="{name}"',
        f"+victim.handle={handle}",
        f"+victim.value_range={_nested(value_range)}",
    ]


def _nested(value: Any) -> str:
    """Numbers in nested sequences, as an override."""
    value = value.tolist() if hasattr(value, "tolist") else value  # NumPy's
    if isinstance(value, list | tuple):
        return f"[{','.join(map(_nested, value))}]"
    return "null" if value is None else str(value)


def attack_names(attacks: Sequence[str] | None) -> list[str]:
    """The override that chooses attacks by their names, or ``"all"``; none for None.

    Raises:
        UserError: they are another text.
    """
    if attacks == "all":
        return ["attack=all"]
    if isinstance(attacks, str):
        raise UserError(f"attacks={attacks}: is one text; give a list, [{attacks!r}]")
    return [] if attacks is None else [f"attack.names=[{','.join(attacks)}]"]


def _networks(settings: Settings) -> list[str]:
    found = [] if settings.difficulty is None else [f"difficulty={settings.difficulty}"]
    name = settings.backbone
    if name is None:
        return found
    if (CONF / "backbone" / f"{name}.yaml").is_file():
        return [*found, f"backbone={name}"]
    return [*found, "backbone=timm", f"backbone.name={name}"]
