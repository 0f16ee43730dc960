"""dSprites drawn from its factors: polygons filled exactly as in the published 64 x 64 images.

Matthey, Higgins, Hassabis and Lerchner, "dSprites" (2017): 3 shapes x 6 scales x 40 orientations x 32 x 32
positions, 737,280 binary images. The set came without its generator; the geometry here was recovered from the
images and gives them back bit for bit, apart from about one image in 7,000 that differs by one pixel.

Pixels: x to the right, y down; pixel (row a, column b) has its centre at (b + 1/2, a + 1/2).
"""

from __future__ import annotations

import functools
import math
import sys
from collections.abc import Iterator

import numpy as np
import torch

from workings.checks import as_float, as_int, as_tensor, check_tensor, one_of

FACTOR_NAMES = ("shape", "scale", "orientation", "pos_x", "pos_y")
FACTOR_SIZES = (3, 6, 40, 32, 32)
SHAPES = ("square", "ellipse", "heart")
N_IMAGES = math.prod(FACTOR_SIZES)  # 737,280
SIZE = 64
N_BYTES = SIZE * SIZE // 8  # 512 bytes an image

_UNIT = 256  # vertices are snapped to 1/256 pixel: from there on all is integer arithmetic
_HALF = 9.6  # half the side of the square, in pixels, at scale 1


def dsprites_polygon(shape: int | str) -> torch.Tensor:
    """Vertices (V, 2) of a shape in pixels, float64, about its centre at scale 1: V = 4, 100 or 150.

    With h = 9.6: square (+-h, +-h); ellipse (1.33 h cos t, h sin t / 1.33); heart
    (h sin^3 t, -h [(13 cos t - 5 cos 2t - 2 cos 3t - cos 4t) / 14.5 + 0.15]); t = 2 pi n / V. Clockwise on
    the screen. ``shape`` is 0, 1, 2 or one of :data:`SHAPES`.
    """
    name = (
        one_of(shape, "shape", SHAPES)
        if isinstance(shape, str)
        else SHAPES[as_int(shape, "shape", minimum=0, maximum=2)]
    )
    if name == "square":
        return torch.tensor([[1, 1], [-1, 1], [-1, -1], [1, -1]], dtype=torch.float64) * _HALF
    n = 100 if name == "ellipse" else 150
    t = 2 * math.pi * np.arange(n) / n  # numpy: the same last bits on every device
    if name == "ellipse":
        x, y = 1.33 * np.cos(t), np.sin(t) / 1.33
    else:
        x = np.sin(t) ** 3
        y = -((13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t)) / 14.5 + 0.15)
    return torch.from_numpy(_HALF * np.stack([x, y], axis=-1))


def dsprites_index(classes: torch.Tensor) -> torch.Tensor:
    """Row (...) int64 of factor classes (..., 5): (((s 6 + k) 40 + r) 32 + i) 32 + j.

    Raises ``TypeError`` for a tensor that is not of integers, ``ValueError`` for a class out of range.
    """
    classes = as_classes(classes)
    index = classes[..., 0]
    for factor, size in enumerate(FACTOR_SIZES[1:], start=1):
        index = index * size + classes[..., factor]
    return index


def dsprites_classes(index: torch.Tensor | int) -> torch.Tensor:
    """Factor classes (..., 5) int64 of rows (...): the inverse of :func:`dsprites_index`, with its errors."""
    index = as_integers(as_tensor(index, "index"), "index")
    if index.numel() and (index.min() < 0 or index.max() >= N_IMAGES):
        raise ValueError(f"index must be in [0, {N_IMAGES - 1}], got {int(index.min())} to {int(index.max())}.")
    return torch.stack(torch.unravel_index(index, FACTOR_SIZES), dim=-1)


