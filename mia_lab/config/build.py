"""From configuration to objects: the only place that calls ``instantiate``."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable, Sequence
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from hydra.errors import InstantiationException
from hydra.utils import get_object, instantiate

from mia_lab.config import schema
from mia_lab.config.choices import InputEncoding
from mia_lab.config.explain import unknown_key
from mia_lab.config.resolved import FILE_KEYS, plain
from mia_lab.config.schema import Config, Data
from mia_lab.errors import UserError
from mia_lab.store import file_sha256

if TYPE_CHECKING:
    import pytorch_lightning as pl

    from mia_lab.attacks import Attack
    from mia_lab.attacks.needs import Given, Needs
    from mia_lab.backbones.backbone import Backbone
    from mia_lab.data.encoding import LabelEncoding
    from mia_lab.data.source import PairSource
    from mia_lab.defenses import Defense
    from mia_lab.difficulty.single_image import SingleImageDifficulty
    from mia_lab.difficulty.whole_image import WholeImageDifficulty
    from mia_lab.types import PrivacyClaim
    from mia_lab.victims.blackbox import Victim

RUNTIME_KEYS = {
    *("accelerator", "name", "threads"),
    *("timeout_s", "retries", "requests_per_s", "token_variable"),  # of victim=http
}
"""Keys of a component that never change its numbers beyond rounding."""


def source(data: Data) -> PairSource:
    """The dataset that ``data.source`` names."""
    node = plain(data.sources[data.source])
    return cast("PairSource", _build(f"data.sources.{data.source}", node))


def encoding(data: Data, source: PairSource, key: str = "data") -> LabelEncoding | None:
    """What victims are given instead of pictures; None: pictures.

    Raises:
        UserError: the dataset has no palette, or a wrong one.
    """
    from mia_lab.data.encoding import LabelEncoding

    if data.input_encoding is InputEncoding.rgb:
        return None
    if data.palette is None:
        raise UserError(
            f"{key}.input_encoding=one_hot: needs the colours of the labels, "
            f"{key}.palette=[[R,G,B],...]; or use {key}.input_encoding=rgb"
        )
    return LabelEncoding(data.palette, data.instances and getattr(source, "has_instances", False))


def resolved_victim(config: Config, in_channels: int) -> dict[str, Any]:
    """The victim's settings, ``in_channels: null`` replaced by what the data gives.

    Raises:
        UserError: the settings say another number than the data.
    """
    victim = dict(config.victim)
    if "in_channels" in victim:
        if victim["in_channels"] not in (None, in_channels):
            raise UserError(
                f"victim.in_channels={victim['in_channels']}: the data has {in_channels} channels "
                f"(data.input_encoding={config.data.input_encoding.value}); leave it out"
            )
        victim["in_channels"] = in_channels
    return victim


def trained_victim(settings: dict[str, Any]) -> pl.LightningModule:
    """A victim of ours, untrained.

    Args:
        settings: from :func:`resolved_victim`.

    Raises:
        UserError: its settings are wrong, or it is nothing that Lightning could train.
    """
    import pytorch_lightning as pl

    victim = _build("victim", settings)
    if not isinstance(victim, pl.LightningModule):
        raise UserError(
            f"victim._target_={settings['_target_']}: has epochs, so it is to be trained, but "
            "is no LightningModule; see CONTRIBUTING.md"
        )
    return victim


def privacy_claim(config: Config, members: Sequence[str]) -> PrivacyClaim | None:
    """What the victim's training promises its members; None: nothing."""
    if "epsilon" not in config.victim or "max_grad_norm" not in config.victim:
        return None
    from mia_lab.victims.private import privacy_claim

    return privacy_claim(config.victim, len(members))


