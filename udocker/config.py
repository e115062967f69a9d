"""Settings: defaults < configuration files < environment < command line.

One row of SETTINGS is one setting: it drives the files, the environment, ``showconf`` and the
documentation. The files are those of udocker 1.3, INI with a [DEFAULT] section that may be left
out. A file in the current directory is never read.
"""

from __future__ import annotations

import os

from udocker.errors import ConfigError
from udocker.model.config import Config
from udocker.model.value import value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

_MOST_JOBS = 32


def _text(text: str) -> str:
    text = text.strip()
    quoted = len(text) >= 2 and text[0] == text[-1] and text[0] in "\"'"
    return text[1:-1] if quoted else text


def _word(text: str) -> str:
    word = _text(text)
    if not word:
        raise ValueError("a value is expected")
    return word


def _boolean(text: str) -> bool:
    known = {"true": True, "yes": True, "on": True, "1": True}
    known.update({"false": False, "no": False, "off": False, "0": False, "none": False, "": False})
    try:
        return known[_text(text).lower()]
    except KeyError:
        raise ValueError("true or false is expected") from None


def _number(text: str) -> int:
    try:
        number = int(_text(text))
    except ValueError:
        raise ValueError("a whole number is expected") from None
    if number < 0:
        raise ValueError("a number from 0 on is expected")
    return number


def _positive(text: str) -> int:
    number = _number(text)
    if number == 0:
        raise ValueError("a number from 1 on is expected")
    return number


def jobs(text: str) -> int:
    """How many connections at once; a registry takes more of one client for an attack.

    Raises ValueError.
    """
    try:
        number = int(_text(text))
    except ValueError:
        number = 0
    if not 1 <= number <= _MOST_JOBS:
        raise ValueError(f"a whole number from 1 to {_MOST_JOBS} is expected")
    return number


def _size(text: str) -> int:
    """Bytes; K, M, G and T are powers of 1024."""
    text = _text(text).upper()
    unit = "KMGT".find(text[-1:]) + 1 if text else 0
    try:
        return _number(text[:-1] if unit else text) << 10 * unit
    except ValueError:
        raise ValueError("a number of bytes is expected, like 500M or 20G") from None


def _path(text: str) -> str:
    path = _text(text)
    if path.startswith("~"):
        raise ValueError("~ is not known here: the whole path is expected")
    if "\0" in path:
        raise ValueError("a path has no null character")
    return os.path.abspath(path) if path else ""


def _directory(text: str) -> str:
    return _path(_word(text))


def _directories(text: str) -> tuple[str, ...]:
    paths = tuple(filter(None, _text(text).split(":")))
    for path in paths:
        if not path.startswith("/"):
            raise ValueError("absolute paths with : between them are expected")
    return tuple(_path(path) for path in paths)


def _program(text: str) -> str:
    """A program is never taken from the current directory. 1.3 says UDOCKER for its own."""
    path = _text(text)
    if path.lower() in ("", "none", "udocker"):
        return ""
    if not path.startswith("/"):
        raise ValueError("an absolute path is expected")
    return _path(path)


def _gpus(text: str) -> str:
    word = _word(text).lower()
    if word not in ("auto", "none"):
        raise ValueError("auto or none is expected")
    return word


def _hosts(text: str) -> tuple[str, ...]:
    return tuple(_text(text).replace(",", " ").split())


def _registry(text: str) -> str:
    return _word(_text(text).rpartition("://")[2].rstrip("/"))


def _without_login(url: str) -> str:
    """``url`` without the user and the password that it may hold."""
    scheme, separator, rest = url.rpartition("://")
    return f"{scheme}{separator}{rest.rpartition('@')[2]}"


@value
class Setting:
    """A field of Config: its keys in files (the first is printed) and environment variables."""

    field: str
    keys: tuple[str, ...]
    variables: tuple[str, ...]
    parse: Callable[[str], Any]
    help: str
    separator: str = " "
    show: Callable[[str], str] = str


