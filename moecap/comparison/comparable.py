"""Whether two sides may be compared: what forbids it, and what has to be said beside the numbers."""

from __future__ import annotations

from collections.abc import Mapping

from moecap.comparison.side import Side

__all__ = ["obstacles", "remarks", "what_differs"]


def obstacles(a: Side, b: Side) -> list[str]:
    """Why the two are not comparable, a clause each; empty where they are."""
    found = []
    if a.kind != b.kind:
        found.append(f"A is {a.kind} and B is {b.kind}")
    unlike = what_differs(a.load, b.load)
    if unlike:
        said = "; ".join(f"{name} {x} in A and {y} in B" for name, (x, y) in unlike.items())
        found.append(f"the loads are not the same ({said})")
    found += [f"{side} is {of.status}" for side, of in (("A", a), ("B", b)) if of.status != "complete"]
    for side, of in (("A", a), ("B", b)):
        bad = next((flag.text for flag in of.flags if flag.level == "invalid"), None)
        if bad is not None:
            found.append(f"{side} is flagged invalid: {bad}")
    return found + _tokenizers(a, b)


def remarks(a: Side, b: Side) -> list[str]:
    """What a reader must know beside the numbers."""
    said = []
    if a.id and a.id == b.id:
        said.append("A and B are the same result")
    if a.model != b.model and a.vocabulary is not None and a.vocabulary == b.vocabulary:
        size = a.vocabulary.get("vocab_size")
        said.append(
            f"the models differ; their tokenizers are taken as the same, since both have {size} entries and the same "
            "special tokens, so that a token is as much text in both"
        )
    said += [
        f"{side} has no observations ({of.problem.rstrip('.')}), so that no interval comes from within it"
        for side, of in (("A", a), ("B", b))
        if of.problem
    ]
    for name in ("requests", "moecap"):
        if a.about.get(name) != b.about.get(name):
            said.append(f"{name}: {a.about.get(name)} in A, {b.about.get(name)} in B")
    return said


def what_differs(a: Mapping[str, str], b: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    """Names of which the two say something else, with what each says."""
    names = dict.fromkeys([*a, *b])
    pairs = {name: (a.get(name, "not stated"), b.get(name, "not stated")) for name in names}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def _tokenizers(a: Side, b: Side) -> list[str]:
    if a.model == b.model and a.model is not None:
        return []
    if a.model is None or b.model is None or a.vocabulary is None or b.vocabulary is None:
        return ["it is not known whether both have the same tokenizer, and so whether their tokens are as much text"]
    unlike = what_differs(a.vocabulary, b.vocabulary)
    if not unlike:
        return []
    name, (x, y) = next(iter(unlike.items()))
    return [f"their tokenizers are not the same ({name} {x} in A, {y} in B), so that their tokens are not as much text"]
