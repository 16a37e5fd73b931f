"""``moecap keys``: the keys that sign results."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

if TYPE_CHECKING:
    from moecap.publishing.signing import SigningKey

__all__ = ["app"]

app = App(name="keys", help="Signing keys: make one, list them, register one with a leaderboard.")

Json = Annotated[bool, Parameter(name="--json", negative="", help="Print JSON.")]


@app.command
def new(*, name: str = "default", json: Json = False) -> None:
    """Make a key that signs what `moecap submit` sends; its private part stays in a file that you alone may read.

    Args:
        name: Name of the key on this machine; `moecap submit` takes the one that is named default.
        json: Print JSON.
    """
    from moecap.cli.output import remark
    from moecap.publishing.signing import new_key

    key = new_key(name)
    _answer(key, json)
    chosen = "" if name == "default" else f" {name}"
    remark(f"register it, so that what it signs counts as yours: moecap keys register{chosen} --url URL")


@app.command(name="list")
def list_command(*, json: Json = False) -> None:
    """List the keys of this machine with their public parts."""
    from moecap.cli.output import print_json, print_table
    from moecap.publishing.signing import saved_keys

    known = saved_keys()
    if json:
        print_json([_summary(key) for key in known])
    else:
        print_table(("name", "public key", "file"), [(key.name, key.public, str(key.path)) for key in known])


@app.command
def show(name: str = "default", /, *, json: Json = False) -> None:
    """Show the public part of a key.

    Args:
        name: Name of the key.
        json: Print JSON.
    """
    from moecap.publishing.signing import load_key

    _answer(load_key(name), json)


@app.command
def register(name: str = "default", /, *, url: str, token: str | None = None, json: Json = False) -> None:
    """Tell a leaderboard that what a key signs is yours.

    Args:
        name: Name of the signing key.
        url: The leaderboard, such as https://HOST.
        token: Your key to it; MOECAP_TOKEN is safer, which no other user sees.
        json: Print JSON.
    """
    from moecap.cli.board import open_board
    from moecap.cli.output import print_json, print_table
    from moecap.publishing.signing import load_key

    key = load_key(name)
    with open_board(url, token, needed_for="moecap keys register") as board:
        known = board.register(key.public)
    if json:
        print_json(known.model_dump(mode="json"))
    else:
        print_table(("public key", "owner"), [(known.public_key, known.owner)])


def _summary(key: SigningKey) -> dict[str, str]:
    return {"name": key.name, "public_key": key.public, "file": str(key.path)}


def _answer(key: SigningKey, json: bool) -> None:
    from moecap.cli.output import print_json, print_line

    if json:
        print_json(_summary(key))
    else:
        print_line(key.public)
