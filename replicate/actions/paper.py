"""A paper: a folder of specs and where its results and files lie; all that commands and notebooks do begins here."""

from __future__ import annotations

import gc
import os
import shlex
import socket
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from replicate.errors import UnknownName, UserError
from replicate.specs import SCALE, SEEDS

# Whatever pydantic, numpy or pandas stand behind is imported when it is needed: the help of a command, completion and
# `import replicate` must answer at once (0.05 s, against 0.3 s with all of them).
if TYPE_CHECKING:
    from pandas import DataFrame

    from replicate.backends.backend import Backend, Reporter
    from replicate.backends.slurm.backend import Slurm
    from replicate.backends.slurm.profile import Profile
    from replicate.figures.model import Figure
    from replicate.judge.table import Table
    from replicate.plan.cells import Plan
    from replicate.plan.graph import Graph
    from replicate.specs.load import Specs
    from replicate.specs.scale import Scale
    from replicate.store.store import Store


@dataclass(frozen=True, slots=True)
class Paper:
    """Specs, stored results and rendered files of one paper, at one scale and for some seeds. See `open_paper`."""

    root: Path
    """The repository."""
    tables: Path
    """The folder of the specs."""
    results: Path
    out: Path
    scale: str = SCALE
    seeds: tuple[int, ...] = SEEDS
    workers: int | None = None
    """Processes at once; None is what `replicate.backends.devices.at_once` makes of it."""
    gpus: tuple[str, ...] = ()
    """The GPUs of this machine that jobs use; none is all."""
    ranks: int | None = None
    """Processes that share each training; None is one, and on GPUs more where some would idle."""
    released: bool = False
    """Published weights are read where the scale names some, in place of training."""
    profile: Profile | None = None
    """Of the cluster to use; None is this machine."""
    given: tuple[str, ...] = ()
    """The options of the command line that open the same paper, as they were typed."""

    @property
    def rendered(self) -> Path:
        """The folder of the files that are rendered."""
        from replicate.specs.load import namespace

        return self.out / namespace(self.scale, self.released)

    def specs(self) -> Specs:
        """Read and check every spec. Raises SpecError with all faults."""
        from replicate.figures.load import load_with_figures
        from replicate.store.result import RESULT

        if not self.tables.is_dir():
            raise UserError(f"{self.tables} is not a folder\n  name the folder of the specs with --tables DIR")
        if self.released and len(self.seeds) > 1:
            raise UserError(
                f"--from released takes one seed, got {','.join(map(str, self.seeds))}\n"
                "  published weights are of one training each; several seeds are for networks that are trained here"
            )
        specs = load_with_figures(self.tables, self.scale, self.released)
        return replace(specs, stored=lambda key: (self.results / key / RESULT).is_file())

    def plan(self, tables: Sequence[str], specs: Specs | None = None) -> Plan:
        """The cells of ``tables`` and the graph of the jobs behind them."""
        from replicate.plan.cells import plan_tables

        plan = plan_tables(specs or self.specs(), tables, self.seeds)
        # It lives as long as the command. Searching 200,000 jobs for garbage takes 0.8 s each time.
        gc.freeze()
        return plan

    def graph(self, table_id: str | None = None) -> Graph:
        """The jobs of one table, or of all tables and figures, with the answers of teachers that they read."""
        from replicate.figures.plan import with_figures
        from replicate.plan.answers import with_answers

        specs = self.specs()
        if table_id is not None:
            graph = self.plan([table_id], specs).graph
        else:
            graph = with_figures(self.plan(specs.ordered, specs))
        return with_answers(graph, specs, self.store())

    def store(self) -> Store:
        from replicate.store.store import Store

        return Store(self.results)

    def backend(self, scale: Scale, reporter: Reporter | None = None) -> Backend:
        """Where jobs run: the cluster that was chosen, else this machine."""
        from replicate.backends.backend import Reporter
        from replicate.backends.local import Local

        if self.profile is not None:
            return self.cluster(reporter)
        return Local(scale, self.workers, reporter or Reporter(), self.gpus, self.ranks)

    def cluster(self, reporter: Reporter | None = None) -> Slurm:
        """The cluster that was chosen. Raises UserError where none was."""
        from replicate.backends.backend import Reporter
        from replicate.backends.slurm.backend import Slurm

        if self.profile is None:
            raise UserError(
                "no cluster is chosen, and this command asks Slurm\n"
                "  name its profile: --cluster NAME (slurm/NAME.toml)"
            )
        return Slurm(self.profile, self.root, reporter or Reporter())

    def call(self, *words: str) -> str:
        """The command line of another command that finds the same things and writes to the same place."""
        seeds = [] if self.seeds == SEEDS else ["--seeds", ",".join(map(str, self.seeds))]
        out = [] if self.out == self.root / "out" else ["--out", str(self.out)]
        return shlex.join(["python", "-m", "replicate", *words, *self.given, *seeds, *out])

    def shown(self, path: Path) -> str:
        """``path`` as short as it can be typed from here."""
        try:
            return str(path.relative_to(Path.cwd()))
        except ValueError:
            return str(path)

    # What a notebook asks for.

    def table(self, table_id: str) -> Table:
        """One table as it stands now. Runs nothing."""
        from replicate.judge.finish import Finisher

        specs = self.specs()
        specs.table(table_id)
        return Finisher(self.plan([table_id], specs), self.store()).finish(table_id)

    def figure(self, figure_id: str) -> Figure:
        """One figure as it stands now: the values behind each of its panels. Runs nothing."""
        from replicate.figures.finish import finish_figure
        from replicate.figures.plan import plan_figure

        return finish_figure(plan_figure(self.specs(), figure_id, self.seeds), self.store())

    def update(
        self,
        table_id: str,
        *,
        train: bool = True,
        retry: bool = False,
        wait: bool = False,
        reporter: Reporter | None = None,
    ) -> Table:
        """Run what one table lacks, as the command ``table`` does, and return the table as it then stands.

        train: False runs only what needs no training that is still to be done. retry: also run again what diverged.
        wait: on a cluster, until nothing is queued any more. reporter: is told of progress.
        """
        from replicate.actions.run_missing import RunOptions, update_tables

        options = RunOptions(train=train, retry=retry, wait=wait)
        return update_tables(self, [table_id], options, reporter).tables[0]

    def draw(self, figure_id: str, formats: Sequence[str] = ("pdf", "png", "svg")) -> list[Path]:
        """Draw one figure as it stands now; its files."""
        from replicate.actions.files import write_figure

        return write_figure(self, self.figure(figure_id), formats)

    def write(self, table_id: str, formats: Sequence[str] = ("tex", "md", "csv", "html", "json")) -> list[Path]:
        """Write one table as it stands now; its files."""
        from replicate.actions.files import write_tables

        return write_tables(self, [self.table(table_id)], formats, f"{table_id}-numbers.tex")

    def cells(self, table_id: str | None = None) -> DataFrame:
        """A row for each number of one table, or of all: ours, the paper's, the verdict."""
        from replicate.actions.frames import cells

        return cells(self, table_id)

    def claims(self, table_id: str | None = None) -> DataFrame:
        """A row for each claim of the paper about one table, or about all, judged on its numbers and on ours."""
        from replicate.actions.frames import claims

        return claims(self, table_id)

    def decisions(self, table_id: str, row: str, column: str) -> DataFrame:
        """A row for each image (and seed) that the number at ``row`` and ``column`` was counted from."""
        from replicate.actions.frames import decisions

        return decisions(self, table_id, row, column)


