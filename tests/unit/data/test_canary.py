"""Twins, the commitment to one of them, and the folder of a canary."""

from __future__ import annotations

import hashlib
import json
import random
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats
from skimage.metrics import structural_similarity

from mia_lab.attacks.twins import twin_errors
from mia_lab.data.canary import (
    Canary,
    CanaryPairs,
    distinct,
    draw_canary,
    drawn,
    eight_bit,
    png,
    read_canary,
)
from mia_lab.data.picture import Picture
from mia_lab.data.twins import recoloured, watermark
from mia_lab.errors import UserError
from mia_lab.evaluation.canary import canary_p_value

SETTINGS = {"canary.score": "reconstruction", "data.image_size": [32, 32], "query.repeats": 1}


def texture(seed: int, channels: int = 3, side: int = 32) -> NDArray[np.uint8]:
    shape = (side, side, channels)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def twins_of(y: NDArray[np.uint8], count: int, seed: int = 0) -> list[NDArray[np.uint8]]:
    rng = np.random.default_rng(seed)
    return [watermark(y, rng, "smooth", 0.05) for _ in range(count)]


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("canaries") / "canary"
    draw_canary(folder, [texture(0)], twins_of(texture(1), 20), "watermarks", SETTINGS)
    return folder


@pytest.fixture
def folder(original: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(original, tmp_path / "canary"))


# Twins


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("pattern", ["smooth", "blocks"])
def test_watermarks_are_weak_and_differ(channels: int, pattern: Any) -> None:
    y, rng, strength = texture(0, channels), np.random.default_rng(0), 0.05
    found = [watermark(y, rng, pattern, strength) for _ in range(50)]
    plain = strength + (1 - 2 * strength) * y / 255
    for twin in found:
        assert twin.shape == y.shape
        assert np.abs(twin / 255 - plain).max() <= strength + 0.5 / 255 + 1e-9
    assert len({twin.tobytes() for twin in found}) == 50


def test_a_block_has_one_sign() -> None:
    y = np.full((32, 32, 1), 128, np.uint8)
    twin = watermark(y, np.random.default_rng(0), "blocks", 0.1)
    assert len(np.unique(twin)) == 2
    assert (twin.reshape(8, 4, 8, 4) == twin.reshape(8, 4, 8, 4)[:, :1, :, :1]).all()


@pytest.mark.parametrize("y", [texture(0), texture(0, 1), np.zeros((16, 16, 3), np.uint8)])
def test_recoloured_pictures_differ(y: NDArray[np.uint8]) -> None:
    rng = np.random.default_rng(0)
    found = [recoloured(y, rng, 0.2) for _ in range(10)]
    assert len({twin.tobytes() for twin in found}) == 10
    for twin in found:  # one map of colours: equal colours stay equal
        maps = {}
        colours = (side.reshape(-1, y.shape[2]) for side in (y, twin))
        for before, after in zip(*colours, strict=True):
            assert maps.setdefault(before.tobytes(), after.tobytes()) == after.tobytes()


def test_twins_that_cannot_be_told_apart_are_refused() -> None:
    y = texture(0)
    with pytest.raises(UserError, match="a and c: are the same picture"):
        list(distinct({"a": y, "b": texture(1), "c": y.copy()}.items(), 32, "squash"))
    other = y.copy()
    other[0, 0] ^= 1
    list(distinct({"a": y, "b": other}.items(), 32, "squash"))
    with pytest.raises(UserError, match=r"a and b: cannot be told apart at data\.image_size=16"):
        list(distinct({"a": y, "b": other}.items(), 16, "squash"))
    with pytest.raises(UserError, match="b: has 16 x 16 pixels in 3 channels, but a has 32 x 32"):
        list(distinct({"a": y, "b": texture(1, side=16)}.items(), 32, "squash"))
    rng = np.random.default_rng(0)
    faint = {str(i): watermark(y, rng, "smooth", 1e-4) for i in range(5)}
    with pytest.raises(UserError, match="are the same picture"):
        list(distinct(faint.items(), 32, "squash"))


def test_only_pictures_of_8_bits_can_be_drawn() -> None:
    for pixels, high in ((np.zeros((32, 32, 3), np.uint16), 65535), (texture(0, 4), 255)):
        with pytest.raises(UserError, match="a canary is a picture of 8 bits, grey or RGB"):
            eight_bit("a.png", Picture(pixels, 0, high))
    with pytest.raises(UserError, match="needs at least 16 x 16"):
        eight_bit("a.png", Picture.of(texture(0, side=8)))


# The commitment


def test_folder(original: Path) -> None:
    """The commitment is the hash of the opening's file; the chosen pair is published."""
    canary = read_canary(original)
    commitment = json.loads((original / "commitment.json").read_text())
    opening = (original / "secret/opening.json").read_bytes()
    assert commitment["sha256"] == hashlib.sha256(opening).hexdigest() == canary.sha256
    told = json.loads(opening)
    assert (told["k"], len(told["twins"]), told["settings"]) == (19, 20, SETTINGS)
    chosen = (original / "publish/target.png").read_bytes()
    assert hashlib.sha256(chosen).hexdigest() == told["twins"][told["choice"]]
    assert (original / "secret").stat().st_mode & 0o077 == 0


