"""An engine's prefix cache: whole blocks of prompts and answers that are kept, and given up when room is needed.

A block is told by its tokens and by all blocks before it. A request takes the leading blocks that are there, all but
the last token of its prompt at most, which has to be fed. Blocks count as there once a step feeds their last token,
also for requests that begin after it in the same step. What no running sequence holds is given up, the least recently
used first and the end of a sequence before its start. So works vLLM 0.32 (``KVCacheManager``, ``BlockPool``); SGLang's
tree does the same in blocks of one token.
"""

from __future__ import annotations

from collections import OrderedDict

from moecap.projection.requests import Requests

__all__ = ["PrefixCache", "block_chains"]


def block_chains(requests: Requests) -> list[list[int]]:
    """The blocks of each request's prompt and answer, by number; equal numbers are equal tokens after equal blocks.

    Answers are taken as different from everything else. Blocks that are not full have no number.

    Args:
        requests: The load, with tokens.
    """
    assert requests.tokens is not None
    size = requests.block_tokens
    numbers: dict[tuple[int, tuple[int, ...]], int] = {}
    chains: list[list[int]] = []
    chain: list[int] = []
    rest: list[int] = []
    for request, tokens in enumerate(requests.tokens):
        if requests.turns[request] == 0:
            chain, rest = [], []
        rest += tokens
        rest += [-1 - request] * int(requests.output_tokens[request])
        whole = len(rest) // size * size
        chain = list(chain)
        for start in range(0, whole, size):
            key = (chain[-1] if chain else -1, tuple(rest[start : start + size]))
            chain.append(numbers.setdefault(key, len(numbers)))
        rest = rest[whole:]
        chains.append(chain)
    return chains


class PrefixCache:
    """The blocks that are there: held by running sequences, or idle.

    Args:
        block_tokens: Tokens of a block.
    """

    def __init__(self, block_tokens: int) -> None:
        self.block_tokens = block_tokens
        self._held: dict[int, int] = {}
        self._idle: OrderedDict[int, None] = OrderedDict()

    def leading(self, chain: list[int], prompt: int) -> list[int]:
        """The blocks at the start of a prompt of so many tokens that are there."""
        most = (prompt - 1) // self.block_tokens
        for place, block in enumerate(chain[:most]):
            if block not in self._held and block not in self._idle:
                return chain[:place]
        return chain[:most]

    def held(self, blocks: list[int]) -> int:
        """How many of some blocks running sequences hold."""
        return sum(block in self._held for block in blocks)

    def take(self, blocks: list[int]) -> None:
        """Let a sequence hold blocks that are there."""
        for block in blocks:
            self._idle.pop(block, None)
            self._held[block] = self._held.get(block, 0) + 1

    def add(self, blocks: list[int]) -> list[int]:
        """Keep blocks that a sequence has filled; those that are there already are copies, which it keeps to itself.

        Returns:
            The blocks that were not there, which the sequence now holds.
        """
        new = [block for block in blocks if block not in self._held and block not in self._idle]
        self.take(new)
        return new

    def give(self, blocks: list[int]) -> int:
        """Let go of blocks that a sequence holds; returns how many of them others still hold."""
        shared = 0
        for block in reversed(blocks):
            left = self._held[block] - 1
            if left:
                self._held[block] = left
                shared += 1
            else:
                del self._held[block]
                self._idle[block] = None
        return shared

    def shrink(self, tokens: float) -> None:
        """Give up idle blocks until they take at most so many tokens."""
        most = max(0, int(tokens // self.block_tokens))
        while len(self._idle) > most:
            self._idle.popitem(last=False)
