"""Functions of one or two numbers, one line each."""

import math


def add(a, b):
    """returns the sum of a and b.

    add(1, 2) == 3
    add(-4, 4) == 0
    add(0, 0) == 0
    add(10, -3) == 7
    """
    return a + b


def subtract(a, b):
    """returns a minus b.

    subtract(5, 3) == 2
    subtract(3, 5) == -2
    subtract(0, 0) == 0
    subtract(-1, -4) == 3
    """
    return a - b


def multiply(a, b):
    """returns the product of a and b.

    multiply(3, 4) == 12
    multiply(-2, 5) == -10
    multiply(7, 0) == 0
    multiply(1, 9) == 9
    """
    return a * b


def divide(a, b):
    """returns a divided by b as a float.

    divide(6, 3) == 2.0
    divide(1, 2) == 0.5
    divide(0, 5) == 0.0
    divide(-9, 4) == -2.25
    """
    return a / b


def whole_boxes(items, size):
    """returns how many full boxes can be packed when each box holds size items.

    whole_boxes(10, 5) == 2
    whole_boxes(11, 5) == 2
    whole_boxes(4, 5) == 0
    whole_boxes(0, 3) == 0
    whole_boxes(7, 1) == 7
    """
    return items // size


def left_over(items, friends):
    """returns what remains after sharing items equally among friends.

    left_over(10, 3) == 1
    left_over(9, 3) == 0
    left_over(2, 5) == 2
    left_over(0, 4) == 0
    """
    return items % friends


def square(n):
    """returns n squared.

    square(3) == 9
    square(0) == 0
    square(-5) == 25
    square(10) == 100
    """
    return n * n


def cube(n):
    """returns n to the power of three.

    cube(2) == 8
    cube(-3) == -27
    cube(0) == 0
    cube(1) == 1
    cube(5) == 125
    """
    return n**3


def double(n):
    """returns twice the number n.

    double(4) == 8
    double(0) == 0
    double(-3) == -6
    double(1) == 2
    """
    return 2 * n


def half(n):
    """returns half of n as a float.

    half(8) == 4.0
    half(5) == 2.5
    half(0) == 0.0
    half(-3) == -1.5
    """
    return n / 2


def increment(n):
    """returns the integer that comes after n.

    increment(1) == 2
    increment(0) == 1
    increment(-1) == 0
    increment(99) == 100
    """
    return n + 1


def negate(n):
    """returns n with the opposite sign.

    negate(3) == -3
    negate(-8) == 8
    negate(0) == 0
    negate(2.5) == -2.5
    """
    return -n


def last_digit(n):
    """returns the last decimal digit of the non-negative integer n.

    last_digit(123) == 3
    last_digit(40) == 0
    last_digit(7) == 7
    last_digit(0) == 0
    """
    return n % 10


def area_of_rectangle(width, height):
    """returns the area of a rectangle.

    area_of_rectangle(3, 4) == 12
    area_of_rectangle(5, 1) == 5
    area_of_rectangle(0, 9) == 0
    area_of_rectangle(2.5, 2) == 5.0
    """
    return width * height


def perimeter_of_rectangle(width, height):
    """returns the length around a rectangle with the given sides.

    perimeter_of_rectangle(3, 4) == 14
    perimeter_of_rectangle(1, 1) == 4
    perimeter_of_rectangle(0, 5) == 10
    perimeter_of_rectangle(2.5, 2) == 9.0
    """
    return 2 * (width + height)


def area_of_triangle(base, height):
    """returns the area of a triangle.

    area_of_triangle(4, 3) == 6.0
    area_of_triangle(5, 3) == 7.5
    area_of_triangle(0, 8) == 0.0
    area_of_triangle(1, 1) == 0.5
    """
    return base * height / 2


def volume_of_box(length, width, height):
    """returns the volume of a box.

    volume_of_box(2, 3, 4) == 24
    volume_of_box(1, 1, 1) == 1
    volume_of_box(5, 0, 2) == 0
    volume_of_box(10, 2, 1) == 20
    """
    return length * width * height


def average_of_two(a, b):
    """returns the mean of the two numbers as a float.

    average_of_two(2, 4) == 3.0
    average_of_two(1, 2) == 1.5
    average_of_two(-3, 3) == 0.0
    average_of_two(0, 7) == 3.5
    """
    return (a + b) / 2


