"""What every mode makes of a run, compared with the files in ``golden``.

UPDATE_GOLDEN=1 writes them anew; a change in them is a change of what users run: read the diff.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from builders.hosts import ALL_PROGRAMS, host
from builders.specs import UNION_ROOT as UNION
from builders.specs import spec
from udocker.engine import ptrace, singularity, table
from udocker.errors import EngineUnavailable, UnsupportedFeature
from udocker.model.features import (
    BARE,
    BY_EMULATOR,
    FILE_MOUNTS,
    HOSTNAME,
    MOVED_MOUNTS,
    MOVED_PORTS,
    NO_NETWORK,
    READ_ONLY_MOUNTS,
    READ_ONLY_ROOT,
    TMPFS,
    UNION_ROOT,
    USER,
)
from udocker.model.launch import WriteFile
from udocker.model.request import Published, Tmpfs
from udocker.model.run import GuestFile, IdMap, Mount, Preload, Root, Tracer, User
from udocker.model.value import replace

if TYPE_CHECKING:
    from typing import Any

    from udocker.model.host import Host
    from udocker.model.launch import Launch
    from udocker.model.run import RunSpec

GOLDEN = Path(__file__).parent / "golden"
UPDATE = os.environ.get("UPDATE_GOLDEN") == "1"
HOST = host(programs=ALL_PROGRAMS)
ANN = User(1000, 1001, "ann", "/home/ann", (44,))
VOLUMES = (Mount("/data", "/mnt/data"), Mount("/data/in", "/mnt/data/in"))

# What is run, and the features that a mode must have for it.
CASES: dict[str, tuple[RunSpec, frozenset[str]]] = {
    "plain-root": (spec(), frozenset()),
    "union-root": (spec(root=UNION), frozenset((UNION_ROOT,))),
    "volumes": (spec(mounts=VOLUMES, cwd="/mnt/data/job"), frozenset((MOVED_MOUNTS,))),
    "read-only-volume": (
        spec(mounts=(Mount("/data", "/mnt/data", True), *VOLUMES[1:])),
        frozenset((READ_ONLY_MOUNTS, MOVED_MOUNTS)),
    ),
    "file-volume": (
        spec(mounts=(Mount("/data/file", "/etc/file", is_dir=False),)),
        frozenset((FILE_MOUNTS, MOVED_MOUNTS)),
    ),
    "optional-volume": (spec(mounts=(Mount("/data", "/data", required=False),)), frozenset()),
    "same-place": (
        spec(mounts=(Mount("/data", "/data"), Mount("/data/x", "/data/x", is_dir=False))),
        frozenset((FILE_MOUNTS,)),
    ),
    "user": (spec(user=ANN), frozenset((USER,))),
    "owners": (spec(owners="/store/owners", image_owners="/store/trees/t/owners"), frozenset()),
    "hostname": (spec(hostname="box"), frozenset((HOSTNAME,))),
    "read-only-root": (spec(readonly=True), frozenset((READ_ONLY_ROOT,))),
    "no-network": (spec(network=False), frozenset((NO_NETWORK,))),
    "ports": (
        spec(ports=(Published(80, 8080), Published(53, 5300, 2, "udp", "::1"))),
        frozenset((MOVED_PORTS,)),
    ),
    "left-out": (spec(system=("/dev",)), frozenset((BARE,))),
    "tmpfs": (
        spec(tmpfs=(Tmpfs("/t", ("size=1", "mode=700")), Tmpfs("/u", (), True, False))),
        frozenset((TMPFS,)),
    ),
    "guest-files": (
        spec(
            files=(
                GuestFile("/etc/hosts", b"127.0.0.1\tlocalhost\n"),
                GuestFile("/etc/shadow", b"\xff\n", 0o600),
            )
        ),
        frozenset(),
    ),
    "terminal": (spec(tty=True), frozenset()),
    "comma": (
        spec(mounts=(Mount('/a,"b', "/a,b"),), env=(("A", "$B `c` \n"), ("HOME", ""))),
        frozenset((MOVED_MOUNTS,)),
    ),
    "system-cwd": (spec(cwd="/proc/self"), frozenset()),
    "emulator": (
        spec(emulators=((183, "/usr/bin/qemu-aarch64-static"),)),
        frozenset((BY_EMULATOR,)),
    ),
    "odd-names": (
        spec(
            argv=("/bin/odd prog", "a=b", "--", "'", "ü"),
            env=(("A B", "x\ny"), ("E", "")),
            cwd="/odd cwd",
            mounts=(Mount("/odd, source", "/odd target ü"),),
        ),
        frozenset((MOVED_MOUNTS,)),
    ),
}
# For modes that feign, to a root with a group of its own, and where there is apt.
FEIGNED = {
    "feigned": spec(feigns=True, user=User(0, 5, "root", "/root")),
    "apt": spec(feigns=True, has_apt=True),
}
# For modes that map many ids, to root and to somebody else.
IDS = IdMap(((0, 1000, 1), (1, 100000, 65536)), ((0, 1001, 1), (1, 5, 6)), ("/bin/u", "/bin/g"))
MAPPED = {"ids": spec(root=UNION, ids=IDS), "ids-user": spec(root=UNION, ids=IDS, user=ANN)}
# For modes that preload: a script, an older loader, and an image that preloads as well.
SCRIPT = spec(
    preload=Preload("/lib/ld.so", "/bin/sh", "/bin/sh", ("-e", "/bin/prog"), ("/lib",), False),
    env=(("LD_PRELOAD", "/lib/a.so b.so"), ("LD_LIBRARY_PATH", "/own:relative:/proc")),
)
# Where the user names a PRoot.
BY_PROOT = replace(HOST, chosen=("proot",))
VOLUME = spec(mounts=(Mount("/data", "/mnt"),))
# For modes with PRoot inside: one that needs nothing but itself.
STATIC = spec(tracer=Tracer("proot", files=(("proot", "/opt/proot"),)))
DYNAMIC = spec()
# A name of bytes that are not UTF-8, and a mode that cannot pass it on.
BYTES = spec(argv=("/bin/\udcff", "\udcfe"), mounts=(Mount("/\udcfd", "/\udcfc"),))
UTF8_ONLY = ("R1", "R2", "R3", "S1")
# Modes that pass variables on by a shell.
SHELL_NAMES = ("S1",)
HOSTS: dict[str, Host] = {
    "host-root": replace(HOST, uid=0, gid=0),
    "crun": replace(HOST, programs=ALL_PROGRAMS[1:]),
    "singularity": replace(HOST, programs=(("singularity", "/opt/singularity"),)),
    "no-namespaces": replace(HOST, max_user_namespaces=0),
    "bare-host": replace(HOST, programs=(), shared=()),
}


def goldens() -> dict[str, tuple[str, RunSpec, Host]]:
    """File name -> mode, run, host: all that a mode's features allow."""
    found = {}
    for mode in table.MODES:
        for case, (run, needed) in CASES.items():
            if needed <= mode.engine.FEATURES and (
                case != "odd-names" or mode.name not in SHELL_NAMES
            ):
                found[f"{mode.name}-{case}"] = (mode.name, run, HOST)
        if mode.name not in UTF8_ONLY:
            found[f"{mode.name}-bytes"] = (mode.name, BYTES, HOST)
        if mode.feigns:
            found.update(
                {f"{mode.name}-{case}": (mode.name, run, HOST) for case, run in FEIGNED.items()}
            )
        if mode.maps:
            found.update(
                {f"{mode.name}-{case}": (mode.name, run, HOST) for case, run in MAPPED.items()}
            )
        if mode.preloads:
            found[f"{mode.name}-script"] = (mode.name, SCRIPT, HOST)
        if mode.engine is ptrace:
            found[f"{mode.name}-proot"] = (mode.name, VOLUME, BY_PROOT)
        if mode.nests:
            found[f"{mode.name}-proot"] = (mode.name, DYNAMIC, BY_PROOT)
            found[f"{mode.name}-static"] = (mode.name, STATIC, BY_PROOT)
        for case, other in HOSTS.items():
            if case in ("singularity", "no-namespaces") and mode.engine is not singularity:
                continue
            found[f"{mode.name}-{case}"] = (mode.name, spec(), other)
    return found


