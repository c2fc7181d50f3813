"""From configuration to objects: the only place that calls ``instantiate``."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable, Sequence
from dataclasses import asdict, fields, is_dataclass
from enum import Enum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from hydra.errors import InstantiationException
from hydra.utils import get_object, instantiate
from omegaconf import DictConfig, OmegaConf

from mia_lab.config import schema
from mia_lab.config.choices import InputEncoding
from mia_lab.config.explain import unknown_key
from mia_lab.config.schema import Config
from mia_lab.errors import UserError
from mia_lab.store import file_sha256

if TYPE_CHECKING:
    import pytorch_lightning as pl

    from mia_lab.attacks import Attack
    from mia_lab.attacks.needs import Needs
    from mia_lab.backbones.backbone import Backbone
    from mia_lab.data.encoding import LabelEncoding
    from mia_lab.data.source import PairSource
    from mia_lab.defenses import Defense
    from mia_lab.difficulty.single_image import SingleImageDifficulty
    from mia_lab.difficulty.whole_image import WholeImageDifficulty
    from mia_lab.measures import PrivacyClaim
    from mia_lab.victims.blackbox import Victim

RUNTIME_KEYS = {
    *("accelerator", "name", "threads"),
    *("timeout_s", "retries", "requests_per_s", "token_variable"),  # of victim=http
}
"""Keys of a component that never change its numbers beyond rounding."""

FILE_KEYS = {"checkpoint", "perceptual_weights", "folder"}
"""Keys that name a file or a folder."""


def typed(cfg: DictConfig) -> Config:
    """The composed configuration as a dataclass; victim and difficulty become plain dicts.

    Raises:
        UserError: a mandatory value was not given, or ``+key=value`` added an unknown key.
    """
    _refuse_added_keys(cfg)
    missing = sorted(OmegaConf.missing_keys(cfg))
    if missing:
        raise UserError(f"{missing[0]}: no value given; add {missing[0]}=... to the command")
    config = cast(Config, OmegaConf.to_object(cfg))
    _expand_home(config)
    data = config.data
    if data.source == "folder" and data.root is None and config.paths.data:
        data.root = str(Path(config.paths.data) / data.name)
    if "root" in data.sources.get(data.source, {}):
        data.sources[data.source]["root"] = data.root
    config.victim = plain(config.victim)
    for key in FILE_KEYS & config.victim.keys():
        if config.victim[key] is not None:
            config.victim[key] = str(Path(config.victim[key]).expanduser())
    config.difficulty = plain(config.difficulty)
    config.defense = plain(config.defense)
    config.reference.victim = plain(config.reference.victim)
    return config


def _expand_home(config: Config) -> None:
    """A tilde in a configuration file means the home folder; no shell has expanded it."""
    paths, data = config.paths, config.data
    for section, keys in ((paths, ("data", "outputs", "store")), (data, ("manifest", "root"))):
        for key in keys:
            if (value := getattr(section, key)) is not None:
                setattr(section, key, str(Path(value).expanduser()))


def _refuse_added_keys(node: DictConfig, path: str = "") -> None:
    """``+key=value`` adds keys that no dataclass has; OmegaConf would take them silently."""
    kind = OmegaConf.get_type(node)
    known = {f.name for f in fields(kind)} if is_dataclass(kind) else None
    for key in map(str, node):
        full_key = f"{path}{key}"
        if known is not None and key not in known:
            raise UserError(unknown_key(full_key, key, known))
        child = None if OmegaConf.is_missing(node, key) else node._get_node(key)
        if isinstance(child, DictConfig) and not child._is_none():
            _refuse_added_keys(child, f"{full_key}.")


def plain(node: Any) -> Any:
    """Dataclasses and enums as JSON values."""
    if is_dataclass(node) and not isinstance(node, type):
        node = asdict(node)
    if isinstance(node, dict):
        return {key: plain(value) for key, value in node.items()}
    if isinstance(node, list | tuple):
        return [plain(value) for value in node]
    return node.value if isinstance(node, Enum) else node


def as_yaml(config: Config) -> str:
    """The resolved configuration, as the run used it."""
    return str(OmegaConf.to_yaml(OmegaConf.create(plain(config))))


def source(config: Config) -> PairSource:
    """The dataset that ``data.source`` names."""
    return cast("PairSource", _build(f"data.sources.{config.data.source}", _node(config)))


def encoding(config: Config, source: PairSource) -> LabelEncoding | None:
    """What victims are given instead of pictures; None: pictures.

    Raises:
        UserError: the dataset has no palette, or a wrong one.
    """
    from mia_lab.data.encoding import LabelEncoding

    data = config.data
    if data.input_encoding is InputEncoding.rgb:
        return None
    if data.palette is None:
        raise UserError(
            "data.input_encoding=one_hot: needs the colours of the labels, "
            "data.palette=[[R,G,B],...]; or use data.input_encoding=rgb"
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

    found = Needs(references=is_multi_image(config))
    for name in config.attack.names if names is None else names:
        found |= needs_of(_locate(config.attack.available[name]["_target_"]))
    return found


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


def _node(config: Config) -> dict[str, Any]:
    return cast(dict[str, Any], plain(config.data.sources[config.data.source]))


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