def as_classes(classes: torch.Tensor) -> torch.Tensor:
    """``classes`` (..., 5) as int64, each checked against :data:`FACTOR_SIZES`.

    Raises ``TypeError`` for floats and bools and ``ValueError`` for a wrong shape or a class out of range.
    """
    classes = as_integers(as_tensor(classes, "classes"), "classes")
    if classes.dim() == 0 or classes.shape[-1] != 5:
        raise ValueError(
            f"classes must be (..., 5), one column for each of {FACTOR_NAMES}, got {tuple(classes.shape)}."
        )
    bad = (classes < 0) | (classes >= classes.new_tensor(FACTOR_SIZES))
    if bad.any():
        where = bad.nonzero()[0]
        name, size = FACTOR_NAMES[int(where[-1])], FACTOR_SIZES[int(where[-1])]
        raise ValueError(f"class of {name} must be in [0, {size - 1}], got {int(classes[tuple(where)])}.")
    return classes


def as_integers(x: torch.Tensor, name: str) -> torch.Tensor:
    """``x`` as int64; ``TypeError`` for floats, complex numbers and bools."""
    check_tensor(x, name, floating=False)
    if x.is_floating_point() or x.is_complex() or x.dtype == torch.bool:
        raise TypeError(f"{name} must be integers, got {x.dtype}; convert with .long() what is meant as a class.")
    return x.long()


def render_sprite(
    shape: int | str, scale: float, theta: float, pos_x: float, pos_y: float, size: int = SIZE
) -> torch.Tensor:
    """One sprite (size, size) uint8 {0, 1} at continuous factor values, one step of the recipe after the other.

    ``scale`` in (0, 1.5] (0.5 to 1 in dSprites: larger ones leave the image), ``theta`` in radians,
    counter-clockwise on the screen, positions in [0, 1]. The centre is c = (16 + 32 pos_x, 16 + 32 pos_y) and
    (X, Y) goes to c + scale (X cos + Y sin, -X sin + Y cos), snapped to the nearest 1/256. Rows cross an edge
    when one endpoint lies above the row's centre and the other does not; columns from
    ceil(x_left - 1/2) to ceil(x_right - 1/2) - 1 are filled, even-odd. For another ``size`` all coordinates
    are multiplied by size / 64 before snapping; the recipe is exact for 64.
    """
    size = as_int(size, "size", minimum=1)
    kappa = as_float(scale, "scale", minimum=0.0, maximum=1.5)
    if kappa == 0.0:
        raise ValueError("scale must be positive, got 0.")
    theta = as_float(theta, "theta")
    centre_x = 16 + 32 * as_float(pos_x, "pos_x", minimum=0.0, maximum=1.0)
    centre_y = 16 + 32 * as_float(pos_y, "pos_y", minimum=0.0, maximum=1.0)
    zoom = size / SIZE
    x, y = dsprites_polygon(shape).unbind(-1)  # (V,)
    x, y = _turned(x, y, x.new_tensor([kappa]), x.new_tensor([theta]))
    x, y = _snap(zoom * (centre_x + x[0])), _snap(zoom * (centre_y + y[0]))
    x_next, y_next = x.roll(-1), y.roll(-1)
    centres = _UNIT * torch.arange(size, dtype=torch.float64) + _UNIT // 2  # (size,) of rows, and of columns
    crossed = (y[:, None] < centres) != (y_next[:, None] < centres)  # (V, size)
    edge, row = crossed.nonzero().unbind(-1)
    column = _first_column(x[edge], x_next[edge], y[edge], y_next[edge], centres[row]).clamp(0, size)
    toggles = torch.zeros(size * (size + 1), dtype=torch.int64)
    toggles.index_add_(0, row * (size + 1) + column.long(), torch.ones_like(row))
    return (toggles.view(size, size + 1).cumsum(1)[:, :size] % 2).to(torch.uint8)


