"""Functions with several cases."""


def fizz_buzz(n):
    """returns "FizzBuzz" for multiples of 15, "Fizz" for other multiples of 3, "Buzz" for other multiples of 5, \
and the number itself as a string in all other cases.

    fizz_buzz(15) == "FizzBuzz"
    fizz_buzz(9) == "Fizz"
    fizz_buzz(10) == "Buzz"
    fizz_buzz(7) == "7"
    fizz_buzz(30) == "FizzBuzz"
    """
    if n % 15 == 0:
        return "FizzBuzz"
    if n % 3 == 0:
        return "Fizz"
    if n % 5 == 0:
        return "Buzz"
    return str(n)


def grade(points):
    """returns the grade "A" for 90 points or more, "B" for 80 to 89, "C" for 70 to 79, and "F" for fewer.

    grade(95) == "A"
    grade(90) == "A"
    grade(89) == "B"
    grade(80) == "B"
    grade(70) == "C"
    grade(69) == "F"
    """
    if points >= 90:
        return "A"
    if points >= 80:
        return "B"
    if points >= 70:
        return "C"
    return "F"


def clamp(x, low, high):
    """limits x to the range from low to high.

    clamp(5, 0, 10) == 5
    clamp(-3, 0, 10) == 0
    clamp(15, 0, 10) == 10
    clamp(10, 0, 10) == 10
    clamp(7, 7, 7) == 7
    """
    return max(low, min(x, high))


def is_triangle(a, b, c):
    """tells whether three lengths can be the sides of a triangle, so that any two together exceed the third.

    is_triangle(3, 4, 5) is True
    is_triangle(1, 2, 3) is False
    is_triangle(2, 2, 2) is True
    is_triangle(3, 1, 2) is False
    is_triangle(1, 3, 2) is False
    is_triangle(1, 1, 10) is False
    """
    return a + b > c and a + c > b and b + c > a


def ticket_price(age):
    """returns the price of a ticket: 0 for children under 6, 5 for people under 18 or from 65 on, 10 for all others.

    ticket_price(3) == 0
    ticket_price(6) == 5
    ticket_price(17) == 5
    ticket_price(18) == 10
    ticket_price(64) == 10
    ticket_price(65) == 5
    """
    if age < 6:
        return 0
    if age < 18 or age >= 65:
        return 5
    return 10


def rock_paper_scissors(first, second):
    """says who wins a round of rock, paper, scissors: returns 1, 2, or 0 for a draw.

    rock_paper_scissors("rock", "scissors") == 1
    rock_paper_scissors("rock", "paper") == 2
    rock_paper_scissors("paper", "paper") == 0
    rock_paper_scissors("scissors", "paper") == 1
    rock_paper_scissors("scissors", "rock") == 2
    """
    beats = {"rock": "scissors", "scissors": "paper", "paper": "rock"}
    if first == second:
        return 0
    return 1 if beats[first] == second else 2


def days_in_month(month):
    """returns the number of days of a month from 1 to 12 in a year that is not a leap year.

    days_in_month(1) == 31
    days_in_month(2) == 28
    days_in_month(4) == 30
    days_in_month(12) == 31
    days_in_month(6) == 30
    days_in_month(7) == 31
    days_in_month(9) == 30
    days_in_month(11) == 30
    """
    if month == 2:
        return 28
    return 30 if month in (4, 6, 9, 11) else 31


def safe_divide(a, b):
    """divides a by b, but returns None when b is zero.

    safe_divide(6, 3) == 2.0
    safe_divide(1, 0) is None
    safe_divide(0, 4) == 0.0
    safe_divide(-1, 2) == -0.5
    """
    return None if b == 0 else a / b


def describe(n):
    """returns "zero", "positive" or "negative" for a number.

    describe(0) == "zero"
    describe(8) == "positive"
    describe(-8) == "negative"
    describe(0.25) == "positive"
    """
    if n == 0:
        return "zero"
    return "positive" if n > 0 else "negative"


def is_strong_password(password):
    """tells whether a password has at least eight characters and holds both a digit and a capital letter.

    is_strong_password("Secret123") is True
    is_strong_password("secret123") is False
    is_strong_password("Secretabc") is False
    is_strong_password("Se1") is False
    is_strong_password("Abcdefg1") is True
    """
    if len(password) < 8:
        return False
    return any(c.isdigit() for c in password) and any(c.isupper() for c in password)


def apply_operator(a, operator, b):
    """computes "+", "-" or "*" of two numbers, with the operator given as a string.

    apply_operator(2, "+", 3) == 5
    apply_operator(2, "-", 3) == -1
    apply_operator(2, "*", 3) == 6
    apply_operator(0, "*", 9) == 0
    """
    if operator == "+":
        return a + b
    if operator == "-":
        return a - b
    return a * b


def shipping_cost(weight):
    """returns the cost of sending a parcel: 4 up to 1 kilogram, 7 up to 5 kilograms, and 12 above that.

    shipping_cost(0.5) == 4
    shipping_cost(1) == 4
    shipping_cost(1.5) == 7
    shipping_cost(5) == 7
    shipping_cost(6) == 12
    """
    if weight <= 1:
        return 4
    return 7 if weight <= 5 else 12
