"""What shells complete on the command line: options, keywords, their choices, columns.

Scripts without a call of the program: the lists stand in them, and a key press costs nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from skyextract.record import record
from skyextract.settings.cameras import NO_PRESET, camera_names
from skyextract.settings.grammar import Declaration, declarations

SHELLS = ("bash", "zsh", "fish")

FILTERS = (
    "default", "block_3x3", "gauss_1.5_3x3", "gauss_2.0_5x5", "gauss_2.5_5x5", "gauss_3.0_7x7",
    "gauss_4.0_7x7", "gauss_5.0_9x9", "mexhat_1.5_5x5", "mexhat_2.0_7x7", "mexhat_3.0_9x9",
    "mexhat_4.0_9x9", "mexhat_5.0_11x11", "tophat_1.5_3x3", "tophat_2.0_3x3", "tophat_3.0_3x3",
    "tophat_4.0_5x5", "tophat_5.0_5x5",
)  # fmt: skip
"""Built-in filters, as SExtractor has them; others of such names are computed, too."""

FILE, FOLDER, OTHER = "file", "folder", "other"
"""What a word is that has no choices."""


@record
class Word:
    """An option or a keyword as a shell sees it.

    Attributes
    ----------
    names : tuple of str
        With their dashes.
    help : str
    takes_value : bool
    choices : tuple of str
        Values; several of them, with commas between, if `is_list`.
    kind : str
        FILE, FOLDER or OTHER, besides the choices.
    is_list : bool
    """

    names: tuple[str, ...]
    help: str
    takes_value: bool = True
    choices: tuple[str, ...] = ()
    kind: str = OTHER
    is_list: bool = False


def keyword_words(columns: Iterable[str]) -> list[Word]:
    """Return the keywords.

    Parameters
    ----------
    columns : iterable of str
        Names of catalogue columns; PHOT_FLUX_KEY takes those of fluxes.
    """
    fluxes = tuple(name for name in columns if re.fullmatch(r"FLUX_[A-Z]+", name))
    more = {
        "PHOT_FLUX_KEY": ("AUTO", *fluxes),
        "COLOR_TERM": ("FIT",),
        "FILTER_NAME": ("PSF", *FILTERS),
        "CAMERA": (*filter(None, NO_PRESET), *camera_names()),
    }
    return [
        _keyword_word(item, more.get(item.name, ()))
        for item in declarations().values()
        if item.keyword.support == "yes"
    ]


def _keyword_word(item: Declaration, more: Sequence[str]) -> Word:
    keyword = item.keyword
    choices = (*keyword.choices, *more)
    if "bool" in item.type:
        choices = ("Y", "N")
    if "| None" in item.type:
        choices = ("AUTO", *choices)
    kind = FILE if keyword.opens or item.name.endswith("_NAME") else OTHER
    return Word((f"-{item.name}",), keyword.help, True, choices, kind, keyword.size is not None)


def completion_script(shell: str, words: Sequence[Word]) -> str:
    """Return the script that a shell sources."""
    return {"bash": _bash, "zsh": _zsh, "fish": _fish}[shell](words)


def _bash(words: Sequence[Word]) -> str:
    names = " ".join(name for word in words for name in word.names)
    return f"""# bash completion of skyextract
_skyextract() {{
    local word=${{COMP_WORDS[COMP_CWORD]}} before=${{COMP_WORDS[COMP_CWORD-1]}} start=""
    COMPREPLY=()
    [[ $before == -[A-Za-z]?* ]] && before=${{before^^}}
    case $before in
{_cases(words, _bash_values)}
    esac
    case $word in
        -*) COMPREPLY=($(compgen -W "{names}" -- "$word"))
            [[ $COMPREPLY ]] || COMPREPLY=($(compgen -W "{names}" -- "${{word^^}}"))
            return ;;
    esac
    compopt -o default
}}
complete -F _skyextract skyextract
"""


def _bash_values(word: Word) -> str:
    lines = []
    if word.is_list:
        lines.append('[[ $word == *,* ]] && start="${word%,*},"')
    if word.choices:
        values = " ".join(word.choices)
        lines.append(f'COMPREPLY=($(compgen -P "$start" -W "{values}" -- "${{word##*,}}"))')
        if word.is_list:
            lines.append("compopt -o nospace")
    if word.kind == FOLDER:
        lines.append("compopt -o dirnames")
    elif word.kind == FILE:
        lines.append('COMPREPLY+=($(compgen -f -- "$word")); compopt -o filenames')
    return "; ".join([*lines, "return"])


def _zsh(words: Sequence[Word]) -> str:
    import shlex

    options = "\n".join(
        f"        {shlex.quote(name + ':' + word.help.replace(':', ' '))}"
        for word in words
        for name in word.names
    )
    return f"""#compdef skyextract
_skyextract() {{
    local before=${{words[CURRENT-1]}}
    [[ $before == -[A-Za-z]?* ]] && before=${{(U)before}}
    case $before in
{_cases(words, _zsh_values)}
    esac
    if [[ $PREFIX != -* ]]; then
        _files
        return
    fi
    local -a options=(
{options}
    )
    _describe -o option options -M 'm:{{a-z}}={{A-Z}}'
}}
if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
    _skyextract "$@"
else
    compdef _skyextract skyextract
fi
"""


def _zsh_values(word: Word) -> str:
    lines = []
    if word.is_list and word.choices:
        lines.append("compset -P '*,'")
    if word.choices:
        suffix = "-S '' " if word.is_list else ""
        lines.append(f"compadd {suffix}-M 'm:{{a-z}}={{A-Z}}' -- {' '.join(word.choices)}")
    if word.kind == FOLDER:
        lines.append("_files -/")
    elif word.kind == FILE:
        lines.append("_files")
    return "; ".join([*lines, "return"])


def _cases(words: Sequence[Word], values: object) -> str:
    """Return the branches of `case`, words with the same values together."""
    branches: dict[str, list[str]] = {}
    for word in words:
        if word.takes_value:
            branches.setdefault(values(word), []).extend(word.names)  # type: ignore[operator]
    return "\n".join(f"        {'|'.join(names)}) {what} ;;" for what, names in branches.items())


def _fish(words: Sequence[Word]) -> str:
    lines = ["# fish completion of skyextract"]
    for word in words:
        parts = ["complete -c skyextract"]
        for name in word.names:
            flag = "-l" if name.startswith("--") else "-s" if len(name) == 2 else "-o"
            parts.append(f"{flag} {name.lstrip('-')}")
        if word.takes_value:
            parts.append("-r" if word.kind != OTHER else "-x")
        if word.kind == FOLDER:
            parts.append("-a '(__fish_complete_directories)'")
        elif word.choices and word.is_list:
            values = " ".join(word.choices)
            parts.append(f"-a '(__skyextract_list {values})'")
        elif word.choices:
            parts.append(f"-a '{' '.join(word.choices)}'")
        parts.append(f"-d {_fish_text(word.help)}")
        lines.append(" ".join(parts))
    return (
        "function __skyextract_list\n"
        "    set -l start (string replace -r '[^,]*$' '' -- (commandline -ct))\n"
        "    printf '%s\\n' $start$argv\n"
        "end\n" + "\n".join(lines) + "\n"
    )


def _fish_text(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