def add_three(a, b, c):
    """returns the total of its three arguments.

    add_three(1, 2, 3) == 6
    add_three(0, 0, 0) == 0
    add_three(-1, 5, -4) == 0
    add_three(10, 20, 30) == 60
    """
    return a + b + c


def celsius_to_fahrenheit(celsius):
    """converts a temperature from Celsius to Fahrenheit.

    celsius_to_fahrenheit(0) == 32
    celsius_to_fahrenheit(100) == 212
    celsius_to_fahrenheit(-40) == -40
    celsius_to_fahrenheit(10) == 50
    """
    return celsius * 9 / 5 + 32


def minutes_to_seconds(minutes):
    """converts minutes to seconds.

    minutes_to_seconds(1) == 60
    minutes_to_seconds(0) == 0
    minutes_to_seconds(5) == 300
    minutes_to_seconds(90) == 5400
    """
    return minutes * 60


def days_in_weeks(weeks):
    """returns the number of days in the given number of weeks.

    days_in_weeks(1) == 7
    days_in_weeks(0) == 0
    days_in_weeks(4) == 28
    days_in_weeks(52) == 364
    """
    return weeks * 7


def metres_to_centimetres(metres):
    """converts a length in metres to centimetres.

    metres_to_centimetres(1) == 100
    metres_to_centimetres(0) == 0
    metres_to_centimetres(2.5) == 250
    metres_to_centimetres(12) == 1200
    """
    return metres * 100


def total_price(price, quantity):
    """returns the cost of buying quantity items at the given price.

    total_price(3, 4) == 12
    total_price(2.5, 2) == 5.0
    total_price(9, 0) == 0
    total_price(1, 7) == 7
    """
    return price * quantity


def change(paid, price):
    """returns the money a customer gets back.

    change(10, 7) == 3
    change(20, 20) == 0
    change(5, 1) == 4
    change(50, 12.5) == 37.5
    """
    return paid - price


def absolute_difference(a, b):
    """returns the distance between two numbers, which is never negative.

    absolute_difference(3, 8) == 5
    absolute_difference(8, 3) == 5
    absolute_difference(-2, 2) == 4
    absolute_difference(6, 6) == 0
    """
    return abs(a - b)


def smaller(a, b):
    """returns the smaller of two numbers.

    smaller(1, 2) == 1
    smaller(5, -5) == -5
    smaller(4, 4) == 4
    smaller(0, 3) == 0
    """
    return min(a, b)


def maximum_of_two(a, b):
    """returns the larger of a and b.

    maximum_of_two(1, 2) == 2
    maximum_of_two(7, 3) == 7
    maximum_of_two(-4, -9) == -4
    maximum_of_two(5, 5) == 5
    """
    return max(a, b)


def largest_of_three(a, b, c):
    """returns the biggest of the three numbers.

    largest_of_three(1, 2, 3) == 3
    largest_of_three(9, 2, 3) == 9
    largest_of_three(1, 8, 3) == 8
    largest_of_three(-1, -2, -3) == -1
    """
    return max(a, b, c)


def power(base, exponent):
    """returns base raised to the given exponent.

    power(2, 3) == 8
    power(5, 0) == 1
    power(3, 2) == 9
    power(-2, 3) == -8
    """
    return base**exponent


def round_to_whole(x):
    """rounds the number x to the nearest integer.

    round_to_whole(2.3) == 2
    round_to_whole(2.7) == 3
    round_to_whole(0.1) == 0
    round_to_whole(-1.8) == -2
    """
    return round(x)


def hypotenuse(a, b):
    """returns the longest side of a right triangle whose other sides are a and b.

    hypotenuse(3, 4) == 5.0
    hypotenuse(5, 12) == 13.0
    hypotenuse(0, 7) == 7.0
    hypotenuse(8, 6) == 10.0
    """
    return math.sqrt(a * a + b * b)


def to_integer(text):
    """converts a string of digits to an integer.

    to_integer("42") == 42
    to_integer("0") == 0
    to_integer("007") == 7
    to_integer("-5") == -5
    """
    return int(text)


def to_binary(n):
    """returns the binary digits of the non-negative integer n as a string without a prefix.

    to_binary(5) == "101"
    to_binary(0) == "0"
    to_binary(8) == "1000"
    to_binary(1) == "1"
    """
    return bin(n)[2:]


def discounted(price, percent):
    """returns the price after taking off the given percentage.

    discounted(100, 25) == 75.0
    discounted(80, 50) == 40.0
    discounted(60, 0) == 60.0
    discounted(200, 100) == 0.0
    """
    return price - price * percent / 100
