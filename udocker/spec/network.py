"""``--network``, ``--dns``, ``--add-host``: on the host's network, or on none."""

from __future__ import annotations

from udocker.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from udocker.model.request import NameOptions


def is_network(text: str) -> bool:
    """Whether there is a network but the loopback interface. Raises UsageError."""
    if not text or "\0" in text:
        raise UsageError("--network names nothing", hint="--network=host or --network=none")
    return text != "none"


def parse_host(text: str) -> tuple[str, str]:
    """Read the value of --add-host: ``NAME:ADDRESS`` or ``NAME=ADDRESS``. Raises UsageError."""
    separator = "=" if "=" in text else ":"
    name, _, address = text.partition(separator)
    address = address.strip("[]")
    if address == "host-gateway":
        address = "127.0.0.1"  # the host's network is the container's
    if not name or set(name) & set(" \t\n#") or not is_address(address):
        raise UsageError(f"--add-host {text!r}: NAME:ADDRESS is expected")
    return name, address


def check_server(text: str) -> str:
    """The value of --dns. Raises UsageError."""
    if not is_address(text):
        raise UsageError(f"--dns {text!r}: not an address", hint="--dns 9.9.9.9")
    return text


def check_word(text: str, option: str) -> str:
    """A word that can stand in resolv.conf(5). Raises UsageError."""
    if not text or any(c.isspace() or c == "\0" for c in text):
        raise UsageError(f"{option} {text!r}: one word is expected")
    return text


def is_address(text: str) -> bool:
    """Whether it is an IP address, of either version."""
    import ipaddress

    try:
        ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return False
    return True


def resolv_conf(host: bytes | None, names: NameOptions) -> bytes | None:
    """The container's /etc/resolv.conf: the host's, with what was asked for in its place."""
    if not (names.servers or names.search or names.options):
        return host
    replaced = {
        b"nameserver": [f"nameserver {server}" for server in names.servers],
        b"search": [f"search {' '.join(names.search)}"] if names.search else [],
        b"options": [f"options {' '.join(names.options)}"] if names.options else [],
    }
    if names.search:
        replaced[b"domain"] = replaced[b"search"]
    if names.search == (".",):  # Docker's word for none
        replaced[b"search"] = []
    kept = []
    for line in (host or b"").split(b"\n"):
        first = line.split()[:1]
        given = {b"nameserver": names.servers, b"options": names.options}
        is_given = given.get(first[0], names.search) if first and first[0] in replaced else ()
        if line and not is_given:
            kept.append(line)
    new = [line for key in (b"search", b"nameserver", b"options") for line in replaced[key]]
    return b"".join(line + b"\n" for line in [*kept, *(line.encode() for line in new)])


def hosts(host: bytes | None, names: NameOptions) -> bytes | None:
    """The container's /etc/hosts: the host's and what was added."""
    if not names.hosts:
        return host
    content = host or b"127.0.0.1\tlocalhost\n"
    if not content.endswith(b"\n"):
        content += b"\n"
    return content + "".join(f"{address}\t{name}\n" for name, address in names.hosts).encode()
