"""Labels survive: round trip, merging without loss, and refusal of what is not this adapter's."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rankscope.base.errors import BadFile
from rankscope.interpret.labels import merged, read_labels, write_labels

NAMES = st.dictionaries(st.text(min_size=1, max_size=5), st.text(max_size=8).map(str.strip), max_size=4)


def test_what_is_written_is_read(tmp_path):
    labels = {"L0.mlp.up_proj.0": 'path "finder"', "gone": "שלום 👩‍💻 </script>"}
    write_labels(tmp_path / "labels.json", "abc", labels)
    assert read_labels(tmp_path / "labels.json", "abc") == labels


@given(NAMES, NAMES)
def test_merging_keeps_every_old_label_that_no_new_one_replaces(old, new):
    both = merged(old, new)
    assert both == merged(both, new)
    for slug, text in old.items():
        assert both.get(slug, "") == new.get(slug, text)
    assert all(both[slug] == text for slug, text in new.items() if text)
    assert all(both.values())


def test_another_adapters_labels_are_refused(tmp_path):
    write_labels(tmp_path / "labels.json", "a" * 40, {"x": "y"})
    with pytest.raises(BadFile, match="another adapter"):
        read_labels(tmp_path / "labels.json", "b" * 40)


@pytest.mark.parametrize("text", ["{", '{"x": "y"}', '{"adapter_hash": "a", "labels": {"x": 1}}', "\udcff"])
def test_a_file_without_labels_is_told_what_is_expected(tmp_path, text):
    (tmp_path / "labels.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(BadFile, match="Expected is"):
        read_labels(tmp_path / "labels.json", "a")


def test_no_file_is_told(tmp_path):
    with pytest.raises(BadFile, match="There is no labels file"):
        read_labels(tmp_path / "labels.json", "a")
