"""From what a user types to token ids, and from ids to text that can be shown."""

from __future__ import annotations

import difflib
import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from circuitscope.core.anatomy import ModelAnatomy
from circuitscope.core.errors import DoubleBos, PromptError, TargetNotFound
from circuitscope.models.headers import download_line

if TYPE_CHECKING:
    from circuitscope.models.loading import LoadedModel


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt as the model sees it: ids and the display text of each."""

    token_ids: tuple[int, ...]
    tokens: tuple[str, ...]


Written = str | Sequence[int] | Sequence[Mapping[str, str]]
"""What a prompt may be: text, token ids, or chat messages with role and content."""


def read_prompt(model: LoadedModel, prompt: Written) -> Prompt:
    """Turn text, ids or chat messages into a checked prompt.

    Args:
        model: Its tokenizer and vocabulary are used.
        prompt: Text, to which the tokenizer adds its own special tokens; ids, which are used
            exactly as given; or chat messages, which the tokenizer's template writes out, ending
            where the answer begins.

    Raises:
        PromptError: Empty, too long, an unknown word, an id outside the vocabulary, two BOS
            tokens, text for a model without a tokenizer, or messages without a template.
    """
    ids = _encode(model, prompt) if isinstance(prompt, str) else _given(model, prompt)
    check_ids(model.anatomy, ids)
    if model.tokenizer is not None:
        _refuse_double_bos(model.tokenizer, ids, written=isinstance(prompt, str))
    return Prompt(tuple(ids), token_texts(model, ids))


def check_ids(anatomy: ModelAnatomy, ids: Sequence[int]) -> None:
    """Refuse ids that the model cannot run.

    Raises:
        PromptError: None at all, more than the context holds, or one outside the vocabulary.
    """
    if not len(ids):
        raise PromptError("The prompt is empty.", hint="Type at least one word.")
    if len(ids) > anatomy.n_ctx:
        raise PromptError(
            f"The prompt has {len(ids)} tokens, but the model reads at most {anatomy.n_ctx}.",
            hint=f"Shorten it by {len(ids) - anatomy.n_ctx} tokens or more.",
        )
    outside = [int(item) for item in ids if not 0 <= item < anatomy.d_vocab]
    if outside:
        raise PromptError(
            f"Token id {outside[0]} is outside the vocabulary of {anatomy.d_vocab}.",
            hint=f"Ids go from 0 to {anatomy.d_vocab - 1}.",
        )


def position_in(n: int, position: int) -> int:
    """Return a position counted from 0; negative ones count from the end.

    Raises:
        TargetNotFound: A prompt of n tokens has no such position.
    """
    if not -n <= position < n:
        raise TargetNotFound(
            f"The prompt has {n} tokens, so there is no position {position}.",
            hint=f"Positions go from 0 to {n - 1}; -1 is the last.",
        )
    return position % n


def token_text(model: LoadedModel, token_id: int) -> str:
    """Return a token's display text, such as " Austin"; "#17" without a tokenizer."""
    return token_texts(model, [token_id])[0]


def token_texts(model: LoadedModel, token_ids: Sequence[int]) -> tuple[str, ...]:
    """Return the display text of each id.

    A leading space is kept, line breaks and tabs are made visible, and a token that is only part
    of a character is shown by its bytes. Ids without an entry read "#17".
    """
    tokenizer = model.tokenizer
    ids = [int(item) for item in token_ids]
    if tokenizer is None:
        return tuple(f"#{item}" for item in ids)
    as_stored = {*tokenizer.all_special_tokens, *tokenizer.get_added_vocab()}
    return tuple(_display(tokenizer, item, as_stored) for item in ids)


def _display(tokenizer: Any, token_id: int, as_stored: set[str]) -> str:
    raw = tokenizer.convert_ids_to_tokens(token_id)
    if raw is None:
        return f"#{token_id}"
    if raw in as_stored:
        return str(raw)
    if raw.startswith("▁"):
        return _visible(raw.replace("▁", " "))
    text = tokenizer.decode([token_id], clean_up_tokenization_spaces=False)
    return _bytes_text(raw) if not text or "\ufffd" in text else _visible(text)


def find_token(model: LoadedModel, token: str | int) -> int:
    """Return the id that a target names.

    Args:
        model: Its vocabulary is searched.
        token: An id; or text, tried as written, with a space before it, and as it stands in the
            vocabulary. Without a tokenizer "#17" and "17" name id 17.

    Raises:
        TargetNotFound: No single token is written like this; the nearest ones are named.
    """
    if isinstance(token, str) and model.tokenizer is None:
        digits = token.strip().removeprefix("#")
        if not digits.isdigit():
            raise TargetNotFound(
                f"The model has no tokenizer, so {token!r} names no token.",
                hint="Name the token by its id, a number.",
            )
        token = int(digits)
    if isinstance(token, str):
        return _find_written(model, token)
    if not 0 <= token < model.anatomy.d_vocab:
        raise TargetNotFound(
            f"There is no token {token}: the vocabulary has {model.anatomy.d_vocab}.",
            hint=f"Ids go from 0 to {model.anatomy.d_vocab - 1}.",
        )
    return int(token)


def _find_written(model: LoadedModel, token: str) -> int:
    tokenizer: Any = model.tokenizer
    spaced = [token] if token.startswith(" ") else [f" {token}", token]
    for written in spaced:
        ids = tokenizer(written, add_special_tokens=False)["input_ids"]
        if len(ids) == 1 and (ids[0] != tokenizer.unk_token_id or token == tokenizer.unk_token):
            return int(ids[0])
    known = tokenizer.get_vocab()
    if token in known:
        return int(known[token])
    ids = tokenizer(spaced[0], add_special_tokens=False)["input_ids"]
    if len(ids) > 1 and tokenizer.unk_token_id not in ids:
        pieces = token_texts(model, ids)
        listed = ", ".join(repr(piece) for piece in pieces)
        raise TargetNotFound(
            f"{token!r} is not one token for this model: it is written as {listed}.",
            hint=f"Choose one of these tokens, such as {pieces[0]!r}.",
        )
    raise TargetNotFound(
        f"The model's vocabulary has no token {token!r}.", hint=_suggest(known, token)
    )