def foreign_victim(config: Config, in_channels: int) -> Victim:
    """A victim that somebody else trained.

    Raises:
        UserError: the object has no method ``translate``, or wants other inputs than the data
            gives.
    """
    from mia_lab.victims.blackbox import BlackBox, RecordedAnswers

    victim = _build("victim", config.victim)
    if not isinstance(victim, BlackBox | RecordedAnswers):
        raise UserError(
            f"victim._target_={config.victim['_target_']}: has no method translate(x); "
            "see CONTRIBUTING.md"
        )
    wanted = getattr(victim, "in_channels", None)
    is_png = config.victim.get("encoding") == "png"
    more = "; victim.encoding=npy takes any number" if is_png else ""
    if wanted not in (None, in_channels):
        raise UserError(
            f"victim={config.victim.get('name')}: takes {wanted} channels, the data gives "
            f"{in_channels} (data.input_encoding={config.data.input_encoding.value}, classes of "
            f"data.palette, plus one where instances are known and data.instances is true){more}"
        )
    return victim


Known = Callable[[dict[str, Any], int, Callable[[], "Backbone"]], "Backbone"]
"""Given settings, the size of images and what builds it: a backbone, perhaps remembered."""


Difficulties = tuple["SingleImageDifficulty | WholeImageDifficulty", ...]


def difficulties(config: Config, device: str, known: Known) -> tuple[Backbone, Difficulties]:
    """The configured backbone, the configured difficulty, those of the grid's backbones and sides.

    Each single-image difficulty scores all layers and penalties of the grid at once. There is none
    where the difficulty is the error of reference victims.

    Args:
        config: the configuration.
        device: where they compute.
        known: may spare us a backbone.

    Raises:
        UserError: a setting is wrong, or a backbone or its weights cannot be had.
    """
    settings = dict(config.difficulty)
    grid = dict(settings.pop("grid", {}))
    grid.pop("alpha", None)
    alternatives = [backbone(node) for node in grid.pop("backbone", [])]
    from mia_lab.difficulty.features import input_size

    size = input_size(settings.get("preprocess", "aligned"), settings.get("grid_size", 56))
    kind = _locate(settings["_target_"])
    networks = _backbones([plain(config.backbone), *alternatives], config.seed, size, known)
    if is_multi_image(config):
        return networks[0], ()
    if hasattr(kind, "score_images"):
        extra: dict[str, Any] = {}
        if getattr(kind, "needs_backbone", False):
            extra["backbone"] = networks[0]
        return networks[0], (_build("difficulty", settings, **extra),)
    sides = dict.fromkeys([settings.pop("features_from", "input"), *grid.pop("features_from", [])])
    built = []
    for network in networks:
        for side in sides:
            node = {**settings, "features_from": side, "grid": grid}
            score = _build("difficulty", node, backbone=network, device=device)
            if not hasattr(score, "factors_identity"):
                raise UserError(
                    f"difficulty._target_={node['_target_']}: is no difficulty; give it a method "
                    "score_images(batch), or derive it from "
                    "mia_lab.difficulty.single_image.SingleImageDifficulty"
                )
            built.append(cast("SingleImageDifficulty", score))
            settings["maps"] = False  # of the configured setting alone
    return networks[0], tuple(built)


def grid_alphas(config: Config) -> list[float]:
    """Weights of the difficulty to evaluate, the configured one first."""
    others = config.difficulty.get("grid", {}).get("alpha", [])
    return list(dict.fromkeys([config.attack.alpha, *others]))


def _backbones(nodes: list[dict[str, Any]], seed: int, size: int, known: Known) -> list[Backbone]:
    """Networks that differ; random weights come from the run's seed."""
    built: dict[str, Backbone] = {}
    for number, node in enumerate(nodes):
        settings = {**node, "seed": seed} if node.get("weights") == "random" else node
        try:
            network = known(settings, size, partial(_backbone, settings))
        except UserError as error:
            where = f"difficulty.grid.backbone, {node['name']}: " if number else ""
            raise UserError(f"{where}{error}") from error
        built.setdefault(network.fingerprint(), network)
    return list(built.values())


def _backbone(settings: dict[str, Any]) -> Backbone:
    return cast("Backbone", _build("backbone", settings, keep_name=True))


def backbone(node: Any) -> dict[str, Any]:
    """Complete settings of one of the grid's backbones.

    Raises:
        UserError: it has no name, or keys that no backbone has.
    """
    keys = {f.name for f in fields(schema.Backbone)}
    if isinstance(node, dict) and (unknown := set(node) - keys):
        key = min(unknown)
        raise UserError(unknown_key(f"difficulty.grid.backbone.{key}", key, keys - {"_target_"}))
    if not isinstance(node, dict) or "name" not in node:
        raise UserError(
            f"difficulty.grid.backbone: {node} is no backbone; "
            "give [{name: resnet18, weights: random}], say"
        )
    target = "mia_lab.backbones.backbone.Backbone"
    return {"_target_": target, "weights": "pretrained", **node}


