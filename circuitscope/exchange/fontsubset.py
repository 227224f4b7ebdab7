"""Cut a TrueType font down to the characters of one figure, so that it fits into an SVG file.

Only outlines, widths and the character map are kept; glyphs are numbered anew, composites bring
their parts. Layout: Apple's TrueType Reference Manual and the OpenType specification 1.9.
"""

import struct
from collections.abc import Iterable
from typing import Final

_KEPT: Final = ("OS/2", "cvt ", "fpgm", "prep", "gasp", "name")
_ARGS_ARE_WORDS, _HAS_SCALE, _MORE, _HAS_XY_SCALE, _HAS_2X2 = 0x1, 0x8, 0x20, 0x40, 0x80
_CHECKSUM_MAGIC: Final = 0xB1B0AFBA


def subset(font: bytes, characters: Iterable[str]) -> bytes:
    """Return a font that draws these characters and no others.

    Args:
        font: A TrueType font with a format 4 or 12 character map.
        characters: What to keep; characters that the font lacks are left out.

    Raises:
        ValueError: The bytes are not such a font.
    """
    try:
        tables = _tables(font)
        return _cut(tables, {ord(c) for c in characters})
    except (struct.error, KeyError, IndexError) as error:
        raise ValueError(f"not a TrueType font that can be cut: {error}") from error


def _tables(font: bytes) -> dict[str, bytes]:
    count = struct.unpack_from(">H", font, 4)[0]
    tables = {}
    for i in range(count):
        tag, _, offset, length = struct.unpack_from(">4sIII", font, 12 + 16 * i)
        tables[tag.decode("latin-1")] = font[offset : offset + length]
    return tables


def _cut(tables: dict[str, bytes], wanted: set[int]) -> bytes:
    glyph_of = {c: g for c, g in _character_map(tables["cmap"]).items() if c in wanted}
    long_offsets = struct.unpack_from(">h", tables["head"], 50)[0] == 1
    n_glyphs = struct.unpack_from(">H", tables["maxp"], 4)[0]
    places = struct.unpack(
        f">{n_glyphs + 1}{'I' if long_offsets else 'H'}",
        tables["loca"][: (n_glyphs + 1) * (4 if long_offsets else 2)],
    )
    factor = 1 if long_offsets else 2

    def outline(glyph: int) -> bytes:
        return tables["glyf"][places[glyph] * factor : places[glyph + 1] * factor]

    order, todo = [0], sorted(set(glyph_of.values()))
    while todo:
        glyph = todo.pop(0)
        if glyph not in order:
            order.append(glyph)
            todo += [part for _, part in _parts(outline(glyph))]
    number = {glyph: i for i, glyph in enumerate(order)}

    outlines, offsets = b"", [0]
    for glyph in order:
        data = bytearray(outline(glyph))
        for at, part in _parts(bytes(data)):
            struct.pack_into(">H", data, at, number[part])
        outlines += bytes(data) + b"\0" * (-len(data) % 4)
        offsets.append(len(outlines))
    out: dict[str, bytes] = {tag: tables[tag] for tag in _KEPT if tag in tables}
    out["glyf"] = outlines
    out["loca"] = struct.pack(f">{len(offsets)}I", *offsets)
    out["hmtx"] = _widths(tables, order)
    out["cmap"] = _new_character_map({c: number[g] for c, g in glyph_of.items()})
    out["head"] = tables["head"][:8] + b"\0" * 4 + tables["head"][12:50] + b"\0\1\0\0"
    out["hhea"] = tables["hhea"][:34] + struct.pack(">H", len(order))
    out["maxp"] = tables["maxp"][:4] + struct.pack(">H", len(order)) + tables["maxp"][6:]
    out["post"] = struct.pack(">I", 0x00030000) + tables["post"][4:32]
    return _assemble(out)


def _character_map(cmap: bytes) -> dict[int, int]:
    found: dict[int, int] = {}
    for i in range(struct.unpack_from(">H", cmap, 2)[0]):
        start = struct.unpack_from(">HHI", cmap, 4 + 8 * i)[2]
        kind = struct.unpack_from(">H", cmap, start)[0]
        if kind == 12:
            for g in range(struct.unpack_from(">I", cmap, start + 12)[0]):
                first, last, glyph = struct.unpack_from(">III", cmap, start + 16 + 12 * g)
                found.update({c: glyph + c - first for c in range(first, last + 1)})
        elif kind == 4:
            found = {**_format_4(cmap, start), **found}
    if not found:
        raise KeyError("no Unicode character map")
    return found


