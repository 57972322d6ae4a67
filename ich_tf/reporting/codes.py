"""Codes of what is found: those of SNOMED CT as far as DICOM's users know them, else our own.

Each is a code, its scheme and its meaning. The dictionary of PS3.16 has bleeds within the skull and
bleeds as such. The codes of the others are in public use with these meanings; for epidural bleeds
there was none that could be confirmed.
"""

from __future__ import annotations

from ich_tf.labels import CLASSES

Triple = tuple[str, str, str]

# Scheme of own codes; PS3.16 leaves schemes that begin with 99 to everyone.
OWN_SCHEME = "99ICHTF"
FINDINGS: dict[str, Triple] = {
    "epidural": ("epidural", OWN_SCHEME, "Epidural hemorrhage"),
    "intraparenchymal": ("274100004", "SCT", "Cerebral hemorrhage"),
    "intraventricular": ("50960005", "SCT", "Hemorrhage"),
    "subarachnoid": ("21454007", "SCT", "Subarachnoid intracranial hemorrhage"),
    "subdural": ("35486000", "SCT", "Subdural intracranial hemorrhage"),
    "any": ("1386000", "SCT", "Intracranial hemorrhage"),
}
# Where it lies (CID 7153), if the finding does not say it.
SITES: dict[str, Triple] = {"intraventricular": ("35764002", "SCT", "Brain ventricle")}
PROBABILITIES: dict[str, Triple] = {
    name: (
        f"p_{name}"[:16],
        OWN_SCHEME,
        f"Probability of {'intracranial' if name == 'any' else name} hemorrhage",
    )
    for name in CLASSES
}
AT_OPERATING_POINT: Triple = ("at_operating_point", OWN_SCHEME, "At or above operating point")
WITH_ABSTENTION: Triple = ("with_abstention", OWN_SCHEME, "Decision, or left to a reader")
OPERATING_POINT: Triple = ("operating_point", OWN_SCHEME, "Operating point")
# Of CID 7474; the meaning there is longer than its 64 characters may be.
AREAS_TIMES_DISTANCES: Triple = (
    "122503", "DCM", "Integration of sum of closed areas on contiguous slices",
)  # fmt: skip
MILLILITRE: Triple = ("ml", "UCUM", "milliliter")
# How far a value may lie above and below (TID 310).
UPPER: Triple = ("371886008", "SCT", "+, range of upper measurement uncertainty")
LOWER: Triple = ("371885007", "SCT", "-, range of lower measurement uncertainty")
