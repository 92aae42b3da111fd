"""Questions with the answer yes or no, and functions with one if."""


def is_even(n):
    """returns True if n is even and False otherwise.

    is_even(4) is True
    is_even(7) is False
    is_even(0) is True
    is_even(-3) is False
    """
    return n % 2 == 0


def is_odd(n):
    """tells whether an integer is odd.

    is_odd(3) is True
    is_odd(8) is False
    is_odd(0) is False
    is_odd(-1) is True
    """
    return n % 2 == 1


def is_positive(n):
    """returns True if n is greater than zero.

    is_positive(5) is True
    is_positive(-5) is False
    is_positive(0) is False
    is_positive(0.1) is True
    """
    return n > 0


def is_negative(n):
    """checks if a number is below zero.

    is_negative(-1) is True
    is_negative(1) is False
    is_negative(0) is False
    is_negative(-0.5) is True
    """
    return n < 0


def is_divisible(a, b):
    """checks whether a can be divided by b without remainder.

    is_divisible(10, 5) is True
    is_divisible(10, 3) is False
    is_divisible(0, 7) is True
    is_divisible(3, 6) is False
    """
    return a % b == 0


def are_equal(a, b):
    """returns True if both arguments are equal.

    are_equal(1, 1) is True
    are_equal(1, 2) is False
    are_equal("a", "a") is True
    are_equal([], [0]) is False
    """
    return a == b


def is_greater(a, b):
    """returns True if a is greater than b.

    is_greater(5, 3) is True
    is_greater(3, 5) is False
    is_greater(4, 4) is False
    is_greater(-1, -2) is True
    """
    return a > b


def is_between(x, low, high):
    """tells whether x lies between low and high, both ends included.

    is_between(5, 1, 10) is True
    is_between(1, 1, 10) is True
    is_between(10, 1, 10) is True
    is_between(0, 1, 10) is False
    is_between(11, 1, 10) is False
    """
    return low <= x <= high


def both_true(a, b):
    """returns True only if both of two booleans are true.

    both_true(True, True) is True
    both_true(True, False) is False
    both_true(False, True) is False
    both_true(False, False) is False
    """
    return a and b


def opposite(flag):
    """returns the opposite of a boolean.

    opposite(True) is False
    opposite(False) is True
    opposite(1 == 1) is False
    opposite(1 == 2) is True
    """
    return not flag


def can_vote(age):
    """tells whether a person of the given age is at least 18 years old.

    can_vote(18) is True
    can_vote(17) is False
    can_vote(40) is True
    can_vote(0) is False
    """
    return age >= 18


def passed(score):
    """returns "pass" for a score of 50 or more, and "fail" for less.

    passed(50) == "pass"
    passed(49) == "fail"
    passed(100) == "pass"
    passed(0) == "fail"
    """
    return "pass" if score >= 50 else "fail"


def even_or_odd(n):
    """returns the string "even" or the string "odd", depending on the integer n.

    even_or_odd(2) == "even"
    even_or_odd(3) == "odd"
    even_or_odd(0) == "even"
    even_or_odd(-7) == "odd"
    """
    return "even" if n % 2 == 0 else "odd"


def sign(n):
    """returns 1 for a positive number, -1 for a negative number and 0 for zero.

    sign(12) == 1
    sign(-3) == -1
    sign(0) == 0
    sign(0.5) == 1
    """
    if n > 0:
        return 1
    if n < 0:
        return -1
    return 0


def absolute(n):
    """returns the absolute value of n.

    absolute(5) == 5
    absolute(-5) == 5
    absolute(0) == 0
    absolute(-2.5) == 2.5
    """
    return abs(n)


def is_freezing(celsius):
    """returns True if water freezes at this temperature, that is at 0 degrees Celsius or less.

    is_freezing(-5) is True
    is_freezing(0) is True
    is_freezing(1) is False
    is_freezing(30) is False
    """
    return celsius <= 0


def is_vowel(letter):
    """tells whether a lower-case letter is one of a, e, i, o and u.

    is_vowel("a") is True
    is_vowel("b") is False
    is_vowel("u") is True
    is_vowel("y") is False
    """
    return letter in "aeiou"


def has_digits_only(text):
    """returns True if a non-empty string consists of digits.

    has_digits_only("123") is True
    has_digits_only("12a") is False
    has_digits_only("7") is True
    has_digits_only("1.5") is False
    """
    return text.isdigit()


def is_palindrome(word):
    """checks if a word reads the same forwards and backwards.

    is_palindrome("level") is True
    is_palindrome("hello") is False
    is_palindrome("") is True
    is_palindrome("ab") is False
    """
    return word == word[::-1]


def clip_at_zero(n):
    """returns n, or 0 if n is negative.

    clip_at_zero(5) == 5
    clip_at_zero(-5) == 0
    clip_at_zero(0) == 0
    clip_at_zero(-0.5) == 0
    """
    return max(n, 0)


def is_leap_year(year):
    """tells if a year is a leap year.

    is_leap_year(2024) is True
    is_leap_year(2023) is False
    is_leap_year(1900) is False
    is_leap_year(2000) is True
    """
    return year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)


def value_or_default(value, default):
    """returns value, or default if value is None.

    value_or_default(3, 7) == 3
    value_or_default(None, 7) == 7
    value_or_default(0, 7) == 0
    value_or_default(None, None) is None
    """
    return default if value is None else value


def is_weekend(day):
    """returns True for the strings "Saturday" and "Sunday", and False for the other days.

    is_weekend("Saturday") is True
    is_weekend("Sunday") is True
    is_weekend("Monday") is False
    is_weekend("Friday") is False
    """
    return day in ("Saturday", "Sunday")
