"""Guesses, for the message of ``load_state_dict``, how a checkpoint's keys came to differ from the model's."""

from __future__ import annotations

import difflib


def rename_hint(missing: list[str], unexpected: list[str]) -> str | None:
    """One line with the likeliest rename of ``unexpected`` keys to ``missing`` ones, or None.

    A common first part that is too much (``module.`` of DataParallel,
    ``_orig_mod.`` of compile, ``model.``) or too little is looked for first, then single renames.
    """
    if not missing or not unexpected:
        return None
    wanted, given = set(missing), set(unexpected)
    for key in unexpected:
        prefix = key.split(".", 1)[0] + "."
        stripped = {k[len(prefix) :] for k in given if k.startswith(prefix)}
        if stripped and len(stripped & wanted) * 2 > len(stripped):
            return (
                f'Hint: {len(stripped & wanted)} of the unexpected keys fit without their prefix "{prefix}": '
                f'model.load_state_dict({{k.removeprefix("{prefix}"): v for k, v in state_dict.items()}})'
            )
    for key in missing:
        prefix = key.split(".", 1)[0] + "."
        grown = {prefix + k for k in given}
        if len(grown & wanted) * 2 > len(grown):
            return (
                f'Hint: {len(grown & wanted)} of the unexpected keys fit with the prefix "{prefix}" before them: '
                f'model.load_state_dict({{"{prefix}" + k: v for k, v in state_dict.items()}})'
            )
    pairs = []
    left = list(unexpected)
    for key in missing[:50]:
        tail = key.rsplit(".", 1)[-1]
        close = difflib.get_close_matches(key, [k for k in left if k.rsplit(".", 1)[-1] == tail], n=1, cutoff=0.5)
        if close:
            left.remove(close[0])
            pairs.append(f'"{close[0]}" -> "{key}"')
    if not pairs:
        return None
    more = f" and {len(pairs) - 4} more" if len(pairs) > 4 else ""
    return f"Hint: likeliest renames: {', '.join(pairs[:4])}{more}"
