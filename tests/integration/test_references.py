"""Attacks and difficulties that an audit can choose from, through the real command."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from support import Command

AUXILIARY = ("data.n_auxiliary=24", "reference.count=4")
CALIBRATED = ["watson", "lira", "rmia", "learned"]


@pytest.mark.slow
def test_references_are_trained_once_for_all_attacks(command: Command) -> None:
    # Each in a job of its own, as on a cluster; nobody trains the victim for them.
    apart = ("until=references", "reference.only=0,1,2,3", "attack=all")
    ran = command("-m", "+experiment=tiny", *AUXILIARY, *apart)
    assert ran.code == 0, ran.err
    assert command.computed["victim"] == command.computed["reconstructions"] == 4
    ran = command("+experiment=tiny", *AUXILIARY, "attack=all")
    assert ran.code == 0, ran.err
    found = ran.metrics["attacks"]
    assert list(found) == [
        *("reconstruction", "l2", "ssim", "perceptual", "augmented", "adaptive", "membership"),
        *("watson", "lira", "rmia", "quantile", "shadow", "learned"),
        *("embedding", "embedding_corrected", "mid_frequency", "mid_frequency_corrected"),
        *("condition_gap", "condition_gap_corrected", "fluctuation", "fluctuation_corrected"),
    ]
    assert command.computed["victim"] == command.computed["reconstructions"] == 5
    for name in CALIBRATED:
        assert found[name]["knowledge"] == {
            "images": 24,
            "architecture": "pix2pix",
            "queries": 1,
            "trainings": 4,
        }
    assert found["augmented"]["knowledge"]["queries"] == 6
    assert found["quantile"]["knowledge"] == {
        "images": 24,
        "architecture": "",
        "queries": 1,
        "trainings": 0,
    }
    assert "1 query, 24 images, 4 trainings of pix2pix" in ran.out
    # Other attacks and weights train nothing, and nothing is scored twice.
    before = command.computed
    names = "attack.names=[rmia,lira,watson,learned,shadow]"
    again = command("+experiment=tiny", *AUXILIARY, names)
    assert again.code == 0, again.err
    assert command.computed - before == {"verdict": 1}
    for name in CALIBRATED:
        assert again.metrics["attacks"][name]["auc"] == found[name]["auc"]


def test_online_attacks_compare_with_references_that_saw_the_image(command: Command) -> None:
    online = [f"attack.available.{name}.online=true" for name in ("lira", "rmia")]
    asked = ("+experiment=tiny", *AUXILIARY, "attack.names=[lira,rmia]", *online, "demo_epochs=1")
    assert "reference.pool" in command(*asked).error
    ran = command(*asked, "reference.pool=all")
    assert ran.code == 0, ran.err
    assert ran.metrics["attacks"]["lira"]["knowledge"]["images"] == 35


@pytest.mark.slow
def test_another_architecture(command: Command) -> None:
    other = ("+victim@reference.victim=pix2pixhd", "reference.victim.width=4")
    small = ("reference.victim.discriminator_width=4", "reference.victim.epochs=1")
    ran = command("+experiment=tiny", *AUXILIARY, "attack.names=[watson]", *other, *small)
    assert ran.code == 0, ran.err
    assert "4 trainings of pix2pixhd" in ran.out
    assert ran.metrics["attacks"]["watson"]["knowledge"]["architecture"] == "pix2pixhd"


def test_too_few_auxiliaries_are_an_error_before_any_training(command: Command) -> None:
    ran = command("+experiment=tiny", "data.n_auxiliary=0", "attack.names=[watson]")
    assert "raise data.n_auxiliary" in ran.error
    assert command.computed["victim"] == 0


@pytest.mark.parametrize(
    "asked",
    [
        ("difficulty=none",),
        ("difficulty=image_statistics", "difficulty.statistic=entropy"),
        ("difficulty=multi_image", *AUXILIARY, "attack.names=[reconstruction,membership,watson]"),
        ("difficulty=supervised", "difficulty.folder=labelled"),
    ],
)
def test_difficulties(command: Command, asked: tuple[str, ...]) -> None:
    labelled(command.folder / "labelled")
    ran = command("+experiment=tiny", "demo_epochs=1", *asked)
    assert ran.code == 0, ran.err
    difficulty = command.scores("difficulty")
    error = command.scores("reconstruction_error")
    np.testing.assert_allclose(command.scores("membership_error"), error - difficulty)
    assert (len(set(difficulty)) == 1) is (asked[0] == "difficulty=none")
    if "multi_image" in asked[0]:  # one function
        np.testing.assert_array_equal(
            command.scores("watson_error"), command.scores("membership_error")
        )
        assert ran.metrics["attacks"]["membership"]["knowledge"]["trainings"] == 4


def labelled(folder: Path) -> None:
    folder.mkdir()
    rng = np.random.default_rng(0)
    rows = ["file,difficulty"]
    for number in range(12):
        Image.fromarray(rng.integers(0, 20 * number + 10, (32, 32, 3)).astype(np.uint8)).save(
            folder / f"{number}.png"
        )
        rows.append(f"{number}.png,{number}")
    (folder / "labels.csv").write_text("\n".join(rows) + "\n")


def test_a_survey_of_statistics(command: Command) -> None:
    # All of the source would take a minute.
    roles = [f"train/{n:06d},{'member' if n % 2 else 'nonmember'}" for n in range(12)]
    (command.folder / "some.csv").write_text("\n".join(["id,role", *roles]) + "\n")
    some = ("data.protocol=manifest", "data.manifest=some.csv")
    ran = command("task=difficulty", "+experiment=tiny", "difficulty=image_statistics", *some)
    assert ran.code == 0, ran.err


@pytest.mark.slow
def test_a_victim_of_somebody_else_needs_references_of_another_make(command: Command) -> None:
    assert command("+experiment=tiny").code == 0
    (weights,) = command.folder.glob("outputs/store/victim/*/victim.safetensors")
    roles = [f"train/{n:06d},{'auxiliary' if n > 7 else 'candidate'}" for n in range(24)]
    (command.folder / "who.csv").write_text("\n".join(["id,role", *roles]) + "\n")
    asked = (
        *("task=score", "victim=pretrained", f"victim.checkpoint={weights}", "score.fpr=0.3"),
        *("data.protocol=manifest", "data.manifest=who.csv", "data.image_size=32"),
        *("attack.names=[watson,augmented,learned]", "reference.count=4", "trainer.threads=1"),
        *("tracking.mode=disabled", "report.images=false"),
    )
    assert "+victim@reference.victim=pix2pix" in command(*asked).error
    other = ("+victim@reference.victim=pix2pix", "reference.victim.width=4")
    small = ("reference.victim.discriminator_width=4", "reference.victim.epochs=1")
    ran = command(*asked, *other, *small)
    assert ran.code == 0, ran.err
    # The one of the first run, the same one as somebody else's, and four references.
    assert command.computed["victim"] == 1 + 1 + 4


ELSEWHERE = ("+data@reference.data=cityscapes", "reference.data.image_size=32")


@pytest.mark.slow
def test_references_trained_elsewhere(command: Command) -> None:
    asked = ("+experiment=tiny", "reference.count=2", "difficulty=multi_image")
    asked += ("attack.names=[membership,watson,lira]",)
    ran = command(*asked, *ELSEWHERE, "reference.data.n_auxiliary=10")
    found = ran.metrics["attacks"]
    # None of ours was in their training, so all of them count for each image.
    assert found["membership"]["auc"] == found["watson"]["auc"]
    assert found["watson"]["knowledge"]["images"] == 10
    assert command.computed["victim"] == command.computed["reconstructions"] == 3
    # They are not those of the victim's own kind.
    here = command(*asked)
    assert here.metrics["attacks"]["watson"]["auc"] != found["watson"]["auc"]
    assert command.computed["victim"] == 5


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("attack.names=[learned]", "leave out shadow and learned"),
        ("reference.data.image_size=64", "the victim's images have 32 pixels"),
        ("reference.data.input_encoding=one_hot", "of the same classes and colours"),
        ("reference.data.source=folder", "reference.data.source=folder: where?"),
        ("reference.pool=all", "leave one of them out"),
        ("reference.data.n_auxiliary=1", "half of 1 images; raise reference.data.n_auxiliary"),
        ("reference.data.n_auxiliary=2000", "has 1000 images"),
        ("data=cityscapes", "is among the images that attacks score"),
    ],
)
def test_elsewhere_has_to_fit(command: Command, wrong: str, message: str) -> None:
    asked = ("+experiment=tiny", *ELSEWHERE, "attack.names=[lira]")
    assert message in command(*asked, wrong).error


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["attack.names=[lira]", "attack.available.lira.online=true"], "set reference.pool=all"),
        (["attack.names=[lira]", "+attack.available.lira.onlin=true"], 'did you mean "online"?'),
        (
            ["attack.names=[lira]", "attack.available.lira.variance=x"],
            "must be one of pooled, per_image",
        ),
        (["attack.names=[learned]", "reference.count=2"], "takes 3 references"),
        (["attack.names=[shadow]", "attack.available.shadow.patch=999"], "32 pixels"),
        (["attack.names=[quantile]"], "takes 20 auxiliaries, and there are 2"),
        (["attack.names=[ssim]", "attack.available.ssim.metric=x"], "must be one of l2, ssim"),
        (
            [
                "attack.names=[lira]",
                "+victim@reference.victim=pix2pix",
                "reference.victim.learning_rate=-1",
            ],
            "learning_rate=-1",
        ),
        (["difficulty=multi_image", "task=difficulty"], "which task=difficulty does not train"),
        (["evaluation.utility=true", "data.n_nonmembers=1"], "raise data.n_nonmembers"),
    ],
)
def test_what_cannot_work_is_told_before_any_training(
    command: Command, settings: list[str], message: str
) -> None:
    assert message in command("+experiment=tiny", *settings).error
    assert (
        not (command.folder / "outputs/store/log.jsonl").exists() or not command.computed["victim"]
    )
