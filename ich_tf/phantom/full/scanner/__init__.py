"""A scanner: any function that paints points of a head -> Hounsfield units and masks of slices.

kernel        modulation transfer and noise spectrum of a reconstruction
protocol      what is drawn for a scan: tube, kernel, dose, slices, defects
extent        where a painted head has points
placement     position of the head and of the slices
sampling      points of a slice -> its image on the drawing grid
projection    images <-> sinograms on a coarse grid
hardening     excess of a polychromatic ray over the water-corrected one
artefacts     beam hardening, scatter, starved rays and motion, by projection
noise         correlated noise, and how strong it is where
holder        what the head lies in
linen         sheets, bands, cables and tubes about the head
scan          all of it, slice by slice
"""

from ich_tf.phantom.full.scanner.extent import Extent, Paint, measure_extent
from ich_tf.phantom.full.scanner.placement import draw_scan
from ich_tf.phantom.full.scanner.protocol import Protocol, draw_protocol
from ich_tf.phantom.full.scanner.scan import scan

__all__ = [
    "Extent",
    "Paint",
    "Protocol",
    "draw_protocol",
    "draw_scan",
    "measure_extent",
    "scan",
]
