"""An engine behind HTTP that is not OpenAI's: started, loaded, measured and ended by moecap."""

import json
import sys

from moecap.backend import Backend, EngineInfo
from moecap.load.answers import Answer
from moecap.load.connection import Target
from moecap.load.event_stream import stream_events
from moecap_backends.served import ServedEngine
from moecap_backends.server_process import ServerProcess, free_port


class CountingBackend(Backend):
    """Counts on from the last token of a prompt."""

    name = "counting"
    capabilities = frozenset({"generate"})  # it scores nothing, and tells neither steps nor experts
    summary = "an example of an engine behind HTTP"
    open_loop = True  # requests may come at their own times
    served = True  # several client processes may share the sending

    @classmethod
    def unavailable(cls):
        """Always usable; else the line says what to install."""
        return

    @classmethod
    def check(cls, model, spec, device):
        """Any checkpoint will do; an engine refuses here what it would load wrongly."""

    @classmethod
    def dtype(cls, spec, device, precision, host_flags):
        """The format of the weights, which decides the bytes that a step reads."""
        return "fp32" if precision == "auto" else precision

    def open(self, job):
        """Start the server and wait for it."""
        return CountingEngine(job)


class CountingEngine(ServedEngine):
    """A running server."""

    def __init__(self, job):
        port = free_port()
        target = Target.parse(f"http://127.0.0.1:{port}")
        super().__init__(job, target, "any", 60)
        self._server = ServerProcess(
            "counting",
            [sys.executable, "-m", "moecap_example.counting_server", str(port)],
            variables={},
            log=job.log,
            health=f"http://127.0.0.1:{port}/ready",
            deadline=60,
        )
        self._server.wait_until_ready(job.progress)
        self.info = EngineInfo(
            name="counting",
            version="1.0",
            device=job.device,
            weight_dtype=job.dtype,
            kv_dtype=job.dtype,
            compute_dtype=job.dtype,
            timer="none",  # it records no steps: they are reconstructed from arrivals
            batching="continuous",
            client_chunks_per_second=self.client.chunks_per_second,
            client_processes=self.client.processes,
        )

    def render(self, prompt, key):
        """The whole request of a prompt."""
        body = {"ids": list(prompt.tokens), "tokens": prompt.output_tokens}
        return self.target.request("/count", json.dumps(body).encode())

    def decode(self, reply):
        """What a reply says, with the time of each chunk and the tokens so far."""
        answer = Answer(error=reply.error)
        events, whole = stream_events(reply.reads)
        for time_ns, data in events:
            if data == b"[DONE]":
                answer.output_tokens = len(answer.token_ids)
                return answer
            answer.token_ids.append(json.loads(data)["id"])
            answer.times.append(time_ns)
            answer.kinds.append("content")
            answer.tokens.append(len(answer.token_ids))
        answer.error = answer.error or f"the stream {'ended early' if whole else 'broke off'}"
        return answer

    def score(self, continuations, recorder, done):
        """Not a capability of this engine."""
        raise NotImplementedError

    def close(self):
        """End the server."""
        self._server.stop()
