"""Answers on disk: nothing is asked twice, whatever happens in between."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from fuzzing import hostile_npy
from mia_lab.errors import UserError
from mia_lab.victims.answers import CachedAnswers, Unanswered, query_key
from mia_lab.victims.blackbox import BlackBox
from mia_lab.victims.http import Http
from mia_lab.victims.server import Server


def images(n: int = 4, seed: int = 0) -> Tensor:
    return torch.rand(n, 3, 16, 16, generator=torch.Generator().manual_seed(seed))


class Counting:
    """Answers with 1 - x, or fails in the places it is told, and counts every image."""

    transport = "by hand"

    def __init__(self, eight_bit: bool = False) -> None:
        self.seen: Counter[str] = Counter()
        self.batches: list[int] = []
        self.broken: set[int] = set()
        self.eight_bit = eight_bit

    def translate(self, x: Tensor) -> Tensor:
        self.batches.append(len(x))
        self.seen.update(query_key(image, 0) for image in x)
        y = ((1 - x) * 255).round() / 255 if self.eight_bit else 1 - x
        if self.broken:
            raise Unanswered("no", {i: y[i] for i in range(len(x)) if i not in self.broken})
        return y


@pytest.mark.parametrize("eight_bit", [True, False])
def test_what_was_answered_is_not_asked_again(tmp_path: Path, eight_bit: bool) -> None:
    box = Counting(eight_bit)
    answers = CachedAnswers(box, tmp_path / "kept", 3)
    assert isinstance(answers, BlackBox)
    assert answers.transport == "by hand"
    first = answers.translate(images()[:2])
    x = images()[[3, 1, 2, 3, 0]]
    y = answers.translate(x)
    expected = Counting(eight_bit).translate(x)
    assert torch.equal(y, expected)
    assert torch.equal(first, y[[4, 1]])
    assert box.batches == [2, 2]  # images 3 and 2, in one request
    again = CachedAnswers(box, tmp_path / "kept", 3)
    assert torch.equal(again.translate(x), y)
    assert (answers.asked, again.asked) == (4, 0)
    assert again.describe() == "4 answers cached"
    assert set(box.seen.values()) == {1}


def test_answers_of_other_channels_are_asked_again(tmp_path: Path) -> None:
    x = torch.rand(2, 1, 16, 24)
    assert torch.equal(CachedAnswers(Counting(), tmp_path, 1).translate(x), 1 - x)
    kept, other = (CachedAnswers(Counting(), tmp_path, channels) for channels in (1, 3))
    assert torch.equal(kept.translate(x), other.translate(x))
    assert (kept.asked, other.asked) == (0, 2)


def test_eight_bits_take_the_room_of_eight_bits(tmp_path: Path) -> None:
    for name, eight_bit in (("8", True), ("32", False)):
        CachedAnswers(Counting(eight_bit), tmp_path / name, 3).translate(images(1))
    sizes = {name: next((tmp_path / name).glob("*/*.npz")).stat().st_size for name in ("8", "32")}
    assert sizes["8"] < 16 * 16 * 3 + 500 < sizes["32"]


def test_every_part_of_the_question_counts(tmp_path: Path) -> None:
    box = Counting()
    answers = CachedAnswers(box, tmp_path, 3)
    x = images(1)
    for _ in range(2):
        answers.translate(x)
        answers.translate(x, "hflip")
        answers.translate(x, repeat=1)
        answers.translate(x.flip(-1))
        answers.translate(x.reshape(1, 3, 8, 32))
    assert answers.asked == len(box.batches) == 5


def test_valid_answers_of_a_failed_batch_are_kept(tmp_path: Path) -> None:
    box = Counting()
    box.broken = {1}
    answers = CachedAnswers(box, tmp_path, 3)
    with pytest.raises(
        UserError, match=r"^no; run the same command again to continue \(3 answers cached\)$"
    ):
        answers.translate(images())
    box.broken = set()
    assert torch.equal(answers.translate(images()), 1 - images())
    assert box.batches == [4, 1]


def test_damaged_files_are_asked_again(tmp_path: Path) -> None:
    box = Counting()
    answers = CachedAnswers(box, tmp_path, 3)
    x = images(1)
    y = answers.translate(x)
    (path,) = tmp_path.glob("*/*.npz")
    whole = path.read_bytes()
    for damaged in (b"", whole[:200], whole[:-1], whole[: len(whole) // 2] + b"\0" * 1000):
        path.write_bytes(damaged)
        asked = answers.asked
        assert torch.equal(answers.translate(x), y)
        assert answers.asked == asked + 1
    for place in range(0, len(whole), 31):  # one bit anywhere is found, or does not matter
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :])
        assert torch.equal(answers.translate(x), y)
    other = query_key(images(1, seed=1)[0], 0)
    (tmp_path / other[:2]).mkdir(exist_ok=True)
    CachedAnswers(box, tmp_path / "small", 3).translate(images(1)[..., :8])
    next((tmp_path / "small").glob("*/*.npz")).rename(tmp_path / other[:2] / f"{other}.npz")
    assert answers.translate(images(1, seed=1)).shape == (1, 3, 16, 16)


@pytest.mark.parametrize("content", hostile_npy().values(), ids=hostile_npy())
@pytest.mark.parametrize("packed", [False, True])
def test_hostile_files_are_asked_again(tmp_path: Path, content: bytes, packed: bool) -> None:
    answers, x = CachedAnswers(Counting(), tmp_path, 3), images(1)
    y = answers.translate(x)
    (path,) = tmp_path.glob("*/*.npz")
    if packed:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("answer.npy", content)
    else:
        path.write_bytes(content)
    assert torch.equal(answers.translate(x), y)
    assert answers.asked == 2


def test_an_answer_that_unpacks_to_more_than_an_image_is_asked_again(tmp_path: Path) -> None:
    answers, x = CachedAnswers(Counting(), tmp_path, 3), images(1)
    y = answers.translate(x)
    (path,) = tmp_path.glob("*/*.npz")
    np.savez_compressed(path, answer=y[0].numpy(), more=np.zeros(10**6))
    assert torch.equal(answers.translate(x), y)
    assert answers.asked == 2


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "kept").write_text("a file")
    with pytest.raises(
        UserError, match=r"an answer cannot be written \(Not a directory\); free disk space"
    ):
        CachedAnswers(Counting(), tmp_path / "kept", 3).translate(images())


def test_several_writers(tmp_path: Path) -> None:
    x = images(40)
    wrong: list[str] = []

    def work() -> None:
        answers = CachedAnswers(Counting(), tmp_path, 3)
        for i in range(0, 40, 4):
            if not torch.equal(answers.translate(x[i : i + 4]), 1 - x[i : i + 4]):
                wrong.append(str(i))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert CachedAnswers(Counting(), tmp_path, 3).describe() == "40 answers cached"
    assert not list(tmp_path.glob("*/.*"))


CLIENT = """
import sys
from pathlib import Path
import torch
from mia_lab.victims.answers import CachedAnswers
from mia_lab.victims.http import Http