def shown(launch: Launch) -> dict[str, Any]:
    """A launch as JSON that people can read."""
    return {
        "argv": list(launch.argv),
        "env": [f"{name}={text}" for name, text in launch.env],
        "cwd": launch.cwd,
        "steps": [_step(step) for step in launch.steps],
        "undo": [_step(step) for step in launch.undo],
        "go_betweens": launch.go_betweens,
        **({"pid_file": launch.pid_file} if launch.pid_file else {}),
    }


def _step(step: Any) -> dict[str, Any]:
    values = {name: getattr(step, name) for name in step._fields}
    fields = {name: list(v) if isinstance(v, tuple) else v for name, v in values.items()}
    for name in fields.keys() & {"mode"}:
        fields[name] = oct(fields[name])
    ids = fields.pop("ids", None)
    if ids is not None:
        rows = {name: getattr(ids, name) for name in ids._fields}
        fields["ids"] = json.loads(json.dumps(rows))
    content = fields.get("content")
    if content is not None:
        is_config = fields["path"].endswith("/config.json")
        text = content.decode("utf-8", "surrogateescape")
        fields["content"] = json.loads(text) if is_config else text
    return {"step": type(step).__name__, **fields}


@pytest.mark.parametrize("name", goldens())
def test_launch(name: str) -> None:
    mode, run, on = goldens()[name]
    found = shown(table.find(mode).engine.launch(run, on, mode))
    path = GOLDEN / f"{name}.json"
    if UPDATE:
        path.write_text(json.dumps(found, indent=1) + "\n", encoding="ascii")
    assert found == json.loads(path.read_text(encoding="ascii"))