def needs(config: Config, names: Sequence[str] | None = None) -> Needs:
    """What some attacks (default: all that are asked for) and the difficulty need together."""
    from mia_lab.attacks.needs import Needs, needs_of

    found = Needs()
    for name in config.attack.names if names is None else names:
        found |= needs_of(_locate(config.attack.available[name]["_target_"]))
    is_read = names is None or found.difficulty
    return found | Needs(references=is_multi_image(config) and is_read)


def check_attacks(config: Config, given: Given) -> None:
    """Refuse attacks that cannot work, before anything is trained for them.

    Raises:
        UserError: a setting is unknown or out of range, or the attacker has too little.
    """
    from mia_lab.attacks.needs import needs_of

    for name in config.attack.names:
        settings = dict(config.attack.available[name])
        attack = _locate(settings.pop("_target_"))
        if not settings.pop("_partial_", False):
            continue
        try:
            inspect.signature(attack).bind(None, (), "", **settings)
        except TypeError as error:
            raise UserError(f"attack.available.{name}: {error}") from error
        if (check := needs_of(attack).check) is not None:
            check(given, **settings)


def is_multi_image(config: Config) -> bool:
    """Whether the difficulty is the error of reference victims."""
    target: str = config.difficulty["_target_"]
    return target == "mia_lab.difficulty.multi_image.multi_image"


def defense(config: Config) -> Defense | None:
    """What is done to the victim's answers; None: nothing.

    Raises:
        UserError: a setting is out of range, or the object lacks a method.
    """
    if config.defense["_target_"] is None:
        return None
    from mia_lab.defenses import Defense

    built = _build("defense", config.defense)
    if not isinstance(built, Defense):
        raise UserError(
            f"defense._target_={config.defense['_target_']}: needs the methods apply(answers) and "
            "expected(pictures)"
        )
    return built


def attacks(config: Config) -> dict[str, Attack]:
    """The named attacks, in order."""
    available = config.attack.available
    return {n: _build(f"attack.available.{n}", available[n]) for n in config.attack.names}


def identity(node: dict[str, Any]) -> dict[str, Any]:
    """What of a component's settings decides its numbers.

    A checkpoint counts by its content, not its path. So does every file that a class from outside
    this package is given, and its source code, since we cannot know its version.
    """
    declared = {k: v for k, v in plain(node).items() if k not in RUNTIME_KEYS}
    foreign = not declared["_target_"].startswith("mia_lab.")
    for key, value in declared.items():
        may_be_file = isinstance(value, str) and (foreign or key in FILE_KEYS)
        if may_be_file and value and Path(value).exists():
            declared[key] = f"sha256:{_content_sha256(Path(value))}"
    if foreign:
        file_name = inspect.getsourcefile(_locate(declared["_target_"]))
        declared["source code"] = file_sha256(Path(file_name)) if file_name else None
    return declared


def _content_sha256(path: Path) -> str:
    """Of a file, or of all files in a folder with their names."""
    if path.is_file():
        return file_sha256(path)
    digest = hashlib.sha256()
    for file in sorted(p for p in path.rglob("*") if p.is_file()):
        digest.update(f"{file.relative_to(path)}\t{file_sha256(file)}\n".encode())
    return digest.hexdigest()


def _build(key: str, node: dict[str, Any], keep_name: bool = False, **extra: Any) -> Any:
    arguments = {k: v for k, v in node.items() if keep_name or k != "name"}
    try:
        return instantiate(arguments, **extra, _convert_="all")
    except InstantiationException as error:
        if isinstance(error.__cause__, UserError):
            raise error.__cause__ from None
        reason = " ".join(str(error.__cause__ or error).split())
        raise UserError(f"{key} ({node.get('_target_')}): cannot be built: {reason}") from error


def _locate(target: str) -> Any:
    try:
        return get_object(target)
    except Exception as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"_target_={target}: cannot be imported ({reason})") from error