x = torch.rand(40, 3, 16, 16, generator=torch.Generator().manual_seed(0))
box = CachedAnswers(Http(sys.argv[1], encoding="npy"), Path(sys.argv[2]), 3)
for i in range(0, 40, 4):
    box.translate(x[i : i + 4])
"""


def test_a_killed_process_pays_for_no_answer_twice(tmp_path: Path) -> None:
    box = Counting()

    def translate(x: Tensor) -> Tensor:
        time.sleep(0.05)
        return box.translate(x)

    server = Server(translate, 0)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    command = [sys.executable, "-c", CLIENT, server.url, str(tmp_path)]
    process = subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"})
    while len(box.batches) < 5:
        assert process.poll() is None
        time.sleep(0.005)
    process.kill()
    process.wait()
    kept = len(list(tmp_path.glob("*/*.npz")))
    assert 12 <= kept < 40
    for asked in (40 - kept, 0):
        resumed = CachedAnswers(Http(server.url, encoding="npy"), tmp_path, 3)
        for i in range(0, 40, 4):
            x = images(40)[i : i + 4]
            assert torch.equal(resumed.translate(x), 1 - x)
        assert resumed.asked == asked
    twice = [key for key, count in box.seen.items() if count > 1]
    assert len(twice) <= 4  # those in flight
    assert max(box.seen.values()) <= 2
    assert len(box.seen) == 40
    server.shutdown()
    server.server_close()
