"""The verbs about what features mean: `collect`, `label` and `feature`."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from circuitscope.core.progress import silent
from circuitscope.engine.language import ExplainFeatures, LanguageChoice, explain_features
from circuitscope.evidence.file import EvidenceFile
from circuitscope.evidence.labels import label_features
from circuitscope.evidence.pages import DictionaryEvidence
from circuitscope.evidence.records import EvidenceMissing, FeatureId, FeaturePage
from circuitscope.examples.othello_labels import board_labels
from circuitscope.session import dictionaries as cs_dictionaries
from circuitscope.session import feature_jobs
from circuitscope.verb_options import AsJson, Asked, Device, Quiet

_MODEL = typer.Option("--model", help="Folder of the model.")


def add_verbs(app: typer.Typer, asked: Asked, print_json: Callable[[Any], None]) -> None:
    """Add the verbs to the command line."""
    _add_collect(app, asked, print_json)
    _add_label(app, asked, print_json)
    _add_explain(app, print_json)
    _add_feature(app, print_json)
    _add_train(app, asked, print_json)
    _add_import(app, print_json)


def _add_collect(app: typer.Typer, asked: Asked, print_json: Callable[[Any], None]) -> None:
    @app.command(
        epilog="Example: circuitscope collect --model ./model --dictionary ./dictionaries "
        "--corpus texts.jsonl"
    )
    def collect(  # noqa: PLR0913 - one argument for each option
        model: Annotated[Path, _MODEL],
        dictionary: Annotated[
            list[Path], typer.Option(help="Folder of dictionaries; may be given again.")
        ],
        corpus: Annotated[
            str, typer.Option(help="Text, JSONL, CSV, npy or npz; a folder; or othello:COUNT.")
        ],
        out: Annotated[
            Path | None, typer.Option(help="File or folder; else beside the dictionaries.")
        ] = None,
        context: Annotated[
            int | None, typer.Option(min=2, help="Most tokens of a sequence.")
        ] = None,
        field: Annotated[str, typer.Option(help="Field or column that holds the text.")] = "",
        tokens: Annotated[
            int | None, typer.Option(min=1, help="Stop after about so many; goes on next time.")
        ] = None,
        device: Device = "auto",
        as_json: AsJson = False,
        quiet: Quiet = False,
    ) -> None:
        """Collect examples and counts of every feature from a corpus; goes on where it stopped."""
        folders = [str(path.expanduser().absolute()) for path in dictionary]
        found = asked(
            model, device, quiet,
            lambda session: feature_jobs.collect(
                session, folders, corpus, str(out.expanduser().absolute()) if out else "",
                context=context, text_field=field, most_tokens=tokens,
            ),
        ).result  # fmt: skip
        if as_json:
            print_json(asdict(found))
            return
        for name, alive in found.n_alive.items():
            dead, dense = found.n_dead[name], found.n_dense[name]
            typer.echo(f"{name:<28} {alive:6} alive  {dead:6} dead  {dense:5} dense")
        whole = "" if found.is_whole else "; the corpus goes on, run it again to continue"
        typer.echo(f"{found.n_tokens} tokens of {found.n_sequences} sequences{whole}")
        typer.echo(found.path)


def _add_label(app: typer.Typer, asked: Asked, print_json: Callable[[Any], None]) -> None:
    @app.command(epilog="Example: circuitscope label ./dictionaries --model ./model")
    def label(  # noqa: PLR0913 - one argument for each option
        evidence: Annotated[Path, typer.Argument(help="evidence.sqlite, or its folder.")],
        model: Annotated[
            Path | None,
            typer.Option(
                help="Folder of the model; adds concepts by clustering, and what features do."
            ),
        ] = None,
        dictionary: Annotated[
            list[Path] | None, typer.Option(help="Folders of dictionaries; else the evidence's.")
        ] = None,
        boards: Annotated[
            Path | None, typer.Option(help="boards.npz of Othello features; adds their rules.")
        ] = None,
        device: Device = "auto",
        as_json: AsJson = False,
        quiet: Quiet = False,
    ) -> None:
        """Label features, each label with a score on held-out examples; no language model."""
        more = board_labels(evidence, boards) if boards else None
        scores: Mapping[str, Sequence[float]]
        if model is None:
            scores = label_features(evidence, more)
        else:
            beside = evidence.parent if evidence.suffix == ".sqlite" else evidence
            places = [str(path.expanduser().absolute()) for path in dictionary or [beside]]
            scores = asked(
                model, device, quiet,
                lambda session: feature_jobs.label(
                    session, str(evidence.expanduser().absolute()), places, more=more
                ),
            ).result.scores  # fmt: skip
        if as_json:
            print_json({name: list(found) for name, found in scores.items()})
            return
        for name, found in scores.items():
            middle = f"median score {sorted(found)[len(found) // 2]:.2f}" if found else ""
            typer.echo(f"{name:<28} {len(found):6} labelled  {middle}".rstrip())


def _add_explain(app: typer.Typer, print_json: Callable[[Any], None]) -> None:
    @app.command(
        epilog="Example: circuitscope explain ./dictionaries mlp_out_2 57 "
        "--url http://localhost:11434/v1 --model llama3.2"
    )
    def explain(  # noqa: PLR0913 - one argument for each option
        evidence: Annotated[Path, typer.Argument(help="evidence.sqlite, or its folder.")],
        dictionary: Annotated[str, typer.Argument(help="Name of the dictionary.")],
        units: Annotated[list[int], typer.Argument(help="Numbers of the features.")],
        url: Annotated[
            str, typer.Option(help="OpenAI-compatible address; examples are sent there.")
        ] = "",
        model: Annotated[str, typer.Option(help="Name of the language model there.")] = "",
        key_variable: Annotated[
            str, typer.Option(help="Environment variable that holds the key.")
        ] = "",
        local: Annotated[
            Path | None, typer.Option(help="Folder of a local language model instead.")
        ] = None,
        layer: Annotated[int | None, typer.Option(help="Of a cross-layer transcoder.")] = None,
        as_json: AsJson = False,
    ) -> None:
        """Have a language model explain features; the label is scored on held-out examples."""
        if bool(url and model) == (local is not None):
            raise typer.BadParameter("Give either --url with --model, or --local.")
        with EvidenceFile(evidence) as file:
            found = _named(file, dictionary, layer)
            only = tuple(FeatureId(found.digest, found.layer, unit) for unit in units)
        choice = LanguageChoice(url, model, key_variable, str(local or ""))
        explain_features(ExplainFeatures(choice, str(evidence), only), silent())
        with EvidenceFile(evidence) as file:
            made = {
                feature.unit: [one for one in file.labels(feature) if choice.title in one.method]
                for feature in only
            }  # fmt: skip
        if as_json:
            print_json(
                {str(unit): [asdict(one) for one in labels] for unit, labels in made.items()}
            )
            return
        for unit, labels in made.items():
            told = [f"{one.text}  [{one.scored_by} {one.score}]" for one in labels]
            typer.echo(f"{unit}: {'; '.join(told) or 'too few examples'}")


def _add_feature(app: typer.Typer, print_json: Callable[[Any], None]) -> None:
    @app.command(epilog="Example: circuitscope feature ./dictionaries mlp_out_2 57")
    def feature(
        evidence: Annotated[Path, typer.Argument(help="evidence.sqlite, or its folder.")],
        dictionary: Annotated[str, typer.Argument(help="Name of the dictionary.")],
        unit: Annotated[int, typer.Argument(min=0, help="Number of the feature.")],
        layer: Annotated[int | None, typer.Option(help="Of a cross-layer transcoder.")] = None,
        as_json: AsJson = False,
    ) -> None:
        """Show what was collected about one feature."""
        with EvidenceFile(evidence) as file:
            page = _named(file, dictionary, layer).feature(unit)
        if as_json:
            print_json(page.as_json())
            return
        for line in _lines(page):
            typer.echo(line)


def _named(file: EvidenceFile, name: str, layer: int | None) -> DictionaryEvidence:
    for (digest, at), card in file.cards.items():
        if card.get("name") == name and layer in (None, at):
            return DictionaryEvidence(file, digest, at)
    names = ", ".join(sorted({str(card.get("name")) for card in file.cards.values()}))
    raise EvidenceMissing(f"Nothing is known of a dictionary {name!r}.", hint=f"Known: {names}.")


def _lines(page: FeaturePage) -> list[str]:
    kind = "dead" if page.is_dead else "dense" if page.is_dense else ""
    lines = [
        f"active on {100 * page.frequency:.3f} % of {page.n_tokens} tokens {kind}".rstrip(),
        f"mean {page.mean:.3g}, largest {page.maximum:.3g}",
    ]
    for label in page.labels:
        score = "" if label.score is None else f" ({label.scored_by} {label.score:.2f})"
        lines.append(f"label: {label.text}  [{label.method}{score}]")
    for title, tokens in (("promotes", page.promoted), ("suppresses", page.suppressed)):
        if tokens:
            lines.append(f"{title}: {', '.join(token.text.strip() for token in tokens)}")
    for example in page.examples:
        before = "".join(_spaced(example.tokens[: example.peak]))
        after = "".join(_spaced(example.tokens[example.peak + 1 :]))
        peak = example.tokens[example.peak].strip()
        lines.append(f"{example.band:>9} {example.activation:8.3g}  {before} [{peak}]{after}")
    return lines


def _spaced(tokens: tuple[str, ...]) -> list[str]:
    """Put a space before tokens of vocabularies that do not carry their own."""
    own = any(token.startswith(" ") for token in tokens)
    return [token if own else f" {token}" for token in tokens]


def _add_train(app: typer.Typer, asked: Asked, print_json: Callable[[Any], None]) -> None:
    @app.command(
        "train-dictionary",
        epilog="Example: circuitscope train-dictionary --model ./model --corpus texts.jsonl "
        "--site mlp_out --layer 3 --out ./mlp_out_3",
    )
    def train_dictionary(  # noqa: PLR0913 - one argument for each option
        model: Annotated[Path, _MODEL],
        corpus: Annotated[str, typer.Option(help="Text, JSONL, CSV, npy or npz; a folder.")],
        site: Annotated[str, typer.Option(help="What it rebuilds: mlp_out, resid_post, …")],
        layer: Annotated[int, typer.Option(min=0, help="In which layer.")],
        out: Annotated[Path, typer.Option(help="Folder of the dictionary, in SAELens' format.")],
        reads: Annotated[str, typer.Option(help="What a transcoder reads, such as mlp_in.")] = "",
        activation: Annotated[str, typer.Option(help="batchtopk, topk or jumprelu.")] = "batchtopk",
        k: Annotated[float, typer.Option(min=1, help="Active features of a position.")] = 16.0,
        features: Annotated[
            int | None, typer.Option(min=1, help="How many; else 8 for each dimension.")
        ] = None,
        steps: Annotated[int, typer.Option(min=1, help="Optimizer steps.")] = 2000,
        batch: Annotated[int, typer.Option(min=1, help="Activations of a step.")] = 1024,
        rate: Annotated[float, typer.Option(min=0, help="Peak learning rate.")] = 3e-3,
        tokens: Annotated[
            int, typer.Option(min=1, help="Activations that are enough.")
        ] = 1_000_000,
        context: Annotated[int | None, typer.Option(min=2, help="Most tokens of a text.")] = None,
        field: Annotated[str, typer.Option(help="Field or column that holds the text.")] = "",
        senses: Annotated[
            Path | None, typer.Option(help="Pairs of texts with one word, to tell senses apart.")
        ] = None,
        seed: Annotated[int, typer.Option(help="Of weights and batches.")] = 0,
        device: Device = "auto",
        as_json: AsJson = False,
        quiet: Quiet = False,
    ) -> None:
        """Train a sparse autoencoder or transcoder on a corpus; goes on where it stopped."""
        training = {
            "activation": activation, "k": k, "steps": steps, "batch_size": batch,
            "learning_rate": rate, "seed": seed,
        }  # fmt: skip
        found = asked(
            model, device, quiet,
            lambda session: feature_jobs.train_dictionary(
                session, corpus, str(out.expanduser().absolute()), site, layer, reads, training,
                d_sae=features, n_tokens=tokens, context=context, text_field=field,
                senses=str(senses.expanduser().absolute()) if senses else None,
            ),
        ).result  # fmt: skip
        if as_json:
            print_json({"path": found.path, **found.quality.as_json()})
            return
        for line in found.quality.lines():
            typer.echo(line)
        typer.echo(found.path)


def _add_import(app: typer.Typer, print_json: Callable[[Any], None]) -> None:
    @app.command(
        "import-evidence", epilog="Example: circuitscope import-evidence ./5-res-jb ./resid_pre_5"
    )
    def import_evidence(
        source: Annotated[
            Path, typer.Argument(help="circuit-tracer's or Neuronpedia's files of features.")
        ],
        dictionary: Annotated[
            list[Path], typer.Argument(help="Folders of the dictionaries that they are about.")
        ],
        out: Annotated[
            Path | None, typer.Option(help="File or folder; else beside the dictionaries.")
        ] = None,
        as_json: AsJson = False,
    ) -> None:
        """Read examples and labels that others published, so that feature pages show them."""
        found = cs_dictionaries.import_evidence(source, dictionary, out)
        if as_json:
            print_json(asdict(found))
            return
        left_out = f", {found.n_left_out} of other dictionaries" if found.n_left_out else ""
        typer.echo(f"{found.n_features} features, {found.n_labels} labels{left_out}")
        typer.echo(found.path)
