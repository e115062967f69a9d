"""Images made for the rules of layers: each a small case, several of them in one image.

Cases that stay in a directory of their own share an image, one layer per number; those about the
root of the tree, or about the bytes of a layer, are images by themselves.
"""

from __future__ import annotations

import copy
import gzip
import os
import random
import subprocess
import tarfile
from collections.abc import Sequence
from pathlib import Path

from unpack.layers import (
    Entry,
    FakeLayer,
    device,
    directory,
    extended,
    fifo,
    file,
    hardlink,
    member,
    raw_header,
    record,
    seal,
    symlink,
    tar,
)

Layers = Sequence[Sequence[Entry]]

LATER = 1_600_000_000
ODD_NAMES = ("new\nline", "caf\xe9", "-rf", ". ", "\u2603 \x1b[2J", os.fsdecode(b"\xe9"), "a\\b")
CAPABILITY = "\1\0\0\2\0\4\0\0\0\0\0\0\0\0\0\0\0\0\0\0"  # cap_net_bind_service+ep


def xattr(name: str, data: str) -> dict[str, dict[str, str]]:
    return {"pax_headers": {f"SCHILY.xattr.{name}": data}}


def _each(make: list[Entry]) -> list[list[Entry]]:
    return [[one] for one in make]


def _replacing() -> tuple[list[Entry], list[Entry]]:
    """Every kind over every other."""

    def kinds(name: str) -> list[list[Entry]]:
        return [
            [file(name, "x", uid=1)],
            [directory(name, uid=2, mode=0o1777), file(f"{name}/in", uid=2)],
            [symlink(name, "../..", uid=3)],
            [fifo(name, uid=4)],
        ]

    lower: list[Entry] = []
    upper: list[Entry] = []
    for low in range(4):
        for high in range(4):
            lower += kinds(f"{low}{high}")[low]
            upper += [(*one,) for one in kinds(f"{low}{high}")[high]]
            for info, _ in upper[-2:]:
                info.mtime = LATER
    return lower, upper


