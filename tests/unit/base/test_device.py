"""Device names, and the errors' near matches."""

import pytest
import torch

from rankscope.base.device import resolve_device
from rankscope.base.errors import BadInput, near_matches


def test_auto_takes_an_accelerator_when_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    for present, kind in ((True, "cuda"), (False, "cpu")):
        monkeypatch.setattr(torch.cuda, "is_available", lambda present=present: present)
        assert resolve_device("auto").type == kind


def test_absent_and_unknown_devices_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(BadInput, match="--device cpu"):
        resolve_device("cuda")
    with pytest.raises(BadInput, match="'gpu'"):
        resolve_device("gpu")


def test_near_matches_come_closest_first_and_fall_back_to_some() -> None:
    assert near_matches("hashop", ["shuffled", "hashchain", "hashhop"]).startswith("Near matches: hashhop")
    assert near_matches("zzz", ["b", "a"]) == "Near matches: a, b."
    assert near_matches("zzz", []) == "There are none."