SETTINGS = (
    Setting(
        "topdir", ("topdir",), ("UDOCKER_DIR",), _directory,
        "where images and containers are kept",
    ),
    Setting(
        "repos", ("repos",), ("UDOCKER_REPOS",), _directories,
        "stores in which images are looked for that the own one lacks: only read, in this order",
        ":",
    ),
    Setting(
        "execution_mode",
        ("default_execution_mode", "override_default_execution_mode"),
        ("UDOCKER_DEFAULT_EXECUTION_MODE",),
        _word,
        "the mode of containers that have none of their own",
    ),
    Setting(
        "registry",
        ("default_registry",),
        ("UDOCKER_REGISTRY",),
        _registry,
        "the registry of names that give none",
    ),
    Setting(
        "index", ("dockerio_index_url",), ("UDOCKER_INDEX",), _text,
        "the index like Docker Hub's that search asks; empty: Docker Hub's own",
    ),
    Setting("insecure", ("http_insecure",), (), _boolean, "accept http and unverified TLS"),
    Setting(
        "insecure_registries",
        ("insecure_registries",),
        ("UDOCKER_INSECURE_REGISTRIES",),
        _hosts,
        "registries for which http and unverified TLS are accepted",
    ),
    Setting(
        "token_services", ("token_services",), ("UDOCKER_TOKEN_SERVICES",), _hosts,
        "hosts to which a login may be sent for a token though they are of another site than the "
        "registry",
    ),
    Setting(
        "proxy", ("http_proxy",), (), _text,
        "the proxy for all registries; empty: what https_proxy, http_proxy and all_proxy say",
        show=_without_login,
    ),
    Setting(
        "jobs", ("jobs",), ("UDOCKER_JOBS",), jobs,
        "connections for layers at once, from 1 to 32; 1: a layer after the other",
    ),
    Setting(
        "connect_timeout", ("ctimeout",), ("UDOCKER_CONNECT_TIMEOUT",), _positive,
        "seconds to wait for a connection",
    ),
    Setting(
        "stall_timeout", ("stall_timeout",), ("UDOCKER_STALL_TIMEOUT",), _positive,
        "seconds without a byte after which a transfer is tried again",
    ),
    Setting(
        "pull_wait", ("pull_wait",), ("UDOCKER_PULL_WAIT",), _number,
        "seconds to wait for another udocker that pulls the same image; 0: as long as it takes",
    ),
    Setting(
        "verbosity", ("verbose_level",), ("UDOCKER_LOGLEVEL",), _number,
        "0 errors, 1 results, 2 warnings, 3 progress, 5 debug",
    ),
    Setting(
        "proot", ("use_proot_executable",), ("UDOCKER_USE_PROOT_EXECUTABLE",), _program,
        "the PRoot program to trace with; empty: udocker traces itself",
    ),
    Setting(
        "runc", ("use_runc_executable",), ("UDOCKER_USE_RUNC_EXECUTABLE",), _program,
        "the runc or crun program; empty: found in PATH",
    ),
    Setting(
        "fakechroot", ("fakechroot_so",), ("UDOCKER_FAKECHROOT_SO",), _program,
        "libfakechroot.so for mode F1; empty: found in the usual directories",
    ),
    Setting(
        "singularity", ("use_singularity_executable",), ("UDOCKER_USE_SINGULARITY_EXECUTABLE",),
        _program, "the apptainer or singularity program; empty: found in PATH",
    ),
    Setting(
        "fakeroot", ("fakeroot",), ("UDOCKER_FAKEROOT",), _boolean,
        "N1, R1: root is told that chown, setuid and mknod succeed where one id makes them fail",
    ),
    Setting(
        "gpus", ("gpus",), ("UDOCKER_GPUS",), _gpus,
        "auto: the GPUs that this host has are in every run, as by --nv and --rocm; none: in those "
        "that ask for them",
    ),
    Setting(
        "job", ("job",), ("UDOCKER_JOB",), _boolean,
        "in a batch job a run is given its variables and directories, and its new containers are "
        "in its scratch space; false: as outside",
    ),
    Setting(
        "driver_root", ("driver_root",), ("UDOCKER_DRIVER_ROOT",), _program,
        "the directory that has the GPU driver's /usr and /etc; empty: /",
    ),
    Setting(
        "device_root", ("device_root",), ("UDOCKER_DEVICE_ROOT",), _program,
        "the directory that has the GPUs' /dev, and perhaps /proc and /sys; empty: /",
    ),
    Setting(
        "driver_libraries", ("driver_libraries",), ("UDOCKER_DRIVER_LIBRARIES",), _directories,
        "directories below driver_root with the GPU driver's libraries, : between them, before "
        "the usual ones", ":",
    ),
    Setting(
        "max_store_bytes", ("max_store_bytes",), ("UDOCKER_MAX_STORE_BYTES",), _size,
        "beyond this a pull removes images, the longest unused first, that no container needs; "
        "20G is 20 GiB, 0 no limit",
    ),
    Setting(
        "max_log_bytes", ("max_log_bytes",), ("UDOCKER_MAX_LOG_BYTES",), _size,
        "when the log of a detached container is larger a new one is begun, and the one before is "
        "kept; 0 no limit",
    ),
    Setting(
        "readable_trees", ("readable_trees",), ("UDOCKER_READABLE_TREES",), _boolean,
        "true: unpack so that other users may read all of an image (a store for many)",
    ),
    Setting(
        "max_unpacked_bytes", ("max_unpacked_bytes",), ("UDOCKER_MAX_UNPACKED_BYTES",), _positive,
        "the most bytes one image may unpack to",
    ),
    Setting(
        "max_unpacked_entries", ("max_unpacked_entries",), ("UDOCKER_MAX_UNPACKED_ENTRIES",),
        _positive, "the most archive entries one image may have",
    ),
    Setting(
        "max_unpack_ratio", ("max_unpack_ratio",), ("UDOCKER_MAX_UNPACK_RATIO",), _positive,
        "how many times its compressed size an image beyond 4 GiB may unpack to",
    ),
)  # fmt: skip

