"""Seeds: whole numbers and their properties."""

import math


def sieve(limit: int) -> list[int]:
    """List all primes up to a limit with the sieve of Eratosthenes.

    >>> sieve(20)
    [2, 3, 5, 7, 11, 13, 17, 19]
    """
    prime = [True] * (limit + 1)
    prime[:2] = [False] * len(prime[:2])
    for number in range(2, math.isqrt(max(limit, 0)) + 1):
        if prime[number]:
            for multiple in range(number * number, limit + 1, number):
                prime[multiple] = False
    return [number for number, flag in enumerate(prime) if flag]


def prime_factors(n: int) -> dict[int, int]:
    """Factor a positive integer into primes.

    Returns a dictionary from each prime factor to its exponent.

    >>> prime_factors(360)
    {2: 3, 3: 2, 5: 1}
    """
    factors: dict[int, int] = {}
    divisor = 2
    while divisor * divisor <= n:
        while n % divisor == 0:
            factors[divisor] = factors.get(divisor, 0) + 1
            n //= divisor
        divisor += 1
    if n > 1:
        factors[n] = factors.get(n, 0) + 1
    return factors


def least_common_multiple(a: int, b: int) -> int:
    """Return the smallest positive integer that is a multiple of both arguments.

    >>> least_common_multiple(4, 6)
    12
    """
    return abs(a * b) // math.gcd(a, b)


def extended_gcd(a: int, b: int) -> tuple[int, int, int]:
    """Return `(g, x, y)` such that `g = gcd(a, b)` and `a * x + b * y = g`.

    >>> extended_gcd(240, 46)
    (2, -9, 47)
    """
    x, next_x, y, next_y = 1, 0, 0, 1
    while b:
        quotient, rest = divmod(a, b)
        a, b = b, rest
        x, next_x = next_x, x - quotient * next_x
        y, next_y = next_y, y - quotient * next_y
    return a, x, y


def collatz_steps(n: int) -> int:
    """Count the steps of the Collatz sequence from a positive integer down to 1.

    An even number is halved, an odd one is tripled and increased by one.

    >>> collatz_steps(6)
    8
    """
    steps = 0
    while n != 1:
        n = n // 2 if n % 2 == 0 else 3 * n + 1
        steps += 1
    return steps


def is_perfect(n: int) -> bool:
    """Tell whether a number equals the sum of its proper divisors, as 6 and 28 do."""
    return n > 1 and n == sum(divisor for divisor in range(1, n // 2 + 1) if n % divisor == 0)


def digital_root(n: int) -> int:
    """Add up the digits of a non-negative integer until one digit is left.

    >>> digital_root(987)
    6
    """
    while n > 9:
        n = sum(int(digit) for digit in str(n))
    return n


def digits_in_base(n: int, base: int) -> list[int]:
    """Return the digits of a non-negative integer in a base, most significant first.

    >>> digits_in_base(255, 16)
    [15, 15]
    >>> digits_in_base(0, 2)
    [0]
    """
    digits: list[int] = []
    while n:
        n, digit = divmod(n, base)
        digits.append(digit)
    return digits[::-1] or [0]


def to_roman(n: int) -> str:
    """Write an integer from 1 to 3999 as a Roman numeral.

    >>> to_roman(1994)
    'MCMXCIV'
    """
    symbols = [
        (1000, "M"), (900, "CM"), (500, "D"), (400, "CD"), (100, "C"), (90, "XC"), (50, "L"),
        (40, "XL"), (10, "X"), (9, "IX"), (5, "V"), (4, "IV"), (1, "I"),
    ]  # fmt: skip
    numeral = ""
    for value, symbol in symbols:
        times, n = divmod(n, value)
        numeral += symbol * times
    return numeral


def from_roman(numeral: str) -> int:
    """Read a Roman numeral.

    >>> from_roman("MCMXCIV")
    1994
    """
    values = {"I": 1, "V": 5, "X": 10, "L": 50, "C": 100, "D": 500, "M": 1000}
    total = 0
    for symbol, following in zip(numeral, numeral[1:] + " ", strict=True):
        value = values[symbol]
        total += -value if value < values.get(following, 0) else value
    return total


def integer_root(n: int, degree: int) -> int:
    """Return the largest integer whose power of the given degree does not exceed `n`.

    >>> integer_root(80, 4)
    2
    >>> integer_root(81, 4)
    3
    """
    low, high = 0, max(n, 1)
    while low < high:
        middle = (low + high + 1) // 2
        if middle**degree <= n:
            low = middle
        else:
            high = middle - 1
    return low


def ordinal(n: int) -> str:
    """Return a number with its English ordinal ending, such as "1st" or "12th".

    >>> [ordinal(n) for n in (1, 2, 3, 4, 11, 22)]
    ['1st', '2nd', '3rd', '4th', '11th', '22nd']
    """
    if n % 100 in (11, 12, 13):
        return f"{n}th"
    return f"{n}{ {1: 'st', 2: 'nd', 3: 'rd'}.get(n % 10, 'th') }"


def pascal_row(n: int) -> list[int]:
    """Return row `n` of Pascal's triangle, counting from 0.

    >>> pascal_row(4)
    [1, 4, 6, 4, 1]
    """
    row = [1]
    for k in range(n):
        row.append(row[-1] * (n - k) // (k + 1))
    return row


def is_armstrong(n: int) -> bool:
    """Tell whether a number is the sum of its digits, each raised to the number of digits.

    For example, 153 = 1**3 + 5**3 + 3**3.
    """
    digits = str(n)
    return n == sum(int(digit) ** len(digits) for digit in digits)


def modular_power(base: int, exponent: int, modulus: int) -> int:
    """Compute `base ** exponent % modulus` by repeated squaring.

    >>> modular_power(3, 200, 13)
    9
    """
    result = 1 % modulus
    base %= modulus
    while exponent > 0:
        if exponent & 1:
            result = result * base % modulus
        base = base * base % modulus
        exponent >>= 1
    return result


def triangular_number(n: int) -> int:
    """Return the number of dots in a triangle with `n` dots on each side."""
    return n * (n + 1) // 2
