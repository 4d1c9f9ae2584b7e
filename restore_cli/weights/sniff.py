"""Says what kind of file some first bytes belong to."""

from __future__ import annotations

_PAGE_STARTS = (b"<!doctype", b"<html", b"<head", b"<body", b"<?xml", b"<script", b"<meta", b"<!--")


def is_page(head: bytes) -> bool:
    """Whether the first bytes of a file are those of a web page."""
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    return text.startswith(_PAGE_STARTS)


def describe(head: bytes) -> str:
    """Words for a file that is not what it should be, from its first bytes."""
    if not head:
        return "the file is empty"
    if is_page(head):
        return "it is a web page (the download link led to one)"
    if head.startswith(b"version https://git-lfs"):
        return "it is a Git LFS pointer; the real file was not fetched"
    if head.startswith((b"\x1f\x8b", b"7z\xbc\xaf", b"Rar!", b"BZh", b"\xfd7zXZ")):
        return "it is a compressed archive; unpack it first"
    if head[:4] == b"\x89PNG" or head[:3] == b"\xff\xd8\xff":
        return "it is a picture"
    if head[257:262] == b"ustar":
        return "it is a tar archive (torch before 0.1.10 is not supported)"
    if head.isascii() and b"\0" not in head:
        return "it is text"
    return "the format is unknown"