def test_the_public_file_hides_the_choice(original: Path) -> None:
    """Without the nonce, no guess of the choice can be confirmed, and equal parts differ."""
    public = (original / "commitment.json").read_text()
    opening = json.loads((original / "secret/opening.json").read_text())
    assert opening["nonce"] not in public
    assert "twins/" not in public
    again = drawn(["0" * 64], ["1" * 64, "2" * 64], "kind", SETTINGS)
    other = drawn(["0" * 64], ["1" * 64, "2" * 64], "kind", SETTINGS)
    assert not {*again.parts().values()} & {*other.parts().values()}


def edited(name: str, value: Any) -> Callable[[Path], None]:
    """Change a field of the opening, as an owner would who rewrites its file."""

    def edit(folder: Path) -> None:
        path = folder / "secret/opening.json"
        opening = json.loads(path.read_text())
        where = opening["settings"] if name in opening["settings"] else opening
        where[name] = value(where[name]) if callable(value) else value
        path.write_text(json.dumps(opening))

    return edit


def other_twin(folder: Path) -> None:
    (folder / "secret/twins/0003.png").write_bytes(png(texture(9)))


def other_twin_and_its_hash(folder: Path) -> None:
    other_twin(folder)
    digest = hashlib.sha256(png(texture(9))).hexdigest()
    edited("twins", lambda old: [*old[:3], digest, *old[4:]])(folder)


def other_input(folder: Path) -> None:
    (folder / "secret/inputs/0000.png").write_bytes(png(texture(9)))


def other_publication(folder: Path) -> None:
    (folder / "publish/target.png").write_bytes(png(texture(9)))


def other_commitment(folder: Path) -> None:
    path = folder / "commitment.json"
    commitment = json.loads(path.read_text())
    path.write_text(json.dumps(commitment | {"sha256": "0" * 64}))


def other_date(folder: Path) -> None:
    path = folder / "commitment.json"
    commitment = json.loads(path.read_text())
    path.write_text(json.dumps(commitment | {"date": "1999-12-31T00:00:00+00:00"}))


def cut_off(folder: Path) -> None:
    path = folder / "secret/opening.json"
    path.write_text(path.read_text()[:-9])


