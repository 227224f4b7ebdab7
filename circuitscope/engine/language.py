"""Ask a language model for explanations: one at an address the user named, or one in a folder.

This is the only place of the program that opens a connection. It is reached only by the request
`ExplainFeatures`, which is made only where the user has named a language model and asks for an
explanation. What is sent is the question: texts of examples, and the explanation to be measured.
"""

from __future__ import annotations

import json
import os
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from circuitscope.core.errors import CircuitScopeError
from circuitscope.evidence.explaining import Asker, LanguageLabeller
from circuitscope.evidence.labels import label_features
from circuitscope.evidence.records import FeatureId

if TYPE_CHECKING:
    from circuitscope.core.progress import Progress

_SECONDS = 120
_MOST_BYTES = 2**22


@dataclass(frozen=True, slots=True)
class LanguageChoice:
    """Name a language model.

    Attributes:
        url: Address of an OpenAI-compatible service, such as "http://localhost:11434/v1"; "" for
            a local model.
        model: Its name there.
        key_variable: Environment variable that holds the key, "" for none; the key itself is
            stored nowhere.
        folder: Folder of a local Hugging Face model.
    """

    url: str = ""
    model: str = ""
    key_variable: str = ""
    folder: str = ""

    @property
    def title(self) -> str:
        """Return what a reader is told."""
        return self.model if self.url else Path(self.folder).name


@dataclass(frozen=True, slots=True)
class ExplainFeatures:
    """Have features explained; the answer is a `Labelled`.

    Attributes:
        evidence: The evidence file or its folder.
        only: Features; none takes all that are alive.
    """

    language: LanguageChoice
    evidence: str
    only: tuple[FeatureId, ...] = ()


class LanguageError(CircuitScopeError):
    """Say what is wrong with a language model."""


class _Stays(urllib.request.HTTPRedirectHandler):
    """Follow no redirection: question and key go to the address that was named, or nowhere."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


_OPENER = urllib.request.build_opener(_Stays)


class Endpoint:
    """A service that speaks OpenAI's chat completions."""

    def __init__(self, choice: LanguageChoice) -> None:
        self.name = choice.title
        base = choice.url.rstrip("/")
        if not base.startswith(("http://", "https://")):
            raise LanguageError(
                f"{choice.url} is no address of a language model.",
                kept="Nothing was sent.",
                hint="Write http:// or https://, such as http://localhost:11434/v1.",
            )
        tail = "/chat/completions"
        self._url = base if base.endswith(tail) else base + tail
        self._headers = {"Content-Type": "application/json"}
        key = os.environ.get(choice.key_variable, "") if choice.key_variable else ""
        if choice.key_variable and not key:
            raise LanguageError(
                f"The environment variable {choice.key_variable} holds no key.",
                kept="Nothing was sent.",
                hint="Set it before CircuitScope is started, or name no variable.",
            )
        if key:
            self._headers["Authorization"] = f"Bearer {key}"

    def ask(self, question: str, n_tokens: int) -> str:
        """Send a question and return the answer.

        Raises:
            LanguageError: It cannot be reached, or answers something else.
        """
        body = {
            "model": self.name, "temperature": 0, "max_tokens": n_tokens,
            "messages": [{"role": "user", "content": question}],
        }  # fmt: skip
        request = urllib.request.Request(
            self._url, json.dumps(body).encode(), self._headers, method="POST"
        )
        try:
            with _OPENER.open(request, timeout=_SECONDS) as answer:
                said = json.loads(answer.read(_MOST_BYTES))
            return _content(said)
        except urllib.error.HTTPError as error:
            with error:  # it holds the connection
                raise self._refused(f"it answered {error.code} {error.reason}") from error
        except (OSError, ValueError, KeyError, IndexError, TypeError) as error:
            reason = getattr(error, "reason", error)
            raise self._refused(f"{type(error).__name__}: {reason}") from error

    def _refused(self, why: str) -> LanguageError:
        return LanguageError(
            f"The language model at {self._url} gave no answer: {why}.",
            kept="No label was changed.",
            hint="Check the address, the name of the model and the key in Preferences.",
        )


def _content(said: Any) -> str:
    content = said["choices"][0]["message"]["content"]
    if not isinstance(content, str):
        raise TypeError("the answer holds no text")
    return content


class LocalModel:
    """A Hugging Face model in a folder, run here."""

    def __init__(self, choice: LanguageChoice, progress: Progress) -> None:
        from circuitscope.models.loading import load_model

        progress.phase(f"Loading {choice.title}")
        self.name = choice.title
        self._model = load_model(choice.folder, "auto", "float32", progress)
        if self._model.tokenizer is None:
            raise LanguageError(
                f"{choice.folder} has no tokenizer, so it cannot be asked in words.",
                hint="Choose the folder of a language model with its tokenizer.",
            )
        self._progress = progress

    def ask(self, question: str, n_tokens: int) -> str:
        """Continue the question, through the model's chat template where it has one."""
        from circuitscope.models.intervene import generate
        from circuitscope.models.prompts import chat_ids

        model, tokenizer = self._model, self._model.tokenizer
        assert tokenizer is not None, "checked when it was loaded"
        if getattr(tokenizer, "chat_template", None):
            ids = list(chat_ids(model, [{"role": "user", "content": question}]))
        else:
            # Not as a prompt to be traced: words that it does not know are no error here.
            ids = [int(token) for token in tokenizer(question)["input_ids"]]
        room = model.anatomy.n_ctx - n_tokens
        ids = ids[-max(room, 1) :]  # a small context keeps the end of the question
        made = generate(model, ids, n_tokens, n_alternatives=1, progress=self._progress)
        return str(tokenizer.decode(made.new_ids, skip_special_tokens=True))


def explain_features(request: ExplainFeatures, progress: Progress) -> dict[str, list[float]]:
    """Do what an `ExplainFeatures` asks; cancelling leaves the file as it was.

    Returns:
        The best score of each feature, by name of the dictionary.

    Raises:
        LanguageError: The language model cannot be asked.
    """
    choice = request.language
    asker: Asker = Endpoint(choice) if choice.url else LocalModel(choice, progress)
    return label_features(
        request.evidence, None, progress, labellers=[LanguageLabeller(asker)],
        only=request.only or None,
    )  # fmt: skip
