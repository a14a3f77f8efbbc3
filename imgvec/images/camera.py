"""Camera RAW by its first bytes and, where it is TIFF, by what its directories describe."""

from __future__ import annotations

from imgvec.images.directories import COMPRESSION, DNG_VERSION, MAKE, PHOTOMETRIC, Directory, Tiff

MEDIA_TYPES = {
    "DNG": "image/x-adobe-dng",
    "CR2": "image/x-canon-cr2",
    "CR3": "image/x-canon-cr3",
    "CRW": "image/x-canon-crw",
    "RAF": "image/x-fuji-raf",
    "DCR": "image/x-kodak-dcr",
    "MRW": "image/x-minolta-mrw",
    "NEF": "image/x-nikon-nef",
    "ORF": "image/x-olympus-orf",
    "RW2": "image/x-panasonic-rw2",
    "PEF": "image/x-pentax-pef",
    "SRW": "image/x-samsung-srw",
    "X3F": "image/x-sigma-x3f",
    "ARW": "image/x-sony-arw",
}
"""As in shared-mime-info; all others are `image/x-dcraw`."""

_SIGNATURES = (
    (0, b"FUJIFILMCCD-RAW", "RAF"),
    (0, b"FOVb", "X3F"),
    (0, b"\0MRM", "MRW"),
    (6, b"HEAPCCDR", "CRW"),
    (4, b"ftypcrx ", "CR3"),
    (0, b"IIRO", "ORF"),
    (0, b"IIRS", "ORF"),
    (0, b"MMOR", "ORF"),
    (0, b"IIU\0", "RW2"),
)
_MAKERS = {
    "NIKON": "NEF",
    "SONY": "ARW",
    "CANON": "CR2",
    "PENTAX": "PEF",
    "RICOH": "PEF",
    "SAMSUNG": "SRW",
    "KODAK": "DCR",
    "EASTMAN": "DCR",
    "HASSELBLAD": "3FR",
    "PHASE": "IIQ",
    "LEAF": "MOS",
    "EPSON": "ERF",
    "MAMIYA": "MEF",
    "FUJIFILM": "RAF",
    "OLYMPUS": "ORF",
}

_CFA, _LINEAR_RAW = 32803, 34892
"""PhotometricInterpretation of a sensor's own values (DNG 1.7, page 34)."""
_PACKED_RAW = frozenset({32767, 32769, 32770, 34713, 65000})
"""Compression that only cameras write: Sony, Epson, Samsung, Nikon, Kodak."""


def raw_kind(data: bytes) -> str | None:
    """The usual file extension in capitals (`NEF`; `RAW` if there is none); None if it is not camera RAW."""
    for at, signature, kind in _SIGNATURES:
        if data.startswith(signature, at):
            return kind
    if data[:4] not in (b"II\x2a\0", b"MM\0\x2a", b"II\x2b\0", b"MM\0\x2b"):
        return None
    if data[8:10] == b"CR":
        return "CR2"
    tiff = Tiff.of(data)
    first = tiff.first if tiff is not None else None
    if tiff is None or first is None:
        return None
    pages = list(tiff.pages(every=True))
    if not any(_is_raw(page) for page in pages):
        # a DNG without a page that anyone could see; a TIFF may have inherited the tag from the DNG it was made of
        seen = any(not page.is_reduced for page in pages)
        return None if seen or not first.entries.get(DNG_VERSION) else "DNG"
    if first.entries.get(DNG_VERSION):
        return "DNG"
    maker = first.text(MAKE).upper().split(" ")[0].rstrip(",")
    return _MAKERS.get(maker, "RAW")


def _is_raw(page: Directory) -> bool:
    return page.number(PHOTOMETRIC) in (_CFA, _LINEAR_RAW) or page.number(COMPRESSION) in _PACKED_RAW
