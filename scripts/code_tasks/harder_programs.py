"""Programs that read standard input, with a loop or a condition."""


def count_to_n():
    r"""reads an integer n and prints the numbers from 1 to n, one on each line.

    "3\n" == "1\n2\n3\n"
    "1\n" == "1\n"
    "5\n" == "1\n2\n3\n4\n5\n"
    "2\n" == "1\n2\n"
    """
    n = int(input())
    for number in range(1, n + 1):
        print(number)


def even_or_odd_program():
    r"""reads an integer and prints "even" or "odd".

    "4\n" == "even\n"
    "7\n" == "odd\n"
    "0\n" == "even\n"
    "-1\n" == "odd\n"
    """
    n = int(input())
    print("even" if n % 2 == 0 else "odd")


def sum_of_line():
    r"""reads a line of integers separated by spaces and prints their sum.

    "1 2 3\n" == "6\n"
    "5\n" == "5\n"
    "-1 1\n" == "0\n"
    "10 20 30 40\n" == "100\n"
    """
    print(sum(int(word) for word in input().split()))


def largest_of_line():
    r"""reads integers from a single line and prints the largest of them.

    "1 5 3\n" == "5\n"
    "-2 -7\n" == "-2\n"
    "4\n" == "4\n"
    "10 9 8\n" == "10\n"
    """
    print(max(map(int, input().split())))


def stars():
    r"""reads an integer n and prints a triangle of stars with one star on its first line and n on its last.

    "3\n" == "*\n**\n***\n"
    "1\n" == "*\n"
    "2\n" == "*\n**\n"
    "4\n" == "*\n**\n***\n****\n"
    """
    n = int(input())
    for row in range(1, n + 1):
        print("*" * row)


def words_on_lines():
    r"""reads one line and prints each of its words on a line of its own.

    "the cat sat\n" == "the\ncat\nsat\n"
    "hello\n" == "hello\n"
    "a b\n" == "a\nb\n"
    "x  y\n" == "x\ny\n"
    """
    for word in input().split():
        print(word)