def shared() -> dict[str, Layers]:
    """Name of a case -> entries of its layers, in a directory that is named as the case is."""
    top = directory(".", mtime=5)
    odd = [file(f"d/{name}", name.encode("utf-8", "surrogateescape")) for name in ODD_NAMES]
    found: dict[str, Layers] = {
        "kinds": [
            [
                directory("d", mtime=3, mode=0o750),
                file("d/f", "text", mtime=4, mode=0o640),
                file("d/empty"),
                symlink("d/l", "/d/f", mtime=6),
                symlink("d/dangling", "../" * 30 + "x", mtime=-3),
                hardlink("d/h", "{}/d/f"),
                fifo("d/p", mtime=7),
            ]
        ],
        "modes": [
            [
                *(file(f"f{mode:04o}", "x", mode=mode) for mode in (0, 0o111, 0o444, 0o777)),
                *(
                    file(f"s{mode:04o}", "x", mode=mode)
                    for mode in (0o4755, 0o2755, 0o1644, 0o7777)
                ),
                *(directory(f"d{mode:04o}", mode=mode) for mode in (0, 0o111, 0o555, 0o7777)),
                file("d0000/in", "x", mode=0),
                directory("d0000/deeper", mode=0),
                file("d0000/deeper/in", "x", mode=0o4000),
                fifo("p", mode=0o222),
            ],
            [directory("d0111", mode=0o2700, mtime=LATER), file("d0000/new")],
        ],
        "owners": [
            [
                directory("d", uid=1, gid=2),
                file("f", "x", gid=3, uid=1000),
                symlink("l", "f", uid=5, gid=6),
                fifo("p", uid=65000),
                hardlink("h", "{}/f", uid=99, gid=99),
                file("s", mode=0o6711, uid=7, gid=8),
            ],
            [directory("d"), file("f", "y")],
        ],
        "attributes": [
            [
                file("f", "x", mode=0o444, **xattr("user.note", "hello")),
                directory("d", **xattr("user.note", "dir")),
                file("cap", "x", mode=0o755, **xattr("security.capability", CAPABILITY)),
                file("empty", **xattr("user.empty", "")),
                file("replaced", **xattr("user.note", "old")),
            ],
            [file("replaced", "x"), directory("d", **xattr("user.other", "dir"))],
        ],
        "whiteouts": [
            [file("top"), file("d/e/f"), file("d/e/g"), directory("gone"), file("gone/x/y")],
            [
                *(file(f".wh.{name}") for name in ("top", "gone", "absent")),
                file("d/e/.wh.f"),
                file("d/e/g/.wh.below-a-file"),
            ],
        ],
        "odd": [odd, [file(f"d/.wh.{name}") for name in ODD_NAMES[::2]]],
        "absent": [[file("f")], [file("new/.wh.y", mtime=9), file("other/.wh..wh..opq")]],
        "opaque": [
            [top, directory("o", uid=3), file("o/f", "old"), file("o/g/h"), file("p/f", "old")],
            [directory("o", uid=4, mtime=LATER), file("o/.wh..wh..opq"), file("o/f", "new")],
            [directory("p"), file("p/x/y", "new"), file("p/.wh..wh..opq"), file("p/z")],
        ],
        "opaque-twice": [
            [file("o/a/b")],
            [directory("o"), directory("o/a"), file("o/a/.wh..wh..opq"), file("o/.wh..wh..opq")],
            [directory("o"), directory("o/a"), file("o/a/c")],
        ],
        "back": [[file("f", "1")], [file(".wh.f")], [file("f", "2")], [file(".wh.f")]],
        "replacing": _replacing(),
        "dev": [
            [directory("dev"), file("dev/f", "kept"), file("opt/dev/file", "kept"), file("x/dev")],
            [file("dev/g"), file("opt/dev/.wh.file")],
        ],
        "links": [
            [
                file("a", "x", uid=7),
                *(hardlink(f"a{n}", "{}/a") for n in range(5)),
                symlink("l", "a"),
                hardlink("m", "{}/l"),
                fifo("p"),
                hardlink("q", "{}/p"),
                file("setuid", "x", mode=0o4755),
                hardlink("setuid-too", "{}/setuid"),
            ],
            [file("a1", "replaced"), file(".wh.a2"), symlink("a3", "a"), directory("a4")],
        ],
        "link-over": [
            [file("a", "x"), file("b", "y")],
            [file("a", "new"), hardlink("b", "{}/a")],
        ],
        "directory-over-link": [
            [directory("usr/lib"), file("usr/lib/a"), symlink("lib", "usr/lib", mtime=3)],
            [directory("lib", mode=0o700, mtime=4), file("lib/b")],
        ],
        "times": [
            [directory("a", mtime=1), directory("a/b", mtime=2), file("a/b/x"), file("a/y")],
            [directory("a", mtime=3), directory("a/b", mtime=2), file("a/b/z"), file("a/.wh.y")],
            [file("old", mtime=0), file("fine", mtime=1.25), file("older", mtime=-5)],
        ],
        "whiteout-like": [[file("a.wh.b"), file(".wh"), file(".WH.a"), file("d.wh./x")]],
    }
    return {name: _placed(name, layers) for name, layers in found.items()}


def _placed(name: str, layers: Layers) -> Layers:
    for number, entries in enumerate(layers):
        named = {info.name for info, _ in entries}
        for info, _ in entries:
            info.name = f"{name}/{info.name}" if info.name != "." else name
            if info.type == tarfile.LNKTYPE:
                info.linkname = info.linkname.format(name)
        if "." not in named:
            entries.insert(0, directory(name, mtime=number))  # type: ignore[attr-defined]
    return layers


def together(cases: dict[str, Layers], format: int = tarfile.PAX_FORMAT) -> list[bytes]:
    """The archives of an image that has all of ``cases``."""
    count = max(map(len, cases.values()))
    archives = []
    for number in range(count):
        entries = [e for layers in cases.values() for e in list(layers)[number : number + 1]]
        everything = [one for entries in entries for one in entries]
        archives.append(tar(directory("./", mtime=number + 1), *everything, format=format))
    return archives


