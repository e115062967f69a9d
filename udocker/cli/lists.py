"""Containers and images as rows of fields, by Docker's names, for --format and --filter."""

from __future__ import annotations

import functools

from udocker.cli.rows import Form, filtered, has_label, size
from udocker.cli.table import age
from udocker.model.life import PAUSED, RUNNING

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from udocker.cli.context import Context
    from udocker.cli.parser import Parsed
    from udocker.cli.rows import Row
    from udocker.model.container import Container
    from udocker.ops.images import ListedImage
    from udocker.ops.session import Session
    from udocker.store.said import Said

_CONTAINER_HEADERS = {
    "ID": "CONTAINER ID",
    "Image": "IMAGE",
    "Command": "COMMAND",
    "CreatedAt": "CREATED AT",
    "RunningFor": "CREATED",
    "Ports": "PORTS",
    "State": "STATE",
    "Status": "STATUS",
    "Size": "SIZE",
    "Names": "NAMES",
    "Labels": "LABELS",
    "Label": "LABEL",
    "Mounts": "MOUNTS",
    "LocalVolumes": "LOCAL VOLUMES",
    "Networks": "NETWORKS",
    "Platform": "PLATFORM",
    "Mode": "MODE",
    "Protected": "PROTECTED",
}
_IMAGE_HEADERS = {
    "ID": "IMAGE ID",
    "Repository": "REPOSITORY",
    "Tag": "TAG",
    "Digest": "DIGEST",
    "CreatedSince": "CREATED",
    "CreatedAt": "CREATED AT",
    "Size": "SIZE",
    "Containers": "CONTAINERS",
    "SharedSize": "SHARED SIZE",
    "UniqueSize": "UNIQUE SIZE",
    "VirtualSize": "VIRTUAL SIZE",
    "Platform": "PLATFORM",
}
_NONE = "<none>"


def container_form(parsed: Parsed) -> Form | None:
    """What --format says, if it is there. Raises UsageError."""
    text = parsed.text("format")
    return Form(text, _CONTAINER_HEADERS) if text else None


def image_form(parsed: Parsed) -> Form | None:
    """As ``container_form``."""
    text = parsed.text("format")
    return Form(text, _IMAGE_HEADERS) if text else None


def containers(context: Context, parsed: Parsed, found: Sequence[Container]) -> list[Container]:
    """Those that --filter, --latest and --last leave. Raises UsageError."""
    given = parsed.list("filter")
    if given:
        by_id = {each.id: each for each in found}
        rows = [_with_id(_container(context.session, each, parsed), each) for each in found]
        left = filtered(rows, given, _container_tests(context.session, by_id))
        found = [by_id[str(row["_id"])] for row in left]
    last = parsed.text("last")
    if last is not None:
        from udocker.spec.limits import parse_integer

        number = parse_integer(last, "--last", -1, 10**9)
        return list(found if number < 0 else found[:number])
    return list(found[:1] if parsed.flag("latest") else found)


def print_containers(
    context: Context, parsed: Parsed, found: Sequence[Container], form: Form
) -> None:
    """By --format."""
    form.print(context, [_container(context.session, each, parsed) for each in found])


def _with_id(row: Row, container: Container) -> Row:
    return {**row, "_id": container.id}


def _container(session: Session, container: Container, parsed: Parsed) -> Row:
    from udocker.store import said

    noted = said.read(container.path)
    labels = {**dict(container.config.labels), **dict(noted.labels)}
    mounts = [volume.source for volume in noted.volumes]
    state = functools.lru_cache(lambda: state_of(container))
    return {
        "ID": container.id if parsed.flag("no-trunc") else container.short_id,
        "Image": container.image,
        "Command": '"' + " ".join((*container.config.entrypoint, *container.config.cmd)) + '"',
        "CreatedAt": container.created,
        "RunningFor": age(container.created),
        "Ports": Late(lambda: _ports(noted, state()[0])),
        "State": Late(lambda: state()[0]),
        "Status": Late(lambda: state()[1]),
        "Size": Late(lambda: size(written(container))),
        "Names": ",".join(container.names),
        "Labels": ",".join(f"{key}={text}" for key, text in sorted(labels.items())),
        "Label": Label(labels),
        "Mounts": ",".join(mounts),
        "LocalVolumes": str(sum(not source.startswith("/") for source in mounts)),
        "Networks": "host",
        "Platform": str(container.config.platform),
        "Mode": container.mode or "auto",
        "Protected": _is_protected(container),
    }


def _ports(noted: Said, state: str) -> str:
    """What was published, while it runs."""
    if not noted.ports or state not in (RUNNING, PAUSED):
        return ""
    from udocker.spec.ports import told

    return ", ".join(told(each) for each in noted.ports)


class Late:
    """A text that is found only when it is printed."""

    def __init__(self, find: Callable[[], str]) -> None:
        self._find = find

    def __str__(self) -> str:
        return self._find()


