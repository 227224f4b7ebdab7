"""BERT: learned positions and segments, bidirectional, a norm after each addition, plain MLP."""

from __future__ import annotations

from functools import partial

from circuitscope.models.encoder_parts import encoder_parts
from circuitscope.models.family import Part
from circuitscope.models.table import Table

_Bert = partial(
    Table, norm_kind="layer", causal=False, defaults={"n_ctx": 512, "activation": "gelu"}
)

BertClassifier = partial(
    _Bert,
    architecture="BertForSequenceClassification",
    parts=encoder_parts("bert", {Part.HEAD_DENSE: "bert.pooler.dense", Part.UNEMBED: "classifier"}),
    head_activation="tanh",
    labels=True,
)
"""Describe BertForSequenceClassification."""

BertMasked = partial(
    _Bert,
    architecture="BertForMaskedLM",
    parts=encoder_parts(
        "bert",
        {
            Part.HEAD_DENSE: "cls.predictions.transform.dense",
            Part.LN_FINAL: "cls.predictions.transform.LayerNorm",
            Part.UNEMBED: "cls.predictions.decoder",
        },
    ),
)
"""Describe BertForMaskedLM."""
