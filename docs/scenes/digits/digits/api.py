"""What DEEPaaS calls: the entry point `deepaas.v2.model` of pyproject.toml names this module."""

from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import Any

import joblib
from marshmallow import Schema, fields, validate

from digits import pictures
from digits import train as training

# The one that was trained when the image was built, unless this names another.
MODEL = os.environ.get("DIGITS_MODEL") or Path(__file__).with_name("model.joblib")


class Prediction(Schema):
    label = fields.Int(required=True)
    probability = fields.Float(required=True)


class Answer(Schema):
    status = fields.Str(required=True)
    predictions = fields.Nested(Prediction)


schema = Answer


def get_metadata() -> dict[str, str]:
    return {
        "id": "1",
        "name": "digits",
        "description": "Tells which digit a picture of 8 by 8 pixels shows",
        "version": "1.0",
    }


@functools.cache
def _model() -> Any:
    return joblib.load(MODEL)


def warm() -> None:
    _model()


def get_predict_args() -> dict[str, fields.Field]:
    told = {"type": "file", "location": "form", "description": "a plain PGM of 8 by 8 pixels"}
    # Of this very class: deepaas-cli knows files by it.
    return {"picture": fields.Field(required=True, metadata=told)}


def predict(picture: Any) -> dict[str, Any]:
    try:
        pixels = pictures.read(Path(picture.filename).read_text(encoding="ascii"))
    except ValueError as error:  # also where it is no text
        return {"status": str(error)}
    chances = _model().predict_proba([pixels])[0]
    label = int(chances.argmax())
    found = {"label": label, "probability": round(float(chances[label]), 4)}
    return {"status": "OK", "predictions": found}


def get_train_args() -> dict[str, fields.Field]:
    return {
        "epochs": fields.Int(load_default=5, validate=validate.Range(1, 1000)),
        "rate": fields.Float(load_default=0.1, validate=validate.Range(0.0001, 1)),
    }


def train(epochs: int, rate: float) -> dict[str, Any]:
    return training.train(epochs=epochs, rate=rate)
