"""Seeds: points, shapes and angles in the plane."""

import math


def distance(a: tuple[float, float], b: tuple[float, float]) -> float:
    """Return the Euclidean distance between two points.

    >>> distance((0, 0), (3, 4))
    5.0
    """
    return math.hypot(a[0] - b[0], a[1] - b[1])


def manhattan_distance(a: tuple[int, int], b: tuple[int, int]) -> int:
    """Return how many steps along a grid lead from one point to another."""
    return abs(a[0] - b[0]) + abs(a[1] - b[1])


def midpoint(a: tuple[float, float], b: tuple[float, float]) -> tuple[float, float]:
    """Return the point halfway between two points.

    >>> midpoint((0, 0), (4, 2))
    (2.0, 1.0)
    """
    return (a[0] + b[0]) / 2, (a[1] + b[1]) / 2


def polygon_area(corners: list[tuple[float, float]]) -> float:
    """Compute the area of a simple polygon with the shoelace formula.

    The corners may be given in either direction.

    >>> polygon_area([(0, 0), (4, 0), (4, 3), (0, 3)])
    12.0
    """
    twice = 0.0
    for (x1, y1), (x2, y2) in zip(corners, corners[1:] + corners[:1], strict=True):
        twice += x1 * y2 - x2 * y1
    return abs(twice) / 2


def triangle_angles(a: float, b: float, c: float) -> list[float]:
    """Return the angles of a triangle in degrees, in the order of the sides they lie opposite to.

    Raises:
        ValueError: If no triangle has these sides.

    >>> [round(angle) for angle in triangle_angles(1, 1, 2**0.5)]
    [45, 45, 90]
    """
    sides = sorted((a, b, c))
    if sides[0] + sides[1] <= sides[2]:
        raise ValueError("these sides make no triangle")
    angles = []
    for opposite, left, right in ((a, b, c), (b, c, a), (c, a, b)):
        cosine = (left**2 + right**2 - opposite**2) / (2 * left * right)
        angles.append(math.degrees(math.acos(cosine)))
    return angles


def rotate_point(point: tuple[float, float], degrees: float) -> tuple[float, float]:
    """Rotate a point around the origin, counter-clockwise."""
    angle = math.radians(degrees)
    x, y = point
    return x * math.cos(angle) - y * math.sin(angle), x * math.sin(angle) + y * math.cos(angle)


def point_in_rectangle(point: tuple[float, float], corner: tuple[float, float], width: float, height: float) -> bool:
    """Tell whether a point lies in a rectangle, its border included.

    Args:
        point: The point to test.
        corner: The corner with the smallest coordinates.
        width: The length of the horizontal sides.
        height: The length of the vertical sides.
    """
    x, y = point[0] - corner[0], point[1] - corner[1]
    return 0 <= x <= width and 0 <= y <= height


def point_in_polygon(point: tuple[float, float], corners: list[tuple[float, float]]) -> bool:
    """Tell whether a point lies inside a polygon, by counting how often a ray crosses its sides.

    >>> point_in_polygon((1, 1), [(0, 0), (4, 0), (0, 4)])
    True
    >>> point_in_polygon((3, 3), [(0, 0), (4, 0), (0, 4)])
    False
    """
    x, y = point
    inside = False
    for (x1, y1), (x2, y2) in zip(corners, corners[1:] + corners[:1], strict=True):
        if (y1 > y) != (y2 > y) and x < (x2 - x1) * (y - y1) / (y2 - y1) + x1:
            inside = not inside
    return inside


def orientation(a: tuple[float, float], b: tuple[float, float], c: tuple[float, float]) -> str:
    """Say whether the way from a over b to c turns "left", turns "right" or goes "straight" on.

    >>> orientation((0, 0), (1, 0), (1, 1))
    'left'
    """
    cross = (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
    if cross == 0:
        return "straight"
    return "left" if cross > 0 else "right"


def bounding_box(points: list[tuple[float, float]]) -> tuple[float, float, float, float]:
    """Return the smallest upright rectangle around some points as (left, bottom, right, top).

    >>> bounding_box([(1, 5), (-2, 3), (0, 0)])
    (-2, 0, 1, 5)
    """
    xs, ys = zip(*points, strict=True)
    return min(xs), min(ys), max(xs), max(ys)


def rectangles_overlap(a: tuple[float, float, float, float], b: tuple[float, float, float, float]) -> bool:
    """Tell whether two rectangles (left, bottom, right, top) have an area in common."""
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def circle_on_diameter(a: tuple[float, float], b: tuple[float, float]) -> tuple[tuple[float, float], float]:
    """Return center and radius of the circle that has the line between two points as its diameter."""
    center = ((a[0] + b[0]) / 2, (a[1] + b[1]) / 2)
    return center, math.dist(a, b) / 2


def line_through(a: tuple[float, float], b: tuple[float, float]) -> tuple[float, float] | None:
    """Return slope and intercept of the line through two points, None where it is vertical.

    >>> line_through((0, 1), (2, 5))
    (2.0, 1.0)
    """
    if a[0] == b[0]:
        return None
    slope = (b[1] - a[1]) / (b[0] - a[0])
    return slope, a[1] - slope * a[0]


def normalize_angle(degrees: float) -> float:
    """Bring an angle into the range from -180 (excluded) to 180 (included).

    >>> normalize_angle(270)
    -90
    """
    degrees %= 360
    return degrees - 360 if degrees > 180 else degrees


def regular_polygon(sides: int, radius: float) -> list[tuple[float, float]]:
    """Return the corners of a regular polygon around the origin, the first one on the x-axis.

    >>> len(regular_polygon(6, 1.0))
    6
    """
    step = 2 * math.pi / sides
    return [(radius * math.cos(step * k), radius * math.sin(step * k)) for k in range(sides)]
