"""Features a run may need and an engine may have."""

from __future__ import annotations

HOSTNAME = "hostname"
READ_ONLY_MOUNTS = "read-only-mounts"
FILE_MOUNTS = "file-mounts"
USER = "user"
MOVED_MOUNTS = "moved-mounts"
UNION_ROOT = "union-root"  # runs a container without a directory of its own
FOREIGN_TREE = "foreign-tree"  # also over an image's tree that belongs to another user
HOST_DEVICES = "host-devices"  # /dev is the host's, whole
MOVED_DEVICES = "moved-devices"
READ_ONLY_ROOT = "read-only-root"
TMPFS = "tmpfs"  # of the kernel; elsewhere a directory that goes with the run
NO_NETWORK = "no-network"
MOVED_PORTS = "moved-ports"
PORT_ADDRESSES = "port-addresses"
BARE = "bare"
# Programs of other machines: where the kernel or an emulator may start them; only one of these.
OTHER_MACHINES = "other-machines"
BY_KERNEL = "by-kernel"
BY_EMULATOR = "by-emulator"
FEATURE_TEXT = {
    HOSTNAME: "a hostname of its own",
    READ_ONLY_MOUNTS: "read-only volumes",
    FILE_MOUNTS: "single files as volumes",
    USER: "another user than root",
    MOVED_MOUNTS: "volumes at other paths than on the host",
    UNION_ROOT: "shared image trees",
    FOREIGN_TREE: "image trees of other users",
    HOST_DEVICES: "all devices of the host",
    MOVED_DEVICES: "devices by other names than on the host",
    READ_ONLY_ROOT: "a read-only root",
    TMPFS: "a tmpfs of the kernel's",
    NO_NETWORK: "a network of its own",
    MOVED_PORTS: "ports by other numbers than on the host",
    PORT_ADDRESSES: "one address for a port (the program chooses where it listens)",
    BARE: "a root without the host's /dev, /proc or /sys",
    OTHER_MACHINES: "programs of other machines",
    BY_KERNEL: "a kernel that starts programs of other machines by itself (binfmt_misc)",
    BY_EMULATOR: "an emulator of its own for programs of other machines",
}
