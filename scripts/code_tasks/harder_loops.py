"""Numbers in loops: several lines, or an idea beyond one built-in function."""

# ruff: noqa: SIM110 - written the way most people write it


def factorial(n):
    """returns the product of all integers from 1 to n, which is 1 for n = 0.

    factorial(0) == 1
    factorial(1) == 1
    factorial(5) == 120
    factorial(3) == 6
    """
    result = 1
    for factor in range(2, n + 1):
        result *= factor
    return result


def sum_up_to(n):
    """adds all integers from 1 to n.

    sum_up_to(4) == 10
    sum_up_to(1) == 1
    sum_up_to(0) == 0
    sum_up_to(100) == 5050
    """
    return sum(range(1, n + 1))


def sum_of_squares(numbers):
    """returns the sum of the squares of the numbers in a list.

    sum_of_squares([1, 2, 3]) == 14
    sum_of_squares([]) == 0
    sum_of_squares([-2]) == 4
    sum_of_squares([0, 5]) == 25
    """
    return sum(number * number for number in numbers)


def product_of_list(numbers):
    """multiplies all numbers of a list; the product of an empty list is 1.

    product_of_list([2, 3, 4]) == 24
    product_of_list([]) == 1
    product_of_list([5, 0]) == 0
    product_of_list([-1, 7]) == -7
    """
    result = 1
    for number in numbers:
        result *= number
    return result


def sum_of_evens(numbers):
    """returns the sum of the even numbers in a list.

    sum_of_evens([1, 2, 3, 4]) == 6
    sum_of_evens([]) == 0
    sum_of_evens([1, 3]) == 0
    sum_of_evens([-2, 8]) == 6
    """
    return sum(number for number in numbers if number % 2 == 0)


def count_above(numbers, limit):
    """counts the numbers in a list that are greater than a limit.

    count_above([1, 5, 9], 4) == 2
    count_above([1, 5, 9], 9) == 0
    count_above([], 0) == 0
    count_above([3, 3], 2) == 2
    """
    return sum(1 for number in numbers if number > limit)


def digit_sum(n):
    """returns the sum of the decimal digits of a non-negative integer.

    digit_sum(123) == 6
    digit_sum(0) == 0
    digit_sum(9) == 9
    digit_sum(1001) == 2
    """
    total = 0
    while n > 0:
        total += n % 10
        n //= 10
    return total


def number_of_digits(n):
    """returns how many decimal digits the non-negative integer n has.

    number_of_digits(0) == 1
    number_of_digits(9) == 1
    number_of_digits(10) == 2
    number_of_digits(12345) == 5
    """
    return len(str(n))


def is_prime(n):
    """tells whether n is a prime number.

    is_prime(2) is True
    is_prime(1) is False
    is_prime(4) is False
    is_prime(9) is False
    is_prime(13) is True
    is_prime(0) is False
    is_prime(25) is False
    """
    if n < 2:
        return False
    for divisor in range(2, int(n**0.5) + 1):
        if n % divisor == 0:
            return False
    return True


def divisors(n):
    """lists all positive divisors of the positive integer n, smallest first.

    divisors(6) == [1, 2, 3, 6]
    divisors(1) == [1]
    divisors(7) == [1, 7]
    divisors(16) == [1, 2, 4, 8, 16]
    """
    return [number for number in range(1, n + 1) if n % number == 0]


def greatest_common_factor(a, b):
    """returns the largest integer that divides both of the positive integers a and b.

    greatest_common_factor(12, 18) == 6
    greatest_common_factor(7, 5) == 1
    greatest_common_factor(4, 8) == 4
    greatest_common_factor(9, 9) == 9
    """
    while b:
        a, b = b, a % b
    return a


def fibonacci(n):
    """returns the n-th number of the sequence 0, 1, 1, 2, 3, 5, ..., counting from n = 0.

    fibonacci(0) == 0
    fibonacci(1) == 1
    fibonacci(2) == 1
    fibonacci(6) == 8
    fibonacci(10) == 55
    """
    a, b = 0, 1
    for _ in range(n):
        a, b = b, a + b
    return a


def countdown(start):
    """returns a list that counts from start down to 0.

    countdown(3) == [3, 2, 1, 0]
    countdown(0) == [0]
    countdown(1) == [1, 0]
    countdown(5) == [5, 4, 3, 2, 1, 0]
    """
    return list(range(start, -1, -1))


def times_table(n):
    """returns the first ten multiples of n as a list, beginning with n itself.

    times_table(1) == [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]
    times_table(3) == [3, 6, 9, 12, 15, 18, 21, 24, 27, 30]
    times_table(0) == [0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
    times_table(-1) == [-1, -2, -3, -4, -5, -6, -7, -8, -9, -10]
    """
    return [n * factor for factor in range(1, 11)]


def running_totals(numbers):
    """returns the running totals of a list, so that each item is the sum of all numbers so far.

    running_totals([1, 2, 3]) == [1, 3, 6]
    running_totals([]) == []
    running_totals([5]) == [5]
    running_totals([4, -4, 1]) == [4, 0, 1]
    """
    totals, total = [], 0
    for number in numbers:
        total += number
        totals.append(total)
    return totals


def halvings(n):
    """counts how often the positive integer n can be halved, rounding down, until it is 1.

    halvings(8) == 3
    halvings(1) == 0
    halvings(5) == 2
    halvings(100) == 6
    """
    count = 0
    while n > 1:
        n //= 2
        count += 1
    return count


def years_to_double(amount, rate):
    """returns after how many years an amount has at least doubled when it grows by rate percent a year.

    years_to_double(100, 100) == 1
    years_to_double(100, 50) == 2
    years_to_double(64, 25) == 4
    years_to_double(1, 200) == 1
    """
    target, years = 2 * amount, 0
    while amount < target:
        amount += amount * rate / 100
        years += 1
    return years


def reverse_number(n):
    """returns the non-negative integer whose digits are those of n backwards.

    reverse_number(123) == 321
    reverse_number(100) == 1
    reverse_number(7) == 7
    reverse_number(0) == 0
    """
    return int(str(n)[::-1])


def multiples_between(low, high, step):
    """counts the multiples of step from low to high, both included.

    multiples_between(1, 10, 2) == 5
    multiples_between(1, 10, 11) == 0
    multiples_between(5, 15, 5) == 3
    multiples_between(0, 0, 3) == 1
    """
    return sum(1 for number in range(low, high + 1) if number % step == 0)
