"""Seeds: conversions between units, and a little physics."""

import math


def human_size(size: int) -> str:
    """Write a number of bytes with a binary unit and one decimal place.

    >>> human_size(1536)
    '1.5 KiB'
    >>> human_size(500)
    '500 B'
    """
    value, units = float(size), ["B", "KiB", "MiB", "GiB", "TiB"]
    while value >= 1024 and len(units) > 1:
        value /= 1024
        units.pop(0)
    return f"{size} B" if units[0] == "B" else f"{value:.1f} {units[0]}"


def parse_size(text: str) -> int:
    """Read a size such as "10MB" or "2 GiB" and return its bytes.

    KB, MB and GB are powers of 1000, KiB, MiB and GiB powers of 1024.

    >>> parse_size("2 KiB")
    2048
    >>> parse_size("10MB")
    10000000
    """
    units = {"KiB": 1024, "MiB": 1024**2, "GiB": 1024**3, "KB": 10**3, "MB": 10**6, "GB": 10**9, "B": 1}
    for unit, factor in units.items():
        if text.endswith(unit):
            return int(float(text.removesuffix(unit)) * factor)
    return int(text)


def convert_length(value: float, source: str, target: str) -> float:
    """Convert a length between metric and imperial units.

    >>> convert_length(1, "km", "m")
    1000.0
    >>> round(convert_length(1, "mi", "km"), 3)
    1.609
    """
    metres = {"mm": 0.001, "cm": 0.01, "m": 1.0, "km": 1000.0, "in": 0.0254, "ft": 0.3048, "mi": 1609.344}
    return value * metres[source] / metres[target]


def feet_and_inches(centimetres: float) -> str:
    """Write a body height in feet and whole inches.

    >>> feet_and_inches(180)
    '5 ft 11 in'
    """
    feet, inches = divmod(round(centimetres / 2.54), 12)
    return f"{feet} ft {inches} in"


def kelvin_to_celsius(kelvin: float) -> float:
    """Convert a temperature from Kelvin to degrees Celsius.

    Raises:
        ValueError: If it is below absolute zero.
    """
    if kelvin < 0:
        raise ValueError("no temperature is below absolute zero")
    return kelvin - 273.15


def body_mass_index(kilograms: float, metres: float) -> float:
    """Return the body mass index, rounded to one decimal place.

    >>> body_mass_index(70, 1.75)
    22.9
    """
    return round(kilograms / metres**2, 1)


def fuel_consumption(litres: float, kilometres: float) -> float:
    """Return how many litres a car needs for 100 kilometres.

    >>> fuel_consumption(30, 500)
    6.0
    """
    return litres / kilometres * 100


def travel_time(kilometres: float, speed: float) -> str:
    """Tell how long a trip takes at a constant speed in km/h, as hours and minutes.

    >>> travel_time(150, 100)
    '1:30'
    """
    minutes = round(kilometres / speed * 60)
    return f"{minutes // 60}:{minutes % 60:02d}"


def decimal_degrees(degrees: int, minutes: int, seconds: float, direction: str) -> float:
    """Convert a geographic coordinate to decimal degrees; south and west are negative.

    >>> decimal_degrees(52, 30, 0, "N")
    52.5
    """
    value = degrees + minutes / 60 + seconds / 3600
    return -value if direction in "SW" else value


def great_circle_distance(a: tuple[float, float], b: tuple[float, float]) -> float:
    """Return the distance in kilometres between two places given as (latitude, longitude).

    Uses the haversine formula with an Earth radius of 6371 km.

    >>> round(great_circle_distance((52.52, 13.405), (48.8566, 2.3522)))
    877
    """
    lat1, lon1, lat2, lon2 = map(math.radians, (*a, *b))
    h = math.sin((lat2 - lat1) / 2) ** 2 + math.cos(lat1) * math.cos(lat2) * math.sin((lon2 - lon1) / 2) ** 2
    return 2 * 6371 * math.asin(math.sqrt(h))


def compass_direction(degrees: float) -> str:
    """Name the nearest of the eight main directions for a bearing; 0 is north, 90 is east.

    >>> compass_direction(100), compass_direction(350)
    ('E', 'N')
    """
    names = ["N", "NE", "E", "SE", "S", "SW", "W", "NW"]
    return names[round(degrees / 45) % 8]


def rgb_to_hex(red: int, green: int, blue: int) -> str:
    """Write a color as "#" and six hexadecimal digits; values are limited to 0 to 255.

    >>> rgb_to_hex(255, 128, 0)
    '#ff8000'
    """
    return "#" + "".join(f"{max(0, min(255, part)):02x}" for part in (red, green, blue))


def luminance(color: str) -> float:
    """Return the relative luminance of a color such as "#ff8000": 0 for black, 1 for white.

    >>> luminance("#ffffff")
    1.0
    """
    total = 0.0
    for start, weight in ((1, 0.2126), (3, 0.7152), (5, 0.0722)):
        part = int(color[start : start + 2], 16) / 255
        total += weight * (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4)
    return round(total, 6)


def free_fall_time(height: float, gravity: float = 9.81) -> float:
    """Return how many seconds an object falls from a height in metres, without air resistance.

    >>> round(free_fall_time(20), 2)
    2.02
    """
    return math.sqrt(2 * height / gravity)


def parallel_resistance(ohms: list[float]) -> float:
    """Return the total resistance of resistors that are connected in parallel."""
    return 1 / sum(1 / value for value in ohms)
