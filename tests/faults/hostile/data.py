"""Readers of data sets, predictions and pictures."""

from __future__ import annotations

import gzip
import io
from functools import cache
from pathlib import Path
from typing import Any

from hostile.parser import Parser, as_json, as_lines, as_tar, npy, parquet


def data() -> list[Parser]:
    import numpy as np
    import pyarrow as pa

    from moecap.data.bdd_oia import load_bdd_oia
    from moecap.data.conllu import conllu_sentences
    from moecap.data.imagecode import descriptions, tags_of
    from moecap.data.longbench import longbench_v2_rows
    from moecap.data.mnist import load_mnist
    from moecap.data.photographs import read_pixels
    from moecap.data.published import arrow_rows, json_lines
    from moecap.data.snippets import snippet_rows
    from moecap.data.texts import read_recording
    from moecap.data.unimorph import unimorph_words
    from moecap.data.warcraft import load_warcraft
    from moecap.plugins import load_plugin
    from moecap.tasks.base import TaskOptions
    from moecap.tasks.offline import score_predictions

    def recorded(path: Path) -> object:
        return read_recording(str(path), None, 0, 20)

    @cache
    def task() -> Any:
        return load_plugin("moecap.tasks", "gsm8k")()

    def scored(path: Path) -> object:
        golds = path.with_name("gold.jsonl")
        return score_predictions(task(), TaskOptions(None, None, {}, None), path, golds)

    def golds(path: Path) -> object:
        return score_predictions(task(), TaskOptions(None, None, {}, None), path.with_name("predictions.jsonl"), path)

    stream = io.BytesIO()
    table = pa.table({"question": ["1+1?", "2+2?"], "answer": ["#### 2", "#### 4"]})
    with pa.ipc.new_stream(stream, table.schema) as writer:
        writer.write_table(table)
    predicted = as_lines({"id": "1", "answer": "so 3"}, {"id": "2", "prediction": "The answer is 4."})
    gold = as_lines({"id": "1", "gold": "3"}, {"id": "2", "gold": "4"})
    conllu = (
        b"# text = A dog\n1\tA\ta\tDET\t_\tDefinite=Ind\t2\tdet\t_\t_\n"
        b"2\tdog\tdog\tNOUN\t_\tNumber=Sing\t0\troot\t_\t_\n\n"
    )
    prompts = as_lines({"prompt": "What is a rock?"}, {"prompt": "And a switch?", "output_tokens": 4})
    sharegpt = {"conversations": [{"from": "human", "value": "hi"}, {"from": "gpt", "value": "hello"}]}
    agents = as_lines({"session": "a", "start": 0.5, "turns": [{"input_tokens": 10, "output_tokens": 3}]})
    mooncake = as_lines({"timestamp": 27482, "input_length": 600, "output_length": 52, "hash_ids": [46, 47]})
    azure = (
        b"TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:15:46.6805900,374,44\n2023-11-16 18:15:50,396,109\n"
    )
    burst = (
        b"Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n5,ChatGPT,472,18,490,Conversation log\n"
    )
    idx = (2051).to_bytes(4, "big") + (1).to_bytes(4, "big") + (28).to_bytes(4, "big") * 2 + bytes(784)
    labels = (2049).to_bytes(4, "big") + (1).to_bytes(4, "big") + b"\x07"
    maps = npy(np.zeros((1, 96, 96, 3), np.uint8))
    return [
        Parser("data-prompts", "p.jsonl", recorded, (prompts, as_lines(sharegpt), agents, mooncake)),
        Parser("data-sharegpt", "p.json", recorded, (as_json([sharegpt, sharegpt]),)),
        Parser("data-trace", "p.csv", recorded, (azure, burst)),
        Parser("data-lines", "p.jsonl", lambda path: list(json_lines(path)), (gold,)),
        Parser(
            "data-parquet",
            "p.parquet",
            lambda path: list(arrow_rows(path)),
            (parquet({"question": ["a", "b"], "n": [1, 2]}),),
            text=False,
        ),
        Parser("data-arrow", "p.arrow", lambda path: list(arrow_rows(path)), (stream.getvalue(),), text=False),
        Parser("predictions", "predictions.jsonl", scored, (predicted,), {"gold.jsonl": gold}),
        Parser("golds", "gold.jsonl", golds, (gold,), {"predictions.jsonl": predicted}),
        Parser("data-conllu", "p.conllu", lambda path: list(conllu_sentences(path)), (conllu,)),
        Parser("data-unimorph", "p", lambda path: list(unimorph_words(path)), (b"aqmar\tqamar\tN;SG\nx\ty\tV;PL\n",)),
        Parser(
            "data-snippets",
            "tweets_GroundTruth.txt",
            lambda path: list(snippet_rows(path.parent, "tweets")),
            (b"1\t-0.5\tnot good\n2\t3.1\tgreat\n",),
        ),
        Parser(
            "data-snippets-archive",
            "vader.tar.gz",
            lambda path: list(snippet_rows(path, "tweets")),
            (as_tar({"v/tweets_GroundTruth.txt": b"1\t-0.5\tnot good\n"}),),
            text=False,
        ),
        Parser(
            "data-longbench",
            "data.json",
            lambda path: list(longbench_v2_rows(path.parent)),
            (as_json([{"_id": "a", "question": "?"}]),),
        ),
        Parser("data-imagecode", "valid_data.json", descriptions, (as_json({"set": {"3": "a dog", "4": "a cat"}}),)),
        Parser("data-imagecode-tags", "tags.yaml", tags_of, (b'set:\n  "3": {annotation: "nuances,context"}\n',)),
        Parser(
            "data-mnist",
            "t10k-images-idx3-ubyte.gz",
            lambda path: load_mnist(path.parent, "test"),
            (gzip.compress(idx, mtime=0),),
            {"t10k-labels-idx1-ubyte": labels},
            text=False,
        ),
        Parser(
            "data-mnist-plain",
            "t10k-images-idx3-ubyte",
            lambda path: load_mnist(path.parent, "test"),
            (idx,),
            {"t10k-labels-idx1-ubyte": labels},
            text=False,
        ),
        Parser(
            "data-maps",
            "12x12/test_maps.npy",
            lambda path: load_warcraft(path.parents[1], "test", 12, (0.8, 1.2)),
            (maps,),
            {
                "12x12/test_shortest_paths.npy": npy(np.zeros((1, 12, 12), np.uint8)),
                "12x12/test_vertex_weights.npy": npy(np.full((1, 12, 12), 0.8)),
            },
            text=False,
        ),
        Parser("picture", "p.png", read_pixels, (_png(),), text=False),
        Parser(
            "data-scenes",
            "test/inputs/a.pt",
            lambda path: load_bdd_oia(path.parents[2], "test"),
            (_pt(2048),),
            {"test/concepts/a.pt": _pt(21), "test/labels/a.pt": _pt(4)},
            text=False,
        ),
    ]


def _png() -> bytes:
    from PIL import Image

    target = io.BytesIO()
    Image.new("RGB", (8, 8), (10, 200, 30)).save(target, "PNG")
    return target.getvalue()


def _pt(numbers: int) -> bytes:
    import torch

    target = io.BytesIO()
    torch.save(torch.zeros(numbers), target)
    return target.getvalue()
