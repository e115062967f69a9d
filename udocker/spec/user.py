"""Who the command is: ``--user`` and the image's User, read with passwd(5) and group(5)."""

from __future__ import annotations

from udocker.errors import UdockerError, UsageError
from udocker.model.request import AUTO_RANGES, KEEP_ID, SINGLE
from udocker.model.run import User
from udocker.model.value import replace, value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from udocker.model.host import Host

_MAX_ID = 2**32 - 2  # the last one means "no change" to chown(2)
_LONGEST = 20  # digits, leading zeros included


@value
class Account:
    """A line of passwd(5)."""

    name: str
    uid: int
    gid: int
    home: str


_ROOT = Account("root", 0, 0, "/root")


def resolve(text: str, passwd: bytes | None, group: bytes | None) -> User:
    """The user that ``text`` names: ``name|uid[:group|gid]``; empty means root.

    A number need not be in the files; a name other than root must be. Raises UdockerError.
    """
    name, _, group_name = text.partition(":")
    accounts = _accounts(passwd)
    groups = _groups(group)
    account = _account(name or "0", accounts, text)
    gid = account.gid
    if group_name:
        gid = _group(group_name, groups, text)
    supplementary = tuple(g for n, g, members in groups if account.name in members and g != gid)
    return User(account.uid, gid, account.name, account.home, () if group_name else supplementary)


def group_id(text: str, group: bytes | None) -> int:
    """The group that --group-add names: a name of group(5), or a number. Raises UdockerError."""
    return _group(text, _groups(group), text)


def parse_userns(text: str) -> str:
    """What ``--userns`` means. Raises UsageError."""
    if text in (SINGLE, KEEP_ID, AUTO_RANGES):
        return text
    if text == "host":  # Docker's word for no ids but those that there are
        return SINGLE
    kind, _, options = text.partition(":")
    hint = "one of single, keep-id, auto"
    if kind == KEEP_ID and options:
        hint = "--user=UID:GID is what makes you somebody else inside"
    elif kind == AUTO_RANGES and options:
        hint = "--userns=auto takes what /etc/subuid and /etc/subgid give you"
    raise UsageError(f"--userns={text}: not known here", hint=hint)


def own(host: Host, asked: str | None, passwd: bytes | None, group: bytes | None) -> User:
    """Who keeps the ids of the host, with the container's account or one of the same name.

    The groups of the caller are shown where the engine can: in the kernel they are kept anyway.
    Raises UsageError where ``asked``, which --user says, is another one; UdockerError.
    """
    if asked is not None:
        named = resolve(asked, passwd, group)
        if named.uid != host.uid:
            raise UsageError(
                f"--userns=keep-id makes you user {host.uid} inside, and --user={asked} is "
                f"{named.uid}",
                hint="leave one of them out",
            )
        return _with_groups(named, host)
    found = _with_groups(resolve(f"{host.uid}:{host.gid}", passwd, group), host)
    is_free = host.username not in {account.name for account in _accounts(passwd)}
    if found.name != f"user{host.uid}" or not is_free or not _is_name(host.username):
        return found
    return replace(found, name=host.username)


def _with_groups(user: User, host: Host) -> User:
    more = (gid for gid in host.groups if gid != user.gid)
    return replace(user, groups=tuple(dict.fromkeys((*user.groups, *more))))


def _is_name(text: str) -> bool:
    """Whether it can stand in a passwd file."""
    return bool(text) and not set(text) & set(":,/\n\0 ")


def passwd_with(passwd: bytes | None, user: User) -> bytes | None:
    """The passwd file with a line for ``user`` added; None when it has one."""
    if any(account.uid == user.uid for account in _accounts(passwd)):
        return None
    line = f"{user.name}:x:{user.uid}:{user.gid}:{user.name}:{user.home}:/bin/sh\n"
    return _ended(passwd) + line.encode("utf-8", "surrogateescape")


def group_with(group: bytes | None, user: User) -> bytes | None:
    """The group file with a line for the user's group added; None when it has one."""
    if any(gid == user.gid for _, gid, _ in _groups(group)):
        return None
    name = user.name if user.gid == user.uid else f"group{user.gid}"
    return _ended(group) + f"{name}:x:{user.gid}:\n".encode("utf-8", "surrogateescape")


def _ended(content: bytes | None) -> bytes:
    if not content:
        return b""
    return content if content.endswith(b"\n") else content + b"\n"


def _account(name: str, accounts: list[Account], text: str) -> Account:
    for account in accounts:
        if account.name == name:
            return account
    if name == "root":
        return _ROOT
    if not _is_digits(name):
        raise UdockerError(
            f"no user {name!r} in the container's /etc/passwd",
            hint="give a number (--user=1000:1000), or --hostauth to use the host's accounts",
        )
    uid = _number(name, text)
    for account in accounts:
        if account.uid == uid:
            return account
    if uid == 0:
        return _ROOT
    return Account(f"user{uid}", uid, 0, "/")


def _group(name: str, groups: list[tuple[str, int, tuple[str, ...]]], text: str) -> int:
    for known, gid, _ in groups:
        if known == name:
            return gid
    if not _is_digits(name):
        raise UdockerError(
            f"no group {name!r} in the container's /etc/group (user {text!r})",
            hint="give a number (--user=1000:1000)",
        )
    return _number(name, text)


def _number(digits: str, text: str) -> int:
    number = _id(digits)
    if number is None:
        raise UdockerError(f"user {text!r}: {digits} is not a user or group id")
    return number


def _is_digits(text: str) -> bool:
    return text.isascii() and text.isdigit()


def _id(text: str) -> int | None:
    """The id that a field of these files gives; None when it is none."""
    if not _is_digits(text) or len(text) > _LONGEST:
        return None
    number = int(text)
    return number if number <= _MAX_ID else None


def _accounts(passwd: bytes | None) -> list[Account]:
    found = []
    for fields in _records(passwd, 6):
        uid, gid = _id(fields[2]), _id(fields[3])
        if uid is not None and gid is not None:
            found.append(Account(fields[0], uid, gid, fields[5] or "/"))
    return found


def _groups(group: bytes | None) -> list[tuple[str, int, tuple[str, ...]]]:
    found = []
    for fields in _records(group, 3):
        gid = _id(fields[2])
        if gid is not None:
            members = tuple(fields[3].strip("\r").split(",")) if len(fields) > 3 else ()
            found.append((fields[0], gid, members))
    return found


def _records(content: bytes | None, at_least: int) -> list[list[str]]:
    """The lines that have enough fields; comments and blank lines are passed over."""
    lines = (content or b"").decode("utf-8", "surrogateescape").split("\n")
    split = (line.split(":") for line in lines if line and not line.startswith("#"))
    return [fields for fields in split if len(fields) >= at_least]