def test_every_file_is_used() -> None:
    present = {path.stem for path in GOLDEN.iterdir()}
    if UPDATE:
        for name in present - goldens().keys():
            (GOLDEN / f"{name}.json").unlink()
    else:
        assert present == goldens().keys()


@pytest.mark.parametrize("mode", table.names())
def test_every_mode_has_files(mode: str) -> None:
    assert len(list(GOLDEN.glob(f"{mode}-*.json"))) >= 4


@pytest.mark.parametrize("mode", table.names())
def test_planning_changes_nothing_and_is_repeatable(mode: str) -> None:
    engine = table.find(mode).engine
    assert engine.launch(spec(), HOST, mode) == engine.launch(spec(), HOST, mode)


@pytest.mark.parametrize("name", [name for name in goldens() if name.startswith("F4-")])
def test_f4_is_another_name_of_f3(name: str) -> None:
    """So the end-to-end tests of all modes run one of them."""
    _, run, on = goldens()[name]
    engine = table.find("F4").engine
    assert engine.launch(run, on, "F4") == engine.launch(run, on, "F3")


@pytest.mark.parametrize("mode", UTF8_ONLY)
@pytest.mark.parametrize("name", ["argv", "mounts"])
def test_bytes_are_refused_where_they_would_be_changed(mode: str, name: str) -> None:
    run = spec(**{name: getattr(BYTES, name)})
    with pytest.raises(UnsupportedFeature, match=f"mode {mode} passes on UTF-8 only"):
        table.find(mode).engine.launch(run, HOST, mode)


def test_a_volume_at_etc_is_not_for_apptainer() -> None:
    with pytest.raises(UnsupportedFeature, match="mode S1 cannot show a volume at /etc"):
        table.find("S1").engine.launch(spec(mounts=(Mount("/data", "/etc"),)), HOST, "S1")


@pytest.mark.parametrize("mode", SHELL_NAMES)
@pytest.mark.parametrize(
    ("variable", "message"),
    [
        (("A B", ""), "variables that a shell can have, and not 'A B'"),
        (("1", ""), "and not '1'"),
        (("ü", ""), "and not 'ü'"),
        (("", ""), "and not ''"),
        (("A", "\udcff"), "passes on UTF-8 only"),
    ],
)
def test_variables_that_no_shell_has_are_refused(
    mode: str, variable: tuple[str, str], message: str
) -> None:
    """One of them, and it would pass on none."""
    with pytest.raises(UnsupportedFeature, match=message):
        table.find(mode).engine.launch(spec(env=(variable,)), HOST, mode)


@pytest.mark.parametrize("mode", ["P1", "P2"])
@pytest.mark.parametrize(
    "changes",
    [
        {"mounts": (Mount("/a:b", "/x"),)},
        {"mounts": (Mount("/a", "/x:y"),)},
        {"directory": "/st:ore/c", "files": (GuestFile("/etc/hosts", b""),)},
    ],
)
def test_proot_cannot_bind_a_path_with_a_colon(mode: str, changes: dict[str, Any]) -> None:
    """It would take what follows for the target, and bind something else."""
    with pytest.raises(UnsupportedFeature, match="PRoot cannot bind a path with a colon: /"):
        table.find(mode).engine.launch(spec(**changes), BY_PROOT, mode)


