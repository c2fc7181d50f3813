"""From a configuration to its components, and from those to objects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from mia_lab.attacks.needs import Needs, needs_of
from mia_lab.config import kinds
from mia_lab.config.choices import InputEncoding
from mia_lab.config.component import TARGET, Component
from mia_lab.config.schema import Config, Data, Grid
from mia_lab.config.shards import Shard
from mia_lab.config.validation import validated
from mia_lab.data.encoding import LabelEncoding
from mia_lab.data.source import PairSource
from mia_lab.errors import UserError

ATTACK_ARGUMENTS = ("evidence", "ids", "model")
"""What every attack is called with."""

BACKBONE = "mia_lab.backbones.backbone.Backbone"


def source_component(data: Data, key: str = "data") -> Component:
    """The dataset that ``data.source`` names."""
    return Component.of(f"{key}.sources.{data.source}", data.sources[data.source])


def source(data: Data, key: str = "data") -> PairSource:
    """The dataset that ``data.source`` names, built.

    Raises:
        UserError: its settings are wrong, or its files are.
    """
    component = source_component(data, key)
    built: PairSource = component.build()
    for method in ("ids", "load", "fingerprint"):
        if not callable(getattr(built, method, None)):
            raise UserError(
                f"{component.key}.{TARGET}={component.target}: has no method {method}; see "
                "docs/extend.md for what a dataset needs"
            )
    return built


def encoding(data: Data, source: PairSource, key: str = "data") -> LabelEncoding | None:
    """What victims are given instead of pictures; None: pictures.

    Raises:
        UserError: the dataset has no palette, or a wrong one.
    """
    if data.input_encoding is InputEncoding.rgb:
        return None
    if data.palette is None:
        raise UserError(
            f"{key}.input_encoding=one_hot: needs the colours of the labels, "
            f"{key}.palette=[[R,G,B],...]; or use {key}.input_encoding=rgb"
        )
    boundaries = data.instances and getattr(source, "has_instances", False)
    return LabelEncoding(data.palette, boundaries, data.ignore_label)


Channels = tuple[int, int]
"""Numbers of channels of a victim's inputs and of the targets."""


def victim(config: Config, channels: Channels | None = None) -> Component:
    """The victim.

    Args:
        config: the configuration.
        channels: those of the data, which replace ``in_channels: null`` and
            ``out_channels: null``; None: not known yet.

    Raises:
        UserError: a setting is wrong, or the data has other channels.
    """
    return _victim("victim", config.victim, config, channels)


def reference_victim(config: Config, channels: Channels | None = None) -> Component:
    """What reference victims are: the victim, or ``reference.victim``; no epoch of it is kept.

    Raises:
        UserError: a setting is wrong, or it cannot be trained.
    """
    own = config.reference.victim
    key = "victim" if own is None else "reference.victim"
    found = _victim(key, config.victim if own is None else own, config, channels)
    if not kinds.is_trainable(found):
        remedy = "choose pix2pix, say"
        if own is None:
            remedy = (
                "and what compares with reference victims needs some; add "
                "+victim@reference.victim=pix2pix, say"
            )
        raise UserError(
            f"{key}={found.name}: cannot be trained{', ' if own is None else '; '}{remedy}"
        )
    last: dict[str, Any] = {"keep_epochs": [], "epoch": None}
    return found.replace(**{k: v for k, v in last.items() if k in found.arguments})


def _victim(
    key: str, node: Mapping[str, Any], config: Config, channels: Channels | None
) -> Component:
    settings, unknown = dict(node), []
    for side, name in enumerate(("in_channels", "out_channels")):
        configured = settings.get(name)
        if channels is None:
            unknown.append(name)
            if configured is None:
                settings.pop(name, None)
        elif name in settings:
            found = channels[side]
            if configured not in (None, found):
                what = "targets" if side else "inputs"
                encoding = (
                    "" if side else f" (data.input_encoding={config.data.input_encoding.value})"
                )
                raise UserError(
                    f"{key}.{name}={configured}: the data's {what} have {found} channels"
                    f"{encoding}; leave it out"
                )
            settings[name] = found
    return Component.of(key, settings, provided=unknown)


