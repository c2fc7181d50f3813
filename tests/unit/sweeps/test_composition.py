"""Points compose to what Hydra itself composes."""

from __future__ import annotations

import pickle
from collections.abc import Iterator

import omegaconf.base
import pytest
from hydra import initialize_config_dir
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import ConfigCompositionException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.grammar_parser import parse

from mia_lab.config.compose import CONF, register_resolvers
from mia_lab.sweeps.composition import PointConfigLoader, interpolations_parsed_once

Loaders = tuple[ConfigLoaderImpl, PointConfigLoader]

POINTS = [
    [],
    ["seed=1"],
    ["seed=2", "difficulty.ridge=0.1", "name='a b'"],
    ["victim=pix2pixhd", "seed=3"],
    ["seed=4", "victim=pix2pix", "victim.width=4"],
    ["difficulty.layers=[1,2]", "attack.names=[membership]"],
    # Interpolations follow the overridden value; others replace them.
    ["demo_epochs=3", "scale=demo"],
    ["scale.epochs=5", "victim.epochs=7"],
    ["paths.outputs=elsewhere", "paths.store='${paths.outputs}/other'"],
    ["attack.alpha=0.25", "difficulty/grid=layers_x_ridge"],
    # Additions, deletions, packages, dictionaries.
    ["+attack.available.mine={_target_: some.attack, _partial_: true}"],
    ["++attack.available.membership.alpha=0.75"],
    ["+difficulty.extra={a: {b: [1, 2]}}", "++difficulty.extra.a.c=3"],
    ["~attack.available.membership"],
    ["~victim", "name=none", "seed=5"],
    ["+victim@reference.victim=pix2pixhd", "reference.victim.width=8"],
    ["+data@reference.data=cityscapes", "+reference.data.n_auxiliary=9", "seed=6"],
    ["defense=jpeg", "defense.quality=30"],
    # Hydra's own settings.
    ["hydra.sweep.dir='some folder'", "hydra.sweep.subdir='3'", "seed=7"],
    [
        "hydra.job.env_copy=[HOME]",
        "hydra.job.config.override_dirname.exclude_keys=[seed]",
        "seed=8",
    ],
    ["hydra/launcher=basic", "hydra.verbose=true"],
]

WRONG = [
    ["nonsense=1"],
    ["victim.widht=3"],
    ["victim=nobody"],
    ["+seed=1"],
    ["~nonsense"],
    ["hydra.job.num=text"],
    ["++victim=pix2pix"],
    ["++data@reference.data.n_auxiliary=9"],
    ["seed=1,2"],
    ["some@package=1"],
]


@pytest.fixture
def loaders(monkeypatch: pytest.MonkeyPatch) -> Iterator[Loaders]:
    monkeypatch.setattr(omegaconf.base, "parse", parse)  # without the cache of all tests
    register_resolvers()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        original = GlobalHydra.instance().config_loader()
        assert isinstance(original, ConfigLoaderImpl)
        yield original, PointConfigLoader(original.get_search_path())


def content(config: DictConfig) -> object:
    """Everything in a configuration: values as written, their types, whether keys may be added."""
    nodes: dict[str, object] = {}

    def visit(node: object, path: str) -> None:
        if isinstance(node, DictConfig):
            nodes[path] = node._metadata.object_type, node._metadata.ref_type, node._metadata.flags
            if not (node._is_none() or node._is_missing() or node._is_interpolation()):
                for key in node:
                    visit(node._get_node(key), f"{path}.{key}")

    visit(config, "")
    return OmegaConf.to_container(config), [*nodes.items()], OmegaConf.to_yaml(config)


def values(config: DictConfig) -> object:
    """All but Hydra's own settings, which hold what is missing, with interpolations resolved."""
    with open_dict(config):
        del config["hydra"]
    return OmegaConf.to_container(config, resolve=True)


@pytest.mark.parametrize("overrides", POINTS, ids=" ".join)
def test_points_compose_and_resolve_as_in_hydra(loaders: Loaders, overrides: list[str]) -> None:
    original, fast = loaders
    expected = original.load_configuration("config", overrides, RunMode.RUN)
    # Twice, after other points that share its groups: none leaves anything to the next.
    others = ["seed=99", "data.image_size=64", "paths.outputs=other"]
    points = [
        fast.load_configuration("config", point, RunMode.RUN)
        for point in ([], overrides, others, overrides)
    ]
    assert content(points[1]) == content(points[3]) == content(expected)
    with interpolations_parsed_once():
        _, _, resolved = map(values, points[1:])
    assert resolved == values(expected)


@pytest.mark.parametrize("overrides", WRONG, ids=" ".join)
def test_errors_are_those_of_hydra(loaders: Loaders, overrides: list[str]) -> None:
    original, fast = loaders
    with pytest.raises(Exception) as expected:  # noqa: PT011
        original.load_configuration("config", overrides, RunMode.RUN)
    with pytest.raises(expected.type) as found:
        fast.load_configuration("config", overrides, RunMode.RUN)
    assert str(found.value) == str(expected.value)
    assert str(found.value.__cause__) == str(expected.value.__cause__)


def test_groups_are_composed_once(loaders: Loaders, monkeypatch: pytest.MonkeyPatch) -> None:
    _, fast = loaders
    for seed in range(3):
        fast.load_configuration("config", [f"seed={seed}"], RunMode.RUN)

    def composed_again(*_: object, **__: object) -> None:
        raise AssertionError

    monkeypatch.setattr(ConfigLoaderImpl, "_load_configuration_impl", composed_again)
    assert fast.load_configuration("config", ["seed=9"], RunMode.RUN).seed == 9
    with pytest.raises(AssertionError):
        fast.load_configuration("config", ["seed=9", "victim=pix2pixhd"], RunMode.RUN)


def test_search_path_is_read_anew(loaders: Loaders) -> None:
    _, fast = loaders
    with pytest.warns(UserWarning, match="is not available"):
        fast.load_configuration("config", ["hydra.searchpath=[file:///nowhere]"], RunMode.RUN)


def test_compositions_do_not_travel(loaders: Loaders) -> None:
    _, fast = loaders
    config = fast.load_configuration("config", ["seed=1"], RunMode.RUN)
    copy = pickle.loads(pickle.dumps(fast))
    assert not copy._composed
    assert copy.load_configuration("config", ["seed=1"], RunMode.RUN) == config


def test_ambiguous_values_are_refused(loaders: Loaders) -> None:
    _, fast = loaders
    with pytest.raises(ConfigCompositionException, match="Ambiguous value"):
        fast.load_configuration("config", ["seed=1,2"], RunMode.RUN)
