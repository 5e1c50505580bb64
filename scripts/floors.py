#!/usr/bin/env python3
"""Holds both halves to their floors: imports run downwards, and none in a circle, neither of files nor of rooms.

usage: floors.py [FOLDER]

A room is a module of src/lib.rs with what lies below it, or a folder of erlang/src; what lies beside them is the roof. The floors
of the Rust rooms are the groups of `pub mod` in src/lib.rs, from the roof down; those of the Erlang rooms are the rows of
the table in docs/architecture.md that begin with `erlang/src/ROOM/`. A row before that of `erlang/src/` is a room on the roof: it is
built on the API, as an application is, and nothing of ours calls it.

What counts as an import, tests left out:
- in Rust a path, in a `use` or in the code, that begins with `crate`, `self`, `super` or a name that a `use` or a `mod`
  brought in. It leads to the file that has the item, also where a module above re-exports it. To declare a module below and to
  re-export its items (`pub use`) is no import; to use them oneself is one.
- in Erlang the name of a module of ours: in a call, a type, a child specification. That of the API's module is the
  application's, too, and counts in a call.
"""

import re
import sys
from pathlib import Path

RUST_NOISE = re.compile(r"""//[^\n]*|/\*.*?\*/|\bb?r(#*)".*?"\1|"(?:\\.|[^"\\])*"|'(?:\\[^']+|[^'\\])'""", re.DOTALL)
ERLANG_NOISE = re.compile(r"""\$\\?.|%[^\n]*|"(?:\\.|[^"\\])*"|^-ifdef\(TEST\).*?^-endif""", re.DOTALL | re.MULTILINE)
USE = re.compile(r"(\bpub(?:\([^)]*\))?\s+)?\buse\s+([^;]+);")


def without_tests(code):
    """Rust code without its items for tests, each up to the brace that closes it, or its semicolon."""
    while mark := re.search(r"#\[cfg\(test\)\]", code):
        end = depth = 0
        for end in range(mark.end(), len(code)):
            depth += {"{": 1, "}": -1}.get(code[end], 0)
            if depth == 0 and code[end] in "};":
                break
        code = code[: mark.start()] + code[end + 1 :]
    return code


def paths(tree):
    """The paths of a `use` tree, each with the name that it brings in."""
    if group := re.fullmatch(r"(.*?)\{(.*)\}", tree.strip(), re.DOTALL):
        parts = re.findall(r"(?:[^,{}]|\{(?:[^{}]|\{(?:[^{}]|\{[^{}]*\})*\})*\})+", group[2])
        return [path for part in parts if part.strip() for path in paths(group[1] + part.strip())]
    path, _, name = tree.partition(" as ")
    segments = [segment.strip() for segment in path.split("::")]
    segments = segments[:-1] if segments[-1] == "self" and len(segments) > 1 else segments
    return [(segments, name.strip() or segments[-1])]


