"""Data as people have them through whole audits: their scores, computed once more from the files.

CT slices of signed integers, RGB of 16 bits, four bands of real numbers, street scenes twice as
wide as high, and arrays of two channels. Everything here is read by the libraries that wrote it and
computed in float64; the answers alone are the victim's.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import onnx
import onnxruntime
import pandas as pd
import pytest
import tifffile
import torch
from PIL import Image
from scipy.ndimage import correlate, gaussian_filter
from skimage.metrics import structural_similarity
from torch.nn.functional import interpolate, normalize

from mia_lab.data.dataset import PairDataset
from mia_lab.data.pairs import FolderPairs
from plain import adapted_maps, probe_error
from support import Command, Ran

SIDES = ("A", "B")


@dataclass(frozen=True)
class Pairs:
    """Pairs in two folders, and how others write and read them.

    Attributes:
        channels: of inputs and targets.
        size: stored, height and width.
        ending: of the files.
        write: writes (H, W, C) in [0, 1].
        read: reads a file's pixels.
        span: the values that mean 0 and 1.
        settings: what audits are told beside the folder.
        shown: height and width in audits.
        n: how many.
    """

    channels: tuple[int, int]
    size: tuple[int, int]
    ending: str
    write: Callable[[Path, np.ndarray], None]
    read: Callable[[Path], np.ndarray]
    span: tuple[float, float]
    settings: tuple[str, ...] = ()
    shown: tuple[int, int] = (32, 32)
    n: int = 13

    def save(self, root: Path) -> None:
        rng = np.random.default_rng(0)
        for side in SIDES:
            (root / f"train{side}").mkdir(parents=True)
        for number in range(self.n):
            x, y = (smooth(rng, *self.size, count) for count in self.channels)
            for side, picture in zip(SIDES, (x, (y + x.mean(2, keepdims=True)) / 2), strict=True):
                self.write(root / f"train{side}/{number:02d}.{self.ending}", picture)

    def pixels(self, path: Path) -> np.ndarray:
        """(H, W, C) as stored."""
        found = self.read(path)
        return found[..., None] if found.ndim == 2 else found

    def pair(self, root: Path, image_id: str) -> list[np.ndarray]:
        """Input and target as audits see them: float64 (C, H, W) in [0, 1]."""
        name = image_id.removeprefix("train/")
        found = [self.pixels(root / f"train{side}/{name}.{self.ending}") for side in SIDES]
        if self.shown != self.size:
            found = [np.asarray(Image.fromarray(p).resize(self.shown[::-1])) for p in found]
        low, high = self.span
        return [(p.astype(np.float64).transpose(2, 0, 1) - low) / (high - low) for p in found]


def smooth(rng: np.random.Generator, height: int, width: int, channels: int) -> np.ndarray:
    """Random clouds (H, W, C), each channel from 0 to 1."""
    coarse = rng.normal(size=(8, 8, channels)).astype(np.float32)
    planes = [Image.fromarray(plane).resize((width, height)) for plane in coarse.transpose(2, 0, 1)]
    found = np.stack(planes, axis=2).astype(np.float64)
    low, high = found.min((0, 1)), found.max((0, 1))
    return (found - low) / (high - low)


def write_ct(path: Path, picture: np.ndarray) -> None:
    tifffile.imwrite(path, np.rint(picture[..., 0] * 4095 - 1024).astype(np.int16))


def write_rgb16(path: Path, picture: np.ndarray) -> None:
    path.write_bytes(imagecodecs.png_encode(np.rint(picture * 65535).astype(np.uint16)))


def read_rgb16(path: Path) -> np.ndarray:
    return imagecodecs.png_decode(path.read_bytes())


def write_bands(path: Path, picture: np.ndarray) -> None:
    layout: dict[str, Any] = {"photometric": "minisblack", "planarconfig": "contig"}
    tifffile.imwrite(path, picture.astype(np.float32), **layout)


def write_street(path: Path, picture: np.ndarray) -> None:
    Image.fromarray(np.rint(picture * 255).astype(np.uint8)).save(path, compress_level=1)


def write_array(path: Path, picture: np.ndarray) -> None:
    np.save(path, (2 * picture - 1).astype(np.float32))


def read_street(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))


PAIRS = {
    "ct": Pairs(
        (1, 1), (32, 32), "tif", write_ct, tifffile.imread, (-1024, 3071),
        ("data.value_range=[-1024,3071]",),
    ),
    "rgb16": Pairs((3, 3), (32, 32), "png", write_rgb16, read_rgb16, (0, 65535)),
    "bands": Pairs(
        (4, 3), (32, 32), "tif", write_bands, tifffile.imread, (0, 1),
        ("data.value_range=[0,1]",),
    ),
    "street": Pairs(
        (3, 3), (128, 256), "png", write_street, read_street, (0, 255),
        ("data.image_size=[64,32]",), (32, 64),
    ),
    "arrays": Pairs(
        (2, 2), (32, 32), "npy", write_array, np.load, (-1, 1),
        ("data.value_range=[-1,1]",), n=35,
    ),
}  # fmt: skip

TINY = (
    *("+experiment=tiny", "data=custom", "data.root=pairs", "data.layout=two_folders"),
    *("data.n_members=6", "data.n_nonmembers=5", "difficulty.grid_size=16"),
)
# So large a rate that the answers of one epoch are no longer grey.
QUICK = ("demo_epochs=1", "victim.batch_size=2", "victim.learning_rate=0.05")


@dataclass(frozen=True)
class Audited:
    """A finished audit.

    Attributes:
        folder: its files.
        scores: ``scores.csv``, by id.
        answers: the victim's by id, (C, H, W); also those to auxiliaries.
    """

    folder: Path
    scores: pd.DataFrame
    answers: Mapping[str, np.ndarray]

    @classmethod
    def of(cls, ran: Ran) -> Audited:
        answers, _ = newest_answers(ran)
        folder = (ran.folder / "outputs/latest").resolve()
        return cls(folder, pd.read_csv(folder / "scores.csv", index_col="id"), answers)


def newest_answers(ran: Ran) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Answers by id, (C, H, W), and their errors, as the store got them last."""
    assert ran.code == 0, ran.err
    entries = [path.parent for path in ran.folder.glob("outputs/store/reconstructions/*/id.npy")]
    newest = max(entries, key=lambda entry: entry.stat().st_mtime_ns)
    ids, images, error = (np.load(newest / f"{name}.npy") for name in ("id", "images", "error"))
    return dict(zip(ids.tolist(), images, strict=True)), error


