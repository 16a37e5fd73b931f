"""What a model holds of each word: hidden states, or what its routers say of its experts; or vectors from a file."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from moecap.errors import BadInputError, NotAvailableError
from moecap.in_process import InProcessModel
from moecap.packed_files import read_arrays
from moecap.tasks.neuron_probe.words import Word
from moecap.tokenizer import Tokenizer

__all__ = ["LAYERS", "Units", "file_states", "read_text", "word_vectors"]

LAYERS = ("last", "all")
"""Which hidden states are taken, beside the number of a layer."""

TOKENS = 2_048
"""Tokens of a pass, padding included, unless a single text has more."""


NEAR_ONE = 0.02
"""How far a sum of probabilities in 16 bits may be from 1."""


@dataclass(frozen=True, slots=True)
class Units:
    """What the numbers of a vector are.

    Attributes:
        kind: ``neuron`` (a hidden state), ``expert`` (the probability that a router gives an expert, by the softmax of
            its logits over the experts of the layer) or ``chosen`` (the share of the word's tokens that an expert got).
        layer: Of neurons: ``last``, ``all`` or a number, 0 for the embedding's output.
    """

    kind: str
    layer: str


def read_text(tokenizer: Tokenizer, text: str) -> tuple[list[int], list[tuple[int, int]]]:
    """Token ids of a text from the start of a sequence, and the characters of each; none of the token that begins it.

    A space stands before the text, as before a word within a sentence.
    """
    begin = tokenizer.encode_prompt("")
    spans = tokenizer.encode_spans(f" {text}")
    ids = [*begin, *(token for token, _, _ in spans)]
    return ids, [(0, 0)] * len(begin) + [(start - 1, end - 1) for _, start, end in spans]


def word_vectors(
    model: InProcessModel, tokenizer: Tokenizer, words: Sequence[Word], units: Units, done: Callable[[int], None]
) -> tuple[np.ndarray, int]:
    """The mean over a word's tokens of what the model holds of each.

    Args:
        model: The model.
        tokenizer: Its tokenizer.
        words: The words.
        units: What is taken of it.
        done: Hears how many words are finished.

    Returns:
        [words, D], 32-bit, layer after layer; and the layers.

    Raises:
        NotAvailableError: If the model has no routers that are known.
        BadInputError: If there is no such layer, or a word has no token.
    """
    if units.kind != "neuron" and not model.routers:
        raise NotAvailableError(f"unit={units.kind} needs a model whose routers are known; take unit=neuron")
    in_text: dict[str, list[int]] = {}
    for number, word in enumerate(words):
        in_text.setdefault(word.text, []).append(number)
    read = [(*read_text(tokenizer, text), numbers) for text, numbers in in_text.items()]
    read.sort(key=lambda one: len(one[0]))
    vectors: np.ndarray | None = None
    finished = layers = 0
    with model.borrowed() as module, torch.inference_mode(), _states(model, module, units) as states_of:
        for batch in _batches(read):
            states, layers = states_of([ids for ids, _, _ in batch])
            for row, (_, spans, numbers) in enumerate(batch):
                for number in numbers:
                    mean = states[row, _tokens(words[number], spans)].mean(0).cpu().numpy()
                    vectors = np.empty((len(words), len(mean)), np.float32) if vectors is None else vectors
                    vectors[number] = mean
                finished += len(numbers)
            done(finished)
    assert vectors is not None, "there are words"
    return vectors, layers


def _tokens(word: Word, spans: Sequence[tuple[int, int]]) -> list[int]:
    """Places of the tokens that hold a character of the word."""
    end = word.start + len(word.form)
    found = [place for place, (first, after) in enumerate(spans) if max(first, word.start) < min(after, end)]
    if not found:
        raise BadInputError(f"the tokenizer gives the word {word.form!r} ({word.id}) no token; leave the word out")
    return found


_Read = tuple[list[int], list[tuple[int, int]], list[int]]
"""Token ids of a text, their characters, and the numbers of its words."""


def _batches(read: Sequence[_Read]) -> Iterator[list[_Read]]:
    """Texts in their order, which is by length."""
    batch: list[_Read] = []
    for one in read:
        if batch and len(one[0]) * (len(batch) + 1) > TOKENS:
            yield batch
            batch = []
        batch.append(one)
    if batch:
        yield batch


@contextmanager
def _states(
    model: InProcessModel, module: torch.nn.Module, units: Units
) -> Iterator[Callable[[Sequence[Sequence[int]]], tuple[torch.Tensor, int]]]:
    """What gives the states of the tokens of texts, [texts, longest, D], and the layers in them."""
    base: Any = module.base_model  # the logits of a whole vocabulary for hundreds of texts are not wanted
    routed: list[torch.Tensor] = []
    if units.kind != "neuron":
        for router in model.routers:
            router.register_forward_hook(lambda router, _inputs, output: routed.append(_routed(router, output, units)))

    def states_of(texts: Sequence[Sequence[int]]) -> tuple[torch.Tensor, int]:
        longest = max(map(len, texts))
        padded = [[*ids, *[0] * (longest - len(ids))] for ids in texts]  # a causal model sees nothing of what follows
        ids = torch.tensor(padded, device=model.device)
        routed.clear()
        hidden = units.kind == "neuron"
        output: Any = base(input_ids=ids, output_hidden_states=hidden, use_cache=False)
        of_layers = _chosen_layers(output.hidden_states, units.layer) if hidden else routed
        states = torch.cat([layer.reshape(len(texts), longest, -1).float() for layer in of_layers], -1)
        return states, len(of_layers)

    yield states_of


def _chosen_layers(hidden_states: Sequence[torch.Tensor], layer: str) -> list[torch.Tensor]:
    if layer == "all":
        return list(hidden_states)
    number = len(hidden_states) - 1 if layer == "last" else int(layer)
    if number >= len(hidden_states):
        raise BadInputError(f"--task-arg layer={layer}: the model has the layers 0 to {len(hidden_states) - 1}")
    return [hidden_states[number]]


def _routed(router: Any, output: Any, units: Units) -> torch.Tensor:
    """Probability of each expert, or whether it was chosen, [tokens, experts]."""
    parts = [part for part in (output if isinstance(output, tuple | list) else (output,)) if torch.is_tensor(part)]
    fractions = [part for part in parts if part.is_floating_point() and part.ndim > 1]
    widest = max(part.shape[-1] for part in fractions)
    wide = [part for part in fractions if part.shape[-1] == widest]
    # of two that are as wide the one with the logits has numbers outside of 0 to 1
    logits = next((part for part in wide if bool(((part < 0) | (part > 1)).any())), wide[0])
    logits = logits.reshape(-1, widest).float()
    if units.kind == "expert":
        return logits if _are_probabilities(logits) else logits.softmax(-1)
    picked = next((part for part in parts if not part.is_floating_point() and part.ndim > 1), None)
    if picked is None:
        picked = logits.topk(router.top_k, -1).indices
    return torch.zeros_like(logits).scatter_(1, picked.reshape(len(logits), -1).long(), 1.0)


def _are_probabilities(numbers: torch.Tensor) -> bool:
    """Whether each row is a distribution already, as a router may give it out in place of its logits (Gemma 4's)."""
    return bool((numbers >= 0).all() and ((numbers.sum(-1) - 1).abs() < NEAR_ONE).all())


def file_states(path: Path) -> np.ndarray:
    """Vectors of words from an ``.npz`` file with the array ``X``, [words, D], as 32-bit fractions.

    Raises:
        BadInputError: If it is no such file, or a number in it is not finite.
    """
    try:
        arrays = read_arrays(path)
    except (OSError, ValueError) as error:
        raise BadInputError(
            f"{path} cannot be read as .npz ({error}); save it with np.savez(FILE, X=vectors)"
        ) from None
    if "X" not in arrays:
        raise BadInputError(f"{path}: no array X; save the vectors with np.savez(FILE, X=vectors)")
    found = arrays["X"]
    if found.ndim != 2 or found.dtype.kind != "f" or not found.size:
        raise BadInputError(f"{path}: X is {found.dtype} {list(found.shape)}; it has to be fractions, [words, D]")
    with np.errstate(over="ignore"):
        vectors: np.ndarray = found.astype(np.float32)
    if len(wrong := np.argwhere(~np.isfinite(vectors))):
        raise BadInputError(f"{path}: X[{wrong[0][0]}, {wrong[0][1]}] is no finite 32-bit number; make it again")
    return vectors
