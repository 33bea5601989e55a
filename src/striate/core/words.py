"""Figures as people say them."""

from __future__ import annotations

import re


def clock(seconds: float) -> str:
    """`42 s`, `3 min 05 s`, `2 h 10 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def sourced(text: str) -> str:
    """`T4, T5; Arpit 2017` → `lecture notes T4, T5; Arpit 2017`: ids belong to somebody."""
    pieces = [piece.strip() for piece in text.split(";") if piece.strip()]
    known = [re.fullmatch(r"[A-Z]\d+(, [A-Z]\d+)*", piece) for piece in pieces]
    return "; ".join(
        f"lecture note{'s' * (',' in piece)} {piece}" if match and piece[0] != "F" else piece
        for piece, match in zip(pieces, known, strict=True)
    )


def megabytes(size: int) -> str:
    """Bytes as a person says them: `12.3 MB`, `40 KB`."""
    return f"{size / 1e6:.1f} MB" if size >= 1e5 else f"{max(1, round(size / 1e3))} KB"
