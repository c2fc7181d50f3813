"""Composition, types, ranges and cross-field checks, without running anything."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from mia_lab.config import build, kinds
from mia_lab.config.checks import check as check_config
from mia_lab.config.component import Component
from mia_lab.config.explain import CONFIGURATION_ERRORS, explain
from mia_lab.config.load import read_yaml
from mia_lab.errors import UserError
from mia_lab.parameters import both_ranges
from support import composed

EXPERIMENTS = ("facades_pix2pix", "maps_pix2pix", "cityscapes_pix2pix")


@pytest.mark.parametrize("experiment", EXPERIMENTS)
@pytest.mark.parametrize("scale", ["demo", "paper"])
def test_experiments_compose_at_both_scales(experiment: str, scale: str) -> None:
    config = composed(f"+experiment={experiment}", f"scale={scale}", "paths.data=/")
    assert config.name == experiment
    if scale == "paper":
        published = {
            "image_size": 256,
            "width": 64,
            "discriminator_width": 64,
            "epochs": 200,
            "batch_size": 1,
            "lambda_l1": 100,
            "learning_rate": 2e-4,
            "beta1": 0.5,
            "dropout": 0.5,
            "decay_fraction": 0.5,
            "flip": True,
        }
        assert {k: config.victim[k] for k in published} == published
        assert round(config.victim["load_scale"] * 256) == 286
        assert config.backbone["name"].startswith("wide_resnet50_2")
        assert config.data.source == "folder"
    else:
        assert config.backbone["name"] == "tf_efficientnet_lite0"
        assert config.data.source == "procedural"
        check_config(config)


def test_the_command_line_wins_over_scale_and_experiment() -> None:
    config = composed(
        "+experiment=maps_pix2pix", "scale=paper", "backbone=efficientnet_lite0", "victim.epochs=3"
    )
    assert config.backbone["name"] == "tf_efficientnet_lite0"
    assert config.victim["epochs"] == 3


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("victim.epochss=3", "victim.epochss: unknown key; .*; did you mean .epochs.[?]$"),
        ("+experiment=nothing", "experiment=nothing: unknown choice; there are .*facades_"),
        ("data=nothing", "data=nothing: unknown choice; there are cityscapes, custom, fac"),
        ("seed=", "seed=: must be a whole number"),
        ("seed=often", "seed=often: must be a whole number"),
        ("data.assignment=coin", "data.assignment=coin: must be one of fixed, bernoulli"),
        ("data.protocol=fair", "data.protocol=fair: must be one of resplit, official, manifest"),
        ("query=fast", "query=fast: must be a mapping"),
        ("report.images=3", "report.images=3: must be true or false"),
        ("attack.names=membership", "attack.names=membership: must be a list"),
        ("+data.extra.key=1", "data.extra: unknown key; .* style, target_channels, target_dir"),
        ("~query.repeats", r"query.repeats: no value given; add \+query.repeats=[.]{3}"),
    ],
)
def test_composition_errors_are_one_line(override: str, message: str) -> None:
    with pytest.raises((*CONFIGURATION_ERRORS, UserError)) as caught:
        composed(override)
    text = explain(caught.value)
    assert "\n" not in text
    assert "search path" not in text
    with pytest.raises(AssertionError, match=message):
        raise AssertionError(text)


def test_errors_without_a_cause_are_explained_too() -> None:
    assert explain(OmegaConfBaseException("first\nsecond")) == "first second"


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ("+dta=x", "dta: unknown key; .*; did you mean .data.[?]$"),
        ("+data.rooot=x", "data.rooot: unknown key; .*; did you mean .root.[?]$"),
        ("+victim.epochss=3", "victim.epochss: unknown key; .*; did you mean .epochs.[?]$"),
        ("data.n_members=-1", "data.n_members=-1: must be at least 1"),
        ("data.n_auxiliary=-1", "data.n_auxiliary=-1: must be at least 0"),
        (
            "data=cityscapes data.input_encoding=one_hot data.resize=fit",
            "^data.resize=fit: adds borders, which have no class of data.input_encoding=one_hot",
        ),
        ("data.image_size=100", "multiples of 32, .*data.image_size=100; set data.image_size=96"),
        ("data.source=web", "data.source=web: must be one of procedural, folder"),
        ("data.root=/nowhere data.source=folder", "data.root=/nowhere: no such folder"),
        ("data.source=folder paths.data=null", "Set MIA_LAB_DATA to the folder that holds facades"),
        (
            "data=custom paths.data=null",
            "Set MIA_LAB_DATA to the folder that holds custom/, or give data.root=",
        ),
        ("data.protocol=manifest", "give both data.protocol=manifest and data.manifest=FILE.csv"),
        ("data.manifest=x.csv", "give both"),
        ("victim=pretrained", "victim.checkpoint: no value given"),
        (
            "victim=pretrained victim.checkpoint=x",
            "data.protocol=resplit draws new members, but victim=pretrained is trained already",
        ),
        ("victim=custom victim._target_=a.B", "victim._target_=a.B: cannot be imported"),
        (
            "victim=custom victim._target_=PIL.ImageFilter.UnsharpMask",
            "victim=custom is trained already",
        ),
        (
            "victim=custom victim._target_=PIL.ImageFilter.UnsharpMask data.protocol=official "
            "query.mode=train",
            "query.mode=train: victim=custom has no such mode",
        ),
        (
            "victim=custom victim._target_=PIL.ImageFilter.UnsharpMask +victim.epochs=1",
            "victim.epochs: unknown key; there are percent, radius, threshold",
        ),
        ("victim.epochs=0", "victim.epochs=0: must be at least 1"),
        ("victim.epoch=3", r"victim.epoch=3: is not kept; add it to victim.keep_epochs=\[\]"),
        (
            "victim.keep_epochs=[0,9]",
            r"victim.keep_epochs=\[0, 9\]: the training has epochs 1 to 8",
        ),
        ("victim.generator=vit", "victim.generator=vit: must be one of unet, resnet_6, resnet_9"),
        (
            "victim=pix2pixhd victim.perceptual=vgg",
            "victim.perceptual=vgg: must be one of vgg19, lite0, none",
        ),
        ("victim.in_channels=4", "victim.in_channels=4: the data's inputs have 3 channels"),
        (
            "victim.out_channels=1",
            "victim.out_channels=1: the data's targets have 3 channels",
        ),
        ("trainer.devices=2", "trainer.devices=2: more than one needs trainer=ddp"),
        ("trainer=ddp trainer.devices=3", "cannot divide victim.batch_size=4 into equal parts"),
        ("trainer.strategy=fsdp", "trainer.strategy=fsdp: must be one of auto, ddp"),
        ("trainer.workers=-1", "trainer.workers=-1: must be at least 0"),
        ("victim.learning_rate=nan", "victim.learning_rate=nan: must be a finite number"),
        ("victim.dropout=1", "victim.dropout=1: must be below 1"),
        ("victim.load_scale=0.5", "victim.load_scale=0.5: must be at least 1"),
        ("attack.alpha=nan", "attack.alpha=nan: must be a finite number"),
        ("attack.alpha=inf", "attack.alpha=inf: must be a finite number"),
        ("attack.names=[]", "name at least one attack"),
        ("attack.names=[gan]", "attack.names=gan: must be one of reconstruction, l2, ssim"),
        ("reference.count=3", "reference.count=3: reference victims come in pairs"),
        ("reference.only=8 until=references", "reference.only=8: there are reference.count=8"),
        ("reference.only=1", "reference.only=1: .* add until=references"),
        ("query.repeats=0", "query.repeats=0: must be at least 1"),
        ("attack.names=[membership,membership]", "names an attack twice"),
        ("trainer.accelerator=tpu", "trainer.accelerator=tpu: must be one of auto, cpu, gpu"),
        (
            "trainer.precision=16-true",
            "trainer.precision=16-true: must be one of auto, 32-true",
        ),
        ("trainer.threads=0", "trainer.threads=0: must be at least 1"),
        ("query.batch_size=0", "query.batch_size=0: must be at least 1"),
        ("evaluation.permutations=19", "evaluation.permutations=19: must be at least 20"),
        ("evaluation.delta=1", "evaluation.delta=1: must be below 1"),
        ("evaluation.fprs=[]", r"evaluation.fprs=\[\]: must have at least 1 item"),
        ("evaluation.fprs=0.01", "evaluation.fprs=0.01: must be a list"),
        ("evaluation.fprs=[0.1,1.5]", r"evaluation.fprs=\[0.1, 1.5\]: 1.5 must be below 1"),
        ("evaluation.fprs=[0]", r"evaluation.fprs=\[0\]: 0 must be above 0"),
        ("evaluation.fprs=[0.1,0.10]", r"evaluation.fprs=\[0.1, 0.1\]: names a rate twice"),
        ("evaluation.priors=[0.5,1]", r"evaluation.priors=\[0.5, 1\]: 1 must be below 1"),
        ("evaluation.guesses=50", "evaluation.guesses=50: .* set data.assignment=bernoulli"),
        (
            "evaluation.guesses=1 data.assignment=bernoulli",
            "evaluation.guesses=1: must be at least 2",
        ),
        ("evaluation.guesses=split", "evaluation.guesses=split: .* data.assignment=bernoulli"),
        (
            "evaluation.guesses=bonferonni data.assignment=bernoulli",
            'must be a whole number or one of split, bonferroni; did you mean "bonferroni"',
        ),
        (
            "data.assignment=bernoulli data.group_by=x",
            "data.assignment=bernoulli: flips a coin for each image",
        ),
        (
            "data.assignment=bernoulli data.protocol=official",
            "which takes data.protocol=resplit",
        ),
        ("difficulty.layers=1", r"difficulty.layers=1: must be a list, such as \[1\]"),
        ("difficulty.layers=[]", r"difficulty.layers=\[\]: must have at least 1 item"),
        ("difficulty.layers=[true]", r"layers=\[true\]: true must be a whole number or a text"),
        ("difficulty.ridge=-1", "difficulty.ridge=-1: must be at least 0 or auto"),
        ("difficulty.ridge=[1,2]", r"difficulty.ridge=\[1, 2\]: must be a number or auto"),
        ("difficulty.grid=layers_x_ridge", "name a prepared one by difficulty/grid=NAME"),
        ("difficulty.grid.ridge=[1,-1]", r"grid.ridge=\[1, -1\]: -1 must be at least 0 or auto"),
        ("difficulty.grid.alpha=[nan]", r"grid.alpha=\[nan\]: nan must be a finite number"),
        ("difficulty.grid.backbone=[{weights:random}]", "is no backbone; give"),
        (
            "difficulty.grid.backbone=[{name:resnet18,wieghts:random}]",
            "difficulty.grid.backbone.wieghts: unknown key; .* mean .weights.",
        ),
        ("difficulty.keep_gb=-1", "difficulty.keep_gb=-1: must be at least 0"),
        ("difficulty=image_statistics difficulty.statistic=hue", "must be one of compressed_size"),
        ("defense=jpeg defense.quality=0", "defense.quality=0: must be at least 1"),
        ("backbone.weights=null", "backbone.weights=null: must be a text"),
        (
            "attack.names=[lira] attack.available.lira.variance=none",
            "attack.available.lira.variance=none: must be one of pooled, per_image",
        ),
        ("data.sources.procedural.n_train=-1", "procedural.n_train=-1: must be at least 0"),
        ("data.style=null", "data.sources.procedural.style=null: must be a text"),
        ("task=score victim=pix2pix", "data.protocol=resplit: task=score needs the ids"),
        ("task=difficulty difficulty=multi_image", "which task=difficulty does not train"),
        ("task=export query.mode=train", "exported programs answer in evaluation mode"),
        ("task=store until=split", "until=split stops an audit, which task=store does not run"),
    ],
)
def test_impossible_values_are_refused(overrides: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        check(*overrides.split())


@pytest.mark.parametrize(
    "given",
    [
        *("input_channels=1", "target_channels=3", "alpha=white", "exif=apply", "page=0"),
        *("value_range=[0,255]", "match=x", "max_megapixels=5", "ignore_label=255"),
        *("input_dir=a", "target_dir=b"),
    ],
)
def test_generated_pictures_are_read_from_no_file(given: str) -> None:
    remedy = r"source=procedural generates pictures; set data\.source=folder, or leave"
    with pytest.raises(UserError, match=rf"^data\.{re.escape(given[:5])}.*{remedy} it out$"):
        check(f"data.{given}")


def test_settings_of_files_that_are_the_default_are_no_error() -> None:
    check("data.max_megapixels=100", "data.alpha=refuse", "data.input_channels=null")
    elsewhere = ("+data@reference.data=maps", "reference.data.alpha=white")
    with pytest.raises(
        UserError, match=r"^reference\.data\.alpha=white: .* set reference\.data\.s"
    ):
        check(*elsewhere)


@pytest.mark.parametrize(
    "size", ["0", "8193", "64.0", "true", "x", "null", "[64]", "[64, 8]", "[64, 32, 16]", "{a: 64}"]
)
def test_wrong_sizes_of_images(size: str) -> None:
    wanted = "must be one side, or [width, height], of 16 to 8192 pixels"
    with pytest.raises(UserError, match=rf"^data\.image_size=.*: {re.escape(wanted)}$"):
        composed(f"data.image_size={size}")


@pytest.mark.parametrize(("size", "read"), [("[64, 64]", 64), ("[8192, 16]", [8192, 16])])
def test_sizes_of_images(size: str, read: int | list[int]) -> None:
    config = composed("victim=pretrained", "victim.checkpoint=x", f"data.image_size={size}")
    assert config.data.image_size == read
    assert build.victim(config).arguments["image_size"] == read


def check(*overrides: str) -> None:
    """All that a run checks before it looks at any data."""
    config = composed(*overrides)
    check_config(config)
    build.victim(config, (3, 3)).build()


def test_the_membership_attack_decides_the_weight_that_reports_show() -> None:
    own = "attack.available.membership.alpha=0.25"
    config = composed(own, "attack.alpha=0.5", "difficulty.grid.alpha=[0.25,2]")
    assert build.membership_alpha(config) == 0.25
    assert build.grid_alphas(config) == [0.25, 2]
    without = composed(own, "attack.alpha=0.5", "attack.names=[reconstruction]")
    assert build.membership_alpha(without) == 0.5


def test_kinds_are_stated_by_classes() -> None:
    ours = build.victim(composed(), (3, 3))
    assert kinds.is_trainable(ours)
    assert kinds.has_train_mode(ours)
    assert not kinds.is_stochastic(ours)
    assert kinds.privacy_claim(ours, 10) is None
    private = build.victim(composed("victim=dp_unet"), (3, 3))
    claim = kinds.privacy_claim(private, 100)
    assert claim is not None
    assert claim.epsilon == 8
    file = build.victim(composed("victim=pretrained", "victim.checkpoint=x"), (3, 3))
    assert (kinds.is_trainable(file), kinds.has_train_mode(file)) == (False, True)
    recorded = build.victim(composed("victim=outputs", "victim.folder=x"), (3, 3))
    assert kinds.is_recorded(recorded)
    assert not kinds.has_train_mode(recorded)
    assert kinds.needs_references(build.difficulty(composed("difficulty=multi_image")))
    assert kinds.scores_images(build.difficulty(composed("difficulty=none")))
    assert kinds.needs_backbone(build.difficulty(composed()))


def test_a_lightning_module_that_states_nothing_is_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    source = "import pytorch_lightning as pl\nclass Mine(pl.LightningModule):\n    pass\n"
    (tmp_path / "my_stated_victim.py").write_text(
        f"{source}class Frozen(Mine):\n    trainable = False\n"
    )
    mine, frozen = (
        Component.of("victim", {"_target_": f"my_stated_victim.{name}"})
        for name in ("Mine", "Frozen")
    )
    assert kinds.is_trainable(mine)
    assert not kinds.is_trainable(frozen)


def test_reference_victims_keep_no_epochs() -> None:
    config = composed("victim.keep_epochs=[1]", "victim.epoch=1")
    found = build.reference_victim(config, (4, 1))
    assert found.key == "victim"
    assert (found.arguments["in_channels"], found.arguments["out_channels"]) == (4, 1)
    assert (found.arguments["keep_epochs"], found.arguments["epoch"]) == ([], None)
    other = build.reference_victim(composed("+victim@reference.victim=pix2pixhd"), (3, 3))
    assert other.key == "reference.victim"
    with pytest.raises(UserError, match=r"cannot be trained, and .*\+victim@reference.victim"):
        build.reference_victim(composed("victim=outputs", "victim.folder=x"), (3, 3))


def test_other_images_for_references_are_typed_too(tmp_path: Path) -> None:
    other = composed("+data@reference.data=cityscapes").reference.data
    assert other is not None
    assert other.name == "cityscapes"
    with pytest.raises(UserError, match=r"reference\.data\.image_size=3: must be one side"):
        composed("+data@reference.data=cityscapes", "reference.data.image_size=3")


def test_a_tilde_and_a_number_are_paths(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    config = composed("paths.outputs='~/runs'", "name=2024", "paths.data='~/data'", "data=custom")
    assert (config.paths.outputs, config.name) == ("/home/me/runs", "2024")
    assert config.data.root == "/home/me/data/custom"


def test_importing_the_configuration_is_cheap() -> None:
    code = "import sys, mia_lab.config.load; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_tasks_that_use_no_component_import_none(tmp_path: Path) -> None:
    code = (
        "import sys; sys.path.insert(0, 'tests')\n"
        "from mia_lab.config.checks import check; from support import composed\n"
        "check(composed('task=store'))\n"
        "sys.exit('mia_lab.victims.pix2pix' in sys.modules)"
    )
    root = Path(__file__).parents[3]
    assert subprocess.run([sys.executable, "-c", code], cwd=root, check=False).returncode == 0


class Rooted:
    """A dataset of the user's with a folder of its own."""

    def __init__(self, root: str) -> None:
        self.root = root

    def ids(self, subset: str) -> list[str]:
        return [subset]

    def load(self, image_id: str) -> None:
        raise NotImplementedError

    def fingerprint(self, ids: list[str]) -> str:
        return "".join(ids)


