"""Evidence: what is counted, kept and written, against a plain count; resumed runs; corpora."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from circuitscope.core.anatomy import Site
from circuitscope.core.dictionary import DictionaryCard
from circuitscope.core.errors import Cancelled
from circuitscope.core.progress import silent
from circuitscope.dictionaries import collecting
from circuitscope.dictionaries.collecting import collect
from circuitscope.dictionaries.corpus import Corpus, CorpusError, open_corpus
from circuitscope.dictionaries.dictionary import Dictionary, DictionaryWeights
from circuitscope.evidence.file import EvidenceFile, find
from circuitscope.evidence.pages import DictionaryEvidence
from circuitscope.evidence.records import EvidenceMissing, FeaturePage
from circuitscope.evidence.tally import BINS, Window, bin_edges, bin_of, quantile
from circuitscope.models.capture import capture
from circuitscope.models.loading import LoadedModel, load_model
from circuitscope.session.imported_evidence import import_evidence

N = 24


def made_up(site: Site, layer: int, digest: str, k: int | None = None) -> Dictionary:
    """Return a random dictionary of the tiny models."""
    generator = torch.Generator().manual_seed(layer + 7)
    card = DictionaryCard(
        f"{site.text}_{layer}", "made up", "", digest, site, site, (layer,), 16, 16, N,
        activation="topk" if k else "jumprelu", k=k,
    )  # fmt: skip
    weights = DictionaryWeights(
        torch.randn(16, N, generator=generator), torch.zeros(N),
        torch.randn(N, 16, generator=generator), torch.zeros(16),
        None if k else torch.full((N,), 1.5),
    )  # fmt: skip
    return Dictionary(card, weights)


@pytest.fixture(scope="module")
def model(tiny_gpt2: Path) -> LoadedModel:
    return load_model(tiny_gpt2, "cpu")


@pytest.fixture(scope="module")
def dictionaries() -> list[Dictionary]:
    return [
        made_up(Site.MLP_OUT, 0, "a"), made_up(Site.RESID_POST, 1, "b"),
        made_up(Site.ATTN_OUT, 1, "c", k=3),
    ]  # fmt: skip


def sequences(n: int = 300) -> list[list[int]]:
    random = np.random.default_rng(0)
    return [[1, *random.integers(2, 30, random.integers(3, 20)).tolist()] for _ in range(n)]


def corpus(n: int = 300, window: Window | None = None) -> Corpus:
    texts = sequences(n)
    chunks = [texts[at : at + 50] for at in range(0, n, 50)]
    return Corpus("made up", f"made up {n}", lambda first: iter(chunks[first:]), len(chunks),
                  window or Window(6, 2))  # fmt: skip


def plain(model: LoadedModel, dictionary: Dictionary) -> np.ndarray:
    """Return sequence, position, feature and value of everything active, one text at a time."""
    rows = []
    for number, ids in enumerate(sequences()):
        cache = capture(model, ids)
        card = dictionary.card
        found = dictionary.encode(cache.site(card.read_site, card.layers[0]))
        for at, unit, value in zip(found.position, found.unit, found.value, strict=True):
            if ids[at] != 1:
                rows.append((number, int(at), int(unit), float(value)))
    return np.array(rows)


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_counts_and_examples_are_those_of_a_plain_count(
    model: LoadedModel, dictionaries: list[Dictionary], tmp_path: Path
) -> None:
    done = collect(model, dictionaries, corpus(), tmp_path)
    assert done.is_whole
    assert done.n_sequences == 300
    assert done.n_tokens == sum(len(ids) - 1 for ids in sequences())
    with EvidenceFile(tmp_path) as file:
        for dictionary in dictionaries:
            card = dictionary.card
            evidence = DictionaryEvidence(file, card.digest, card.layers[0])
            rows = plain(model, dictionary)
            count = np.bincount(rows[:, 2].astype(int), minlength=N)
            np.testing.assert_array_equal(file.array(card.digest, card.layers[0], "count"), count)
            assert count.max() > 100
            assert evidence.dead().tolist() == np.flatnonzero(count == 0).tolist()
            for unit in np.flatnonzero(count)[:8].tolist():
                page = evidence.feature(unit)
                mine = rows[rows[:, 2] == unit]
                assert page.maximum == pytest.approx(mine[:, 3].max(), rel=1e-4)
                assert page.mean == pytest.approx(mine[:, 3].mean(), rel=1e-4)
                assert sum(page.histogram.counts) == len(mine)
                best = [mine[mine[:, 0] == s][:, 3].max() for s in np.unique(mine[:, 0])]
                top = [e for e in page.examples if e.band == "top"]
                want = sorted(best, reverse=True)[: len(top)]
                assert len(top) == min(8, len(best))
                np.testing.assert_allclose([e.activation for e in top], want, rtol=1e-3)
                median = dict(page.quantiles)[0.5]
                assert median == pytest.approx(np.median(mine[:, 3]), rel=0.15)
                for example in page.examples:
                    whole = sequences()[example.sequence]
                    start = example.position - example.peak
                    assert list(example.token_ids) == whole[start : start + len(example.token_ids)]
                    assert example.activations[example.peak] == pytest.approx(
                        example.activation, rel=2e-3
                    )
                    here = mine[(mine[:, 0] == example.sequence)]
                    active = {int(p) for p in here[:, 1]}
                    ids = example.token_ids
                    seen = {start + at for at, a in enumerate(example.activations) if a > 0}
                    counted = {p for p in range(start, start + len(ids)) if whole[p] != 1}
                    assert seen & counted == active & counted


def test_a_killed_run_goes_on_and_ends_in_the_same_bytes(
    model: LoadedModel, dictionaries: list[Dictionary], tmp_path: Path
) -> None:
    collect(model, dictionaries, corpus(), tmp_path / "whole.sqlite")

    class StopsAt:
        def __init__(self, steps: int) -> None:
            self.left = steps

        def phase(self, name: str, total: int = 0) -> None: ...
        def partial(self, result: object) -> None: ...
        def note(self, text: str) -> None: ...

        def advance(self, steps: int = 1) -> None:
            self.left -= 1
            if self.left < 0:
                raise Cancelled

    target = tmp_path / "stopped.sqlite"
    for steps in (3, 20, 30):
        with pytest.raises(Cancelled):
            collect(model, dictionaries, corpus(), target, checkpoint_seconds=0,
                    progress=StopsAt(steps))  # fmt: skip
        assert not target.exists()
    collect(model, dictionaries, corpus(), target)
    assert digest(target) == digest(tmp_path / "whole.sqlite")
    assert [path.name for path in tmp_path.iterdir() if "partial" in path.name] == []


def test_stopping_early_writes_what_there_is_and_can_go_on(
    model: LoadedModel, dictionaries: list[Dictionary], tmp_path: Path
) -> None:
    collect(model, dictionaries, corpus(), tmp_path / "whole.sqlite")
    target = tmp_path / "parts.sqlite"
    part = collect(model, dictionaries, corpus(), target, most_tokens=700)
    assert not part.is_whole
    assert 700 <= part.n_tokens < 1500
    assert collect(model, dictionaries, corpus(), target).is_whole
    assert digest(target) == digest(tmp_path / "whole.sqlite")


def test_promoted_tokens_are_what_the_unembedding_says(
    model: LoadedModel, dictionaries: list[Dictionary], tmp_path: Path
) -> None:
    collect(model, dictionaries[:1], corpus(50), tmp_path)
    module = model.module
    row = dictionaries[0].decoder_rows(torch.tensor([5]))[0]
    row = (row - row.mean()) * module.transformer.ln_f.weight
    effect = (module.lm_head.weight @ row).detach()
    with EvidenceFile(tmp_path) as file:
        page = DictionaryEvidence(file, "a", 0).feature(5)
    assert [item.token_id for item in page.promoted] == effect.topk(8).indices.tolist()
    assert page.suppressed[0].token_id == int(effect.argmin())
    assert page.promoted[0].text == model.token_text(page.promoted[0].token_id)


def test_features_that_fire_together_are_found(model: LoadedModel, tmp_path: Path) -> None:
    twin = made_up(Site.MLP_OUT, 0, "t")
    twin.weights.W_enc[:, 9] = twin.weights.W_enc[:, 4]
    collect(model, [twin], corpus(), tmp_path)
    with EvidenceFile(tmp_path) as file:
        first = DictionaryEvidence(file, "t", 0).feature(4).companions[0]
    assert (first.unit, first.similarity) == (9, 1.0)


def test_pages_survive_json(
    model: LoadedModel, dictionaries: list[Dictionary], tmp_path: Path
) -> None:
    collect(model, dictionaries, corpus(100), tmp_path)
    with EvidenceFile(tmp_path) as file:
        evidence = DictionaryEvidence(file, "b", 1)
        page = evidence.feature(int(evidence.alive()[0]))
    assert FeaturePage.from_json(json.loads(json.dumps(page.as_json()))) == page
    assert find(tmp_path, "b", 1) is not None
    assert find(tmp_path, "other", 1) is None


def test_bins_and_quantiles() -> None:
    edges = bin_edges()
    values = np.array([1e-9, 0.01, 1.0, 3.7, 1e9])
    bins = bin_of(values)
    assert bins[0] == 0
    assert bins[-1] == BINS - 1
    assert all(edges[b] <= v < edges[b + 1] for b, v in zip(bins[1:4], values[1:4], strict=True))
    counts = np.bincount(bin_of(np.linspace(1, 2, 1001)), minlength=BINS)
    assert quantile(counts, 0.5) == pytest.approx(1.5, rel=0.02)


def test_corpora_are_read_from_every_kind_of_file(model: LoadedModel, tmp_path: Path) -> None:
    texts = ["the key to the cabinets", "Mary went to the shop"]
    (tmp_path / "lines.txt").write_text("\n".join(texts))
    (tmp_path / "paragraphs.txt").write_text("the key\nto the cabinets\n\nMary went\nto the shop\n")
    (tmp_path / "a.jsonl").write_text("".join(json.dumps({"text": t}) + "\n" for t in texts))
    (tmp_path / "named.jsonl").write_text("".join(json.dumps({"x": t}) + "\n" for t in texts))
    (tmp_path / "a.csv").write_text("id,text\n" + "".join(f'1,"{t}"\n' for t in texts))
    want = [list(model.tokenizer(text)["input_ids"]) for text in texts]
    width = max(map(len, want))
    rows = np.array([row + [-1] * (width - len(row)) for row in want])
    np.save(tmp_path / "a.npy", rows)
    np.savez(tmp_path / "a.npz", ids=rows)
    for name in ("lines.txt", "paragraphs.txt", "a.jsonl", "a.csv", "a.npy", "a.npz"):
        found = [
            list(ids) for chunk in open_corpus(model, tmp_path / name).chunks(0) for ids in chunk
        ]
        assert found == want, name
    named = open_corpus(model, tmp_path / "named.jsonl", text_field="x")
    assert len(next(named.chunks(0))) == 2
    with pytest.raises(CorpusError, match="no text"):
        next(open_corpus(model, tmp_path / "named.jsonl").chunks(0))
    short = open_corpus(model, tmp_path / "lines.txt", context=4)
    assert [ids[0] for ids in next(short.chunks(0))] == [1] * 4
    with pytest.raises(CorpusError, match="no corpus"):
        open_corpus(model, tmp_path / "nothing.txt")
    games = open_corpus(model, "othello:5")
    assert len(next(games.chunks(0))) == 5
    with pytest.raises(CorpusError, match="is not a corpus"):
        open_corpus(model, "othello:many")


def test_generated_games_can_be_entered_anywhere(model: LoadedModel) -> None:
    games = open_corpus(model, "othello:2100:3")
    whole = list(games.chunks(0))
    assert [len(chunk) for chunk in whole] == [1024, 1024, 52]
    assert next(games.chunks(2)) == whole[2]


def test_a_file_that_is_not_ours_is_refused(tmp_path: Path) -> None:
    (tmp_path / "evidence.sqlite").write_bytes(b"something else entirely, but long enough" * 50)
    with pytest.raises(EvidenceMissing, match="damaged"):
        EvidenceFile(tmp_path)
    with pytest.raises(EvidenceMissing, match="No evidence"):
        EvidenceFile(tmp_path / "elsewhere.sqlite")
    assert collecting.CHECKPOINT_SECONDS > 0
    silent().note("")


def test_what_was_imported_stays_when_evidence_is_collected(
    model: LoadedModel, dictionaries: list[Dictionary], tmp_path: Path
) -> None:
    source = tmp_path / "one.json"
    feature = {"index": 3, "layer": "0", "explanations": [{"description": "told by others"}]}
    source.write_text(json.dumps(feature))
    import_evidence(source, [dictionaries[0].card], tmp_path)
    collect(model, dictionaries, corpus(), tmp_path)
    with EvidenceFile(tmp_path) as file:
        page = DictionaryEvidence(file, "a", 0).feature(3)
        assert file.imported_units("a", 0) == [3]
    assert page.n_tokens
    assert [label.text for label in page.labels] == ["told by others"]


def test_features_below_zero_are_active_where_their_dictionary_lets_them(
    model: LoadedModel, tmp_path: Path
) -> None:
    plainly = made_up(Site.MLP_OUT, 0, "negative")
    weights = replace(plainly.weights, threshold=torch.full((N,), -0.5))
    card = replace(plainly.card, format="circuit_tracer")
    assert card.keeps_negative
    signed = Dictionary(card, weights)
    collect(model, [signed], corpus(), tmp_path)
    rows = plain(model, signed)
    assert (rows[:, 3] < 0).sum() > 100
    with EvidenceFile(tmp_path) as file:
        count = np.bincount(rows[:, 2].astype(int), minlength=N)
        np.testing.assert_array_equal(file.array("negative", 0, "count"), count)
        page = DictionaryEvidence(file, "negative", 0).feature(3)
        mine = rows[rows[:, 2] == 3][:, 3]
        assert page.mean == pytest.approx(mine.mean(), rel=1e-3)
        assert sum(page.histogram.counts) == len(mine)
