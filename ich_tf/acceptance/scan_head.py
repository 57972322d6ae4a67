"""A head of a real scan as bleeds need it: position, depth and tissue of each voxel."""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np
from scipy import ndimage

from ich_tf.acceptance.cubic_grid import GRID_MM, CubicGrid
from ich_tf.acceptance.head_frame import HeadFrame
from ich_tf.acceptance.scan import Scan
from ich_tf.acceptance.tissue import Tissue, bounding_box
from ich_tf.phantom.full.voxels import Voxels

# Nodes of the grid that are left out on the grid of volumes, which has 3 mm.
_COARSE_STEP = 2
# Distance outside of the cavity in slices that have none of it.
OUTSIDE_MM = -6.0
# Wavelengths of the noise that makes outlines uneven, mm.
_RELIEF_MM = (9.0, 22.0)
_RELIEF_NODES = 32

# An index of rows and columns.
Box = tuple[slice, slice]


@dataclasses.dataclass(frozen=True, eq=False)
class Relief:
    """Slow noise in space, of standard deviation 1.

    Attributes:
      cubes: Values at the nodes of periodic lattices, float32 [2, n, n, n], finest first.
    """

    cubes: np.ndarray

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Relief:
        """Draws the noise."""
        return cls(rng.standard_normal((2, *(_RELIEF_NODES,) * 3), np.float32))

    def at(self, x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
        """Values at points, mm, float32 of the shape of `x`."""
        total = np.zeros_like(x)
        for cube, step in zip(self.cubes, _RELIEF_MM, strict=True):
            places = [(axis / np.float32(step)).astype(np.float32) for axis in (x, y, z)]
            total += ndimage.map_coordinates(cube, places, np.float32, order=1, mode="grid-wrap")
        # A straight line between nodes of standard deviation 1 has about 0.54 in three axes.
        return np.asarray(total / np.float32(0.54 * np.sqrt(2)))


class ScanHead:
    """The head of a scan.

    Attributes:
      scan: The scan.
      frame: Its head frame.
      cavity: The cranial cavity, bool [S, rows, columns].
      tissue: Its tissue.
    """

    def __init__(
        self,
        scan: Scan,
        frame: HeadFrame,
        cavity: np.ndarray,
        depth_mm: np.ndarray,
        tissue: Tissue,
        relief: Relief,
    ) -> None:
        """Finds the distances from the skull in space.

        Args:
          scan: The scan.
          frame: Its head frame.
          cavity: The cranial cavity, bool [S, rows, columns], not empty.
          depth_mm: Distance from the skull in the plane, float32 [S, rows, columns], negative
            outside.
          tissue: Its tissue.
          relief: Noise of outlines.
        """
        self.scan, self.frame, self.cavity, self.tissue = scan, frame, cavity, tissue
        self._relief = relief
        self._depth = depth_mm
        used = self.slices
        self._grid = CubicGrid.around(scan, cavity)
        # Up to the first slice above the cavity.
        ends = np.arange(used[0], min(used[-1] + 2, len(depth_mm)))
        flat = self._grid.volume(scan, depth_mm, ends, OUTSIDE_MM)
        inside = flat > 0
        deep = ndimage.distance_transform_edt(inside, GRID_MM)
        deep -= ndimage.distance_transform_edt(~inside, GRID_MM)
        self._deep = ndimage.gaussian_filter(deep.astype(np.float32), 0.7)
        # A slanting skull is nearer than it looks in the plane.
        known = (flat > 2.0).astype(np.float32)
        ratio = np.clip(self._deep / np.maximum(flat, 2.0), 0.2, 1.0) * known
        weight = ndimage.gaussian_filter(known, 2.0)
        self._slant = ndimage.gaussian_filter(ratio, 2.0) / np.maximum(weight, 1e-3)
        self._slant[weight < 1e-2] = 1.0
        rise = ndimage.gaussian_filter(np.gradient(flat, GRID_MM, axis=0), 1.0)
        self._rise = np.clip(rise, -4.0, 4.0)

    @property
    def slices(self) -> np.ndarray:
        """Numbers of the slices that have any of the cavity."""
        return np.flatnonzero(self.cavity.any(axis=(1, 2)))

    def coarse(self) -> tuple[Voxels, float]:
        """Voxels of the whole head on a grid of 3 mm, and the volume of one, ml."""
        used, grid = self.slices, self._grid
        places = self.scan.places_mm[used]
        kept = np.flatnonzero(
            (grid.heights_mm >= places[0] - GRID_MM) & (grid.heights_mm <= places[-1] + GRID_MM)
        )
        nodes = np.ix_(
            kept[::_COARSE_STEP], *(np.arange(0, n, _COARSE_STEP) for n in grid.shape[1:])
        )
        tissue = [
            grid.volume(self.scan, part, used, 0.0)[nodes]
            for part in (self.tissue.hu, self.tissue.fluid, self.tissue.ventricle)
        ]
        x, y, z = (axis[nodes] for axis in grid.points(self.scan, self.frame))
        voxels = self._voxels(x, y, z, self._deep[nodes], *tissue)
        return voxels, (_COARSE_STEP * GRID_MM) ** 3 * 1e-3

    def box(self, index: int) -> Box:
        """Rows and columns of a slice that hold its cavity."""
        return bounding_box(self.cavity[index], round(4.0 / min(self.scan.spacing_mm)))

    def depths(self, index: int, box: Box, offsets_mm: np.ndarray) -> np.ndarray:
        """Distance from the skull of a slice's pixels, mm, float32 [n, rows, columns]."""
        slant, rise = (
            self._grid.on_slice(self.scan, field, index, box) for field in (self._slant, self._rise)
        )
        flat = self._depth[index][box] + rise * np.asarray(offsets_mm, np.float32)[:, None, None]
        return np.asarray(flat * np.where(flat > 0, slant, 1.0), np.float32)

    def depths_of_slice(self, index: int) -> np.ndarray:
        """Distance from the skull of all pixels of a slice, mm, float32 [rows, columns]."""
        whole = tuple(slice(0, side) for side in self.cavity.shape[1:])
        return np.asarray(self.depths(index, whole, np.zeros(1))[0])  # type: ignore[arg-type]

    def voxels(
        self,
        index: int,
        box: Box,
        offsets_mm: np.ndarray,
        moved: tuple[np.ndarray, np.ndarray] | None = None,
    ) -> Voxels:
        """Voxels of a slice.

        Args:
          index: Number of the slice.
          box: Rows and columns.
          offsets_mm: Distances from the slice along the normal, [n]: tissue is that of the slice.
          moved: Columns and rows that the tissue comes from, float32 [rows, columns] each, counted
            from the box's first; None where it is.
        """
        tissue = [part[index][box] for part in dataclasses.astuple(self.tissue)]
        if moved is not None:
            tissue = [
                cv2.remap(part, *moved, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
                for part in tissue
            ]
        x, y, z = self.frame.points(self.scan, index, box, offsets_mm)
        tissue[1:] = [np.clip(part, 0.0, 1.0) for part in tissue[1:]]
        same = [np.broadcast_to(part, x.shape).copy() for part in tissue]
        return self._voxels(x, y, z, self.depths(index, box, offsets_mm), *same)

    def _voxels(
        self,
        x: np.ndarray,
        y: np.ndarray,
        z: np.ndarray,
        depth: np.ndarray,
        hu: np.ndarray,
        fluid: np.ndarray,
        ventricle: np.ndarray,
    ) -> Voxels:
        falx = x - np.float32(self.frame.lean) * z
        inside = (depth > 0).astype(np.float32)
        return Voxels(
            x=x,
            y=y,
            z=z,
            depth=depth.astype(np.float32),
            falx=falx,
            tent=_tent(falx, y, z),
            relief=self._relief.at(x, y, z),
            hu=hu,
            brain=np.clip(1.0 - fluid - ventricle, 0.0, 1.0) * inside,
            fluid=fluid,
            ventricle=ventricle,
        )


def _tent(falx: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Height above the tentorium of an average head, mm: no scan shows it well enough.

    It slopes from the straight sinus to the transverse sinuses, and begins behind the midbrain.
    """
    side = np.abs(falx)
    height = z + 8.0 + 0.42 * side - 0.12 * (y - 40.0)
    return np.asarray(np.where(y > 8.0 + 0.25 * side, height, np.float32(30.0)), np.float32)
