"""Settings of one invocation."""

from __future__ import annotations

from udocker.model.value import value


@value
class Config:
    """Default < configuration files < environment < command line; see ``udocker.config``."""

    topdir: str  # the store
    execution_mode: str = "auto"
    registry: str = "docker.io"
    index: str = ""
    insecure: bool = False
    insecure_registries: tuple[str, ...] = ()
    token_services: tuple[str, ...] = ()  # of other sites than their registries
    proxy: str = ""  # URL or host:port; empty: what the environment says
    jobs: int = 6
    connect_timeout: int = 20  # seconds
    stall_timeout: int = 60  # seconds without a byte
    verbosity: int = 3  # 0 errors … 3 progress … 5 debug
    proot: str = ""
    runc: str = ""
    fakechroot: str = ""
    singularity: str = ""
    fakeroot: bool = True  # see RunRequest
    gpus: str = "none"  # or auto: what the host has, in every run
    driver_root: str = ""
    device_root: str = ""
    repos: tuple[str, ...] = ()  # stores that are only read
    max_store_bytes: int = 0  # 0: no limit
    readable_trees: bool = False  # by everybody, whatever the modes of the image
    max_unpacked_bytes: int = 1 << 40
    max_unpacked_entries: int = 20_000_000
    max_unpack_ratio: int = 250  # of bytes unpacked to bytes fetched