# Keys of udocker 1.3 that mean nothing here: accepted, so that its files can stay as they are.
_KEYS_OF_1_3 = """
    homedir bindir libdir docdir reposdir layersdir containersdir tarball tarball_release
    installinfo installretry autoinstall config keystore tmpdir cmd root_path user_path
    sysdirs_list dri_list mountpoint_prefixes default_execution_modes proot_noseccomp
    proot_killonexit proot_link2symlink ld_so_cache fakechroot_expand_symlinks
    fakechroot_cmd_subst libc_search fakechroot_libc lib_dirs_list_nvidia lib_dirs_list_essential
    lib_dirs_list_append access_files use_patchelf_executable
    use_curl_executable runc_nomqueue runc_capabilities singularity_options valid_host_env
    invalid_host_env cpu_affinity_exec_tools location timeout download_timeout
    http_agent dockerio_registry_url docker_registries nvi_etc_list
    nvi_bin_list nvi_lib_list nvi_dev_list
"""


# What 1.3 took for parts of its store: who sets one may not find what is looked for.
_PLACES_OF_1_3 = ("UDOCKER_CONTAINERS", "UDOCKER_LAYERS")


def passed_over(environ: Mapping[str, str]) -> list[str]:
    """What is to be warned of: variables of udocker 1.3 that mean nothing here and should not
    be passed over in silence."""
    return [
        f"{name} means nothing here: UDOCKER_DIR says where the whole store is"
        for name in _PLACES_OF_1_3
        if environ.get(name)
    ]


def load(
    environ: Mapping[str, str], overrides: Mapping[str, Any], config_file: str | None = None
) -> Config:
    """The settings of this invocation; ``overrides`` are fields given on the command line.

    ``config_file`` is read in place of the files of the user and of the store. Raises
    ConfigError, naming the file and the key.
    """
    home = home_directory(environ)
    default_top = os.path.join(home or f"/tmp/udocker-{os.getuid()}", ".udocker")
    fields: dict[str, Any] = {"topdir": default_top}
    _read_file("/etc/udocker.conf", fields, required=False)
    if config_file is not None:
        _read_file(config_file, fields, required=True)
    elif home:  # below /tmp it could be anybody's
        _read_file(os.path.join(default_top, "udocker.conf"), fields, required=False)
    from_environment = _from_environment(environ)
    top = overrides.get("topdir") or from_environment.get("topdir") or fields["topdir"]
    if config_file is None and top != default_top:
        _read_file(os.path.join(top, "udocker.conf"), fields, required=False)
    fields.update(from_environment)
    fields.update(overrides)
    return Config(**fields)


def home_directory(environ: Mapping[str, str]) -> str:
    """The home directory, "" when there is none. A batch job may have no HOME."""
    home = environ.get("HOME", "")
    if home.startswith("/"):
        return home
    import pwd

    try:
        return pwd.getpwuid(os.getuid()).pw_dir
    except KeyError:
        return ""


def _from_environment(environ: Mapping[str, str]) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for setting in SETTINGS:
        for variable in setting.variables:
            text = environ.get(variable)
            if text:
                fields[setting.field] = _parsed(setting, text, f"environment variable {variable}")
    return fields


def _read_file(path: str, fields: dict[str, Any], required: bool) -> None:
    try:
        with open(path, encoding="utf-8-sig", errors="surrogateescape") as stream:
            text = stream.read()
    except OSError as error:
        if required:
            raise ConfigError(f"cannot read {path}: {error.strerror}") from error
        return
    by_key = {key: setting for setting in SETTINGS for key in setting.keys}
    for key, given in _entries(text, path):
        setting = by_key.get(key)
        if setting is None:
            if key not in _KEYS_OF_1_3.split():
                raise ConfigError(
                    f"{path}: unknown setting {key!r}", hint="udocker showconf lists the settings"
                )
            continue
        fields[setting.field] = _parsed(setting, given, f"{path}: {key}")


def _entries(text: str, path: str) -> list[tuple[str, str]]:
    import configparser

    # No section has defaults for the others: what stands last in the file counts.
    parser = configparser.ConfigParser(interpolation=None, strict=False, default_section="")
    try:
        parser.read_string("[DEFAULT]\n" + text, path)
    except configparser.Error as error:
        numbers = [number - 1 for number, _ in getattr(error, "errors", ())]
        where = f"{path}, line {numbers[0]}" if numbers else path
        raise ConfigError(f"{where}: not a setting", hint="lines look like key = value") from error
    return [entry for section in parser.sections() for entry in parser.items(section)]


def _parsed(setting: Setting, text: str, where: str) -> Any:
    try:
        return setting.parse(text)
    except ValueError as error:
        hint = "correct it, or take it away: then the default counts"
        raise ConfigError(f"{where}: {text[:80]!r}: {error}", hint=hint) from error
