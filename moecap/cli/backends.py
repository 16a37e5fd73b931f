"""``moecap backends``: which serving systems can be driven."""

from __future__ import annotations

from cyclopts import App

__all__ = ["app"]

app = App(name="backends", help="Which serving systems can be driven, and what each needs.")


@app.command(name="list")
def list_backends(*, json: bool = False) -> None:
    """List the backends, whether each can be used here, and if not, why and what mends it.

    Args:
        json: Print JSON.
    """
    from moecap.cli.output import print_json, print_table
    from moecap.errors import NotAvailableError
    from moecap.plugins import BACKENDS, load_plugin, plugin_names

    rows = []
    for name in plugin_names(BACKENDS):
        try:
            backend = load_plugin(BACKENDS, name)
            reason, summary = backend.unavailable(), backend.summary
        except NotAvailableError as error:
            reason, summary = str(error), ""
        rows.append({"name": name, "available": reason is None, "reason": reason, "summary": summary})
    if json:
        print_json(rows)
        return
    table = [(r["name"], "yes" if r["available"] else f"no: {r['reason']}", r["summary"]) for r in rows]
    print_table(("backend", "usable here", "what it is"), table)
