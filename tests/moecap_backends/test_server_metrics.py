"""What servers publish about themselves: read from recorded texts, and asked of a server around a load."""

import asyncio
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from tiny_models import VOCABULARY

from moecap.backend import Prompt
from moecap.errors import BadInputError
from moecap.load.connection import Target
from moecap.load.loop import run_loop
from moecap.metrics.server import server_metrics
from moecap.observations.reader import read_observations
from moecap.observations.recorder import Recorder
from moecap.runner.server_flags import server_flags
from moecap_backends.exposition import WATCHED, read_exposition, watched_lines
from moecap_backends.llamacpp import LlamacppBackend
from moecap_backends.server_metrics import EVERY_SECONDS, ServerMetrics

RECORDINGS = Path(__file__).parent / "recordings"


def _recorded(name):
    return (RECORDINGS / f"{name}.metrics.txt").read_bytes()


def _values(body):
    return {(s.name, s.labels): s.value for s in read_exposition(body)}


def test_the_numbers_of_a_vllm_server_are_read_with_their_labels():
    read = _values(_recorded("vllm-0.32"))
    own = '{"engine": "0", "model_name": "tiny"}'
    assert read["vllm:generation_tokens_total", own] == 418
    assert read["vllm:iteration_tokens_total_sum", own] == 1361
    source = '{"engine": "0", "model_name": "tiny", "source": "local_compute"}'
    assert read["vllm:prompt_tokens_by_source_total", source] == 943


def test_buckets_creation_times_and_the_process_are_left_out():
    text = _recorded("vllm-0.32").decode()
    assert "_bucket{" in text
    assert "\npython_info{" in text
    names = {s.name for s in read_exposition(text.encode())}
    assert all(name.startswith("vllm:") for name in names)
    assert not any(name.endswith(("_bucket", "_created")) for name in names)


def test_a_number_that_is_none_is_left_out():
    body = _recorded("sglang-0.5.23")
    assert b'sglang:fwd_occupancy{engine_type="unified"' in body
    names = {s.name for s in read_exposition(body)}
    assert "sglang:fwd_occupancy" not in names
    assert "sglang:queue_time_seconds_sum" in names


@pytest.mark.parametrize(("engine", "numbers"), [("vllm-0.32", 6), ("sglang-0.5.23", 6), ("llamacpp-after", 4)])
def test_the_numbers_of_a_look_are_those_of_the_whole_text(engine, numbers):
    body = _recorded(engine)
    whole = [s for s in read_exposition(body) if s.name in WATCHED]
    assert read_exposition(watched_lines(body)) == whole
    assert len(whole) == numbers


def test_of_where_a_model_lies_only_its_name_is_kept():
    body = b'vllm:num_preemptions_total{model_name="/srv/ada/models/mixtral"} 1.0\n'
    assert read_exposition(body)[0].labels == '{"model_name": "mixtral"}'


def test_a_page_that_is_something_else_is_refused():
    with pytest.raises(BadInputError, match="not in Prometheus's text format"):
        read_exposition(b"<html><body>metrics {of} the house</body></html>\n")


@pytest.fixture
def server():
    """A server whose counter of answers rises with each look, and the statuses that it answers with."""
    looks = []
    status = [200]

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            looks.append(self.path)
            body = (
                f"# TYPE vllm:generation_tokens counter\nvllm:generation_tokens_total {10.0 * len(looks)}\n"
                f"# TYPE vllm:num_requests_running gauge\nvllm:num_requests_running {len(looks)}\n"
            ).encode()
            self.send_response(status[0])
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_arguments):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever, daemon=True)
        thread.start()
        yield Target.parse(f"http://127.0.0.1:{running.server_address[1]}"), looks, status
        running.shutdown()
        thread.join()


def _load(target, seconds, **options):
    """A load that takes some seconds, with the looks around it, and what was recorded."""
    seen = ServerMetrics(target, **options)

    async def load():
        async with seen.watched():
            await asyncio.sleep(seconds)

    seen.before()
    run_loop(load())
    seen.after()
    recorder = Recorder()
    seen.record(recorder)
    return recorder


def test_the_server_is_read_before_during_and_after_a_load(server, tmp_path):
    target, looks, _ = server
    _load(target, 2.5 * EVERY_SECONDS).write(tmp_path)
    said = read_observations(tmp_path).server_metrics
    assert looks == ["/metrics"] * 4
    counted = said[said["name"] == "vllm:generation_tokens_total"]
    assert counted[["moment", "value"]].values.tolist() == [["before", 10.0], ["after", 40.0]]
    gauges = said[said["name"] == "vllm:num_requests_running"]
    assert gauges["moment"].tolist() == ["before", "during", "during", "after"]
    assert gauges["value"].tolist() == [1.0, 2.0, 3.0, 4.0]
    assert (gauges["time_ns"].diff().dropna() > 0).all()
    assert json.loads(said["labels"].iloc[0]) == {}


def test_a_server_without_metrics_is_asked_once(server, tmp_path):
    target, looks, status = server
    status[0] = 404
    _load(target, 1.5 * EVERY_SECONDS).write(tmp_path)
    assert looks == ["/metrics"]
    assert not (tmp_path / "server_metrics.parquet").exists()


def test_a_warm_up_asks_nothing(server):
    target, looks, _ = server
    _load(target, 0, wanted=False)
    assert looks == []


@pytest.mark.engine
def test_the_counters_of_a_running_llamacpp_are_those_of_its_answers(ascii_model, llamacpp_job, tmp_path, monkeypatch):
    monkeypatch.setenv("MOECAP_CACHE", str(tmp_path / "cache"))
    rng = np.random.default_rng(3)
    lengths = (9, 17, 5, 12, 30)
    drawn = [tuple(int(t) for t in rng.integers(0, VOCABULARY - 1, n)) for n in (7, *lengths)]
    prompts = [Prompt(f"p{i}", tokens, 40) for i, tokens in enumerate(drawn)]
    recorder = Recorder(stage="load")
    with LlamacppBackend().open(llamacpp_job(ascii_model("mixtral"), tmp_path / "server.log")) as engine:
        engine.generate(prompts[:1], 1, Recorder(), lambda _done: None)  # a warm-up, which is in no count
        engine.generate(prompts[1:], 2, recorder, lambda _done: None)
    recorder.write(tmp_path)
    seen = read_observations(tmp_path)
    found = server_metrics(seen)
    assert found["server.prompt_tokens"].value == sum(lengths)
    assert found["server.generated_tokens"].value == 5 * 40
    assert found["server.prefix_cache_hit_share"].value == 0
    counted = found["server.tokens_per_iteration"]
    assert counted.value * counted.n == pytest.approx(sum(lengths) + 5 * 40)
    assert list(server_flags(found, seen.requests, prefix_cache=False)) == []