@dataclass(frozen=True)
class Case:
    """Pairs in a folder of their own, and their audit."""

    pairs: Pairs
    command: Command
    audited: Audited

    @property
    def root(self) -> Path:
        return self.command.folder / "pairs"

    def given(self, *settings: str) -> tuple[str, ...]:
        return (*TINY, *self.pairs.settings, *settings)

    def query(self, *settings: str) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """Other answers of the victim, and their errors."""
        settings = (*QUICK, *settings, "until=reconstructions")
        return newest_answers(self.command(*self.given(*settings)))

    def foreign(self, *settings: str) -> tuple[str, ...]:
        """What an audit of somebody else's victim is given, with the roles of the first audit."""
        data = ("data.protocol=manifest", f"data.manifest={self.audited.folder / 'split.csv'}")
        # The tiny experiment sets keys of victims that are trained.
        given = [g for g in self.given() if g != TINY[0] and ".n_" not in g]
        size = [g for g in given if "image_size" in g] or ["data.image_size=32"]
        hardware = ("trainer.accelerator=cpu", "trainer.threads=1", "tracking.mode=disabled")
        return (*given, *size, *data, *hardware, "evaluation.permutations=20", *settings)

    def source(self) -> FolderPairs:
        span = list(self.pairs.span) if self.pairs.settings and self.pairs.ending != "png" else None
        return FolderPairs(self.root, "two_folders", "AtoB", value_range=span)

    def targets(self, ids: Sequence[str]) -> list[np.ndarray]:
        return [self.pairs.pair(self.root, i)[1] for i in ids]


def errors(answers: Sequence[np.ndarray], targets: Sequence[np.ndarray]) -> np.ndarray:
    """Mean absolute error of each picture, in float64."""
    return np.array(
        [np.abs(a.astype(np.float64) - y).mean() for a, y in zip(answers, targets, strict=True)]
    )


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Case]:
    """Audits each kind of pairs once."""

    @cache
    def case(name: str) -> Case:
        pairs, command = PAIRS[name], Command(tmp_path_factory.mktemp(name))
        pairs.save(command.folder / "pairs")
        shown = "images=true" if name in ("bands", "street") else "pictures=false"
        ran = command(*TINY, *pairs.settings, *QUICK, f"report.{shown}")
        return Case(pairs, command, Audited.of(ran))

    return case


every = pytest.mark.parametrize("name", PAIRS)


