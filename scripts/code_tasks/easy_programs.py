"""Programs that read standard input and print."""


def echo_upper():
    r"""reads one line and prints it in capital letters.

    "hello\n" == "HELLO\n"
    "abc def\n" == "ABC DEF\n"
    "X1\n" == "X1\n"
    "\n" == "\n"
    """
    print(input().upper())


def add_two_lines():
    r"""reads two integers, each on its own line, and prints their sum.

    "1\n2\n" == "3\n"
    "-5\n5\n" == "0\n"
    "10\n20\n" == "30\n"
    "0\n7\n" == "7\n"
    """
    a = int(input())
    b = int(input())
    print(a + b)


def print_double():
    r"""reads an integer and prints twice its value.

    "4\n" == "8\n"
    "0\n" == "0\n"
    "-3\n" == "-6\n"
    "50\n" == "100\n"
    """
    n = int(input())
    print(2 * n)


def hello_name():
    r"""reads a name and prints "Hello, " followed by the name.

    "Ada\n" == "Hello, Ada\n"
    "Bob\n" == "Hello, Bob\n"
    "Li Na\n" == "Hello, Li Na\n"
    "x\n" == "Hello, x\n"
    """
    name = input()
    print("Hello, " + name)


def print_length():
    r"""reads a line of text and prints how many characters it has.

    "hello\n" == "5\n"
    "a b\n" == "3\n"
    "x\n" == "1\n"
    "\n" == "0\n"
    """
    print(len(input()))


def print_backwards():
    r"""reads a word and prints it backwards.

    "abc\n" == "cba\n"
    "level\n" == "level\n"
    "x\n" == "x\n"
    "ab\n" == "ba\n"
    """
    print(input()[::-1])
