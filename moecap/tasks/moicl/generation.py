"""Answers that the mixture generates: at every step the experts' distributions are mixed and one token is chosen.

All experts continue with the same tokens. The model runs in this process, since a step needs what every expert gives to
the whole vocabulary.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from moecap.backend import Engine
from moecap.tasks.answers.overlap import exact_match
from moecap.tasks.moicl.datasets import Example
from moecap.tasks.moicl.draw import Draw, partition, shown
from moecap.tasks.moicl.experiment import learned_weights
from moecap.tasks.moicl.layouts import GENERATING
from moecap.tasks.moicl.mixture import Array, mixed
from moecap.tasks.moicl.settings import MOST_ANSWER_TOKENS, Settings
from moecap.tasks.moicl.tables import TABLES
from moecap.tasks.moicl.vocabulary import vocabulary_choices
from moecap.tokenizer import Tokenizer

__all__ = ["GenerationExperiment", "Prefilled", "greedy_answer"]


class Prefilled:
    """The prompts of all experts after one pass.

    Args:
        module: A causal language model of the library transformers.
        prompts: The token ids of each expert's prompt.
        device: Where the module is.
    """

    def __init__(self, module: Any, prompts: Sequence[Sequence[int]], device: str) -> None:
        import torch

        self._torch, self._module, self._device = torch, module, device
        longest = max(map(len, prompts))
        ids = [[0] * (longest - len(tokens)) + list(tokens) for tokens in prompts]
        self._mask = torch.tensor([[0] * (longest - len(p)) + [1] * len(p) for p in prompts], device=device)
        positions = (self._mask.cumsum(-1) - 1).clamp(min=0)
        output = module(
            input_ids=torch.tensor(ids, device=device),
            attention_mask=self._mask,
            position_ids=positions,
            use_cache=True,
            logits_to_keep=1,
        )
        self._cache, self._first = output.past_key_values, self._logs(output)

    def walk(self, choose: Callable[[Array], int], most: int) -> list[int]:
        """Choose tokens that all experts continue with.

        Args:
            choose: The next token, or -1 to end, from what each expert gives, [experts, vocabulary].
            most: Tokens at most.
        """
        torch, logs, mask = self._torch, self._first, self._mask
        cache = copy.deepcopy(self._cache)
        chosen: list[int] = []
        while len(chosen) < most and (token := choose(logs)) >= 0:
            chosen.append(token)
            if len(chosen) == most:
                break
            mask = torch.cat([mask, torch.ones_like(mask[:, :1])], dim=1)
            output = self._module(
                input_ids=torch.full((len(mask), 1), token, device=self._device),
                attention_mask=mask,
                position_ids=mask.sum(-1, keepdim=True) - 1,
                past_key_values=cache,
                use_cache=True,
            )
            cache, logs = output.past_key_values, self._logs(output)
        return chosen

    def _logs(self, output: Any) -> Array:
        found: Array = output.logits[:, -1].double().log_softmax(-1).cpu().numpy()
        return found


def greedy_answer(prefilled: Prefilled, weights: Array, ends: Callable[[int], bool]) -> list[int]:
    """The tokens of the likeliest choice of the mixture at each step, up to one that ends the answer.

    Args:
        prefilled: The experts' prompts.
        weights: One an expert, [experts].
        ends: Whether a token ends an answer.
    """

    def choose(logs: Array) -> int:
        token = int(mixed(logs, weights).argmax())
        return -1 if ends(token) else token

    return prefilled.walk(choose, MOST_ANSWER_TOKENS)


class GenerationExperiment:
    """Draws, one after the other, whose mixtures generate the answers of the test items.

    Args:
        settings: What is run.
        engine: It must give the model itself.
        tokenizer: The model's tokenizer.
        tested: The test items.

    Attributes:
        heard: Hears how many answers were generated so far.
    """

    def __init__(self, settings: Settings, engine: Engine, tokenizer: Tokenizer, tested: Sequence[Example]) -> None:
        self._settings, self._engine, self._tokenizer = settings, engine, tokenizer
        self._tested = tested
        self.heard: Callable[[int], None] = lambda _count: None
        self._rows: dict[str, dict[str, list[Any]]] = {
            table: {name: [] for name in TABLES[table].names} for table in ("learning", "experts", "weights", "answers")
        }
        self._add("learning", vocabulary=True, pull=settings.pull)
        self.headline: list[str] = []
        self._ends = tokenizer.encode("\n")[-1]

    @property
    def expected(self) -> int:
        """How many answers are generated in all."""
        layouts = sum(1 if count == 1 else len(GENERATING) for count in self._settings.experts)
        return self._settings.seeds * layouts * len(self._tested)

    def columns(self) -> dict[str, dict[str, list[Any]]]:
        """The columns of every table that is left, of the draws so far."""
        return self._rows

    def run(self, number: int, drawn: Draw) -> None:
        """Learn the weights of every layout of one draw, and generate."""
        for count in self._settings.experts:
            name = f"k{count}"
            order = partition(len(drawn.demonstrations), count, drawn.seed)
            parts = [[drawn.demonstrations[i] for i in part] for part in order]
            prompts = [shown(part) for part in parts]
            for expert, part in enumerate(parts):
                wrong = sum(one.changed for one in part)
                row = {"demonstrations": len(part), "changed": wrong, "foreign": 0}
                self._add("experts", seed=number, arrangement=name, expert=expert, **row)
            weights = self._weights(prompts, drawn)
            for method, values in weights.items():
                for expert, weight in enumerate(values):
                    learned = {"method": method, "expert": expert, "weight": float(weight)}
                    self._add("weights", seed=number, arrangement=name, **learned)
            for item, answers in enumerate(self._answers(prompts, weights)):
                for method, tokens in answers.items():
                    text = self._tokenizer.decode(tokens)
                    right = bool(exact_match(text, self._tested[item].answers))
                    said = {"method": method, "item": item, "right": right, "tokens": len(tokens)}
                    self._add("answers", seed=number, arrangement=name, **said)
                    if number == 0 and count == self._settings.experts[-1] and method in ("concat", "scalar"):
                        self.headline.append(text)

    def _weights(self, prompts: Sequence[str], drawn: Draw) -> dict[str, Array]:
        if len(prompts) == 1:
            return {"concat": np.ones(1)}
        settings, tokenizer = self._settings, self._tokenizer
        answers = []
        for item in drawn.train:
            before = len(tokenizer.encode_prompt(item.text))
            answers.append(tokenizer.encode_prompt(f"{item.text} {item.answers[0]}\n")[before:])
        choices = vocabulary_choices(self._engine, tokenizer, prompts, drawn.train, answers)
        found = learned_weights(choices, settings.keep, settings.pull, drawn.seed)
        return {method: found[method] for method in GENERATING}

    def _answers(self, prompts: Sequence[str], weights: dict[str, Array]) -> Iterator[dict[str, list[int]]]:
        """The answer of each method to each test item, as tokens."""
        import torch

        model = self._engine.in_process()
        with model.borrowed() as module, torch.inference_mode():
            for item in self._tested:
                asked = [self._tokenizer.encode_prompt(prompt + item.text) for prompt in prompts]
                prefilled = Prefilled(module, asked, model.device)
                yield {method: greedy_answer(prefilled, values, self._is_end) for method, values in weights.items()}
                self.heard(len(self._rows["answers"]["item"]))

    def _is_end(self, token: int) -> bool:
        return token == self._ends or "\n" in self._tokenizer.decode([token])

    def _add(self, table: str, **row: Any) -> None:
        assert row.keys() == self._rows[table].keys()
        for name, value in row.items():
            self._rows[table][name].append(value)