def packed_dsprites(
    classes: torch.Tensor | None = None, *, device: str | torch.device = "cpu", chunk: int = 16384
) -> torch.Tensor:
    """Images as bits, (N, 512) uint8 on ``device`` in the order of ``numpy.packbits``; ``None``: all 737,280 (378 MB).

    ``classes`` (N, 5) as :func:`as_classes` takes them. Beyond the result, memory is bounded by ``chunk`` images
    at a time: at most about 15 kB each. Both ways give the bits of :func:`render_sprite`; the whole set is faster
    by the image, since rows do not depend on pos_x nor vertex columns on pos_y.
    """
    chunk = as_int(chunk, "chunk", minimum=1)
    if classes is None:
        packed = torch.empty(N_IMAGES, N_BYTES, dtype=torch.uint8, device=device)
        for index, x, y in _whole_set(chunk, device):
            packed[index : index + x.shape[0] * 1024] = _fill(x, y)
        return packed
    classes = as_classes(classes).to(device)
    if classes.dim() != 2:
        raise ValueError(f"classes must be (N, 5), got shape {tuple(classes.shape)}.")
    packed = torch.empty(len(classes), N_BYTES, dtype=torch.uint8, device=device)
    for shape in range(3):
        for rows in (classes[:, 0] == shape).nonzero()[:, 0].split(chunk):
            packed[rows] = _fill(*_vertices(shape, *classes[rows, 1:, None].unbind(1)))
    return packed


def render_dsprites(classes: torch.Tensor, *, device: str | torch.device = "cpu", chunk: int = 16384) -> torch.Tensor:
    """Images (N, 64, 64) uint8 {0, 1} of factor classes (N, 5), on ``device``; see :func:`packed_dsprites`."""
    return unpack_images(packed_dsprites(classes, device=device, chunk=chunk), torch.uint8)[:, 0]


