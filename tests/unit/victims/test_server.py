"""The example server: what it answers, what it refuses, and its command."""

from __future__ import annotations

import base64
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import requests
import torch
from torch import Tensor

from hostile_clients import images as posted
from hostile_clients import png
from mia_lab.errors import UserError
from mia_lab.victims.files import export
from mia_lab.victims.http import Http
from mia_lab.victims.limits import Limits
from mia_lab.victims.pix2pix import Pix2Pix
from mia_lab.victims.server import Server, main
from mia_lab.victims.wire import encode_image
from published import Weights, resnet
from serving import serving


def invert(x: Tensor) -> Tensor:
    return 1 - x[:, :3]


@pytest.fixture
def server() -> Iterator[Server]:
    with serving(Server(invert, 0)) as server:
        yield server


def images(n: int = 2, channels: int = 3) -> Tensor:
    return torch.rand(n, channels, 16, 16, generator=torch.Generator().manual_seed(n))


def test_it_answers_the_client(server: Server) -> None:
    x = images(3, channels=4)
    y = Http(server.url, encoding="npy").translate(x)
    torch.testing.assert_close(y, invert(x), rtol=0, atol=0)
    y = Http(server.url).translate(x[:, :3])
    assert (y - invert(x)).abs().max() <= 1 / 255 + 1e-6  # rounded both ways


@pytest.mark.parametrize("encoding", ["png", "npy"])
@pytest.mark.parametrize(("takes", "gives"), [(1, 1), (4, 3), (3, 4)])
def test_any_channels_of_rectangles(takes: int, gives: int, encoding: Any) -> None:
    x = (torch.rand(2, takes, 16, 24) * 255).round() / 255
    with serving(Server(lambda x: x[:, :1].expand(-1, gives, -1, -1), 0)) as server:
        box = Http(server.url, encoding=encoding, in_channels=takes, out_channels=gives)
        assert torch.equal(box.translate(x), x[:, :1].expand(-1, gives, -1, -1))


def test_answers_of_many_channels_need_npy() -> None:
    x = torch.rand(2, 3, 16, 24)
    with serving(Server(lambda x: x.repeat(1, 2, 1, 1), 0)) as server:
        found = Http(server.url, encoding="npy", out_channels=6).translate(x)
        assert torch.equal(found, x.repeat(1, 2, 1, 1))
        with pytest.raises(UserError, match=r"status 400 .*the answers have 6 channels; send npy"):
            Http(server.url).translate(x)


def test_it_describes_itself(server: Server) -> None:
    answer = requests.get(server.url.replace("/translate", "/"), timeout=5).json()
    assert answer["request"] == "POST /translate"
    assert answer["encodings"] == ["png", "npy"]
    assert answer["limits"] == asdict(Limits())


ONE = encode_image(torch.zeros(3, 16, 16), "npy")
SMALL = encode_image(torch.zeros(3, 8, 16), "npy")
BRIGHT = encode_image(torch.full((3, 16, 16), 1.5), "npy")


@pytest.mark.parametrize(
    ("path", "body", "status", "message"),
    [
        ("/translate", "no", 400, "the body is not JSON"),
        ("/translate", {"encoding": "npy"}, 400, "the body has no list 'images'"),
        ("/translate", [1], 400, "the body has no list 'images'"),
        ("/translate", {"images": [ONE]}, 400, "encoding None: unknown; choose from png, npy"),
        ("/translate", {"encoding": [], "images": [ONE]}, 400, "encoding []: unknown"),
        ("/translate", {"encoding": "npy", "images": []}, 400, "holds no image"),
        ("/translate", {"encoding": "png", "images": [ONE]}, 400, "image 1 of 1 is not a complete"),
        ("/translate", {"encoding": "npy", "images": [ONE, 7]}, 400, "image 2 of 2 is not base64"),
        (
            "/translate",
            {"encoding": "npy", "images": [ONE, SMALL]},
            400,
            "image 2 of 2 has shape (3, 8",
        ),
        ("/translate", '{"encoding": "n\u00e9"}', 400, "the body is not JSON in ASCII"),
        ("/translate", r'{"encoding": "n\u00e9"}', 400, "the body is not JSON in ASCII"),
        ("/translate", {"encoding": "\x1b" * 999, "images": [ONE]}, 400, r"encoding '\x1b\x1b\x1b"),
        (
            "/translate",
            {"encoding": "npy", "images": [BRIGHT]},
            400,
            "is outside [0, 1] (1.5 to 1.5)",
        ),
        ("/elsewhere", {"encoding": "npy", "images": [ONE]}, 404, "send GET / or POST /translate"),
    ],
)
def test_bad_requests(server: Server, path: str, body: Any, status: int, message: str) -> None:
    text = body if isinstance(body, str) else json.dumps(body)
    url = server.url.replace("/translate", path)
    answer = requests.post(url, data=text.encode(), timeout=5)
    assert answer.status_code == status
    assert message in answer.json()["error"]
    assert len(answer.json()["error"]) < 200


