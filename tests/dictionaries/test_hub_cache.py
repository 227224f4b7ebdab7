"""References are found in the local cache, or missing files are named with the line that helps."""

from pathlib import Path

import pytest
from dictionary_writers import write_circuit_tracer

from circuitscope.core.catalogue import published_sets, sets_for
from circuitscope.core.errors import DictionaryFilesMissing
from circuitscope.dictionaries.format import load_dictionaries
from circuitscope.dictionaries.hub_cache import (
    as_written,
    cached_repositories,
    parse_reference,
    resolve,
)


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    root = tmp_path / "hub" / "models--org--set"
    write_circuit_tracer(root / "snapshots" / "abc" / "inner")
    (root / "refs").mkdir()
    (root / "refs" / "main").write_text("abc")
    return root


@pytest.mark.parametrize(
    "text",
    ["org/set", "org/set/inner", "hf://org/set/inner", "hf://org/set/inner?revision=main",
     "org/set@main", "org/set@abc"],
)  # fmt: skip
def test_references_are_found_in_the_cache(cache, text):
    (card,) = load_dictionaries(text).cards
    assert card.path == str(cache / "snapshots" / "abc" / "inner")
    assert cached_repositories() == ["org/set"]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("org/other", "hf download org/other"),
        ("hf://org/set/b.safetensors", "hf download org/set b.safetensors"),
        ("hf://org/set/deep/er", 'hf download org/set --include "deep/er/*"'),
        ("org/set@v2", "hf download org/set --revision v2"),
    ],
)
def test_what_is_missing_is_named_with_the_line_that_fetches_it(cache, text, line):
    with pytest.raises(DictionaryFilesMissing) as caught:
        resolve(text)
    assert caught.value.hint == f"Download it once with: {line}"
    assert "offline" in caught.value.kept


def test_sizes_are_told_where_the_catalogue_knows_them(cache):
    with pytest.raises(DictionaryFilesMissing, match=r"transcoders \(57 GiB in all\)"):
        resolve("mwhanna/qwen3-4b-transcoders")


@pytest.mark.parametrize(
    "text",
    ["/tmp/a/b", "./a/b", "~/a/b", "name", "org/../etc", "hf://org", "a\\b/c", "org/se t?", ""],
)
def test_other_texts_are_paths(text):
    assert parse_reference(text) is None


def test_a_folder_is_preferred_to_a_repository(cache, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "org" / "set").mkdir(parents=True)
    assert resolve("org/set") == tmp_path / "org" / "set"
    assert as_written("org/set") == str(tmp_path / "org" / "set")
    assert as_written("org/other") == "org/other"


def test_the_catalogue_names_readers_that_exist():
    from circuitscope.core.anatomy import Site
    from circuitscope.core.registry import Registry
    from circuitscope.dictionaries.format import FORMATS

    known = Registry(FORMATS).names()
    for entry in published_sets():
        assert entry.format in known
        assert parse_reference(entry.repo) is not None
        for site in (entry.reads, entry.writes):
            assert site is None or Site.parse(site)
    repos = {entry.repo for entry in sets_for("google/gemma-2-2b")}
    assert "mntss/gemma-scope-transcoders" in repos
    assert sets_for("nothing") == ()
