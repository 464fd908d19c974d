"""Configs are frozen, refuse unknown keys and validate overrides."""

import pytest
from pydantic import ValidationError

from rankscope.base.seeds import Seeds


def test_overrides_are_validated() -> None:
    seeds = Seeds(data=3)
    assert seeds.override(init=2) == Seeds(data=3, init=2)
    for changes in ({"init": "two"}, {"inti": 2}):
        with pytest.raises(ValidationError):
            seeds.override(**changes)


def test_a_config_does_not_change() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Seeds().data = 1  # type: ignore[misc]


def test_the_doc_string_under_a_field_describes_it() -> None:
    assert Seeds.model_fields["data"].description == "Which items are drawn: item i is a function of (data, i)."