def claimed(width: int, height: int) -> bytes:
    """A picture of black pixels that ends after its first row."""
    return png(width, height, rows=1)


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        (posted(claimed(13_000, 13_000)), 400, "image 1 of 1 has 13000 x 13000 pixels, at most 10"),
        (posted(claimed(21, 50)), 400, "image 1 of 1 has 50 x 21 pixels, at most 1024 are"),
        (posted(png(32, 16), png(32, 16), png(32, 16)), 413, "a request has at most 1024 pixels"),
        (posted(png(32, 8), claimed(13_000, 13_000)), 400, "image 2 of 2 has shape (3, 13000, 1"),
        (posted(*[png(1, 1)] * 21), 413, "a request has at most 20 images; send fewer"),
        (b'{"images": [' + b"[]," * 99 + b"0]}", 413, "a request has at most 20 images"),
        (b"[" * 9999, 413, "a request has at most 20 images"),
    ],
)
def test_limits_of_a_request(body: bytes, status: int, message: str) -> None:
    with serving(
        Server(invert, 0, limits=Limits(request_pixels=1024, request_images=20))
    ) as server:
        answer = requests.post(server.url, data=body, timeout=5)
        assert (answer.status_code, answer.json()["error"][: len(message)]) == (status, message)
        fits = posted(png(32, 16), png(32, 16))
        assert requests.post(server.url, data=fits, timeout=5).status_code == 200


def test_a_file_that_claims_a_size_takes_no_memory(server: Server) -> None:
    """A header of NumPy that claims 4 TB, which virtual memory may grant."""
    file = base64.b64decode(ONE)
    shapes = (b"(3, 16, 16), ", b"(3, 2000000, 90)", b"(-1, 16, 16), ", b"((((((((((((((")
    for shape in shapes:
        edited = base64.b64encode(file.replace(b"(3, 16, 16), }", shape + b"}")).decode()
        body = json.dumps({"encoding": "npy", "images": [edited]})
        answer = requests.post(server.url, data=body, timeout=5)
        if shape == shapes[0]:
            assert answer.status_code == 200
        else:
            assert answer.json() == {"error": "image 1 of 1 is not a complete .npy file"}


@pytest.mark.parametrize(
    ("translate", "message"),
    [
        (lambda x: x[:1], "answered with shape (1, 3, 16, 16)"),
        (lambda x: x[:, :0], "answered with shape (2, 0, 16, 16) and no values, expected (2, C, 1"),
        (lambda x: x * torch.nan, "values from nan to nan"),
        (lambda x: x + 1, "expected (2, C, 16, 16) in [0, 1]"),
        (lambda x: x @ x[0], "the model failed on (2, 3, 16, 16): "),
        (lambda x: torch.zeros(2)[5], "IndexError: index 5 is out of bounds"),
    ],
)
def test_a_model_that_fails(
    server: Server, translate: Callable[[Tensor], Tensor], message: str
) -> None:
    server.translate = translate if "failed" not in message else failing
    request = {"encoding": "npy", "images": [encode_image(image, "npy") for image in images()]}
    answer = requests.post(server.url, json=request, timeout=5)
    assert answer.status_code == 500
    assert message in answer.json()["error"]
    server.translate = invert
    assert requests.post(server.url, json=request, timeout=5).status_code == 200


def failing(x: Tensor) -> Tensor:
    raise RuntimeError("two\nlines")


def test_a_client_that_goes_away_harms_nobody(server: Server) -> None:
    with socket.create_connection(server.server_address[:2]) as client:
        client.sendall(b"POST /translate HTTP/1.1\r\nContent-Length: 100\r\n\r\n{")
    torch.testing.assert_close(
        Http(server.url, encoding="npy").translate(images()), invert(images())
    )


def test_a_port_in_use(server: Server) -> None:
    port = server.server_address[1]
    with pytest.raises(UserError, match=rf"--port {port}: not available \(.*in use\); choose"):
        Server(invert, port)


@contextmanager
def command(*arguments: str) -> Iterator[str]:
    """The URL of a server that the command starts; it is told to stop in the end."""
    process = subprocess.Popen(
        [sys.executable, "-m", "mia_lab.victims.server", *arguments, "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    try:
        assert process.stdout is not None
        url = process.stdout.readline().removeprefix("serving at ").strip()
        said = process.stdout.readline()
        assert said == f"victim=http victim.url={url}\n", process.communicate()[1]
        yield url
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=20)
        assert (process.returncode, out) == (0, "stopped\n")
        assert "Traceback" not in err
        assert "POST /translate" in err
    finally:
        process.kill()


def test_the_command(tmp_path: Path, tiny: Callable[..., Pix2Pix]) -> None:
    module = tiny().eval()
    path = tmp_path / "victim.safetensors"
    export(module.generator, path)
    x = torch.rand(2, 3, 32, 32)
    with torch.inference_mode():
        expected = (module.generator(2 * x - 1) + 1) / 2
    with command(str(path), "--image-size", "32") as url:
        answer = Http(url, encoding="npy").translate(x)
    torch.testing.assert_close(answer, expected, rtol=0, atol=1e-6)


def test_the_command_with_rectangles_and_one_of_two_networks(tmp_path: Path) -> None:
    path, x = tmp_path / "nets.pth", torch.rand(2, 3, 32, 64)
    networks = [Weights("batch", False, generator=torch.Generator().manual_seed(s)) for s in (0, 1)]
    answers = [(resnet(w, 2 * x - 1, ngf=4, n_down=2, n_blocks=6) + 1) / 2 for w in networks]
    torch.save({"netG": networks[0].tensors, "g_ema": networks[1].tensors}, path)
    options = ("--format", "pix2pix", "--key", "g_ema", "--image-size", "64", "32")
    with command(str(path), *options) as url:
        answer = Http(url, encoding="npy").translate(x)
    torch.testing.assert_close(answer, answers[1], rtol=0, atol=1e-6)
    assert (answer - answers[0]).abs().max() > 0.01


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("nowhere",), "error: victim.checkpoint=nowhere: "),
        (
            ("nowhere", "--image-size", "64", "32", "3"),
            "error: --image-size 64 32 3: give one side",
        ),
    ],
)
def test_the_command_refuses(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], said: str
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main([*arguments, "--port", "0"])
    assert stopped.value.code == 2
    assert said in capsys.readouterr().err
