"""``moecap submit``: send a result to a leaderboard."""

from __future__ import annotations

import dataclasses
import tempfile
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from moecap.client import Submission
    from moecap.publishing.signing import SigningKey
    from moecap.publishing.submission import Manifest

__all__ = ["manifest_lines", "signing_key", "submission_lines", "submit"]


def submit(
    run: Path,
    /,
    *,
    url: str,
    token: str | None = None,
    with_samples: bool = False,
    dry_run: bool = False,
    key: str | None = None,
    reproduces: str | None = None,
    allow: tuple[str, ...] = (),
    json: bool = False,
) -> int:
    """Send a result to a leaderboard, which recomputes it and publishes it, after showing what leaves this machine.

    Nothing goes that holds a host or user name, a home folder, a path, an address of a network or a key: the result is
    verified and every file searched first. Prompts and answers stay here unless you ask.

    Args:
        run: The run directory.
        url: The leaderboard, such as https://HOST.
        token: Your key to it; MOECAP_TOKEN is safer, which no other user sees.
        with_samples: Send prompts and answers (samples.jsonl) too, so that accuracy is recomputed as well.
        dry_run: Show what would leave this machine, and send nothing.
        key: Name of the signing key; the one that is named default signs if there is one (moecap keys new).
        reproduces: Id of the published result that this run repeats.
        allow: A text that looks private and may go all the same; may be repeated.
        json: Print JSON.
    """
    from moecap.cli.board import open_board
    from moecap.cli.output import print_json, print_line, remark
    from moecap.errors import LeaderboardError
    from moecap.publishing.submission import prepare

    signs = signing_key(key)
    board = None if dry_run else open_board(url, token, needed_for="moecap submit")
    with tempfile.TemporaryDirectory(prefix="moecap-") as folder, board or nullcontext():
        package = prepare(run, Path(folder), key=signs, with_samples=with_samples, allowed=allow)
        manifest = dataclasses.asdict(package.manifest)
        lines = manifest_lines(package.manifest, url)
        if board is None:
            if json:
                print_json({"manifest": manifest, "submission": None})
            else:
                print_line("\n".join(lines))
            return 0
        for line in lines:
            remark(line)
        try:
            submission = board.submit(package.result, package.observations, reproduces)
        except LeaderboardError as refused:
            if json and refused.problem:
                print_json({"manifest": manifest, "submission": None, "problem": refused.problem})
            raise
    if json:
        print_json({"manifest": manifest, "submission": submission.model_dump(mode="json")})
    else:
        print_line("\n".join(submission_lines(submission, board.url)))
    return 0 if submission.state in ("published", "pending") else 1


def signing_key(name: str | None) -> SigningKey | None:
    """The key that was asked for, or the default one if there is one; a remark where nothing will be signed.

    Raises:
        NotAvailableError: If there is none of the name that was given.
    """
    from moecap.cli.output import remark
    from moecap.errors import NotAvailableError
    from moecap.publishing.signing import DEFAULT_KEY, load_key

    if name is not None:
        return load_key(name)
    try:
        return load_key(DEFAULT_KEY)
    except NotAvailableError:
        remark("the result goes unsigned; moecap keys new makes a signing key")
        return None


def manifest_lines(manifest: Manifest, url: str) -> list[str]:
    """What leaves this machine, and what does not, one line a file."""
    names = [*(sent.file for sent in manifest.files), *(left.file for left in manifest.left_out)]
    width = max(map(len, names))
    lines = [f"to {url}, {'signed by ' + manifest.signed_by if manifest.signed_by else 'unsigned'}:"]
    lines += [f"  {sent.file:{width}}  {sent.bytes:>13,} bytes  SHA-256 {sent.sha256}" for sent in manifest.files]
    if manifest.left_out:
        lines.append("stays here:")
        lines += [f"  {left.file:{width}}  {left.reason}" for left in manifest.left_out]
    if manifest.not_recomputed:
        lines.append(f"published as stated, since it rests on what stays: {', '.join(manifest.not_recomputed)}")
    return lines


def submission_lines(submission: Submission, url: str) -> list[str]:
    """What became of a submission."""
    lines = [f"{submission.state}: {url}{submission.url or f'/api/v1/submissions/{submission.id}'}"]
    if submission.tier:
        lines.append(f"tier {submission.tier.replace('_', '-')}")
    if not submission.ranked and submission.unranked_because:
        lines.append(f"not in the main ranking: {'; '.join(submission.unranked_because)}")
    lines += [
        f"flagged by {rule.id}: {rule.detail or rule.text}" for rule in submission.rules if rule.outcome == "flagged"
    ]
    return lines
