"""Whole collections against known non-members, through the command and the API."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

import mia_lab
from mia_lab.errors import UserError
from support import Command

CHEAP = ("difficulty=none", "evaluation.permutations=99")
ATTACKS = ["reconstruction", "l2"]


def pairs(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    x, y = np.random.default_rng(seed).random((2, n, 3, 16, 16)).astype(np.float32)
    return x, y


class Remembers:
    """A victim that mixes the targets of some images into its answers."""

    def __init__(self, x: np.ndarray, y: np.ndarray) -> None:
        self.known = {a.tobytes(): b for a, b in zip(x, y, strict=True)}

    def __call__(self, batch: object) -> np.ndarray:
        images = [*np.asarray(batch)]
        return np.stack([0.5 * a + 0.5 * self.known.get(a.tobytes(), a) for a in images])


@pytest.fixture(scope="module")
def found() -> mia_lab.Collections:
    """Of the collections, one was used, one half, one not."""
    x, y = pairs(120)
    return mia_lab.dataset_inference(
        Remembers(x[:45], y[:45]),
        {
            "used": (x[10:40], y[10:40]),
            "half": (x[40:50], y[40:50]),
            "new": (x[60:90], y[60:90]),
        },
        comparison=(x[90:], y[90:]),
        members=(x[:10], y[:10]),
        attacks=ATTACKS,
        overrides=CHEAP,
    )


def test_p_values_are_scipys_on_the_exported_scores(found: mia_lab.Collections) -> None:
    scores, table = found.scores, found.table()
    assert scores["role"].value_counts().to_dict() == {
        "candidate": 70,
        "auxiliary": 30,
        "member": 10,
    }
    comparison = -scores.loc[scores["role"] == "auxiliary", "l2_error"]
    raw = []
    for name, row in table.iterrows():
        collection = -scores.loc[scores["collection"] == name, "l2_error"]
        welch = stats.ttest_ind(collection, comparison, equal_var=False, alternative="greater")
        assert row["welch_p"] == pytest.approx(welch.pvalue, rel=1e-9)
        raw.append(row["permutation_p"])
    order = np.argsort(raw)
    holm = np.maximum.accumulate([min(1, (3 - k) * raw[i]) for k, i in enumerate(order)])
    assert table["holm_p"].to_numpy()[order] == pytest.approx(holm)


def test_answers_and_shares(found: mia_lab.Collections) -> None:
    table = found.table()
    assert table.loc["used", "holm_p"] < 0.05 < table.loc["new", "holm_p"]
    assert found.answers == {"half": "cannot tell", "new": "not shown", "used": "cannot tell"}
    assert (table["blind"] == "undecidable").all()  # 30 + 30 images show no equivalence
    for name, share in {"used": 1.0, "half": 0.5, "new": 0.0}.items():
        row = table.loc[name]
        assert row["share_ci95_low"] - 0.01 <= share <= row["share_ci95_high"] + 0.01
        assert row["excess_ci95_low"] <= row["excess"]
        assert not row["share_is_bound"]
    needed = found.needed()
    used = needed[needed["collection"] == "used"]
    assert used["images"].iloc[[0, -1]].tolist() == [10, 30]
    assert (used["median_p"] < 0.05).all()


def test_a_collection_that_differs_by_itself(tmp_path: Path) -> None:
    """Brighter pictures, which the victim answers well: no evidence, however low the p-value."""
    x, y = pairs(120, 1)
    bright = y[:60] * 0.2 + 0.75
    found = mia_lab.dataset_inference(
        lambda batch: np.asarray(batch) * 0 + 0.8,
        {"bright": (x[:60], bright)},
        comparison=(x[60:], y[60:]),
        attacks=ATTACKS,
        overrides=CHEAP,
    )
    row = found.table().loc["bright"]
    assert row["holm_p"] < 0.05
    assert (row["answer"], row["blind"]) == ("cannot tell", "confounded")
    assert np.isnan(row["share"])
    assert "differs from the comparison by itself" in repr(found)
    page = found.report(tmp_path / "page.html").read_text()
    assert "cannot tell, because the collection differs" in page
    found.report(tmp_path / "all")
    assert {p.name for p in (tmp_path / "all").iterdir()} >= {
        *("metrics.json", "scores.csv", "report.html", "scores.png", "needed.png")
    }


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"collections": {}}, "collections: give a dictionary"),
        ({"collections": []}, "collections: give a dictionary"),
        ({"collections": {1: "x"}}, "collections: 1 is no name"),
        ({"collections": {"a": None}}, r"collections\['a'\]: give its images"),
        ({"comparison": None}, "comparison: give images that the model was certainly not"),
        ({"collections": {"few": 5}}, "collection few has 5 images; give at least 10"),
        ({"comparison": 9}, r"the comparison \(role auxiliary\) has 9 images; give at least 10"),
        ({"overrides": ["evaluation.permutations=20"]}, "permutations=20: .* of 2 collections"),
        (
            {"overrides": ["difficulty=multi_image", "+victim@reference.victim=pix2pix"]},
            "difficulty=multi_image: is the error of reference victims",
        ),
        ({"attacks": ["quantile"]}, "attacks=quantile: is fitted on auxiliaries"),
        ({"collections": "overlap"}, "collection a and collection b overlap: .* are the same"),
    ],
)
def test_bad_arguments(change: dict[str, object], words: str) -> None:
    x, y = pairs(40, 2)
    given = {"collections": {"a": (x[:12], y[:12])}, "comparison": (x[20:], y[20:])}
    if change.get("collections") == {"few": 5}:
        change = {"collections": {"few": (x[:5], y[:5])}}
    elif change.get("collections") == "overlap":
        change = {"collections": {"a": (x[:12], y[:12]), "b": (x[8:20], y[8:20])}}
    elif change.get("comparison") == 9:
        change = {"comparison": (x[20:29], y[20:29])}
    elif "evaluation" in str(change):
        given["collections"] = {"a": (x[:10], y[:10]), "b": (x[10:20], y[10:20])}
    given = {"overrides": CHEAP[1:], **given, **change}
    with pytest.raises(UserError, match=words) as caught:
        mia_lab.dataset_inference(np.asarray, **given)
    assert "\n" not in str(caught.value)


def manifest(folder: Path, rows: list[tuple[str, str, str]]) -> None:
    with (folder / "collections.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("id", "role", "collection"), *rows])


COMMAND = (
    *("task=dataset_inference", "data.image_size=16", "trainer=cpu", "tracking.mode=disabled"),
    *("victim=pretrained", "victim.checkpoint=victim.safetensors", "attack.names=[l2]"),
    *("data.protocol=manifest", "data.manifest=collections.csv", *CHEAP),
)


@pytest.mark.parametrize(
    ("rows", "more", "words"),
    [
        ([("train/000001", "", "mine")], (), "there is nothing to compare a collection with"),
        ([("train/000001", "auxiliary", "")], (), "no row has a collection"),
        ([("train/000001", "member", "mine")], (), "is of the collection 'mine', so its role is"),
        ([("train/000001", "", "")], (), "role 'empty': the image is of no collection"),
        (
            [("train/000001", "", "mine")],
            ("dataset_inference.attack=l3",),
            "dataset_inference.attack=l3: must be one of attack.names=",
        ),
        (
            [("train/000001", "", "mine")],
            ("dataset_inference.by=all",),
            "dataset_inference.by=all: must be one of scores, features",
        ),
    ],
)
def test_bad_manifests(
    command: Command, rows: list[tuple[str, str, str]], more: tuple[str, ...], words: str
) -> None:
    manifest(command.folder, rows)
    (command.folder / "victim.safetensors").touch()
    assert words in command(*COMMAND, *more).error
