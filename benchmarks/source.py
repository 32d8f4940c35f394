"""How large the package is and how loosely it is typed, counted in its syntax trees.

    python benchmarks/source.py [FOLDER]

Lines and files, the median length of a file and how many are under 60 lines; `dict[str, Any]` and `Mapping[str, Any]`
(a type alias counts as what it stands for, at each use) and subscripts by a word (`x["word"]`) per 1,000 lines. The
last two should be below 5 and 9: what has a name and a type is checked, a word in brackets is not.
"""

from __future__ import annotations

import argparse
import ast
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parents[1]
LOOSE = frozenset({"dict", "Dict", "Mapping", "MutableMapping", "defaultdict", "OrderedDict"})
SHORT = 60
SHOWN = 10
ROUNDS = 5

Aliases = Mapping[str, int]
"""The aliases that a module sees, and how many loose mappings each stands for."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, default=ROOT / "replicate")
    parser.add_argument("--smallest", action="store_true", help="the same: it takes two seconds")
    folder = parser.parse_args().folder
    rows, most = counts(folder)
    print("| the package | |\n|---|---|")
    for name, value in rows.items():
        print(f"| {name} | {value} |")
    for name, files in most.items():
        shown = ", ".join(f"{path.relative_to(folder)} {count}" for path, count in files.most_common(SHOWN))
        print(f"\nmost {name}: {shown or 'none'}")


def quick(smallest: bool) -> dict[str, str]:
    return counts(ROOT / "replicate")[0]


def counts(folder: Path) -> tuple[dict[str, str], dict[str, Counter[Path]]]:
    """What the table shows, and by file what is to become less."""
    texts = {path: path.read_text(encoding="utf-8") for path in sorted(folder.rglob("*.py"))}
    lengths = [text.count("\n") for text in texts.values()]
    trees = {path: ast.parse(text) for path, text in texts.items()}
    loose = Counter({path: count for path, count in loose_mappings(trees, folder.parent).items() if count})
    words = Counter({path: count for path, tree in trees.items() if (count := word_subscripts(tree))})
    # Checked wherever it is read, so better than Any; but it has no names either.
    opaque = sum(_loose(tree, {}, "object") for tree in trees.values())
    total = sum(lengths)
    rows = {
        "lines": f"{total:,}",
        "files": f"{len(lengths)}",
        "median length of a file": f"{median(lengths):.0f}",
        f"files under {SHORT} lines": f"{sum(length < SHORT for length in lengths)}",
        "`dict[str, Any]` and the like": f"{loose.total()}, {1000 * loose.total() / total:.1f} per 1,000 lines",
        "`dict[str, object]` and the like": f"{opaque}, {1000 * opaque / total:.1f} per 1,000 lines",
        "subscripts by a word": f"{words.total()}, {1000 * words.total() / total:.1f} per 1,000 lines",
    }
    return rows, {"`dict[str, Any]`": loose, "subscripts by a word": words}


def loose_mappings(trees: Mapping[Path, ast.Module], root: Path) -> dict[Path, int]:
    """By file. What an alias stands for is found first, in as many rounds as aliases of aliases need."""
    modules = {".".join(path.relative_to(root).with_suffix("").parts): path for path in trees}
    modules |= {name.removesuffix(".__init__"): path for name, path in modules.items()}
    known: dict[Path, Aliases] = {path: {} for path in trees}
    # Of aliases that stand for themselves (JSON) there would be no last round.
    for _ in range(ROUNDS):
        seen = {
            path: visible(tree, known[path], {name: known[of] for name, of in modules.items()})
            for path, tree in trees.items()
        }
        found: dict[Path, Aliases] = {
            path: {name: count for name, value in definitions(tree) if (count := _loose(value, seen[path]))}
            for path, tree in trees.items()
        }
        if found == known:
            break
        known = found
    return {path: _loose(tree, seen[path]) for path, tree in trees.items()}


def definitions(tree: ast.Module) -> Iterator[tuple[str, ast.expr]]:
    """Names that a module gives to types: ``Name = dict[str, Any]`` (with or without TypeAlias), ``type Name = …``."""
    for node in tree.body:
        match node:
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.Subscript() as value):
                yield name, value
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.BinOp() | ast.Name() as value):
                yield name, value
            case ast.AnnAssign(
                target=ast.Name(id=name), value=ast.expr() as value, annotation=ast.Name(id="TypeAlias")
            ):
                yield name, value
            case _ if type(node).__name__ == "TypeAlias":  # Python 3.12 on
                yield node.name.id, node.value  # type: ignore[attr-defined]


def visible(tree: ast.Module, own: Aliases, modules: Mapping[str, Aliases]) -> Aliases:
    """The aliases that a module defines or imports, by the names that it has for them."""
    found = dict(own)
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (there := modules.get(node.module or "")):
            found |= {one.asname or one.name: there[one.name] for one in node.names if one.name in there}
    return found


def _loose(tree: ast.AST, aliases: Aliases, holds: str = "Any") -> int:
    count = 0
    for node in ast.walk(tree):
        match node:
            case ast.Subscript(value=value, slice=ast.Tuple(elts=[ast.Name(id="str"), ast.Name(id=name)])):
                count += name == holds and _name(value) in LOOSE
            case ast.Name(id=name, ctx=ast.Load()):
                count += aliases.get(name, 0)
    return count


def word_subscripts(tree: ast.Module) -> int:
    """``x["word"]``, but for those of types: ``Literal["word"]``, and annotations that are quoted."""
    types = {id(node) for annotation in annotations(tree) for node in ast.walk(annotation)}
    return sum(
        isinstance(node, ast.Subscript)
        and isinstance(node.slice, ast.Constant)
        and isinstance(node.slice.value, str)
        and _name(node.value) != "Literal"
        and id(node) not in types
        for node in ast.walk(tree)
    )


def annotations(tree: ast.Module) -> Iterable[ast.expr]:
    for node in ast.walk(tree):
        annotation = getattr(node, "annotation", None) or getattr(node, "returns", None)
        if isinstance(annotation, ast.expr):
            yield annotation


def _name(node: ast.expr) -> str:
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""


if __name__ == "__main__":
    main()