def _given(model: LoadedModel, prompt: Sequence[Any]) -> list[int]:
    if len(prompt) and all(isinstance(item, Mapping) for item in prompt):
        return chat_ids(model, prompt)
    try:
        return [operator.index(item) for item in prompt]
    except TypeError as error:
        raise PromptError(
            "The prompt is neither text nor token ids nor chat messages.",
            hint='Give text, a list of whole numbers, or [{"role": "user", "content": "..."}].',
        ) from error


def chat_ids(
    model: LoadedModel, messages: Sequence[Mapping[str, str]], *, generation_prompt: bool = True
) -> list[int]:
    """Write chat messages out by the tokenizer's template.

    Args:
        model: Its tokenizer is used.
        messages: Each with role and content.
        generation_prompt: Whether to end where the assistant's answer begins.

    Raises:
        PromptError: The model has no template, or the template refuses the messages.
    """
    from jinja2 import TemplateError

    tokenizer = model.tokenizer
    if getattr(tokenizer, "chat_template", None) is None:
        raise PromptError(
            "The model has no chat template, so chat messages cannot be written out.",
            hint="Give the prompt as text.",
        )
    assert tokenizer is not None
    try:
        ids = tokenizer.apply_chat_template(
            [dict(message) for message in messages],
            add_generation_prompt=generation_prompt,
            return_dict=False,
        )
    except (TemplateError, KeyError, TypeError, ValueError) as error:
        raise PromptError(
            f"The model's chat template cannot write these messages: {error}.",
            hint='Messages look like {"role": "user", "content": "..."}.',
        ) from error
    return [int(item) for item in ids]


def _encode(model: LoadedModel, text: str) -> list[int]:
    tokenizer = model.tokenizer
    if tokenizer is None:
        raise PromptError(
            "The model's folder has no tokenizer, so text cannot be read.",
            hint="Give the prompt as token ids, such as [1, 2, 3], or download the tokenizer:\n"
            + download_line(model.path, ("tokenizer.json", "tokenizer_config.json")),
        )
    if not text.strip():
        raise PromptError("The prompt is empty.", hint="Type at least one word.")
    encoded = tokenizer(text, return_offsets_mapping=tokenizer.is_fast)
    ids = [int(item) for item in encoded["input_ids"]]
    spans = encoded.get("offset_mapping") or [(0, 0)] * len(ids)
    unknown = [
        text[start:end].strip()
        for item, (start, end) in zip(ids, spans, strict=True)
        if item == tokenizer.unk_token_id
        and text[start:end].strip() not in ("", str(tokenizer.unk_token))
    ]
    if unknown:
        words = list(dict.fromkeys(unknown))
        named = ", ".join(repr(word) for word in words)
        raise PromptError(
            f"The model does not know {named}: not in its vocabulary of {len(tokenizer)} words.",
            hint=" ".join(_suggest(tokenizer.get_vocab(), word) for word in words[:3]),
        )
    return ids


def _refuse_double_bos(tokenizer: Any, ids: Sequence[int], *, written: bool) -> None:
    bos = tokenizer.bos_token_id
    if bos is None or len(ids) < 2 or ids[0] != bos or ids[1] != bos:
        return
    fix = (
        f"Delete {tokenizer.bos_token!r} from the start of the text: the tokenizer adds it."
        if written
        else f"Remove one of the two ids {bos} at the start of the list."
    )
    raise DoubleBos(f"The prompt begins with two BOS tokens ({tokenizer.bos_token!r}).", hint=fix)


def _suggest(vocabulary: Sequence[str] | dict[str, int], word: str, most: int = 3) -> str:
    """Return a sentence that names tokens spelled like a word, ignoring case."""
    wanted = word.strip().lower()
    plain: dict[str, str] = {}
    for entry in vocabulary:
        shown = entry.lstrip("Ġ▁ ")
        # Only words that could be near: difflib over 200 000 tokens would take seconds.
        if shown and abs(len(shown) - len(wanted)) <= 3 and set(shown.lower()) & set(wanted):
            plain.setdefault(shown.lower(), shown)
    near = difflib.get_close_matches(wanted, list(plain), n=most, cutoff=0.6)
    if not near:
        return f"Nothing in the vocabulary is spelled like {word.strip()!r}."
    return f"Instead of {word.strip()!r}: {', '.join(plain[item] for item in near)}."


_VISIBLE = str.maketrans({"\n": "⏎", "\r": "⏎", "\t": "⇥"})


def _visible(text: str) -> str:
    return text.translate(_VISIBLE)


def _bytes_text(raw: str) -> str:
    """Show a byte-level token that is no whole character by its bytes."""
    if raw.startswith("<0x") and raw.endswith(">"):
        return raw
    byte_of = _byte_alphabet()
    if not all(char in byte_of for char in raw):
        return _visible(raw)
    return "".join(f"<0x{byte_of[char]:02X}>" for char in raw)


def _byte_alphabet() -> dict[str, int]:
    """Return the byte behind each character of byte-level vocabularies (GPT-2's table)."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    rest = [byte for byte in range(256) if byte not in set(printable)]
    shifted = {chr(256 + place): byte for place, byte in enumerate(rest)}
    return {chr(byte): byte for byte in printable} | shifted
