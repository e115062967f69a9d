"""/etc/ld.so.cache, read and written, against ldconfig of this host."""

from __future__ import annotations

import random
import struct
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from udocker.devices import ldcache
from udocker.devices.ldcache import AARCH64, I386, X86_64, Entry, merge, parse, write

REAL = Path("/etc/ld.so.cache")
LDCONFIG = "/sbin/ldconfig"
ROWS = (
    Entry(b"libz3.so.4", b"/usr/lib/libz3.so.4"),
    Entry(b"libc.so.6", b"/lib/libc.so.6"),
    Entry(b"libc.so.6", b"/lib32/libc.so.6", I386),
)


def listed(path: Path | str) -> list[str]:
    """What ``ldconfig -p`` shows of a cache, without its first and last line."""
    done = subprocess.run([LDCONFIG, "-p", "-C", path], capture_output=True, text=True, check=True)
    return [line.strip() for line in done.stdout.splitlines() if "=>" in line]


def words(entry: Entry) -> tuple[str, str]:
    return entry.name.decode(), entry.path.decode()


def test_the_cache_of_this_host() -> None:
    shown = [(line.split(" ")[0], line.partition(" => ")[2]) for line in listed(REAL)]
    assert [words(entry) for entry in parse(REAL.read_bytes())] == shown


def test_what_is_written_is_what_ldconfig_shows(tmp_path: Path) -> None:
    """In its order, also of entries that came in another one."""
    real = parse(REAL.read_bytes())
    unique = list({(entry.name, entry.flags): entry for entry in real}.values())
    shuffled = list(unique)
    random.Random(7).shuffle(shuffled)
    assert parse(write(shuffled)) == tuple(unique)
    (tmp_path / "cache").write_bytes(write(real))
    assert listed(tmp_path / "cache") == listed(REAL)


def test_flags_as_ldconfig_reads_them(tmp_path: Path) -> None:
    rows = (Entry(b"libx.so.1", b"/a", flags) for flags in (X86_64, I386, AARCH64))
    (tmp_path / "cache").write_bytes(write(rows))
    assert listed(tmp_path / "cache") == [
        "libx.so.1 (libc6,AArch64) => /a",
        "libx.so.1 (libc6,x86-64) => /a",
        "libx.so.1 (libc6) => /a",
    ]


def test_order() -> None:
    """Numbers by their value, above letters; a longer name before its beginning."""
    names = [b"liba.so.10", b"liba.so.9", b"liba.so.1.2", b"liba.so.1", b"liba.so", b"liba-x.so"]
    rows = [Entry(name, b"/" + name) for name in names]
    assert [entry.name for entry in parse(write(sorted(rows, key=lambda e: e.name)))] == names


def test_kinds_of_processors(tmp_path: Path) -> None:
    rows = (
        Entry(b"liba.so.1", b"/lib/v2/liba.so.1", processor=b"x86-64-v2"),
        Entry(b"liba.so.1", b"/lib/v3/liba.so.1", processor=b"x86-64-v3"),
        Entry(b"liba.so.1", b"/lib/liba.so.1"),
    )
    assert parse(write(reversed(rows))) == rows
    (tmp_path / "cache").write_bytes(write(rows))
    assert 'liba.so.1 (libc6,x86-64, hwcap: "x86-64-v3") => /lib/v3/liba.so.1' in listed(
        tmp_path / "cache"
    )


def test_merging() -> None:
    """Ours stand for those of the same name and machine, those of processors included."""
    ours = (Entry(b"libc.so.6", b"/ours"), Entry(b"libnew.so.1", b"/new"))
    image = write((*ROWS, Entry(b"libc.so.6", b"/v3", processor=b"x86-64-v3")))
    merged = parse(merge(image, ours))
    assert set(merged) == {ROWS[0], ROWS[2], *ours}
    assert [words(entry)[1] for entry in merged if entry.name == b"libc.so.6"] == [
        "/ours",
        "/lib32/libc.so.6",
    ]
    assert set(parse(merge(b"", ours))) == set(ours)


@pytest.mark.parametrize(("count", "alignment"), [(0, 8), (1, 8), (2, 8), (1, 4), (3, 4)])
def test_behind_the_old_format(count: int, alignment: int) -> None:
    old = b"ld.so-1.7.0\0" + struct.pack("=I", count) + bytes(12 * count)
    old += bytes(-len(old) % alignment)
    assert parse(old + write(ROWS)) == parse(write(ROWS))
    assert parse(old) == ()


@pytest.mark.parametrize(
    "data",
    [b"", b"\0" * 100, b"text\n" * 50, b"glibc-ld.so.cache1.1", b"ld.so-1.7.0\0", b"ld.so-1.7.0\0"
     + b"\xff" * 50],
)  # fmt: skip
def test_what_is_no_cache(data: bytes) -> None:
    assert parse(data) == ()


def test_where_it_ends_too_early() -> None:
    whole = write((*ROWS, Entry(b"libp.so.1", b"/p", processor=b"x86-64-v2")))
    for size in range(len(whole)):
        assert set(parse(whole[:size])) <= set(parse(whole))


def test_of_the_other_order_of_bytes() -> None:
    data = bytearray(write(ROWS))
    assert data[28] == ldcache._ORDER
    data[28] = 5 - data[28]
    assert parse(bytes(data)) == ()
    data[28] = 0  # before glibc 2.33
    assert parse(bytes(data)) == parse(write(ROWS))


def test_more_entries_than_it_has() -> None:
    data = bytearray(write(ROWS))
    struct.pack_into("=I", data, 20, 0xFFFFFFFF)
    assert parse(bytes(data)) == ()


def test_caches_made_to_take_long() -> None:
    long = b"lib" + b"7" * 4090
    assert [e.name for e in parse(write([Entry(long, b"/x"), ROWS[1]]))] == [long, b"libc.so.6"]
    assert parse(merge(write([Entry(long + b"7" * 9, b"/x"), ROWS[1]]), ())) == (ROWS[1],)
    many = write([ROWS[1]] * ((1 << 17) + 1))
    assert parse(many) == ()


@settings(database=None, deadline=None)
@given(st.binary(max_size=400))
def test_any_bytes(data: bytes) -> None:
    parse(data)
    parse(b"glibc-ld.so.cache1.1" + data)
    parse(b"ld.so-1.7.0\0" + data)
    whole = bytearray(write((*ROWS, Entry(b"libp.so.1", b"/p", processor=b"x86-64-v2"))))
    for at, byte in enumerate(data[: len(whole)]):
        whole[at] ^= byte if at >= 20 else 0
    parse(bytes(whole))