def alone() -> dict[str, list[FakeLayer | bytes]]:
    """Name of a case -> the layers of an image."""
    lower = tar(directory("./", mode=0o711, mtime=3, uid=1), file("a", "1"), file("d/e", "2"))
    small = tar(directory("./", mtime=4), file("b"))
    halves = [small[:700], small[700:]]
    again = [
        file("f", "first, longer", uid=1, mode=0o4755),
        file("f", "last"),
        symlink("l", "a"),
        symlink("l", "b"),
        fifo("p"),
        file("p", "no pipe"),
        directory("d", uid=1, mtime=3),
        file("d/f"),
        directory("d", mode=0o711, mtime=4),
        file("b", "x"),
        hardlink("b", "f"),
    ]
    return {
        "twice": [tar(directory("./"), *again)],
        "link-below": [lower, tar(directory("./"), hardlink("b", "a"))],
        "link-to-replaced": [lower, tar(directory("./"), hardlink("b", "a"), file("a", "new"))],
        "link-to-hidden": [lower, tar(directory("./"), hardlink("b", "a"), file(".wh.a"))],
        "parent-is-a-link": [
            tar(directory("./"), directory("usr"), symlink("lib", "usr"), file("lib/f", "x"))
        ],
        "only-on-the-way": [
            tar(directory("./"), directory("tmp", mode=0o1777, uid=2, mtime=3)),
            tar(directory("./"), file("tmp/f")),
        ],
        "through-a-lower-link": [
            tar(directory("./"), directory("usr", mtime=4), symlink("lib", "usr")),
            tar(directory("./"), file("lib/f", "x")),
        ],
        "whiteout-of-link": [
            tar(directory("./"), directory("d"), file("d/f"), symlink("l", "d")),
            tar(directory("./"), file("l/.wh.f")),
        ],
        "whiteout-first": _beside_its_whiteout(1),
        "whiteout-last": _beside_its_whiteout(-1),
        "root-whiteouts": [
            lower,
            tar(directory("./", mtime=4), file("./.wh.a"), file(".wh.d"), file("./b")),
        ],
        "root-opaque": [lower, tar(directory("./", mtime=4), file("./b"), file(".wh..wh..opq"))],
        "empty-layers": [bytes(1024), lower, bytes(1024), bytes(10240), small],
        "root-mode": [tar(directory("./", mode=0o2750, uid=3, mtime=9), file("f"))],
        "gzip-members": [FakeLayer(b"".join(map(gzip.compress, halves)), small)],
        "garbage-after": [
            FakeLayer(gzip.compress(small + b"garbage" * 100), small + b"garbage" * 100)
        ],
        "deep": [tar(directory("./"), *_deep())],
        "no-end": [tar(directory("./", mtime=4), file("b"), end=False)],
    }


def _deep() -> list[Entry]:
    """A path that is nearly as long as the system takes; the peers' own comes before it."""
    parts = ["n" * 249 + str(number) for number in range(10, 25)]
    above = ["/".join(parts[:length]) for length in range(1, 16)]
    name = f"{above[-1]}/{'x' * 30}"
    return [*(directory(path, mtime=len(path)) for path in above), file(name, "deep")]


def _beside_its_whiteout(order: int) -> list[FakeLayer | bytes]:
    top = directory("./")
    entries = [file("d/.wh.f"), file("d/f", "new"), file("d/g")]
    return [
        tar(top, directory("d"), file("d/f", "old")),
        tar(top, directory("d", mtime=LATER), *entries[::order]),
    ]


def formats() -> dict[str, list[FakeLayer | bytes]]:
    """Archives of every age."""
    top = directory("./", mtime=4)
    long = "long/" * 40 + "n" * 90
    found: dict[str, list[FakeLayer | bytes]] = {}
    plain = [top, directory("d", mtime=2), file("d/f", "text"), symlink("d/l", "f")]
    found["ustar"] = [tar(*plain, file("p" * 90 + "/" + "n" * 95), format=tarfile.USTAR_FORMAT)]
    found["gnu"] = [
        tar(
            *plain,
            file(long),
            symlink("l", "t" * 300),
            file("n", mtime=1 << 33),
            format=tarfile.GNU_FORMAT,
        )
    ]
    found["v7"] = [
        b"".join(
            [
                member(*top),
                seal(raw_header(name=b"d/", kind=b"\0", magic=bytes(8), mode=b"0000755\0")),
                seal(raw_header(name=b"d/f", kind=b"\0", magic=bytes(8), size=b"00000000001\0")),
                b"x".ljust(512, b"\0"),
            ]
        )
    ]
    found["pax"] = [
        tar(top, file(long, "x"), file("m", mtime=1_234_567_890.25))[:-1024]
        + extended(record(b"path", b"from-pax") + record(b"comment", b"no matter"))
        + seal(raw_header(name=b"other"))
        + extended(record(b"mtime", b"1500000000"), b"g")
        + seal(raw_header(name=b"global"))
    ]
    return found