@every
def test_pixels_are_those_of_the_files(cases: Callable[[str], Case], name: str) -> None:
    case = cases(name)
    source = case.source()
    ids = source.ids("train")
    assert len(ids) == case.pairs.n
    height, width = case.pairs.shown
    batches = list(PairDataset(source, ids, [width, height]).batches(5))
    tensors = [torch.cat([getattr(b, side) for b in batches]).numpy() for side in "xy"]
    for number, image_id in enumerate(ids):
        pair = source.load(image_id)
        for side, picture in zip(SIDES, (pair.x, pair.y), strict=True):
            wanted = case.pairs.pixels(
                case.root / f"train{side}/{image_id.removeprefix('train/')}.{case.pairs.ending}"
            )
            assert picture.pixels.dtype == wanted.dtype
            np.testing.assert_array_equal(picture.pixels, wanted)
            assert (picture.low, picture.high) == case.pairs.span
        for given, wanted in zip(tensors, case.pairs.pair(case.root, image_id), strict=True):
            assert given.dtype == np.float32
            np.testing.assert_allclose(given[number], wanted, rtol=0, atol=1e-7)


@every
def test_scores_are_the_errors_of_the_stored_answers(
    cases: Callable[[str], Case], name: str
) -> None:
    case = cases(name)
    scores, answers = case.audited.scores, case.audited.answers
    assert np.std(list(answers.values())) > 0.02  # no grey pictures
    wanted = errors([answers[i] for i in scores.index], case.targets(scores.index))
    np.testing.assert_allclose(scores.reconstruction_error, wanted, rtol=0, atol=1e-6)
    assert len(set(scores.reconstruction_error)) == len(scores)


@every
def test_difficulty_is_the_error_of_a_plain_probe(cases: Callable[[str], Case], name: str) -> None:
    case = cases(name)
    scores = case.audited.scores[:4]
    wanted = []
    for image_id in scores.index:
        x, y = case.pairs.pair(case.root, image_id)
        given = torch.from_numpy(x[None]).float()
        large = interpolate(given, (64, 64), mode="bilinear", antialias=True)
        wanted.append(probe_error(adapted_maps(large), y, image_id, 16))
    np.testing.assert_allclose(scores.difficulty, wanted, rtol=0, atol=1e-6)
    assert min(wanted) > 1e-3
    found = scores.reconstruction_error - scores.difficulty
    np.testing.assert_allclose(scores.membership_error, found, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", ["bands", "street"])
def test_a_survey_scores_as_the_audit(cases: Callable[[str], Case], name: str) -> None:
    case = cases(name)
    ran = case.command(*case.given(), "task=difficulty", "report.images=true")
    assert ran.code == 0, ran.err
    found = pd.read_csv(ran.folder / "outputs/latest/difficulty.csv", index_col="id").difficulty
    assert len(found) == case.pairs.n
    wanted = case.audited.scores.difficulty
    np.testing.assert_allclose(found[wanted.index], wanted, rtol=0, atol=1e-6)
    assert (ran.folder / "outputs/latest/report.html").is_file()


def test_what_is_for_grey_and_rgb_is_refused_before_any_training(
    cases: Callable[[str], Case],
) -> None:
    case = cases("bands")
    before = case.command.computed
    asked = ("difficulty.preprocess=official", "victim.learning_rate=0.01")
    error = case.command(*case.given(*QUICK, *asked)).error
    assert "is for grey and RGB pictures; these have 4 channels; set difficulty.preprocess" in error
    assert case.command.computed == before


@pytest.mark.parametrize(
    ("name", "shown"), [("bands", "channels 1 to 3 of 4"), ("street", "Input,")]
)
def test_reports_show_the_pictures(cases: Callable[[str], Case], name: str, shown: str) -> None:
    folder = cases(name).audited.folder
    assert len(list(folder.glob("dossiers-*.png"))) == 5
    assert shown in (folder / "report.html").read_text()


@pytest.mark.parametrize("name", ["bands", "street"])
def test_exported_programs_answer_as_the_victim(cases: Callable[[str], Case], name: str) -> None:
    case = cases(name)
    ran = case.command(*case.given(*QUICK), "task=export")
    assert ran.code == 0, ran.err
    files = (ran.folder / "outputs/latest").resolve()
    program = torch.export.load(files / "victim.pt2").module()
    session = onnxruntime.InferenceSession(files / "victim.onnx")
    answers = case.audited.answers
    given = np.float32([case.pairs.pair(case.root, i)[0] for i in answers])
    wanted = np.stack(list(answers.values()))
    with torch.inference_mode():
        found = program(torch.from_numpy(given)).numpy()
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-5)
    (found,) = session.run(None, {session.get_inputs()[0].name: given})
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-5)


