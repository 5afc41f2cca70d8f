"""A language model's logits, dumped as float16: next-token probabilities, top-k, perplexity.

The dump is made here, from a seed, with the vocabulary of Llama 3: 128256 logits for each of 64
positions, 16 MB. Of a real model only the numbers differ.

python examples/llama_logits.py         needs nothing else
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

import fastsoftmax.functional as F

VOCABULARY, POSITIONS, SEED = 128256, 64, 2024


def dump(folder: Path) -> tuple[Path, np.ndarray]:
    """Writes logits.npy as a model would; returns its path and the tokens that came next."""
    rng = np.random.default_rng(SEED)
    tokens = rng.integers(VOCABULARY, size=POSITIONS)
    logits = np.lib.format.open_memmap(
        folder / "logits.npy", mode="w+", dtype=np.float16, shape=(POSITIONS, VOCABULARY)
    )
    for row, token in zip(logits, tokens, strict=True):
        noise = rng.standard_normal(VOCABULARY, dtype=np.float32) * 2
        noise[token] += rng.normal(16, 4)
        row[:] = noise
    logits.flush()
    return folder / "logits.npy", tokens


def exact_log_probabilities(row: np.ndarray) -> np.ndarray:
    """In float64, where a difference of float16 numbers is exact."""
    x = row.astype(np.float64) - row.max().astype(np.float64)
    return x - np.log(np.exp(x).sum())


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        path, tokens = dump(Path(folder))
        logits = np.load(path, mmap_mode="r")
        row = logits[-1]

        # float16 in, float16 out: 3 digits. dtype= widens, a tile at a time.
        logp = F.log_softmax(row, dim=0, dtype=np.float32)
        exact = exact_log_probabilities(row)
        np.testing.assert_allclose(logp, exact, rtol=3 * np.finfo(np.float32).eps)
        print(f"next token: {logp.dtype} log-probabilities of {len(logp)} tokens")

        k, temperature = 5, 0.7
        top = np.argpartition(logp, -k)[-k:]
        top = top[np.argsort(-logp[top], kind="stable")]
        for token in top:
            print(f"  {token:6}  {np.exp(logp[token]):.4f}")
        np.testing.assert_array_equal(logp[top], np.sort(logp)[: -k - 1 : -1])

        # Top-k sampling at a temperature: the logits of the k divided by it, shared out anew.
        # Widened first: a quotient in float16 would be rounded to 3 digits.
        p = F.softmax(row[top].astype(np.float64) / temperature, dim=0)
        expected = np.exp(exact[top] / temperature)
        np.testing.assert_allclose(p, expected / expected.sum(), rtol=1e-12)
        print(f"at temperature {temperature}, among these: {p.round(4)}")
        drawn = np.random.default_rng(SEED).choice(top, size=10_000, p=p)
        share = (drawn == top[0]).mean()
        assert abs(share - p[0]) < 5 * np.sqrt(p[0] * (1 - p[0]) / len(drawn))

        # Perplexity, 16 positions at a time, so that a dump may be larger than memory. Widened,
        # because a float16 loss has 3 digits.
        losses = np.empty(POSITIONS, np.float32)
        for i in range(0, POSITIONS, 16):
            part = logits[i : i + 16].astype(np.float32)
            losses[i : i + 16] = F.cross_entropy(part, tokens[i : i + 16], reduction="none")
        exact_losses = [
            -exact_log_probabilities(row)[t] for row, t in zip(logits, tokens, strict=True)
        ]
        np.testing.assert_allclose(losses, exact_losses, rtol=3 * np.finfo(np.float32).eps)
        perplexity = np.exp(losses.mean(dtype=np.float64))
        print(f"perplexity of {POSITIONS} tokens: {perplexity:.4f}")
        np.testing.assert_allclose(perplexity, np.exp(np.mean(exact_losses)), rtol=1e-6)
        assert perplexity < VOCABULARY / 1000
        del row, logits  # an open memory map keeps Windows from removing the folder


if __name__ == "__main__":
    main()
