"""A tokenizer of one token a byte, and requests as an engine leaves them."""

import pytest

from moecap.observations.recorder import RequestRecord
from moecap.tasks.base import TaskOptions
from moecap.tokenizer import Tokenizer


@pytest.fixture(scope="session")
def byte_tokenizer(tmp_path_factory):
    from tokenizers import Tokenizer as Raw
    from tokenizers import decoders, models, pre_tokenizers

    folder = tmp_path_factory.mktemp("bytes")
    raw = Raw(models.BPE({c: i for i, c in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}, []))
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    raw.decoder = decoders.ByteLevel()
    raw.save(str(folder / "tokenizer.json"))
    return Tokenizer(folder)


@pytest.fixture(autouse=True)
def no_hub(monkeypatch):
    """The hub is away, whether or not this machine could reach it."""
    for module in ("moecap.data.hub", "moecap.tasks.lm_eval.data"):
        monkeypatch.setattr(f"{module}.hub_answers", lambda: False)


@pytest.fixture
def options():
    """Options of a task, with its arguments by name."""

    def made(limit=None, data=None, **arguments):
        return TaskOptions(limit, data, {name: str(value) for name, value in arguments.items()}, lambda _line: None)

    return made


@pytest.fixture
def answered():
    """The samples of a task whose questions got these answers: a text, or a text and why it ended."""

    def samples(task, items, answers, tokenizer):
        prompts = task.prompts(items, tokenizer)
        records = []
        for number, (prompt, answer) in enumerate(zip(prompts, answers, strict=True)):
            text, reason = answer if isinstance(answer, tuple) else (answer, "stop")
            record = RequestRecord(number, "load", prompt.id, 0, 0, len(prompt.tokens), prompt.output_tokens)
            if reason == "failed":
                record.status = "failed"
            else:
                record.complete(None, 1, reason, text)
            records.append(record)
        return list(task.samples(items, prompts, records, tokenizer))

    return samples


@pytest.fixture
def unseen():
    """What could be taken out of every table of a method's whole run without its parts telling: column and value."""

    def left_out(task, options, tables, *columns):
        parts = list(task.parts(options, tables))
        assert [part.problem(tables) for part in parts if part.problem(tables)] == []
        found = []
        for column in columns:
            for value in {value for table in tables.values() if column in table for value in table[column]}:
                others = {
                    name: table[table[column] != value] if column in table else table for name, table in tables.items()
                }
                if not any(part.problem(others) for part in task.parts(options, others)):
                    found.append((column, value))
        return found

    return left_out
