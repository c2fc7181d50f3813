"""Images as text: what a server or a client may send instead of one."""

from __future__ import annotations

import base64

import pytest

from fuzzing import hostile_npy
from mia_lab.victims.wire import decode_image


@pytest.mark.parametrize("content", hostile_npy().values(), ids=hostile_npy())
def test_hostile_headers(content: bytes) -> None:
    text = base64.b64encode(content).decode()
    with pytest.raises(ValueError, match=r"^is not a complete \.npy file$"):
        decode_image(text, "npy")
