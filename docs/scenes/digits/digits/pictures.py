"""Pictures as numbers: the 1797 that scikit-learn has, and files in the plain PGM format."""

from __future__ import annotations

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

SIDE = 8
LABELS = np.arange(10)


def known() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Pictures to learn from, others to try with, and the labels of both."""
    pixels, labels = load_digits(return_X_y=True)
    return tuple(train_test_split(pixels / 16, labels, test_size=0.2, random_state=0))


def read(text: str) -> np.ndarray:
    """The pixels, from 0 to 1, of a plain PGM. ValueError: it is none of 8 by 8."""
    lines = (line.partition("#")[0] for line in text.splitlines())
    words = " ".join(lines).split()
    if words[:3] != ["P2", str(SIDE), str(SIDE)] or len(words) != 4 + SIDE * SIDE:
        raise ValueError(f"this is no plain PGM (P2) of {SIDE} by {SIDE} pixels")
    whitest, *pixels = (int(word) for word in words[3:])
    if not 0 < whitest < 65536:
        raise ValueError(f"a plain PGM has no {whitest} as its largest value")
    return np.array(pixels) / whitest


def write(pixels: np.ndarray) -> str:
    """As a plain PGM, which picture viewers open and people can read."""
    rows = (pixels.reshape(SIDE, SIDE) * 16).astype(int)
    lines = (" ".join(f"{pixel:2}" for pixel in row) for row in rows)
    return "\n".join((f"P2 {SIDE} {SIDE} 16", *lines, ""))
