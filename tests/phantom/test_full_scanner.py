"""The scanner of `full`: resolution, noise, artefacts by projection, and where everything lies."""

import dataclasses

import numpy as np
import pytest

from ich_tf.phantom.archive_headers import archive_elements
from ich_tf.phantom.full.scanner import draw_protocol, draw_scan, measure_extent, scan
from ich_tf.phantom.full.scanner.hardening import Hardening
from ich_tf.phantom.full.scanner.holder import draw_holder
from ich_tf.phantom.full.scanner.kernel import Kernel
from ich_tf.phantom.full.scanner.noise import Grain, Resolution
from ich_tf.phantom.full.scanner.projection import SIZE, Projector
from ich_tf.phantom.full.scanner.protocol import Protocol
from ich_tf.phantom.full.scanner.sampling import DrawingGrid, draw_plane
from ich_tf.phantom.geometry import Geometry, Pose
from ich_tf.phantom.shapes import share
from ich_tf.phantom.study import Encoding, PhantomStudy
from tests.support.marks import slow

# A head with a ball of blood, which lies to the left, the back, and above the origin.
BALL_MM, BALL_RADIUS_MM = (25.0, 15.0, 12.0), 16.0


def paint(x: np.ndarray, y: np.ndarray, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A round skull of 8 mm around brain of 30 HU, with a ball of blood of 70 HU."""
    radius = np.sqrt((x / 0.8) ** 2 + y**2 + z**2)
    hu = -1000.0 + 1040.0 * share(95.0 - radius)
    hu += (1000.0 - hu) * share(92.0 - radius) * share(radius - 84.0)
    hu += (30.0 - hu) * share(84.0 - radius)
    off = np.sqrt((x - BALL_MM[0]) ** 2 + (y - BALL_MM[1]) ** 2 + (z - BALL_MM[2]) ** 2)
    blood = share(BALL_RADIUS_MM - off)
    shares = np.zeros((5, *x.shape), np.float32)
    shares[1] = blood
    return (hu + blood * (70.0 - hu)).astype(np.float32), shares


EXTENT = measure_extent(paint)


def protocol(**changes: object) -> Protocol:
    """A protocol without artefacts, but for `changes`."""
    drawn = draw_protocol(np.random.default_rng(1), 4.0, 0.0, 0.0)
    quiet = {
        "kernel": Kernel("STANDARD", 0.35, 0.73, 0.0),
        "noise_hu": 0.0,
        "base_mm": 5.0,
        "crown_mm": 5.0,
        "view_mm": 230.0,
        "tilt_deg": 0.0,
        "hardening": 0.0,
        "scatter": 0.0,
        "water_hu": 0.0,
        "mottle_hu": 0.0,
        "moving": False,
    }
    return dataclasses.replace(drawn, **{**quiet, **changes})  # type: ignore[arg-type]


def scanned(
    seed: int, matrix: int, **changes: object
) -> tuple[Pose, Geometry, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    chosen = protocol(**changes)
    pose, geometry = draw_scan(rng, chosen, EXTENT, matrix)
    hu, masks = scan(rng, paint, chosen, EXTENT, pose, geometry, matrix, 30.0, -1024)
    return pose, geometry, hu, masks


@pytest.mark.parametrize("tilt_deg", [slow(0.0), -20.0])
def test_a_ball_lies_where_the_headers_say(tilt_deg: float) -> None:
    pose, geometry, hu, masks = scanned(3, 64, tilt_deg=tilt_deg, base_mm=8.0, crown_mm=8.0)
    index, rows, columns = np.nonzero(masks & 2)
    row, column = np.reshape(geometry.orientation, (2, 3))
    places = geometry.positions_mm[index] + geometry.spacing_mm * (
        columns[:, None] * row + rows[:, None] * column
    )
    center = ((places - pose.center_mm) @ pose.rotation).mean(axis=0)
    np.testing.assert_allclose(center, BALL_MM, atol=0.7)
    # Volume of the ball, and its value in the slice through its middle.
    ml = len(index) * geometry.spacing_mm**2 * 8.0 / 1000.0
    assert ml == pytest.approx(4 / 3 * np.pi * BALL_RADIUS_MM**3 / 1000.0, rel=0.1)
    middle = np.bincount(index).argmax()
    inside = hu[middle][(masks[middle] & 2) > 0]
    assert np.percentile(inside, 75) == pytest.approx(70.0, abs=2.0)


@pytest.mark.slow
def test_same_seed_same_bytes() -> None:
    first, again = (
        scanned(5, 32, noise_hu=4.0, moving=True, base_mm=10.0, crown_mm=10.0) for _ in range(2)
    )
    assert (first[2] == again[2]).all() and (first[3] == again[3]).all()


@pytest.mark.parametrize(
    "kernel", [Kernel("SOFT", 0.28, 0.6, 0.0), Kernel("STANDARD", 0.38, 0.75, 0.0)]
)
def test_an_edge_is_as_sharp_as_its_kernel(kernel: Kernel) -> None:
    matrix, view_mm = 512, 230.0
    geometry = Geometry(view_mm / matrix, (1, 0, 0, 0, 1, 0), np.zeros((1, 3)), 0.0)
    grid = DrawingGrid(geometry, matrix)
    _, along = grid.points(0)
    edge = 1000.0 * share(along - (along[grid.size // 2] + 0.13), 0.9)
    image = Resolution(kernel, grid, matrix)(np.repeat(edge[None], grid.size, axis=0))
    spread = np.diff(image[200, 176:336])
    transfer = np.abs(np.fft.rfft(spread)) / spread.sum()
    frequency = np.fft.rfftfreq(len(spread), geometry.spacing_mm)
    # Nothing is shifted: half of the step is where it was drawn.
    first = -0.5 * (matrix - 1) * geometry.spacing_mm
    at = first + np.interp(500.0, image[200, 176:336], np.arange(176, 336)) * geometry.spacing_mm
    drawn = along[grid.size // 2] + 0.13 - 0.5 * along[-1]
    assert at == pytest.approx(drawn, abs=0.05)
    assert np.interp(kernel.half, frequency, transfer) == pytest.approx(0.5, abs=0.04)
    assert np.interp(kernel.tenth, frequency, transfer) < 0.15


def test_noise_has_the_deviation_and_the_peak_of_a_head_scan() -> None:
    kernel = Kernel("STANDARD", 0.35, 0.74, 0.0)
    grain = Grain(kernel, 0.0, 256, 0.45)
    noise = np.stack([grain.draw(np.random.default_rng(seed)) for seed in range(4)])
    assert grain.strength == pytest.approx(1.0, abs=0.03)
    assert noise.std() == pytest.approx(1.0, abs=0.04)
    power = (np.abs(np.fft.fft2(noise)) ** 2).mean(axis=0)
    frequency = np.hypot(*np.meshgrid(*[np.fft.fftfreq(256, 0.45)] * 2))
    bands = [
        power[(frequency > low) & (frequency < low + 0.05)].mean() for low in (0.02, 0.2, 0.4, 0.6)
    ]
    assert bands[1] > 2.0 * bands[0] and bands[1] > bands[2] > 2.0 * bands[3]
    # Sharp kernels are noisier, iterative reconstruction and coarse pixels less so.
    assert Grain(Kernel("SHARP", 0.5, 0.9, 0.1), 0.0, 256, 0.45).strength > 1.4
    assert Grain(kernel, 0.8, 256, 0.45).strength < 0.8
    assert Grain(kernel, 0.0, 64, 3.6).strength < 0.4


def test_rays_reconstruct_what_they_crossed() -> None:
    axis = (np.arange(SIZE) - (SIZE - 1) / 2) * 2.0
    disc = share(np.float32(60.0) - np.hypot(axis[:, None] - 12.0, axis), 4.0).astype(np.float32)
    projector = Projector(2.0)
    rays = projector.project(disc[..., None])
    assert rays[:, :, 0].max() == pytest.approx(120.0, abs=3.0)
    image = projector.spread(projector.filter(rays[..., 0])[..., None])[..., 0]
    off = np.hypot(axis[:, None] - 12.0, axis)
    inside = off < 52.0
    # Rays are projected within a circle: the corners have no meaning.
    outside = (off > 72.0) & (np.hypot(axis[:, None], axis) < 115.0)
    np.testing.assert_allclose(image[inside], 1.0, atol=0.04)
    assert abs(image[outside]).max() < 0.1


def test_bone_hardens_a_beam_and_water_alone_does_not() -> None:
    hardening = Hardening(120, 1.0, 0.0)
    water, bone = np.meshgrid(np.float32([40, 160, 200]), np.float32([0, 12, 40, 80]))
    excess = hardening.excess(water, bone)
    np.testing.assert_allclose(excess[0], 0.0, atol=0.05)
    assert excess[1, 1] == pytest.approx(0.0, abs=0.05)
    # Much bone reads less than it should, and more so at a low voltage.
    assert (np.diff(excess[1:], axis=0) < 0).all()
    assert Hardening(80, 1.0, 0.0).excess(water, bone)[3, 2] < excess[3, 2]
    assert Hardening(120, 1.0, 1e-4).excess(water, bone)[3, 2] < excess[3, 2]


def test_archive_headers_tell_how_slices_were_made() -> None:
    rng = np.random.default_rng(0)
    chosen = protocol(base_mm=4.0, crown_mm=7.0, kvp=140)
    _, geometry = draw_scan(rng, chosen, EXTENT, 64)
    assert geometry.acquisition is not None
    count = len(geometry.positions_mm)
    empty = np.zeros((count, 1, 1), np.int16)
    encoding = Encoding(True, -1024, False, False, False, False)
    study = PhantomStudy(empty, empty.astype(np.uint8), geometry, encoding)
    ids = ("ID_1", "ID_2", "ID_3", "ID_4")
    first, last = (
        {keyword: value for keyword, _, value in archive_elements(study, index, ids)}
        for index in (0, count - 1)
    )
    assert (first["SliceThickness"], last["SliceThickness"]) == ("4.000", "7.000")
    assert (first["KVP"], first["ConvolutionKernel"]) == ("140", "STANDARD")
    steps = np.diff(geometry.positions_mm @ geometry.normal)
    assert steps[0] == pytest.approx(4.0) and steps[-1] == pytest.approx(7.0)


def test_a_holder_leaves_the_head_alone() -> None:
    for seed in range(4):
        hu = np.full((64, 64), -1000.0, np.float32)
        air = np.ones_like(hu)
        air[20:40, 20:40] = 0.0
        x = np.linspace(-125, 125, 64, dtype=np.float32)[None]
        y = np.linspace(-190, 60, 64, dtype=np.float32)[:, None]
        draw_holder(np.random.default_rng(seed)).paint(hu, air, x, y, np.zeros_like(y))
        assert (hu[20:40, 20:40] == -1000.0).all()
        assert (hu > -900.0).sum() > 20
        assert np.isfinite(hu).all()


def test_a_head_without_tissue_is_refused() -> None:
    def nothing(x: np.ndarray, y: np.ndarray, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return np.full_like(x, -1000.0), np.zeros((5, *x.shape), np.float32)

    with pytest.raises(ValueError, match="no point above -300 HU"):
        measure_extent(nothing)


def test_nothing_of_a_head_is_left_out_of_a_slice() -> None:
    def hairy(x: np.ndarray, y: np.ndarray, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        hu, shares = paint(x, y, z)
        hair = share(107.0 - np.sqrt((x / 0.8) ** 2 + y**2 + z**2)) * (hu < -900.0)
        return hu + 80.0 * hair, shares

    extent = measure_extent(hairy)
    corners = np.array(np.meshgrid(*[np.arange(-160.0, 161.0, 8.0)] * 3)).reshape(3, -1).T
    everywhere = dataclasses.replace(extent, points=corners)
    chosen = protocol(tilt_deg=-15.0)
    pose, geometry = draw_scan(np.random.default_rng(4), chosen, extent, 64)
    grid = DrawingGrid(geometry, 64)
    for index in (2, len(geometry.positions_mm) // 2, -4):
        part, whole = (
            draw_plane(hairy, points, pose, geometry, grid, index, 0.5)[0]
            for points in (extent, everywhere)
        )
        assert (whole > -950.0).any()
        np.testing.assert_array_equal(part, whole)


@pytest.mark.slow
def test_a_head_has_the_noise_that_was_asked_for_and_more_behind_bone() -> None:
    thick = {"base_mm": 10.0, "crown_mm": 10.0, "smoothing": 0.0, "modulation": 0.0}
    _, geometry, hu, masks = scanned(7, 128, noise_hu=4.0, **thick)
    _, _, uneven, _ = scanned(7, 128, noise_hu=4.0, mottle_hu=4.0, **thick)
    strength = Grain(protocol().kernel, 0.0, 128, geometry.spacing_mm).strength
    middle = len(hu) // 2
    # To the right of the ball.
    center = (slice(54, 74), slice(40, 58))
    assert not masks[middle][center].any()
    deviation = hu[middle][center].std()
    # The head of the test has more bone than the standard one.
    assert 0.8 < deviation / (4.0 * np.sqrt(0.5) * strength) < 1.6
    assert uneven[middle][center].std() > 1.3 * deviation
