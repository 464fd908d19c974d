"""The public names, pinned."""

from importlib import metadata

import pytest

import rankscope

PINNED = (
    "AdapterWeights Cell ESTIMATORS LoraSpec RankscopeError LocalExecutor functional_rank load_base load_items "
    "read_adapter read_findings recovery required_rank run_study score_cell singular_values steer write_adapter"
).split()


def test_public_names_are_pinned_and_load():
    assert sorted(rankscope.__all__) == sorted(["__version__", *PINNED])
    for name in PINNED:
        assert getattr(rankscope, name) is not None
    assert set(PINNED) <= set(dir(rankscope))


def test_other_names_are_refused():
    with pytest.raises(AttributeError, match="no public name 'lora'"):
        _ = rankscope.lora


def test_version_is_the_packages():
    assert rankscope.__version__ == metadata.version("rankscope")
