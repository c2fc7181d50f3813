"""The generated datasets: reproducible, exact in their colours, ambiguous, of varied difficulty."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from functools import cache

import numpy as np
import pytest

from mia_lab.data.procedural import (
    Scene,
    compose,
    facade_layout,
    render,
    street_things,
    style_named,
    styles,
)
from mia_lab.data.procedural.scene import Light, cast_shadow, fractal_noise
from mia_lab.data.procedural.source import ProceduralPairs
from mia_lab.errors import UserError


def digest(scene: Scene) -> str:
    parts = [scene.input, scene.target, scene.labels, scene.instances]
    return hashlib.sha256(b"".join(a.tobytes() for a in parts if a is not None)).hexdigest()


@cache
def drawn(style: str, index: int) -> Scene:
    """A scene of data set 0, drawn once for all tests that only look at it."""
    return render(style, 0, index)


def composed(style: str, layout_seed: int, appearance_seed: int) -> Scene:
    rngs = (np.random.default_rng(s) for s in (layout_seed, appearance_seed))
    return compose(style, *rngs)


@pytest.mark.parametrize("style", styles())
def test_shapes_and_types(style: str) -> None:
    scene = drawn(style, 0)
    for image in (scene.input, scene.target):
        assert image.shape == (256, 256, 3)
        assert image.dtype == np.uint8
    assert scene.labels.shape == (256, 256)
    assert scene.labels.dtype == np.uint8
    if style == "streets":
        assert scene.instances is not None
        assert scene.instances.shape == (256, 256)
        assert scene.instances.dtype == np.int32
    else:
        assert scene.instances is None


@pytest.mark.parametrize("style", styles())
def test_same_arguments_give_the_same_bytes_in_any_order(style: str) -> None:
    first = [digest(render(style, 3, i)) for i in (0, 1)]
    second = [digest(render(style, 3, i)) for i in (1, 0)]
    assert first == second[::-1]


def test_another_process_draws_the_same_bytes() -> None:
    script = (
        "import hashlib; from mia_lab.data.procedural import render, styles\n"
        "for style in styles():\n"
        "    s = render(style, 5, 7)\n"
        "    print(hashlib.sha256(s.input.tobytes() + s.target.tobytes()).hexdigest())\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60
    )
    here = []
    for style in styles():
        scene = render(style, 5, 7)
        pixels = scene.input.tobytes() + scene.target.tobytes()
        here.append(hashlib.sha256(pixels).hexdigest())
    assert ran.stdout.split() == here


def test_global_random_state_is_neither_read_nor_written() -> None:
    before = np.random.get_state()[1].tobytes()  # noqa: NPY002
    first = digest(render("maps", 0, 1))
    assert np.random.get_state()[1].tobytes() == before  # noqa: NPY002
    np.random.seed(1)  # noqa: NPY002
    assert digest(render("maps", 0, 1)) == first


@pytest.mark.parametrize("style", styles())
def test_seed_and_index_both_matter(style: str) -> None:
    digests = {digest(render(style, seed, index)) for seed, index in [(0, 1), (1, 0), (0, 0)]}
    assert len(digests) == 3


@pytest.mark.parametrize("style", styles())
def test_inputs_hold_palette_colours_only(style: str) -> None:
    palette = np.array(list(style_named(style).palette.values()), np.uint8)
    assert len(np.unique(palette, axis=0)) == len(palette)
    for index in range(6):
        scene = drawn(style, index)
        np.testing.assert_array_equal(scene.input, palette[scene.labels])


def test_palettes_are_the_published_ones() -> None:
    assert len(facade_layout.PALETTE) == 12
    assert facade_layout.PALETTE["window"] == (0, 85, 255)
    assert facade_layout.PALETTE["shop"] == (170, 0, 0)
    assert len(street_things.PALETTE) == 19
    names = list(street_things.PALETTE)
    assert names[street_things.CAR] == "car"
    assert names[street_things.BICYCLE] == "bicycle"
    assert street_things.PALETTE["car"] == (0, 0, 142)


def test_every_class_of_each_style_occurs() -> None:
    for style, enough in (("facades", 12), ("maps", 7), ("streets", 17)):
        seen = {int(c) for i in range(16) for c in np.unique(drawn(style, i).labels)}
        assert len(seen) >= enough, style


def test_instances_lie_on_people_and_vehicles_and_have_one_class_each() -> None:
    for index in range(6):
        scene = drawn("streets", index)
        assert scene.instances is not None
        countable = np.isin(scene.labels, street_things.INSTANCE_CLASSES)
        np.testing.assert_array_equal(scene.instances > 0, countable)
        for number in np.unique(scene.instances[countable]):
            assert len(np.unique(scene.labels[scene.instances == number])) == 1


@pytest.mark.parametrize("style", styles())
def test_one_layout_has_many_appearances(style: str) -> None:
    one, other = (composed(style, 0, appearance) for appearance in (1, 2))
    np.testing.assert_array_equal(one.input, other.input)
    difference = np.abs(one.target.astype(float) - other.target.astype(float)).mean()
    assert difference > 8


@pytest.mark.parametrize("style", styles())
def test_some_targets_are_much_busier_than_others(style: str) -> None:
    energy = []
    for index in range(16):
        photo = drawn(style, index).target.astype(float)
        small = photo.reshape(64, 4, 64, 4, 3).mean((1, 3))
        energy.append(sum(np.abs(np.diff(small, axis=axis)).mean() for axis in (0, 1)))
    assert max(energy) / min(energy) > 2


@pytest.mark.parametrize("style", styles())
def test_targets_follow_their_inputs(style: str) -> None:
    """Two classes that share an image differ in colour by more than they do by chance."""
    explained = []
    for index in range(6):
        scene = drawn(style, index)
        photo = scene.target.reshape(-1, 3).astype(float)
        _, label = np.unique(scene.labels, return_inverse=True)
        label = label.ravel()
        count = np.bincount(label)
        means = np.stack([np.bincount(label, channel) / count for channel in photo.T], axis=1)
        explained.append(means[label].var(0).sum() / photo.var(0).sum())
    assert np.mean(explained) > 0.1


def test_unknown_style_names_the_choices() -> None:
    with pytest.raises(UserError, match="facades, maps, streets"):
        render("portraits", 0, 0)


def test_shadows_fall_away_from_the_light() -> None:
    height = np.zeros((256, 256), np.float32)
    height[100, 100] = 4
    light = Light(dx=1, dy=0, slope=1, strength=1, color=np.ones(3, np.float32))
    shade = cast_shadow(height, light)
    assert shade[100, 101] == 1
    assert shade[100, 99] == 0
    assert shade[100, 105] == 0


def test_fractal_noise_is_normalised() -> None:
    noise = fractal_noise(np.random.default_rng(0), 20, 3)
    assert noise.dtype == np.float32
    assert abs(float(noise.mean())) < 1e-3
    assert float(noise.std()) == pytest.approx(1, abs=1e-3)


def test_source_has_parts_and_directions():
    forward, backward = (ProceduralPairs("streets", d, 0, 3, 2) for d in ("AtoB", "BtoA"))
    assert forward.ids("train") == ("train/000000", "train/000001", "train/000002")
    pair, mirror = forward.load("test/000001"), backward.load("test/000001")
    scene = render("streets", 0, 4)  # the test part goes on where the train part ends
    np.testing.assert_array_equal(pair.x.pixels, scene.input)
    np.testing.assert_array_equal(pair.y.pixels, scene.target)
    np.testing.assert_array_equal(pair.instances, scene.instances)
    np.testing.assert_array_equal(mirror.x.pixels, scene.target)
    assert forward.fingerprint(("a",)) != backward.fingerprint(("a",))
