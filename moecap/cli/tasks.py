"""``moecap tasks``: which accuracy tasks there are."""

from __future__ import annotations

from cyclopts import App

__all__ = ["app"]

app = App(name="tasks", help="Which accuracy tasks there are, and what each needs.")


@app.command(name="list")
def list_tasks(*, json: bool = False) -> None:
    """List the tasks with what they measure and what they need of a backend.

    Args:
        json: Print JSON.
    """
    from moecap.cli.output import print_json, print_table
    from moecap.plugins import TASKS, load_plugin, plugin_names

    tasks = [load_plugin(TASKS, name)() for name in plugin_names(TASKS)]
    if json:
        keys = ("name", "paper", "metric", "title", "source")
        print_json([{k: getattr(t, k) for k in keys} | {"requires": sorted(t.requires)} for t in tasks])
        return
    rows = [(t.name, t.title, t.metric, ", ".join(sorted(t.requires)), t.source, t.paper) for t in tasks]
    print_table(("task", "what it measures", "metric", "needs", "data", "paper"), rows)


@app.command
def show(task: str, /, *, json: bool = False) -> None:
    """Show everything about a task.

    Args:
        task: Its name.
        json: Print JSON.
    """
    from moecap.cli.output import print_json, print_table
    from moecap.tasks.base import load_task
    from moecap.tasks.method import MethodTask

    found = load_task(task)
    facts = {
        "name": found.name,
        "title": found.title,
        "metric": found.metric,
        "requires": sorted(found.requires),
        "paper": found.paper,
        "source": found.source,
        "version": found.version,
        "arguments": list(found.takes),
        "about": " ".join((type(found).__doc__ or "").replace("``", "").split()),
    }
    figures = found.published() if isinstance(found, MethodTask) else ()
    sizes = found.sizes if isinstance(found, MethodTask) else {}
    if json:
        print_json(facts | {"sizes": sizes, "published": [figure.model_dump() for figure in figures]})
        return
    for size, arguments in sizes.items():
        facts[f"size={size}"] = [f"{name}={value}" for name, value in arguments.items()]
    print_table(("", ""), [(k, ", ".join(v) or "none" if isinstance(v, list) else str(v)) for k, v in facts.items()])
    if figures:
        rows = [(f.metric, f.setting, f"{f.value:g} {f.unit}", f.source, f.mark) for f in figures]
        print_table(("published", "setting", "value", "source", "how it is known"), rows)