def shown_as_jpeg(answer: np.ndarray) -> np.ndarray:
    """Through a file of Pillow: RGB as one, other channels one by one; (C, H, W) in [0, 1]."""
    levels = np.rint(answer * 255).astype(np.uint8)
    pictures = [levels.transpose(1, 2, 0)] if len(levels) == 3 else [*levels]
    shown = []
    for picture in pictures:
        file = io.BytesIO()
        Image.fromarray(picture).save(file, "jpeg", quality=25)
        shown.append(np.atleast_3d(np.asarray(Image.open(file))))
    return np.concatenate(shown, axis=2).transpose(2, 0, 1) / 255


def shown_blurred(answer: np.ndarray) -> np.ndarray:
    return gaussian_filter(answer.astype(np.float64), (0, 1, 1), mode="mirror", truncate=3)


@pytest.mark.parametrize(
    ("name", "direction"), [("ct", "AtoB"), ("bands", "BtoA"), ("street", "AtoB")]
)
def test_defended_answers(cases: Callable[[str], Case], name: str, direction: str) -> None:
    """One channel, four (the bands in the other direction), and a rectangle."""
    case = cases(name)
    which, is_reversed = f"data.direction={direction}", direction == "BtoA"
    plain = case.query(which)[0] if is_reversed else case.audited.answers
    targets = [case.pairs.pair(case.root, i)[0 if is_reversed else 1] for i in plain]
    for defense, shown in (("jpeg", shown_as_jpeg), ("smoothing", shown_blurred)):
        found, error = case.query(which, f"defense={defense}")
        answers = [shown(answer) for answer in plain.values()]
        assert [*found] == [*plain]
        np.testing.assert_allclose([*found.values()], answers, rtol=0, atol=1e-6)
        np.testing.assert_allclose(error, errors(answers, targets), rtol=0, atol=1e-6)


def test_all_attacks_take_two_channels(cases: Callable[[str], Case]) -> None:
    case = cases("arrays")
    more = (
        "data.n_auxiliary=24",
        "attack=all",
        "reference.count=4",
        "attack.available.adaptive.repeats=2",
    )
    found, _ = case.query(*more)
    settings = (*QUICK, *more, "attack.available.shadow.epochs=2", "report.pictures=false")
    ran = case.command(*case.given(*settings))
    assert ran.code == 0, ran.err
    scores = pd.read_csv(ran.folder / "outputs/latest/scores.csv", index_col="id")
    columns = [column for column in scores if column.endswith("_error")]
    assert len(columns) == 21
    assert np.isfinite(scores[columns]).all(axis=None)
    assert (scores[columns].std() > 0).all()
    answers, targets = [found[i] for i in scores.index], case.targets(scores.index)
    both = list(zip(answers, targets, strict=True))
    wanted = errors(answers, targets)
    np.testing.assert_allclose(scores.reconstruction_error, wanted, rtol=0, atol=1e-6)
    # Without a defence, all repeats of a query have the same answer.
    np.testing.assert_allclose(scores.adaptive_error, wanted, rtol=0, atol=1e-6)
    wanted = [np.square(a.astype(np.float64) - y).mean() for a, y in both]
    np.testing.assert_allclose(scores.l2_error, wanted, rtol=0, atol=1e-6)
    windows: dict[str, Any] = {"gaussian_weights": True, "use_sample_covariance": False}
    windows |= {"sigma": 1.5, "data_range": 1.0, "channel_axis": 0}
    wanted = [1 - structural_similarity(a.astype(np.float64), y, **windows) for a, y in both]
    np.testing.assert_allclose(scores.ssim_error, wanted, rtol=0, atol=3e-5)  # float32
    wanted = [perceptual_gap(a, y) for a, y in both]
    np.testing.assert_allclose(scores.perceptual_error, wanted, rtol=0, atol=1e-5)


def perceptual_gap(a: np.ndarray, b: np.ndarray) -> float:
    pair = (adapted_maps(torch.from_numpy(picture[None]).float()) for picture in (a, b))
    gaps = [
        (normalize(left.double()) - normalize(right.double())).square().sum(1).mean()
        for left, right in zip(*pair, strict=True)
    ]
    return float(np.mean(gaps))


