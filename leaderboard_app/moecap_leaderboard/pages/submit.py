"""Sending a result from the browser: what the rules say of it before it is sent, and then."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from shlex import quote
from typing import Any

import gradio as gr

from moecap.report.markup import Html, element, folded, join, paragraph
from moecap_leaderboard.dropped import Dropped, read_dropped
from moecap_leaderboard.pages.admission import admitted, guarded
from moecap_leaderboard.pages.context import PageContext
from moecap_leaderboard.pages.events import on, on_open
from moecap_leaderboard.pages.look import html_block, page_head
from moecap_leaderboard.pages.result_record import command_line
from moecap_leaderboard.pages.submit_verdict import received, verdict
from moecap_leaderboard.pages.upload_room import KEPT_S
from moecap_leaderboard.problems import ProblemError
from moecap_leaderboard.reception import repeated
from moecap_leaderboard.reports import submission_report
from moecap_leaderboard.service import Service
from moecap_leaderboard.tables import Submission

__all__ = ["IN_NAVIGATION", "PATH", "TITLE", "build", "token_box"]

TITLE = "Submit"
PATH = "/submit"
IN_NAVIGATION = True

_LEAD = (
    "Drop the archive of a run directory. The rules say what would become of it before anything is sent; every number "
    "is recomputed from the observations."
)
_KEPT = (
    "Of an archive, result.json and the observation files that it names go on; everything else is dropped here. "
    "samples.jsonl (prompts and answers) goes on only where you say so. A check stores nothing: the upload waits for "
    "Send and is deleted within 20 minutes."
)


def build(context: PageContext) -> None:
    """The page."""
    html_block(page_head(TITLE, _LEAD))
    with gr.Row(elem_classes="doing"):
        with gr.Column(elem_classes="ask"):
            dropped = gr.File(
                label="Run: zip, tar or tar.gz of its directory",
                file_count="multiple",
                file_types=[".zip", ".tar", ".gz", ".tgz", ".json"],
                elem_id="run",
            )
            dropped.preprocess = _paths
            token = token_box("submit")
            samples = gr.Checkbox(False, label="Send samples.jsonl too (prompts and answers become public)")
            original = gr.Textbox(label="Id of the result that this run repeats (optional)", max_length=64)
            with gr.Row():
                check = gr.Button("Check", elem_id="check")
                send = gr.Button("Send", variant="primary", elem_id="send")
            html_block(folded("What is kept", paragraph(_KEPT), class_="how"))
        with gr.Column(elem_classes="answer"):
            place = html_block(_waiting(), id="verdict")
            html_block(element("h2", "The same from a terminal"))
            commands = html_block("", id="commands")
    inputs = [dropped, token, samples, original]
    on(check.click, _checked(context.service), inputs, place)
    on(send.click, _sent(context.service), inputs, [place, dropped])

    def opened(request: gr.Request) -> str:
        return _commands(str(request.request.base_url).rstrip("/"))

    on_open(opened, None, commands)


def token_box(scope: str) -> Any:
    """Where a key of the leaderboard is entered."""
    return gr.Textbox(
        label=f"Token with the scope {scope}",
        type="password",
        placeholder="moecap_\N{HORIZONTAL ELLIPSIS}, from the administrator",
        max_length=200,
        elem_id="token",
        html_attributes=gr.InputHTMLAttributes(autocomplete="off", spellcheck=False),
    )


def _checked(service: Service) -> Callable[..., Html]:
    def check(paths: Sequence[str] | None, token: str, samples: bool, original: str, request: gr.Request) -> Html:
        def answer() -> Html:
            caller = admitted(service, token, "submit", request)
            with tempfile.TemporaryDirectory(prefix="moecap-upload-") as folder:
                with service.examiners.place():
                    run = _run(paths, folder, samples)
                given = (run.result, run.archive, caller.owner, repeated(original.strip()))
                return verdict(service.submissions.preview(*given), run.left_out)

        return guarded(answer)[0]

    return check


def _sent(service: Service) -> Callable[..., tuple[Html, Any]]:
    def send(
        paths: Sequence[str] | None, token: str, samples: bool, original: str, request: gr.Request
    ) -> tuple[Html, Any]:
        def answer() -> Html:
            caller = admitted(service, token, "submit", request)
            with tempfile.TemporaryDirectory(prefix="moecap-upload-") as folder:
                with service.examiners.place():
                    run = _run(paths, folder, samples)
                given = (run.result, run.archive, caller.owner, repeated(original.strip()))
                sent = service.submissions.submit(*given)
            with service.database.reading() as session:
                report = submission_report(session, session.get_one(Submission, sent.submission))
            return received(report, new=sent.new)

        said, done = guarded(answer)
        for path in (paths or ()) if done else ():
            Path(path).unlink(missing_ok=True)
        return said, None if done else gr.skip()

    return send


def _run(paths: Sequence[str] | None, folder: str, samples: bool) -> Dropped:
    if not paths:
        raise ProblemError("bad-request", "no file was dropped; give the archive of a run directory")
    if not all(Path(path).is_file() for path in paths):
        text = f"the upload has waited for {KEPT_S // 60} minutes and is deleted; drop the run again"
        raise ProblemError("bad-request", text)
    return read_dropped([Path(path) for path in paths], Path(folder), with_samples=samples)


def _paths(files: Any) -> list[str]:
    """Where the files wait that were dropped; Gradio's own reading leaves an empty file behind for each."""
    return [file.path for file in files.root] if files else []


def _waiting() -> Html:
    return element(
        "div",
        element("h2", "Nothing was checked yet"),
        paragraph("Drop a run, enter your token, and press Check: the verdict of each rule stands here."),
        class_="empty",
    )


def _commands(site: str) -> str:
    place = quote(site)
    return join(
        command_line("dry-run-command", f"moecap submit RUN --url {place} --dry-run"),
        command_line("submit-command", f"MOECAP_TOKEN=KEY moecap submit RUN --url {place}"),
        paragraph(
            "The command line also signs the result, once ",
            element("code", "moecap keys new"),
            " and ",
            element("code", f"moecap keys register --url {site}"),
            " have made and registered a key.",
            class_="faint",
        ),
    )
