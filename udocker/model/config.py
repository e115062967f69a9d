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
    pull_wait: int = 3600  # seconds for another process that pulls the same; 0: no limit
    verbosity: int = 3  # 0 errors … 3 progress … 5 debug
    proot: str = ""
    runc: str = ""
    fakechroot: str = ""
    singularity: str = ""
    fakeroot: bool = True  # see RunRequest
    gpus: str = "none"  # or auto: what the host has, in every run
    driver_root: str = ""
    device_root: str = ""
    driver_libraries: tuple[str, ...] = ()  # directories below driver_root
    job: bool = True  # a run in a batch job is given what belongs to the job
    repos: tuple[str, ...] = ()  # stores that are only read
    max_store_bytes: int = 0  # 0: no limit
    max_log_bytes: int = 64 << 20  # of a container's log; as much is kept of the one before
    readable_trees: bool = False  # by everybody, whatever the modes of the image
    max_unpacked_bytes: int = 1 << 40
    max_unpacked_entries: int = 20_000_000
    max_unpack_ratio: int = 250  # of bytes unpacked to bytes fetched
