"""Text of others on its way to a terminal."""

from unicodedata import category


def printable(text: str) -> str:
    """Text without the control characters by which it could steer a terminal, and without halves of characters.

    A byte of a file's name that is no UTF-8 is shown as ``\\\\xff``, anything else as the replacement character.
    """
    return text if text.isascii() and text.isprintable() else "".join(map(_shown, text))


def _shown(c: str) -> str:
    if c.isprintable() or c in "\n\t" or category(c) == "Zs":
        return c
    return f"\\x{ord(c) - 0xDC00:02x}" if "\udc80" <= c <= "\udcff" else "\ufffd"