def rust(root):
    """The files' imports, and each one's room and floor."""
    codes = {}
    for file in (root / "src").rglob("*.rs"):
        place = file.relative_to(root / "src").with_suffix("").parts
        module = () if place == ("lib",) else place[:-1] if place[-1] == "mod" else place
        codes[module] = (file.relative_to(root), without_tests(RUST_NOISE.sub('""', file.read_text())))
    scopes, exports = {}, {}
    for module, (_, code) in codes.items():
        scopes[module] = {name: ["self", name] for name in re.findall(r"\bmod\s+(\w+)\s*;", code)}
        scopes[module] |= {name: path for _, tree in USE.findall(code) for path, name in paths(tree)}
        exports[module] = {name: path for public, tree in USE.findall(code) if public for path, name in paths(tree)}

    def land(path, module, seen=()):
        """The module whose file has the item that a path names; None if that is not of this crate."""
        first, rest = path[0], path[1:]
        if first in ("crate", "outrider"):
            at = ()
        elif first in ("self", "super"):
            at = module[: len(module) - (first == "super")]
            while rest[:1] == ["super"]:
                at, rest = at[:-1], rest[1:]
        elif first in scopes[module] and (module, first) not in seen:
            return land(scopes[module][first] + rest, module, seen + ((module, first),))
        else:
            return None
        for index, segment in enumerate(rest):
            if at + (segment,) in codes:
                at += (segment,)
            elif segment in exports[at] and (at, segment) not in seen:
                return land(exports[at][segment] + rest[index + 1 :], at, seen + ((at, segment),)) or at
            else:
                break
        return at

    imports = {}
    for module, (file, code) in codes.items():
        body = USE.sub("", code)
        found = [path.split("::") for path in re.findall(r"\b\w+(?:::\w+)+", body)]
        for public, tree in USE.findall(code):
            for path, name in paths(tree):
                target = land(path, module)
                own = public and target and target[: len(module)] == module and module != target
                if not own or re.search(rf"\b{name}\b", body):
                    found.append(path)
        imports[file] = {codes[target][0] for target in (land(path, module) for path in found) if target and target != module}
    groups = re.findall(r"(?:^pub mod \w+;\n)+", codes[()][1].replace('""\n', ""), re.MULTILINE)
    order = {name: floor for floor, group in enumerate(groups) for name in re.findall(r"mod (\w+)", group)}
    rooms = {file: module[0] if module and module[0] in order else None for module, (file, _) in codes.items()}
    return imports, rooms, order


def erlang(root):
    """The modules' imports, and each one's room and floor."""
    top = root / "erlang" / "src"
    files = {file.stem: file for file in top.rglob("*.erl")}
    page = (root / "docs" / "architecture.md").read_text()
    rows = re.findall(r"^\| `erlang/src/(?:(\w+)/)?`", page, re.MULTILINE)
    roof = rows.index("") if "" in rows else -1
    order = {room: floor - roof - 1 for floor, room in enumerate(rows) if room}
    imports, rooms = {}, {}
    for name, file in files.items():
        code = ERLANG_NOISE.sub('""', file.read_text())
        names = set(re.findall(r"\boutrider_\w+", code)) | set(re.findall(r"\b(outrider):", code))
        imports[file.relative_to(root)] = {files[n].relative_to(root) for n in names & files.keys() - {name}}
        rooms[file.relative_to(root)] = file.parent.name if file.parent != top else None
    return imports, rooms, order


def circles(imports):
    """One shortest circle through each that is in one, as the list of its members from the first by name."""
    found = {}
    for start in sorted(imports):
        paths = [[start]]
        seen = set()
        for path in paths:
            if start in imports.get(path[-1], ()):
                found.setdefault(frozenset(path), path)
                break
            new = sorted(imports.get(path[-1], set()) - seen)
            seen.update(new)
            paths += [path + [name] for name in new]
    return found.values()


def complaints(imports, rooms, order):
    """What is wrong, a line each."""
    for room in sorted({room for room in rooms.values() if room not in order and room}):
        yield f"{room} is a room without a floor"
    floors = {file: order.get(room, -1) for file, room in rooms.items()}
    for file, names in sorted(imports.items()):
        yield from (f"{file} imports {name}, upwards" for name in sorted(names) if floors[name] < floors[file])
    for circle in circles(imports):
        yield "a circle: " + " > ".join(map(str, [*circle, circle[0]]))
    between = {}
    for file, names in imports.items():
        between.setdefault(rooms[file] or "", set()).update({rooms[name] or "" for name in names} - {rooms[file] or ""})
    for circle in circles({room: names for room, names in between.items() if room}):
        yield "a circle of rooms: " + " > ".join([*circle, circle[0]])


def main():
    root = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parent.parent)
    wrong = 0
    for read in rust, erlang:
        imports, rooms, order = read(root)
        lines = list(complaints(imports, rooms, order))
        wrong += len(lines)
        print(*lines, sep="\n", end="\n" if lines else "")
        print(f"floors: {len(imports)} {read.__name__} files on {len(set(order.values()))} floors, {len(lines)} complaints")
    sys.exit(wrong > 0)


if __name__ == "__main__":
    main()