def open_paper(
    folder: str | Path | None = None,
    *,
    results: str | Path | None = None,
    out: str | Path | None = None,
    scale: str = SCALE,
    seeds: Sequence[int] = SEEDS,
    released: bool = False,
    workers: int | None = None,
    gpus: Sequence[str | int] = (),
    ranks: int | None = None,
    cluster: str | None = None,
) -> Paper:
    """Open a paper. Nothing is run or written, and nothing heavy is imported.

    folder: the specs (a folder with runs.toml and a file for each table); the default is ``tables`` of the
    repository around the current folder. results, out: where stored results and rendered files lie; by default
    ``results`` and ``out`` of the repository. scale: a file of tables/scales. seeds: of the trainings.
    released: read published weights where the scale names some, in place of training. workers: processes at once.
    gpus: those of this machine to use; none is all. ranks: processes that share each training; None is one, and on
    GPUs more where some would idle. cluster: the name of a profile slurm/NAME.toml, or ``local``.
    """
    root = repository()
    profile = find_cluster(cluster, root)
    if profile is not None and (gpus or ranks):
        option = "--gpus" if gpus else "--ranks"
        raise UserError(
            f"{option} is for this machine, and the cluster '{profile.name}' was chosen\n"
            "  there the profile says it (gpus_per_node, ntasks_per_node in [kinds.train]); this machine is --cluster "
            "local"
        )
    shared = Path(profile.paths.shared) if profile else root
    stored = Path(results) if results is not None else shared / "results"
    given = {
        "--scale": scale if scale != SCALE else None,
        "--from": "released" if released else None,
        "--results": results,
        "--tables": folder,
        "--cluster": cluster,
    }
    return Paper(
        root=root,
        tables=Path(folder) if folder is not None else root / "tables",
        results=stored.absolute() if profile else stored,
        out=Path(out) if out is not None else root / "out",
        scale=scale,
        seeds=tuple(seeds),
        workers=workers,
        gpus=tuple(map(str, gpus)),
        ranks=ranks,
        released=released,
        profile=profile,
        given=tuple(part for name, value in given.items() if value is not None for part in (name, str(value))),
    )


def repository() -> Path:
    """The folder with the specs: the nearest one from here upwards, else the one this package lies in."""
    try:
        here = Path.cwd()
    except FileNotFoundError:
        raise UserError("the current folder was deleted\n  change to another one") from None
    for folder in (here, *here.parents):
        if (folder / "tables" / "runs.toml").is_file():
            return folder
    return Path(__file__).resolve().parents[2]


def find_cluster(name: str | None, root: Path) -> Profile | None:
    """The profile of the cluster to use, None for this machine (`replicate.backends.slurm.choose.find_profile`)."""
    from replicate.backends.slurm.choose import find_profile

    if name == "":
        # Of a script whose variable is not set: going on here would train on a login node.
        raise UserError("--cluster is empty (expected the name of a profile)\n  this machine is --cluster local")
    return find_profile(name, root / "slurm", os.environ, socket.gethostname())


def check_name(what: str, name: str, known: Sequence[str]) -> None:
    """Raises UnknownName unless ``name`` is one of ``known``."""
    if name not in known:
        raise UnknownName(what, name, known)