@pytest.mark.parametrize(
    ("name", "victim", "shape"),
    [
        ("ct", ("victim=pix2pixhd", "data.image_size=[64,32]"), (1, 32, 64)),
        ("bands", ("victim=dp_unet", "~victim.discriminator_width"), (3, 32, 32)),
    ],
)
def test_other_victims(
    cases: Callable[[str], Case], name: str, victim: tuple[str, ...], shape: tuple[int, ...]
) -> None:
    case = cases(name)
    found, error = case.query(*victim)
    assert {answer.shape for answer in found.values()} == {shape}
    targets = case.targets([*found])
    if shape[1:] != targets[0].shape[1:]:
        targets = [enlarged(target, shape[1:]) for target in targets]
    wanted = errors([*found.values()], targets)
    np.testing.assert_allclose(error, wanted, rtol=0, atol=1e-6)


def enlarged(planes: np.ndarray, size: Sequence[int]) -> np.ndarray:
    """Pillow's bicubic of real numbers, cut off at 0 and 1."""
    images = [Image.fromarray(plane.astype(np.float32)) for plane in planes]
    return np.stack([np.asarray(i.resize((size[1], size[0]))) for i in images]).clip(0, 1)


@pytest.mark.parametrize(
    ("name", "write"), [("rgb16", write_rgb16), ("arrays", write_array), ("ct", write_ct)]
)
def test_answers_in_files(
    cases: Callable[[str], Case], name: str, write: Callable[[Path, np.ndarray], None]
) -> None:
    """The victim's answers, rounded as the data are, and read with the range of the data."""
    case = cases(name)
    low, high = map(float, case.pairs.span)
    saved = {}
    for image_id, answer in case.audited.answers.items():
        path = case.command.folder / f"answers/{image_id}.{case.pairs.ending}"
        path.parent.mkdir(parents=True, exist_ok=True)
        write(path, np.ascontiguousarray(answer.transpose(1, 2, 0), dtype=np.float64))
        saved[image_id] = (case.pairs.pixels(path).transpose(2, 0, 1) - low) / (high - low)
    given = case.foreign("victim=outputs", "victim.folder=answers")
    found, error = newest_answers(case.command(*given, "until=reconstructions"))
    read = [saved[image_id] for image_id in found]
    np.testing.assert_allclose([*found.values()], read, rtol=0, atol=1e-7)
    np.testing.assert_allclose(error, errors(read, case.targets([*found])), rtol=0, atol=1e-7)


@pytest.mark.parametrize(
    ("name", "end", "span"), [("ct", "Tanh", (-1, 1)), ("bands", "Sigmoid", (0, 1))]
)
def test_models_in_onnx_files(
    cases: Callable[[str], Case], name: str, end: str, span: tuple[float, float]
) -> None:
    """A convolution of 3 x 3 pixels and a function of each number, from one channel or four."""
    case = cases(name)
    low, high = span
    weights = np.random.default_rng(1).normal(0, 0.3, (*case.pairs.channels[::-1], 3, 3))
    path = case.command.folder / "model.onnx"
    save_model(path, weights, end)
    given = ("victim=onnx", f"victim.checkpoint={path}", f"victim.value_range=[{low},{high}]")
    ran = case.command(*case.foreign(*given), "until=reconstructions")
    found, error = newest_answers(ran)

    def answer(image_id: str) -> np.ndarray:
        x = case.pairs.pair(case.root, image_id)[0] * (high - low) + low
        sums = np.array([correlate(x, w, mode="constant")[len(x) // 2] for w in weights])
        raw = np.tanh(sums) if end == "Tanh" else 1 / (1 + np.exp(-sums))
        return (raw - low) / (high - low)

    wanted = [answer(image_id) for image_id in found]
    np.testing.assert_allclose([*found.values()], wanted, rtol=0, atol=1e-6)
    np.testing.assert_allclose(error, errors(wanted, case.targets([*found])), rtol=0, atol=1e-6)


def save_model(path: Path, weights: np.ndarray, end: str) -> None:
    node, images = onnx.helper.make_node, ("batch", "height", "width")
    x, y = (
        onnx.helper.make_tensor_value_info(
            name, onnx.TensorProto.FLOAT, [images[0], channels, *images[1:]]
        )
        for name, channels in (("x", weights.shape[1]), ("y", weights.shape[0]))
    )
    graph = onnx.helper.make_graph(
        [node("Conv", ["x", "w"], ["z"], pads=[1] * 4), node(end, ["z"], ["y"])],
        "model", [x], [y], [onnx.numpy_helper.from_array(weights.astype(np.float32), "w")],
    )  # fmt: skip
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)])
    model.ir_version = 9
    onnx.save(model, path)
