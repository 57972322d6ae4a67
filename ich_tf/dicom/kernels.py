"""Reconstruction kernels: soft ones show the brain, sharp ones show bone and drown it in noise.

Every maker has names of its own, and no tag says what they mean. The conventions below are those of
the makers' manuals; a name that fits none is `unknown`, never guessed.
"""

from __future__ import annotations

import re

KERNELS = ("soft", "sharp", "unknown")

# Philips, and Marconi and Picker before: U for the brain, Y and beyond D for bone and lung, C and X
# for the heart, each from smooth to sharp.
_PHILIPS = {
    **dict.fromkeys(("A", "B", "C", "UA", "UB", "UC", "EA", "EB", "EC"), "soft"),
    **dict.fromkeys(("CA", "CB", "XA", "XB", "XCA", "XCB", "XCC", "SA", "SB", "SC"), "soft"),
    **dict.fromkeys(("D", "E", "F", "L", "ED", "UD", "UE", "CD", "XCD", "SD"), "sharp"),
    **dict.fromkeys(("YA", "YB", "YC", "YD", "YE", "Y"), "sharp"),
}
# Toshiba and Canon: FC and a number, by its tens: 0 and 1 body, 2, 4 and 6 brain, 3 and 8 bone and
# inner ear, 5 lung.
_TOSHIBA = re.compile(r"FC\s?(\d)(\d)")
_TOSHIBA_SOFT, _TOSHIBA_SHARP = "01246", "358"
# Siemens: region (B, H, J, Hr, Qr ...) and sharpness in tens, as in H31s, J40s, Hr38 and B70h.
_SIEMENS = re.compile(r"[A-Z][A-Za-z]?(\d\d)[A-Za-z]{0,2}")
_SIEMENS_SHARP = 50
# Words of GE (STANDARD, SOFT, STD+, BONEPLUS, DETAIL ...), Hitachi, Neusoft, United Imaging and
# others; those of sharp kernels first, for a name such as BODYSHARP holds both.
_SHARP_WORDS = (
    "BONE", "SHARP", "EDGE", "LUNG", "ULTRA", "DETAIL", "INNER", "DENTAL", "HIRES", "HIGH RES",
)  # fmt: skip
_SOFT_WORDS = (
    "STANDARD", "STAND", "STD", "STND", "SOFT", "SMOOTH", "BRAIN", "NEURO", "CHEST", "BODY",
    "ROUTINE", "ABDOMEN",
)  # fmt: skip


def kernel_class(names: str, maker: str = "unknown") -> str:
    r"""Class of a kernel: one of `KERNELS`.

    Args:
      names: ConvolutionKernel as in the file; several values are joined by a backslash, of which
        the first that is known counts (Siemens appends the strength of its noise filter).
      maker: Maker of the scanner, as `header.scanner_maker` returns it. It matters where names are
        single letters.

    Examples:
      >>> [kernel_class(name) for name in ("STANDARD", "BONEPLUS", "Hr38f\\3", "H60s", "FC68")]
      ['soft', 'sharp', 'soft', 'sharp', 'soft']
      >>> kernel_class("YA", "Philips"), kernel_class("A", "GE")
      ('sharp', 'unknown')
    """
    for name in names.split("\\"):
        kernel = _class_of(name.strip(), maker)
        if kernel != "unknown":
            return kernel
    return "unknown"


def _class_of(name: str, maker: str) -> str:
    upper = name.upper()
    # One letter says nothing on another maker's scanner.
    if upper in _PHILIPS and (
        maker in ("Philips", "Marconi", "Picker") or (maker == "unknown" and len(upper) > 1)
    ):
        return _PHILIPS[upper]
    if toshiba := _TOSHIBA.match(upper):
        tens = toshiba[1]
        if tens in _TOSHIBA_SHARP:
            return "sharp"
        return "soft" if tens in _TOSHIBA_SOFT else "unknown"
    if siemens := _SIEMENS.fullmatch(name):
        return "sharp" if int(siemens[1]) >= _SIEMENS_SHARP else "soft"
    if any(word in upper for word in _SHARP_WORDS):
        return "sharp"
    if any(word in upper for word in _SOFT_WORDS):
        return "soft"
    return "unknown"