def unpack_images(packed: torch.Tensor, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """Images (N, 1, 64, 64) of 0 and 1 in ``dtype`` from bits (N, 512) uint8, on their device."""
    check_tensor(packed, "packed", floating=False)
    if packed.dtype != torch.uint8:
        raise TypeError(f"packed must be uint8 (eight pixels a byte), got {packed.dtype}.")
    if packed.dim() != 2 or packed.shape[1] != N_BYTES:
        raise ValueError(f"packed must be (N, {N_BYTES}), got shape {tuple(packed.shape)}.")
    table = _bits_of_bytes(dtype, packed.device)
    return torch.nn.functional.embedding(packed.reshape(-1).int(), table).view(-1, 1, SIZE, SIZE)


@functools.lru_cache(maxsize=8)
def _bits_of_bytes(dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """The eight bits (256, 8) of every byte, the highest first."""
    return torch.from_numpy(np.unpackbits(np.arange(256, dtype=np.uint8))).view(256, 8).to(device, dtype)


def block_average(images: torch.Tensor, factor: int) -> torch.Tensor:
    """Means of factor x factor blocks: (N, C, H, W) to (N, C, H / factor, W / factor), float.

    Floating-point images keep their dtype, others become float32. ``factor`` must divide H and W.
    """
    factor = as_int(factor, "factor", minimum=1)
    check_tensor(images, "images", floating=False)
    if images.dim() != 4:
        raise ValueError(f"images must be (N, C, H, W), got shape {tuple(images.shape)}.")
    if images.shape[2] % factor or images.shape[3] % factor:
        raise ValueError(f"factor {factor} must divide height and width, got {tuple(images.shape[2:])}.")
    if not images.is_floating_point():
        images = images.float()
    return torch.nn.functional.avg_pool2d(images, factor)


def _whole_set(chunk: int, device: str | torch.device) -> Iterator[tuple[int, torch.Tensor, torch.Tensor]]:
    """First row, vertex columns (B, 32, V) and vertex rows (B, 32, V) of blocks of B orientations."""
    position = torch.arange(32, device=device)
    per_block = max(1, chunk // 1024)
    for shape in range(3):
        for scale in range(6):
            for turns in torch.arange(40, device=device).split(per_block):
                turn = turns[:, None]
                first = ((shape * 6 + scale) * 40 + int(turns[0])) * 1024
                yield first, *_vertices(shape, torch.full_like(turn, scale), turn, position, position)


def _vertices(
    shape: int, scale: torch.Tensor, turn: torch.Tensor, pos_x: torch.Tensor, pos_y: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Vertex coordinates in units of 1/256 pixel, whole float64: x (B, I, V) and y (B, J, V).

    ``scale`` and ``turn`` are classes (B, 1), ``pos_x`` (B or 1, I) or (I,), ``pos_y`` likewise with J.
    """
    polygon = dsprites_polygon(shape).to(scale.device)
    kappa, theta = 0.5 + 0.1 * scale[:, 0].double(), 2 * math.pi * turn[:, 0].double() / 39
    x, y = _turned(*polygon.unbind(-1), kappa, theta)  # (B, V)
    centre_x, centre_y = 16 + 32 * (pos_x.double() / 31), 16 + 32 * (pos_y.double() / 31)
    return _snap(centre_x[..., None] + x[:, None]), _snap(centre_y[..., None] + y[:, None])


def _turned(
    x: torch.Tensor, y: torch.Tensor, kappa: torch.Tensor, theta: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Points (V,) scaled by ``kappa`` (B,) and turned by ``theta`` (B,): x and y (B, V)."""
    angle = theta.cpu().numpy()  # numpy again, as in the polygon
    cos, sin = (torch.from_numpy(f(angle)).to(x)[:, None] for f in (np.cos, np.sin))
    kappa = kappa.to(x)[:, None]
    return kappa * (cos * x + sin * y), kappa * (-sin * x + cos * y)


def _snap(pixels: torch.Tensor) -> torch.Tensor:
    return torch.floor(_UNIT * pixels + 0.5)


def _first_column(
    x1: torch.Tensor, x2: torch.Tensor, y1: torch.Tensor, y2: torch.Tensor, y: torch.Tensor
) -> torch.Tensor:
    """First column whose centre is not left of where the edge crosses height ``y``: ceil(x - 1/2), in pixels.

    All arguments are whole numbers in units of 1/256, so the quotient's numerator and denominator are exact in
    float64, and a quotient that is not whole is further from a whole number than float64 rounds.
    """
    rise = y2 - y1
    return torch.ceil(((x1 - _UNIT // 2) * rise + (y - y1) * (x2 - x1)) / (_UNIT * rise))


def _fill(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Bits (B I J, 512) uint8 of the polygons with vertex columns ``x`` (B, I, V) and vertex rows ``y`` (B, J, V).

    A row of the image is one 64-bit word, column 0 the highest bit. Between crossings at columns l < r the bits
    are 2^(64-l) - 2^(64-r): each crossing adds its power of two, downward edges with a minus. That is the even-odd
    fill wherever the outline does not cross itself, as no snapped outline of dSprites does.
    """
    blocks, across, corners = x.shape
    row = torch.floor((y + _UNIT // 2) / _UNIT).long()  # (B, J, V): first row whose centre is below or at the vertex
    row_next = row.roll(-1, dims=-1)
    span = (row_next - row).flatten()
    edge = torch.repeat_interleave(span.abs())  # (C,) one entry for every row that an edge crosses
    start = torch.cumsum(span.abs(), 0) - span.abs()
    at = torch.minimum(row, row_next).flatten()[edge] + torch.arange(len(edge), device=x.device) - start[edge]
    image, corner = edge // corners, edge % corners  # image counts (B, J)
    block, following = image // y.shape[1], (corner + 1) % corners
    y1, y2 = y.flatten()[edge], y.flatten()[image * corners + following]
    x1, x2 = x[block, :, corner], x[block, :, following]  # (C, I)
    column = _first_column(x1, x2, y1[:, None], y2[:, None], (_UNIT * at + _UNIT // 2).to(y)[:, None])
    power = torch.ones_like(column, dtype=torch.int64) << (SIZE - column.long())
    power = torch.where(span[edge][:, None] > 0, -power, power)
    word = torch.zeros(blocks * y.shape[1] * SIZE, across, dtype=torch.int64, device=x.device)
    word.scatter_add_(0, (image * SIZE + at)[:, None].expand(-1, across), power)
    word = word.view(blocks, y.shape[1], SIZE, across).permute(0, 3, 1, 2).contiguous()  # (B, I, J, 64)
    octets = word.view(torch.uint8).view(-1, SIZE, 8)
    return (octets.flip(-1) if sys.byteorder == "little" else octets).reshape(-1, N_BYTES)