CHANGES = {
    "choice": (edited("choice", lambda old: (old + 1) % 20), r"choice was changed"),
    "far choice": (edited("choice", 500), r"choice was changed"),
    "nonce": (edited("nonce", "0" * 64), r"the nonce was changed"),
    "k": (edited("k", 18), r"k was changed"),
    "kind": (edited("kind", "others"), r"kind was changed"),
    "score": (edited("canary.score", "l2"), r"canary\.score was changed"),
    "size": (edited("data.image_size", [64, 64]), r"data\.image_size was changed"),
    "repeats": (edited("query.repeats", 4), r"query\.repeats was changed"),
    "twin": (other_twin, r"twins/0003\.png: twin 3 was changed"),
    "twin and hash": (other_twin_and_its_hash, r"twins was changed"),
    "input": (other_input, r"inputs/0000\.png: the input was changed"),
    "publication": (other_publication, r"publish/target\.png: is not the file that was drawn"),
    "commitment": (other_commitment, r"sha256 in commitment\.json was changed"),
    "date": (other_date, r"date in commitment\.json was changed"),
    "no number": (edited("query.repeats", float("nan")), r"opening\.json: is damaged"),
    "damage": (cut_off, r"opening\.json: is damaged \(its JSON"),
    "type": (edited("k", "19"), r"opening\.json: is damaged \(k: "),
    "no twin": (lambda f: (f / "secret/twins/0007.png").unlink(), "twin 7 is missing"),
    "no opening": (lambda f: (f / "secret/opening.json").unlink(), "without its nonce"),
    "no secret": (lambda f: shutil.rmtree(f / "secret"), "without its nonce"),
    "no commitment": (lambda f: (f / "commitment.json").unlink(), "is no canary"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_changes_are_detected_and_named(folder: Path, change: str) -> None:
    read_canary(folder)
    make, message = CHANGES[change]
    make(folder)
    with pytest.raises(UserError, match=message):
        read_canary(folder)


def test_an_opening_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    """Somebody commits by hand to a choice among fewer twins than k says."""
    folder = tmp_path / "canary"
    canary = draw_canary(folder, [texture(0)], twins_of(texture(1), 3), "kind", SETTINGS)
    forged = canary.opening.model_copy(update={"k": 199})
    (folder / "secret/opening.json").write_text(forged.text)
    commitment = json.loads((folder / "commitment.json").read_text())
    commitment |= {"sha256": forged.sha256, "parts": forged.parts()}
    (folder / "commitment.json").write_text(json.dumps(commitment))
    with pytest.raises(UserError, match="do not fit"):
        read_canary(folder)


def test_the_published_folder_may_be_moved(folder: Path) -> None:
    shutil.rmtree(folder / "publish")
    assert read_canary(folder).opening.k == 19


def test_a_canary_is_never_overwritten(folder: Path, tmp_path: Path) -> None:
    before = (folder / "secret/opening.json").read_text()
    pair = [texture(0)], twins_of(texture(1), 20), "kind", SETTINGS
    for place in (folder, tmp_path):
        with pytest.raises(UserError, match="exists; a canary is never overwritten"):
            draw_canary(place, *pair)
    assert (folder / "secret/opening.json").read_text() == before


def test_a_failed_draw_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("mia_lab.data.canary.write_file", fail)
    with pytest.raises(OSError, match="disk full"):
        draw_canary(tmp_path / "c", [texture(0)], twins_of(texture(1), 3), "kind", SETTINGS)
    assert not (tmp_path / "c").exists()


def test_a_shared_input_is_one_query(tmp_path: Path) -> None:
    twins = twins_of(texture(1), 3)
    one = draw_canary(tmp_path / "one", [texture(0)], twins, "kind", SETTINGS)
    two = draw_canary(tmp_path / "two", [texture(0)], twins_of(texture(1), 3, 5), "kind", SETTINGS)
    own = [texture(0), texture(6), texture(7)]
    three = draw_canary(tmp_path / "three", own, twins, "kind", SETTINGS)
    pairs = CanaryPairs({"one": one, "two": two, "three": three})
    assert pairs.ids("train") == ("one", "three/0001", "three/0002")
    assert [pairs.id_of(three, i) for i in range(3)] == ["one", "three/0001", "three/0002"]
    assert pairs.id_of(two, 2) == "one"
    np.testing.assert_array_equal(pairs.load("three/0002").x.pixels, own[2])


# The null


def test_ranks_are_uniform_under_the_null() -> None:
    """Of 500 victims that never saw a twin: the draw, the scoring and the rank are the real ones.

    The victims prefer some twins strongly; only the choice is random. Chance fails this test in one
    of 100,000 runs.
    """
    k, victims, ranks = 19, 500, Counter[int]()
    y = texture(1, side=16)
    twins = twins_of(y, k + 1)
    files = [hashlib.sha256(png(twin)).hexdigest() for twin in twins]
    planes = [(twin / 255).astype(np.float32).transpose(2, 0, 1) for twin in twins]
    rng = np.random.default_rng(0)
    for _ in range(victims):
        opening = drawn(["0" * 64], files, "watermarks", SETTINGS)
        favourite = planes[rng.integers(3)]  # has seen a twin, whatever was published
        answer = (0.5 * favourite + 0.5 * rng.random(favourite.shape)).astype(np.float32)
        error = twin_errors("reconstruction", answer, planes)
        ranks[round((k + 1) * canary_p_value(-error, opening.choice))] += 1
    counts = np.array([ranks[rank] for rank in range(1, k + 2)])
    assert counts.sum() == victims
    assert stats.chisquare(counts).pvalue > 1e-5


@pytest.mark.parametrize("score", ["reconstruction", "l2", "ssim"])
def test_errors_of_twins(score: str) -> None:
    rng = np.random.default_rng(0)
    answer, *twins = rng.random((4, 3, 32, 32)).astype(np.float32)
    found = twin_errors(score, answer, twins)
    gaps = np.array([answer.astype(np.float64) - twin for twin in twins])
    if score == "reconstruction":
        np.testing.assert_allclose(found, np.abs(gaps).mean((1, 2, 3)), rtol=1e-5)
    elif score == "l2":
        np.testing.assert_allclose(found, np.square(gaps).mean((1, 2, 3)), rtol=1e-5)
    else:
        expected = [
            1 - structural_similarity(
                answer, twin, channel_axis=0, data_range=1.0, gaussian_weights=True, sigma=1.5,
                use_sample_covariance=False,
            )
            for twin in twins
        ]  # fmt: skip
        np.testing.assert_allclose(found, expected, atol=1e-4)


def test_the_chosen_twin_does_not_depend_on_the_seed() -> None:
    """NumPy's and Python's seeds change nothing; all choices occur."""
    choices = set()
    for _ in range(200):
        np.random.seed(0)  # noqa: NPY002
        random.seed(0)
        choices.add(drawn(["0" * 64], [n * 64 for n in "123"], "kind", {}).choice)
    assert choices == {0, 1, 2}


def test_canary_knows_its_files(original: Path) -> None:
    canary = read_canary(original)
    assert isinstance(canary, Canary)
    assert canary.input_file(7) == canary.input_file(0)
    assert canary.twin_file(7).name == "0007.png"
