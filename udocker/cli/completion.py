"""completion: scripts for shells, and the words that they ask for."""

from __future__ import annotations

from udocker.cli import commands
from udocker.cli.commands import Command
from udocker.cli.parser import FLAG, Syntax
from udocker.errors import UdockerError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from udocker.cli.context import Context
    from udocker.cli.parser import Option, Parsed
    from udocker.cli.parser import Syntax as Known

# Each asks `udocker completion words` for what may come next, given the words before the cursor and
# the beginning of the one at it. Nothing: the shell completes files.
_BASH = """\
_udocker() {
    local IFS=$'\\n'
    COMPREPLY=($(compgen -W "$(udocker completion words -- \\
        "${COMP_WORDS[@]:1:COMP_CWORD-1}" 2>/dev/null)" -- "${COMP_WORDS[COMP_CWORD]}"))
}
complete -o default -F _udocker udocker
"""
_ZSH = """\
#compdef udocker
_udocker() {
    local -a found
    found=("${(@f)$(udocker completion words -- "${(@)words[2,CURRENT-1]}" 2>/dev/null)}")
    found=(${found:#})
    (( $#found )) && compadd -- $found || _files
}
compdef _udocker udocker
"""
_FISH = """\
function __udocker_words
    set -l given (commandline -opc)
    udocker completion words -- $given[2..-1] 2>/dev/null
end
complete -c udocker -a '(__udocker_words)'
"""
_SCRIPTS = {"bash": _BASH, "zsh": _ZSH, "fish": _FISH}
_CONTAINERS = "CONTAINER"
_IMAGES = "IMAGE"


def _completion(context: Context, parsed: Parsed) -> int:
    shell, *rest = parsed.words
    if shell == "words":
        for word in _words(context, rest):
            context.print(word)
        return 0
    if shell not in _SCRIPTS or rest:
        raise UsageError(
            f"completion: no script for {shell!r}", hint=f"one of {', '.join(_SCRIPTS)}"
        )
    context.print(_SCRIPTS[shell].rstrip("\n"))
    return 0


def _words(context: Context, before: Sequence[str]) -> Iterator[str]:
    """What may stand after ``before``, one a line."""
    from udocker.cli.main import GENERAL

    given = [word for word in before if word]
    while given and given[0].startswith("-"):
        taken = _option(GENERAL, given[0])
        given = given[
            2 if taken is not None and taken.kind != FLAG and "=" not in given[0] else 1 :
        ]
    if not given:
        yield from (name for name in commands.names() if " " not in name)
        yield from commands.groups()
        yield from _spelled(GENERAL)
        return
    try:
        name, rest = commands.split(given)
        syntax = commands.find(name).syntax
    except UsageError:
        if len(given) == 1 and given[0] in commands.groups():
            yield from commands.words_of(given[0])
        return
    last = _option(syntax, rest[-1]) if rest else None
    if last is not None and last.kind != FLAG and "=" not in rest[-1] and not last.optional:
        yield from last.choices or _modes(last)
        return
    if not (syntax.passes_on and _has_word(syntax, rest)):  # else a program's, which are files
        yield from _names(context, syntax)
        yield from _spelled(syntax)


def _has_word(syntax: Known, arguments: Sequence[str]) -> bool:
    from udocker.cli.parser import parse
    from udocker.model.value import replace

    try:
        return bool(parse(replace(syntax, at_least=0, at_most=None), arguments, "").words)
    except UsageError:
        return False


def _option(syntax: Known, word: str) -> Option | None:
    name = word.partition("=")[0]
    return next((option for option in syntax.options if name in option.names), None)


def _spelled(syntax: Known) -> Iterator[str]:
    for option in syntax.options:
        if not option.hidden:
            yield from (name for name in option.names if name.startswith("--"))


def _modes(option: Option) -> tuple[str, ...]:
    from udocker.engine import table

    return (table.AUTO, *table.names()) if option.names[0] == "--execmode" else ()


def _names(context: Context, syntax: Known) -> Iterator[str]:
    """Containers and images, by what the usage says of the words."""
    try:
        store = context.session.store
        if _CONTAINERS in syntax.usage:
            for container in store.containers.sound():
                yield from container.names or (container.short_id,)
        if _IMAGES in syntax.usage:
            from udocker.model.reference import Reference

            yield from (Reference.parse(each.reference).spelled for each in store.images.sound())
        if "VOLUME" in syntax.usage:
            yield from store.volumes.names()
    except UdockerError:
        return


_SYNTAX = Syntax(
    usage="bash|zsh|fish",
    summary="Print a script that completes udocker's command lines in a shell.",
    at_least=1,
    at_most=None,
    details=(
        "bash: source <(udocker completion bash), in ~/.bashrc; zsh the same, after compinit;\n"
        "fish: udocker completion fish | source"
    ),
)
COMMANDS = (Command("completion", _SYNTAX, _completion),)
