"""``report``: a static site of everything that is known, from what is stored."""

from __future__ import annotations

import json
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import click

from replicate.cli import DONE, MISTAKE
from replicate.cli.update_commands import print_unwritten
from replicate.cli.workspace import Workspace, with_workspace
from replicate.errors import UserError
from replicate.text import plural


@click.command(name="report")
@click.option("--serve", is_flag=True, help="Also show it to a browser on this machine, until Ctrl-C.")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="Of --serve; 0 takes a free one."
)
@click.option(
    "--readme",
    type=click.Path(dir_okay=False, path_type=Path),
    default=None,
    help="Only write the overview between the markers of this file.",
)
@with_workspace
def command(workspace: Workspace, serve: bool, port: int, readme: Path | None) -> int:
    """Write a site with every table, claim, run and job as they stand now. Runs nothing.

    It lies in <out>/<scale>/report/ and needs no network: open its index.html.
    """
    from replicate.actions.files import Unwritten, write_overview, write_report

    specs = workspace.specs()
    plan = workspace.plan(sorted(specs.tables), specs)
    store = workspace.store()
    if readme is not None:
        from replicate.judge.finish import Finisher

        finisher = Finisher(plan, store)
        ids = sorted(plan.cells, key=lambda name: (specs.table(name).table.place, name))
        name = workspace.shown(readme)
        changed = write_overview(readme, name, [finisher.finish(table_id) for table_id in ids])
        state = "updated" if changed else "up to date"
        click.echo(json.dumps({"file": str(readme), "state": state}) if workspace.json else f"{name}: {state}")
        return DONE
    unwritten = Unwritten()
    paths = write_report(workspace, plan, store, unwritten)
    if workspace.json:
        facts = {"index": str(paths[0]), "files": len(paths), "damage": store.damage, "unwritten": unwritten.reasons}
        click.echo(json.dumps(facts, indent=1))
    else:
        for damage in store.damage.values():
            click.echo(f"damaged: {damage}", err=True)
        click.echo(f"{workspace.shown(paths[0])}  ({plural(len(paths), 'file')})")
    print_unwritten(unwritten)
    if serve:
        return _show(paths[0].parent, port)
    return MISTAKE if unwritten.reasons else DONE


def _show(folder: Path, port: int) -> int:
    with server(folder, port) as running:
        click.echo(f"http://{HOST}:{running.server_address[1]}/  (Ctrl-C stops)", err=True)
        try:
            running.serve_forever(poll_interval=0.2)
        except KeyboardInterrupt:
            click.echo("stopped", err=True)
    return DONE


HOST = "127.0.0.1"


class _Handler(SimpleHTTPRequestHandler):
    """Answers requests for this machine's own address only: another name for it may be a foreign page's (DNS
    rebinding), which could then read the report."""

    extensions_map = {**SimpleHTTPRequestHandler.extensions_map, ".md": "text/plain", ".tex": "text/plain"}

    def send_head(self) -> Any:
        host = (self.headers.get("Host") or "").rpartition(":")[0]
        if host not in (HOST, "localhost"):
            self.send_error(403, "only for this machine")
            return None
        return super().send_head()

    def list_directory(self, path: Any) -> Any:
        self.send_error(404)

    def end_headers(self) -> None:
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        super().end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        return


def server(folder: Path, port: int) -> ThreadingHTTPServer:
    """A server of ``folder``, bound and not yet running; port 0 takes a free one. Raises UserError."""
    try:
        return ThreadingHTTPServer((HOST, port), partial(_Handler, directory=str(folder)))
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UserError(
            f"the report cannot be served at port {port}: {reason}\n  name another port with --port N"
        ) from error