def test_a_dataset_of_the_users_has_its_own_root() -> None:
    """Not ``data.root``, which is the folder of ``data.source=folder``."""
    own = "data.sources.mine"
    asked = ("data=custom", "data.source=mine", f"+{own}._target_={Rooted.__module__}.Rooted")
    config = composed(*asked, f"+{own}.root=mine/own")
    assert config.data.root is None
    assert build.source(config.data).root == "mine/own"  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "text",
    [
        *("a: !!bool x", "a: !!int ''", "a: !!float ''", "a: !!timestamp x", "a: !!binary '='"),
        *("a: 2020-01-01", "a: 2020-13-45", "a: !!set {b}", "? [1]\n: 2", "a: &b 1\nc: *b"),
        *("[" * 10_000, "- 1", "", "a: \0", f"a: {'9' * 5000}", "a: {1: 2, b: [!!binary YQ==]}"),
    ],
)
def test_a_configuration_that_no_run_wrote(tmp_path: Path, text: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=f"{path}: .*run the audit again"):
        read_yaml(path)


@pytest.mark.parametrize(
    "value", ["[[0,1],[1,0]]", "[1]", "[a,b]", "[[0,1,2],[0,1]]", "[0,.inf]", "[1,1]", "[0,1,2]"]
)
def test_a_range_is_two_numbers_or_two_ranges(value: str) -> None:
    with pytest.raises(UserError, match=r"data\.value_range=.*: must be \[low, high\], low below"):
        composed(f"data.value_range={value}")


@pytest.mark.parametrize("value", ["[-1,1]", "[null,[0,4095]]", "[[0,1],[-5,5.5]]", "null"])
def test_ranges_of_both_sides(value: str) -> None:
    assert len(both_ranges(composed(f"data.value_range={value}").data.value_range)) == 2


def test_resolvers_of_other_programs_are_left_alone() -> None:
    register = OmegaConf.register_new_resolver
    register("run_id", lambda: "theirs")
    try:
        assert composed().name == "facades_pix2pix"
        register("choices", lambda: "theirs")
        found = OmegaConf.create(["${run_id:}", "${choices:}"])
        assert [*found] == ["theirs", "theirs"]
    finally:
        OmegaConf.clear_resolver("run_id")
        OmegaConf.clear_resolver("choices")
