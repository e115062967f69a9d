"""Where an image is asked for: its registry, another in its place, mirrors before it; or nowhere.

The rules are those of containers-registries.conf(5), version 2.
"""

from __future__ import annotations

from udocker.errors import ConfigError, ForbiddenError
from udocker.model.value import value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from udocker.model.reference import Reference

ALL, DIGEST_ONLY, TAG_ONLY = "all", "digest-only", "tag-only"
WILDCARD = "*."


@value
class Place:
    """A repository of a registry that may have the image."""

    registry: str  # host[:port]
    repository: str
    insecure: bool = False  # plain http and unverified TLS are accepted there

    def __str__(self) -> str:
        return f"{self.registry}/{self.repository}" if self.repository else self.registry


@value
class Mirror:
    """A location ``host[:port][/path]`` that has copies."""

    location: str
    insecure: bool = False
    serves: str = ALL  # which images are asked for there

    def has(self, reference: Reference) -> bool:
        """Whether ``reference`` is of the kind that is asked for here."""
        if self.serves == ALL:
            return True
        return (reference.digest is not None) == (self.serves == DIGEST_ONLY)


@value
class Rule:
    """What holds for the images whose names begin with ``prefix``."""

    prefix: str  # host[:port][/path[:tag]], or *.domain
    location: str = ""  # what takes the prefix's place; empty: nothing
    insecure: bool = False
    blocked: bool = False
    mirrors: tuple[Mirror, ...] = ()
    file: str = ""  # where the rule is from

    def matched(self, name: str) -> int:
        """How many characters of ``name`` the rule is about; 0 when it is not for it."""
        if not self.prefix.startswith(WILDCARD):
            end = len(self.prefix)
            return end if name.startswith(self.prefix) and _is_part(name, end) else 0
        host_end = name.find("/") if "/" in name else len(name)
        suffix = self.prefix[1:]
        start = name.find(suffix, 1, host_end + len(suffix))
        while start > 0:
            end = start + len(suffix)
            if _is_part(name, end):
                return end
            start = name.find(suffix, start + 1, host_end + len(suffix))
        return 0


def _is_part(name: str, end: int) -> bool:
    return name[end : end + 1] in ("", "/", ":", "@")


class Mirrors:
    """The rules of the host and the user; ``load`` gives them when they are first needed."""

    def __init__(self, load: Callable[[], Iterable[Rule]] = tuple) -> None:
        self._load = load
        self._loaded: tuple[Rule, ...] | None = None

    def places(self, reference: Reference) -> tuple[Place, ...]:
        """Where to ask for ``reference``, in this order.

        Raises ForbiddenError where a rule blocks it, ConfigError for broken rules.
        """
        found = self._find(reference.canonical)
        if found is None:
            return (Place(reference.registry, reference.repository),)
        rule, length = found
        _check_allowed(reference, rule, "pulled")
        rest = reference.name[length:]
        mirrors = [
            _place(mirror.location + rest, mirror.insecure, rule)
            for mirror in rule.mirrors
            if mirror.has(reference)
        ]
        own = Place(reference.registry, reference.repository, rule.insecure)
        if rule.location:
            own = _place(rule.location + rest, rule.insecure, rule)
        return tuple(dict.fromkeys((*mirrors, own)))

    def destination(self, reference: Reference) -> Place:
        """Where ``reference`` is pushed to: the registry that it names, and nothing in its place.

        Raises as ``places``.
        """
        found = self._find(reference.canonical)
        if found is not None:
            _check_allowed(reference, found[0], "pushed")
        insecure = found is not None and found[0].insecure
        return Place(reference.registry, reference.repository, insecure)

    def server(self, registry: str) -> Place:
        """The registry itself, to log in to."""
        found = self._find(registry)
        return Place(registry, "", found is not None and found[0].insecure)

    def _find(self, name: str) -> tuple[Rule, int] | None:
        """The rule with the longest prefix of ``name``, and the prefix's length there."""
        if self._loaded is None:
            self._loaded = tuple(self._load())
        best: tuple[Rule, int] | None = None
        for rule in self._loaded:
            length = rule.matched(name)
            if length and (best is None or len(rule.prefix) > len(best[0].prefix)):
                best = rule, length
        return best


def _check_allowed(reference: Reference, rule: Rule, done: str) -> None:
    if rule.blocked:
        raise ForbiddenError(
            f"{reference} is not {done}: {rule.prefix} is blocked by {rule.file}",
            hint="that file, or the one that CONTAINERS_REGISTRIES_CONF names, decides",
        )


def _place(name: str, insecure: bool, rule: Rule) -> Place:
    registry, _, repository = name.partition("/")
    if not repository:
        raise ConfigError(
            f"{rule.file}: {registry} in place of {rule.prefix} names no image",
            hint="a location that stands for a whole name needs one as well",
        )
    return Place(registry, repository, insecure)
