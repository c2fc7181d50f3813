from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator

import pytest
import torch

from mia_lab.errors import UserError
from mia_lab.hardware import cores, in_order, resolve_precision


def test_precision_without_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for accelerator in ("auto", "cpu"):
        assert resolve_precision("auto", accelerator) == "32-true"
        assert resolve_precision("bf16-mixed", accelerator) == "bf16-mixed"
        with pytest.raises(UserError, match=r"trainer\.precision=16-mixed: needs a GPU"):
            resolve_precision("16-mixed", accelerator)
    with pytest.raises(UserError, match="no GPU is visible"):
        resolve_precision("auto", "gpu")


@pytest.mark.parametrize(("has_bf16", "expected"), [(True, "bf16-mixed"), (False, "32-true")])
def test_precision_on_a_gpu(monkeypatch: pytest.MonkeyPatch, has_bf16: bool, expected: str) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: has_bf16)
    assert resolve_precision("auto", "auto") == expected
    assert resolve_precision("16-mixed", "auto") == "16-mixed"


def test_results_come_in_order_from_threads_of_one_core(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "4")
    before = torch.get_num_threads()

    def work(number: int) -> tuple[int, int, str]:
        time.sleep(0.002 * (5 - number % 5))  # later ones are done sooner
        return number, torch.get_num_threads(), threading.current_thread().name

    found = list(in_order(work, range(20)))
    assert [number for number, _, _ in found] == list(range(20))
    assert {threads for _, threads, _ in found} == {1}
    assert len({name for _, _, name in found}) == 4
    assert torch.get_num_threads() == before
    new: list[int] = []
    thread = threading.Thread(target=lambda: new.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    assert new == [before]


def test_few_items_are_taken_ahead_and_the_first_error_ends_it() -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for number in range(1000):
            taken.append(number)
            yield number

    def work(number: int) -> int:
        if number == 7:
            raise UserError("the seventh")
        return number

    found = in_order(work, items())
    assert next(found) == 0
    assert len(taken) <= cores() + 2
    with pytest.raises(UserError, match="the seventh"):
        list(found)
    assert len(taken) <= 8 + cores() + 2


def test_cores_are_those_that_this_process_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert cores() == 3
    monkeypatch.delenv("OMP_NUM_THREADS")
    assert 1 <= cores() <= len(os.sched_getaffinity(0))
