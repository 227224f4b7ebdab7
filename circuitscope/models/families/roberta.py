"""RoBERTa: BERT's blocks; positions counted from the padding token on, other heads."""

from __future__ import annotations

from functools import partial

from circuitscope.models.encoder_parts import encoder_parts
from circuitscope.models.family import Part
from circuitscope.models.table import Table

_Roberta = partial(
    Table,
    norm_kind="layer",
    causal=False,
    after_padding=True,
    defaults={"n_ctx": 514, "activation": "gelu"},
)

RobertaClassifier = partial(
    _Roberta,
    architecture="RobertaForSequenceClassification",
    parts=encoder_parts(
        "roberta", {Part.HEAD_DENSE: "classifier.dense", Part.UNEMBED: "classifier.out_proj"}
    ),
    head_activation="tanh",
    labels=True,
)
"""Describe RobertaForSequenceClassification."""

RobertaMasked = partial(
    _Roberta,
    architecture="RobertaForMaskedLM",
    parts=encoder_parts(
        "roberta",
        {
            Part.HEAD_DENSE: "lm_head.dense",
            Part.LN_FINAL: "lm_head.layer_norm",
            Part.UNEMBED: "lm_head.decoder",
        },
    ),
    head_activation="gelu",
)
"""Describe RobertaForMaskedLM."""