@pytest.mark.parametrize("mode", ["P1", "P2"])
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"root": UNION}, "a directory of its own"),
        ({"mounts": (Mount("/a", "/a", readonly=True),)}, "PRoot cannot make read-only volumes"),
        ({"emulators": ((183, "/q"),)}, "PRoot starts no programs of other machines"),
        ({"ports": (Published(80, 8080),)}, "PRoot shows ports by the numbers that they have"),
    ],
)
def test_what_only_the_tracer_of_udocker_can(
    mode: str, changes: dict[str, Any], message: str
) -> None:
    assert table.find(mode).engine.launch(spec(**changes), HOST, mode).argv
    with pytest.raises(UnsupportedFeature, match=message):
        table.find(mode).engine.launch(spec(**changes), BY_PROOT, mode)


@pytest.mark.parametrize(
    "changes",
    [
        {"mounts": (Mount("/a:b", "/a:b"),)},
        {"mounts": (Mount("/a;b", "/a;b"),)},
        {"root": Root("/st:ore/c/ROOT")},
    ],
)
def test_libfakechroot_takes_no_path_with_a_colon(changes: dict[str, Any]) -> None:
    with pytest.raises(UnsupportedFeature, match="no path with a colon or semicolon: /"):
        table.find("F1").engine.launch(spec(**changes), HOST, "F1")


def test_more_volumes_than_libfakechroot_has_room_for() -> None:
    mounts = tuple(Mount(f"/mnt/{number}", f"/mnt/{number}") for number in range(96))
    assert table.find("F1").engine.launch(spec(mounts=mounts[:95]), HOST, "F1").argv
    with pytest.raises(UnsupportedFeature, match="96 volumes: libfakechroot has room for 95"):
        table.find("F1").engine.launch(spec(mounts=mounts), HOST, "F1")


@pytest.mark.parametrize("mode", ["R2", "R3"])
def test_without_a_proot_for_the_inside(mode: str) -> None:
    with pytest.raises(EngineUnavailable, match="there is no PRoot for the inside"):
        table.find(mode).engine.launch(spec(tracer=None), BY_PROOT, mode)


@pytest.mark.parametrize("mode", ["F2", "F3"])
def test_more_volumes_than_the_in_process_engine_has_room_for(mode: str) -> None:
    mounts = tuple(Mount("/data", f"/mnt/{number}") for number in range(254))
    assert table.find(mode).engine.launch(spec(mounts=mounts[:253]), HOST, mode).argv
    with pytest.raises(UnsupportedFeature, match="254 volumes: the F modes have room for 253"):
        table.find(mode).engine.launch(spec(mounts=mounts), HOST, mode)


@pytest.mark.parametrize("mode", ["F3", "P1", "R2"])
def test_more_ports_than_the_engine_has_room_for(mode: str) -> None:
    ports = tuple(Published(number, 9000 + number) for number in range(1, 66))
    assert table.find(mode).engine.launch(spec(ports=ports[:64]), HOST, mode).argv
    with pytest.raises(UnsupportedFeature, match=r"65 ports are redirected: .* 64$") as told:
        table.find(mode).engine.launch(spec(ports=ports), HOST, mode)
    assert "ranges" in str(told.value.hint)


@pytest.mark.parametrize("mode", ["R2", "R3"])
def test_proot_inside_redirects_no_ports(mode: str) -> None:
    changes = {"tracer": Tracer("proot"), "ports": (Published(80, 8080),)}
    with pytest.raises(UnsupportedFeature, match="PRoot shows ports by the numbers"):
        table.find(mode).engine.launch(spec(**changes), BY_PROOT, mode)


def test_two_files_of_one_content_have_two_places() -> None:
    """Their modes may differ."""
    files = (GuestFile("/etc/a", b"x"), GuestFile("/etc/b", b"x", 0o600), GuestFile("/etc/a", b"y"))
    for mode in table.names():
        if mode == "F1":  # it shows the host's own
            continue
        launch = table.find(mode).engine.launch(spec(files=files), HOST, mode)
        places = [step.path for step in launch.steps if isinstance(step, WriteFile)]
        assert len(set(places)) == len(places) >= 3