class Label(dict[str, str]):
    """Labels, asked for as Docker has it: ``{{.Label "key"}}``."""

    def __call__(self, key: str) -> str:
        return self.get(key, "")


def _is_protected(container: Container) -> bool:
    from udocker.ops.protect import is_protected

    return is_protected(container)


def state_of(container: Container) -> tuple[str, str]:
    """Docker's State and Status of a container."""
    from udocker.ops.status import outline, told

    found = outline(container)
    return found.status, told(found)


def _exit_code(container: Container) -> str:
    from udocker.ops.status import outline

    ended = outline(container).ended
    return str(ended.code) if ended is not None else ""


def written(container: Container) -> int:
    """Bytes on disk of what a container has by itself."""
    from udocker.store.usage import measure

    return measure(container.path).bytes


def _container_tests(
    session: Session, by_id: Mapping[str, Container]
) -> Mapping[str, Callable[[Row, str], bool]]:
    from udocker.model.reference import Reference

    def is_of(row: Row, word: str) -> bool:
        container = by_id[str(row["_id"])]
        if word.removeprefix("sha256:") and container.config.digest.hex.startswith(
            word.removeprefix("sha256:")
        ):
            return True
        return container.image == Reference.parse(word, session.config.registry).canonical

    def created(word: str) -> str:
        return session.store.containers.get(word).created

    return {
        "id": lambda row, word: str(row["_id"]).startswith(word),
        "name": lambda row, word: any(word in name for name in by_id[str(row["_id"])].names),
        "label": lambda row, word: has_label(_labels(row), word),
        "status": lambda row, word: str(row["State"]) == word,
        "exited": lambda row, word: _exit_code(by_id[str(row["_id"])]) == word,
        "ancestor": is_of,
        "before": lambda row, word: str(row["CreatedAt"]) < created(word),
        "since": lambda row, word: str(row["CreatedAt"]) > created(word),
        "volume": lambda row, word: word in str(row["Mounts"]).split(","),
        "network": lambda row, word: word == "host",
        "mode": lambda row, word: row["Mode"] == word,
    }


def _labels(row: Row) -> Mapping[str, str]:
    found = row["Label"]
    return found if isinstance(found, Label) else {}


def images(context: Context, parsed: Parsed, found: Sequence[ListedImage]) -> list[ListedImage]:
    """Those that --filter and a name leave. Raises UsageError."""
    import fnmatch

    session = context.session

    def listed(word: str) -> ListedImage:
        from udocker.ops.images import get_image

        record = get_image(session, word)
        return next(each for each in found if each.record == record)

    by_name = {each.record.reference: each for each in found}

    def is_called(row: Row, word: str) -> bool:
        each = by_name[str(row["_id"])]
        name = each.name.rpartition(":")[0] if "@" not in each.name else each.name
        return any(fnmatch.fnmatchcase(text, word) for text in (each.name, name))

    tests: Mapping[str, Callable[[Row, str], bool]] = {
        "reference": is_called,
        "dangling": lambda row, word: word in ("false", "0"),  # all have names
        "label": lambda row, word: has_label(
            _image_labels(session, by_name[str(row["_id"])]), word
        ),
        "before": lambda row, word: str(row["CreatedAt"]) < listed(word).record.created,
        "since": lambda row, word: str(row["CreatedAt"]) > listed(word).record.created,
    }
    given = list(parsed.list("filter"))
    left: list[Row] = [
        {"_id": each.record.reference, "CreatedAt": each.record.created, "Tag": ""}
        for each in found
    ]
    kept = filtered(left, given, tests)
    if parsed.words:
        kept = [row for row in kept if is_called(row, parsed.words[0])]
    return [by_name[str(row["_id"])] for row in kept]


def print_images(
    context: Context, parsed: Parsed, found: Sequence[ListedImage], form: Form
) -> None:
    """By --format."""
    form.print(context, [_image(each, parsed.flag("no-trunc")) for each in found])


def _image(image: ListedImage, whole: bool) -> Row:
    record = image.record
    by_digest = "@" in image.name
    repository, _, tag = image.name.rpartition("@" if by_digest else ":")
    return {
        "ID": str(record.config) if whole else record.config.short,
        "Repository": repository,
        "Tag": _NONE if by_digest else tag,
        "Digest": str(record.index or record.manifest),
        "CreatedSince": age(record.created),
        "CreatedAt": record.created,
        "Size": size(image.size),
        "Containers": "N/A",
        "SharedSize": "N/A",
        "UniqueSize": "N/A",
        "VirtualSize": size(image.size),
        "Platform": record.platform,
    }


def _image_labels(session: Session, image: ListedImage) -> Mapping[str, str]:
    from udocker.model.oci import ImageConfig

    raw = session.store.blobs.read(image.record.config)
    return dict(ImageConfig.parse(raw, image.record.reference).labels)