def _format_4(cmap: bytes, start: int) -> dict[int, int]:
    n = struct.unpack_from(">H", cmap, start + 6)[0] // 2
    last = struct.unpack_from(f">{n}H", cmap, start + 14)
    first = struct.unpack_from(f">{n}H", cmap, start + 16 + 2 * n)
    delta = struct.unpack_from(f">{n}H", cmap, start + 16 + 4 * n)
    ranges = start + 16 + 6 * n
    found = {}
    for i in range(n):
        offset = struct.unpack_from(">H", cmap, ranges + 2 * i)[0]
        for c in range(first[i], min(last[i], 0xFFFE) + 1):
            if offset:
                place = ranges + 2 * i + offset + 2 * (c - first[i])
                glyph = struct.unpack_from(">H", cmap, place)[0]
                found[c] = (glyph + delta[i]) & 0xFFFF if glyph else 0
            else:
                found[c] = (c + delta[i]) & 0xFFFF
    return {c: g for c, g in found.items() if g}


def _parts(outline: bytes) -> list[tuple[int, int]]:
    """Return where a composite glyph names its parts, and which; empty for simple glyphs."""
    if len(outline) < 10 or struct.unpack_from(">h", outline, 0)[0] >= 0:
        return []
    found, at, flags = [], 10, _MORE
    while flags & _MORE:
        flags, glyph = struct.unpack_from(">HH", outline, at)
        found.append((at + 2, glyph))
        at += 8 if flags & _ARGS_ARE_WORDS else 6
        at += 2 if flags & _HAS_SCALE else 4 if flags & _HAS_XY_SCALE else 0
        at += 8 if flags & _HAS_2X2 else 0
    return found


def _widths(tables: dict[str, bytes], order: list[int]) -> bytes:
    full = struct.unpack_from(">H", tables["hhea"], 34)[0]
    hmtx, out = tables["hmtx"], b""
    for glyph in order:
        if glyph < full:
            out += hmtx[4 * glyph : 4 * glyph + 4]
        else:
            bearing = 4 * full + 2 * (glyph - full)
            out += hmtx[4 * full - 4 : 4 * full - 2] + hmtx[bearing : bearing + 2]
    return out


def _new_character_map(glyph_of: dict[int, int]) -> bytes:
    basic = [(c, g) for c, g in sorted(glyph_of.items()) if c < 0xFFFF] + [(0xFFFF, 0)]
    n = len(basic)
    power = 1 << (n.bit_length() - 1)
    ends = struct.pack(f">{n}H", *(c for c, _ in basic))
    deltas = struct.pack(f">{n}H", *((g - c) & 0xFFFF if c < 0xFFFF else 1 for c, g in basic))
    search = (2 * power, power.bit_length() - 1, 2 * n - 2 * power)
    body = ends + b"\0\0" + ends + deltas + b"\0\0" * n
    four = struct.pack(">HHHHHHH", 4, 14 + len(body), 0, 2 * n, *search) + body
    groups = b"".join(struct.pack(">III", c, c, g) for c, g in sorted(glyph_of.items()))
    twelve = struct.pack(">HHIII", 12, 0, 16 + len(groups), 0, len(glyph_of)) + groups
    head = struct.pack(">HHHHIHHI", 0, 2, 3, 1, 20, 3, 10, 20 + len(four))
    return head + four + twelve


def _checksum(data: bytes) -> int:
    padded = data + b"\0" * (-len(data) % 4)
    total: int = sum(struct.unpack(f">{len(padded) // 4}I", padded))
    return total & 0xFFFFFFFF


def _assemble(tables: dict[str, bytes]) -> bytes:
    n = len(tables)
    power = 1 << (n.bit_length() - 1)
    header = struct.pack(
        ">IHHHH", 0x00010000, n, 16 * power, power.bit_length() - 1, 16 * (n - power)
    )
    records, body, offset = b"", b"", 12 + 16 * n
    head_at = 0
    for tag, data in sorted(tables.items()):
        if tag == "head":
            head_at = offset + len(body)
        place = offset + len(body)
        records += struct.pack(">4sIII", tag.encode("latin-1"), _checksum(data), place, len(data))
        body += data + b"\0" * (-len(data) % 4)
    font = bytearray(header + records + body)
    adjustment = (_CHECKSUM_MAGIC - _checksum(bytes(font))) & 0xFFFFFFFF
    struct.pack_into(">I", font, head_at + 8, adjustment)
    return bytes(font)
