"""Texts of ours in XML: what it cannot hold is dropped, what it reads otherwise is escaped."""

from xml.sax.saxutils import escape, quoteattr


def legal_xml(text: str) -> str:
    """Drop what XML 1.0 cannot hold: control characters, surrogates, non-characters."""
    return "".join(
        c for c in text
        if c in "\t\n\r" or (ord(c) >= 0x20 and not 0xD800 <= ord(c) <= 0xDFFF
                             and ord(c) & 0xFFFE != 0xFFFE and not 0x7F <= ord(c) <= 0x9F)
    )  # fmt: skip


def content(text: str) -> str:
    """Return a text as it stands between tags."""
    return escape(legal_xml(text))


def attribute(text: str) -> str:
    """Return a text as the value of an attribute, quotes included."""
    return quoteattr(legal_xml(text))