def defense(config: Config) -> Component | None:
    """What is done to the victim's answers; None: nothing."""
    if config.defense.get("_target_") is None:
        return None
    return Component.of("defense", config.defense)


def grid(config: Config) -> Grid:
    """Further settings of the difficulty; empty for one that has no grid."""
    empty: dict[str, list[Any]] = {key: [] for key in Grid.model_fields}
    return validated(Grid, config.difficulty.get("grid", empty), "difficulty.grid")


def shard(config: Config) -> Shard | None:
    """The part of the images whose difficulty is scored; None: all of them at once.

    Raises:
        UserError: it has another form, or there is no such part.
    """
    value = config.difficulty.get("shard")
    return None if value is None else Shard.of(value)


def difficulty_settings(config: Config) -> dict[str, Any]:
    """The settings of the difficulty, without the shard, which is no setting of a score."""
    return {key: value for key, value in config.difficulty.items() if key != "shard"}


def difficulty(config: Config) -> Component:
    """The difficulty under the configured setting, and all layers and penalties of the grid.

    It is built with a ``backbone`` and a ``device`` where it takes those.

    Raises:
        UserError: a setting is wrong, or it has no method that gives scores.
    """
    node = difficulty_settings(config)
    if "grid" in node:
        node["grid"] = grid(config).model_dump(include={"layers", "ridge"})
    found = Component.of("difficulty", node, provided=("backbone", "device"))
    if not any(hasattr(found.kind, m) for m in ("score_images", "score_references", "score")):
        raise UserError(
            f"difficulty._target_={found.target}: is no difficulty; give it a method "
            "score_images(batch), or derive it from "
            "mia_lab.difficulty.single_image.SingleImageDifficulty"
        )
    return found


def backbone(config: Config) -> Component:
    """The configured backbone; random weights come from the run's seed."""
    return _backbone("backbone", config.backbone, config.seed)


def grid_backbones(config: Config) -> list[Component]:
    """The backbones of the difficulty's grid.

    Raises:
        UserError: one has no name, or keys that no backbone has.
    """
    key, found = "difficulty.grid.backbone", []
    for node in grid(config).backbone:
        if not isinstance(node, dict) or "name" not in node:
            raise UserError(
                f"{key}: {node} is no backbone; give [{{name: resnet18, weights: random}}], say"
            )
        complete = {"_target_": BACKBONE, "weights": "pretrained", **node}
        found.append(_backbone(key, complete, config.seed))
    return found


def _backbone(key: str, node: Mapping[str, Any], seed: int) -> Component:
    found = Component.of(key, node)
    return found.replace(seed=seed) if found.arguments.get("weights") == "random" else found


def grid_sides(config: Config) -> list[str]:
    """Pictures of a pair whose features are used: the configured one first."""
    configured = difficulty(config).arguments.get("features_from", "input")
    return list(dict.fromkeys([configured, *grid(config).features_from]))


def attacks(config: Config) -> dict[str, Component]:
    """The named attacks, in order."""
    available = config.attack.available
    build = partial(Component.of, provided=ATTACK_ARGUMENTS)
    return {
        name: build(f"attack.available.{name}", available[name]) for name in config.attack.names
    }


def membership_alpha(config: Config) -> float:
    """The weight of the difficulty that the attack ``membership`` uses."""
    default = config.attack.alpha
    if "membership" not in config.attack.names:
        return default
    node = config.attack.available["membership"]
    attack = Component.of("attack.available.membership", node, provided=ATTACK_ARGUMENTS)
    alpha: float = attack.arguments.get("alpha", default)
    return alpha


def grid_alphas(config: Config) -> list[float]:
    """Weights of the difficulty to evaluate; the attack's own weight comes first."""
    return list(dict.fromkeys([membership_alpha(config), *grid(config).alpha]))


def needs(config: Config, names: Sequence[str] | None = None) -> Needs:
    """What some attacks (default: all that are named) and the difficulty need together."""
    found = Needs()
    for name, attack in attacks(config).items():
        if names is None or name in names:
            found |= needs_of(attack.kind, attack.arguments)
    is_read = names is None or found.difficulty
    return found | Needs(references=is_read and kinds.needs_references(difficulty(config)))
