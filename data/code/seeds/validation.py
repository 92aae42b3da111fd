"""Seeds: checking codes, names and numbers that people type."""

import re


def luhn_valid(number: str) -> bool:
    """Check a card number with the Luhn algorithm; blanks are ignored.

    >>> luhn_valid("4539 1488 0343 6467")
    True
    >>> luhn_valid("8273 1232 7352 0569")
    False
    """
    digits = [int(character) for character in number if character.isdigit()]
    total = sum(digits[-1::-2])
    for digit in digits[-2::-2]:
        total += sum(divmod(2 * digit, 10))
    return total % 10 == 0


def isbn10_valid(isbn: str) -> bool:
    """Check the last digit of an ISBN with ten places; hyphens are ignored.

    >>> isbn10_valid("0-306-40615-2")
    True
    """
    characters = isbn.replace("-", "")
    if not re.fullmatch(r"\d{9}[\dX]", characters):
        return False
    values = [10 if character == "X" else int(character) for character in characters]
    return sum(weight * value for weight, value in zip(range(10, 0, -1), values, strict=True)) % 11 == 0


def ean13_check_digit(digits: str) -> int:
    """Return the thirteenth digit that belongs to the first twelve of an EAN bar code.

    >>> ean13_check_digit("400638133393")
    1
    """
    total = sum(int(digit) * (3 if place % 2 else 1) for place, digit in enumerate(digits))
    return -total % 10


def iban_valid(iban: str) -> bool:
    """Check the two check digits of an international bank account number.

    >>> iban_valid("GB82 WEST 1234 5698 7654 32")
    True
    """
    compact = iban.replace(" ", "").upper()
    if not re.fullmatch(r"[A-Z]{2}\d{2}[A-Z0-9]{10,30}", compact):
        return False
    moved = compact[4:] + compact[:4]
    return int("".join(str(int(character, 36)) for character in moved)) % 97 == 1


def looks_like_email(address: str) -> bool:
    """Tell whether a text has the shape of an e-mail address.

    One @ with something before it, and a domain with a dot after it.

    >>> looks_like_email("ada@example.org")
    True
    >>> looks_like_email("ada@example")
    False
    """
    return re.fullmatch(r"[^@\s]+@[^@\s.]+(\.[^@\s.]+)+", address) is not None


def is_ipv4(address: str) -> bool:
    """Tell whether a text is an IPv4 address: four numbers from 0 to 255 with dots between them.

    Numbers with leading zeros are refused.

    >>> is_ipv4("192.168.0.1"), is_ipv4("256.1.1.1"), is_ipv4("1.2.3")
    (True, False, False)
    """
    parts = address.split(".")
    if len(parts) != 4:
        return False
    return all(part.isdigit() and str(int(part)) == part and int(part) <= 255 for part in parts)


def is_hex_color(text: str) -> bool:
    """Tell whether a text is a color such as "#fff" or "#12ab9F"."""
    return re.fullmatch(r"#(?:[0-9a-fA-F]{3}){1,2}", text) is not None


def is_valid_date(year: int, month: int, day: int) -> bool:
    """Tell whether a day exists in the Gregorian calendar.

    >>> is_valid_date(2023, 2, 29)
    False
    """
    lengths = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]
    if year % 4 == 0 and (year % 100 != 0 or year % 400 == 0):
        lengths[1] = 29
    return 1 <= month <= 12 and 1 <= day <= lengths[month - 1]


def is_identifier(name: str) -> bool:
    """Tell whether a name begins with a letter or underscore and holds only letters, digits and underscores."""
    return re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name) is not None


def password_problems(password: str, minimum: int = 10) -> list[str]:
    """List what is wrong with a password; an empty list means that it is accepted.

    >>> password_problems("abc")
    ['shorter than 10 characters', 'no capital letter', 'no digit']
    """
    problems = []
    if len(password) < minimum:
        problems.append(f"shorter than {minimum} characters")
    if not any(character.isupper() for character in password):
        problems.append("no capital letter")
    if not any(character.isdigit() for character in password):
        problems.append("no digit")
    return problems


def normalize_phone(number: str, country: str = "+44") -> str:
    """Bring a phone number into its international form without blanks or hyphens.

    >>> normalize_phone("020 7946-0958")
    '+442079460958'
    >>> normalize_phone("0049 30 1234")
    '+49301234'
    """
    digits = re.sub(r"[^\d+]", "", number)
    if digits.startswith("+"):
        return digits
    if digits.startswith("00"):
        return "+" + digits[2:]
    return country + digits.removeprefix("0")


def check_range(value: float, low: float, high: float, name: str = "value") -> float:
    """Return a value if it lies in a range, and complain otherwise.

    Raises:
        ValueError: If the value is below `low` or above `high`.
    """
    if not low <= value <= high:
        raise ValueError(f"{name} must be between {low} and {high}, not {value}")
    return value


def suggest(name: str, choices: list[str]) -> str | None:
    """Return the choice that shares the most letter pairs with a mistyped name, None where none shares any.

    >>> suggest("colr", ["width", "color", "height"])
    'color'
    """

    def pairs(word: str) -> set[str]:
        return {word[place : place + 2] for place in range(len(word) - 1)}

    best = max(choices, key=lambda choice: len(pairs(choice) & pairs(name)), default=None)
    return best if best is not None and pairs(best) & pairs(name) else None