def sparse(place: Path) -> dict[str, list[FakeLayer | bytes]]:
    """A file with holes, in every way of GNU tar; made in ``place``."""
    (place / "d").mkdir(parents=True)
    for number, pieces in enumerate((0, 1, 4, 5, 60)):
        with (place / "d" / ("holes" * 25 + str(number))).open("wb") as stream:
            for piece in range(pieces):
                stream.seek((2 * piece + 1) << 14)
                stream.write(b"%d" % piece)
            stream.truncate((2 * pieces + 2) << 14)
    for path in (place / "d", place):
        os.utime(path, (7, 7))
    ways = [
        ["gnu"],
        ["oldgnu"],
        *(["posix", f"--sparse-version={v}"] for v in ("0.0", "0.1", "1.0")),
    ]
    found: dict[str, list[FakeLayer | bytes]] = {}
    for format, *more in ways:
        command = ["tar", "-c", "-S", "-C", str(place), f"--format={format}", *more, "--owner=0"]
        data = subprocess.run([*command, "--group=0", "."], check=True, capture_output=True).stdout
        found["-".join(["sparse", format, *(m[-3:] for m in more)])] = [data]
    return found


def histories(count: int, layers: int, seed: int) -> list[bytes]:
    """Archives of an image of many small trees that change at random from layer to layer."""
    noise = random.Random(seed)
    archives = [[directory("./", mtime=layer)] for layer in range(layers)]
    for number in range(count):
        tree: dict[str, Entry] = {}
        for layer in range(layers):
            before, tree = tree, _changed(tree, noise, layer)
            archives[layer] += [
                (_moved(info, str(number)), content)
                for info, content in _difference(before, tree, noise)
            ]
            archives[layer].insert(1, directory(str(number), mtime=layer))
    return [tar(*entries) for entries in archives]


def _changed(tree: dict[str, Entry], noise: random.Random, layer: int) -> dict[str, Entry]:
    tree = dict(tree)
    for change in range(noise.randrange(2, 6)):
        parts = [noise.choice("abc") for _ in range(noise.randrange(1, 4))]
        path = "/".join(parts)
        for other in [p for p in tree if p == path or p.startswith(f"{path}/")]:
            del tree[other]
        if noise.random() < 0.25:
            continue
        for depth in range(1, len(parts)):
            above = "/".join(parts[:depth])
            if above not in tree or not tree[above][0].isdir():
                tree[above] = directory(above, mtime=layer, mode=0o700 + depth)
        said = {"mtime": 10 * layer + change, "uid": noise.randrange(3), "gid": noise.randrange(2)}
        mode = noise.choice([0o644, 0o4755, 0o1711, 0])
        tree[path] = noise.choice(
            [
                file(path, f"{layer} {change}", mode=mode, **said),
                file(path, f"{layer} {change}", mode=mode, **said),
                directory(path, mode=mode, **said),
                symlink(path, noise.choice(["a", "../b", "/c"]), **said),
                fifo(path, mode=mode, **said),
            ]
        )
    return tree


def _difference(
    before: dict[str, Entry], after: dict[str, Entry], noise: random.Random
) -> list[Entry]:
    """What makes ``after`` of ``before``: layer.md of the OCI image specification.

    All directories are named on the way, since builders do so, and podman needs it.
    """
    changed = {path for path in after if before.get(path) is not after[path]}
    for path in before:
        parent = path.rpartition("/")[0]
        if path not in after and (not parent or (parent in after and after[parent][0].isdir())):
            changed.add(f"{parent}/.wh.{path.rpartition('/')[2]}".lstrip("/"))
    for path in list(changed):
        while path := path.rpartition("/")[0]:
            changed.add(path)
    entries = [after.get(path) or file(path) for path in sorted(changed)]
    if noise.random() < 0.5:  # files in any order, directories first
        noise.shuffle(entries)
        entries.sort(key=lambda entry: (not entry[0].isdir(), entry[0].name.count("/")))
    return entries


def _moved(info: tarfile.TarInfo, top: str) -> tarfile.TarInfo:
    moved = copy.copy(info)
    moved.name = f"{top}/{info.name}"
    return moved


def device_nodes() -> list[bytes]:
    return [tar(directory("./"), device("dev/null", 1, 3, uid=4), device("d/x", 7, 8), file("f"))]
