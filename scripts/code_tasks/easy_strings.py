"""Functions of a string, one line each."""


def first_character(text):
    """returns the first character of a non-empty string.

    first_character("hello") == "h"
    first_character("a") == "a"
    first_character("Zoo") == "Z"
    first_character(" x") == " "
    """
    return text[0]


def last_character(text):
    """returns the character that stands at the end of a string.

    last_character("hello") == "o"
    last_character("a") == "a"
    last_character("abc!") == "!"
    last_character("12") == "2"
    """
    return text[-1]


def reverse_string(text):
    """returns the string written backwards.

    reverse_string("abc") == "cba"
    reverse_string("") == ""
    reverse_string("a") == "a"
    reverse_string("ab c") == "c ba"
    """
    return text[::-1]


def string_length(text):
    """returns the number of characters in a string.

    string_length("hello") == 5
    string_length("") == 0
    string_length("a b") == 3
    string_length("x") == 1
    """
    return len(text)


def shout(text):
    """returns the text in capital letters.

    shout("hello") == "HELLO"
    shout("Ok") == "OK"
    shout("") == ""
    shout("a1b") == "A1B"
    """
    return text.upper()


def to_lowercase(text):
    """returns the string in lower case.

    to_lowercase("HELLO") == "hello"
    to_lowercase("aBc") == "abc"
    to_lowercase("") == ""
    to_lowercase("X9") == "x9"
    """
    return text.lower()


def greet(name):
    """returns a greeting such as "Hello, Ada!" for the given name.

    greet("Ada") == "Hello, Ada!"
    greet("Bob") == "Hello, Bob!"
    greet("") == "Hello, !"
    greet("Li Na") == "Hello, Li Na!"
    """
    return "Hello, " + name + "!"


def full_name(first, last):
    """returns the first and the last name with one space between them.

    full_name("Ada", "Byron") == "Ada Byron"
    full_name("Li", "Wei") == "Li Wei"
    full_name("A", "B") == "A B"
    full_name("Jean Luc", "P") == "Jean Luc P"
    """
    return first + " " + last


def concatenate(left, right):
    """joins two strings into one.

    concatenate("ab", "cd") == "abcd"
    concatenate("", "x") == "x"
    concatenate("x", "") == "x"
    concatenate("1", "2") == "12"
    """
    return left + right


def repeat_text(text, times):
    """returns the text repeated the given number of times.

    repeat_text("ab", 3) == "ababab"
    repeat_text("x", 1) == "x"
    repeat_text("x", 0) == ""
    repeat_text("", 5) == ""
    """
    return text * times


def count_letter(text, letter):
    """returns how often a letter occurs in a text.

    count_letter("banana", "a") == 3
    count_letter("banana", "n") == 2
    count_letter("banana", "x") == 0
    count_letter("", "a") == 0
    """
    return text.count(letter)


def count_spaces(text):
    """returns the number of spaces in a string.

    count_spaces("a b c") == 2
    count_spaces("abc") == 0
    count_spaces("") == 0
    count_spaces("  x ") == 3
    """
    return text.count(" ")


def word_count(sentence):
    """returns the number of words in a sentence, where words are separated by spaces.

    word_count("the cat sat") == 3
    word_count("hello") == 1
    word_count("") == 0
    word_count("two  spaces") == 2
    """
    return len(sentence.split())


def split_words(sentence):
    """returns the list of words in a sentence.

    split_words("the cat sat") == ["the", "cat", "sat"]
    split_words("hello") == ["hello"]
    split_words("") == []
    split_words("a  b") == ["a", "b"]
    """
    return sentence.split()


def join_with_commas(words):
    """joins a list of strings with commas, without spaces.

    join_with_commas(["a", "b", "c"]) == "a,b,c"
    join_with_commas(["x"]) == "x"
    join_with_commas([]) == ""
    join_with_commas(["1", "2"]) == "1,2"
    """
    return ",".join(words)


def join_words(words):
    """returns one string with the given words separated by single spaces.

    join_words(["the", "cat"]) == "the cat"
    join_words(["one"]) == "one"
    join_words([]) == ""
    join_words(["a", "b", "c"]) == "a b c"
    """
    return " ".join(words)


def remove_spaces(text):
    """returns the text without any spaces.

    remove_spaces("a b c") == "abc"
    remove_spaces("  hi  ") == "hi"
    remove_spaces("") == ""
    remove_spaces("abc") == "abc"
    """
    return text.replace(" ", "")


def strip_ends(text):
    """removes the white space at both ends of a string.

    strip_ends("  hi  ") == "hi"
    strip_ends("a b ") == "a b"
    strip_ends("") == ""
    strip_ends("x") == "x"
    """
    return text.strip()


def replace_letter(text, old, new):
    """replaces every old letter in the text by the new one.

    replace_letter("banana", "a", "o") == "bonono"
    replace_letter("hello", "l", "L") == "heLLo"
    replace_letter("abc", "x", "y") == "abc"
    replace_letter("", "a", "b") == ""
    """
    return text.replace(old, new)


def first_three(text):
    """returns the first three characters of a string.

    first_three("hello") == "hel"
    first_three("ab") == "ab"
    first_three("") == ""
    first_three("xyz") == "xyz"
    """
    return text[:3]


def drop_first(text):
    """returns the string without its first character.

    drop_first("hello") == "ello"
    drop_first("a") == ""
    drop_first("") == ""
    drop_first("xy") == "y"
    """
    return text[1:]


def drop_last(text):
    """returns the string with the last character cut off.

    drop_last("hello") == "hell"
    drop_last("a") == ""
    drop_last("") == ""
    drop_last("xyz") == "xy"
    """
    return text[:-1]


def contains_word(text, word):
    """tells whether the word occurs anywhere in the text.

    contains_word("the cat sat", "cat") is True
    contains_word("the cat sat", "dog") is False
    contains_word("", "a") is False
    contains_word("abc", "") is True
    """
    return word in text


def starts_with(text, prefix):
    """tells whether the text begins with the prefix.

    starts_with("hello", "he") is True
    starts_with("hello", "lo") is False
    starts_with("", "a") is False
    starts_with("abc", "") is True
    """
    return text.startswith(prefix)


def is_python_file(name):
    """returns True if a file name ends in ".py".

    is_python_file("main.py") is True
    is_python_file("notes.txt") is False
    is_python_file("py") is False
    is_python_file("a.py.bak") is False
    """
    return name.endswith(".py")


def is_empty(text):
    """returns True if the string has no characters.

    is_empty("") is True
    is_empty("a") is False
    is_empty(" ") is False
    is_empty("False") is False
    """
    return text == ""


def same_ignoring_case(a, b):
    """tells whether two strings are equal when upper and lower case do not matter.

    same_ignoring_case("Hello", "hELLO") is True
    same_ignoring_case("a", "b") is False
    same_ignoring_case("", "") is True
    same_ignoring_case("ab", "AB ") is False
    """
    return a.lower() == b.lower()


def initial(name):
    """returns the first letter of a name as a capital.

    initial("ada") == "A"
    initial("Bob") == "B"
    initial("z") == "Z"
    initial("xI") == "X"
    """
    return name[0].upper()


def capitalize_words(sentence):
    """capitalises the first letter of every word in a lower-case sentence.

    capitalize_words("the cat sat") == "The Cat Sat"
    capitalize_words("hello") == "Hello"
    capitalize_words("") == ""
    capitalize_words("a b") == "A B"
    """
    return sentence.title()


def with_period(sentence):
    """returns the sentence with a full stop added at its end.

    with_period("Hello") == "Hello."
    with_period("") == "."
    with_period("It is late") == "It is late."
    with_period("a") == "a."
    """
    return sentence + "."


def in_quotes(text):
    """returns the text between two double quotes.

    in_quotes("hi") == '"hi"'
    in_quotes("") == '""'
    in_quotes("a b") == '"a b"'
    in_quotes("1") == '"1"'
    """
    return '"' + text + '"'


def position_of(text, letter):
    """returns the index at which a letter first occurs in the text, or -1 if it does not.

    position_of("hello", "l") == 2
    position_of("hello", "h") == 0
    position_of("hello", "z") == -1
    position_of("", "a") == -1
    """
    return text.find(letter)


def text_to_list(text):
    """returns the characters of a string as a list.

    text_to_list("abc") == ["a", "b", "c"]
    text_to_list("") == []
    text_to_list("x") == ["x"]
    text_to_list("a b") == ["a", " ", "b"]
    """
    return list(text)


def letter_code(character):
    """returns the Unicode number of a character.

    letter_code("a") == 97
    letter_code("A") == 65
    letter_code("0") == 48
    letter_code(" ") == 32
    """
    return ord(character)


def pad_number(n):
    """returns the number as a string with leading zeros so that it has at least three digits.

    pad_number(7) == "007"
    pad_number(42) == "042"
    pad_number(123) == "123"
    pad_number(0) == "000"
    pad_number(1234) == "1234"
    """
    return str(n).zfill(3)


def longer_text(a, b):
    """returns the longer of two strings, and the first one when they are equally long.

    longer_text("cat", "mouse") == "mouse"
    longer_text("horse", "dog") == "horse"
    longer_text("one", "two") == "one"
    longer_text("", "x") == "x"
    longer_text("", "") == ""
    """
    return a if len(a) >= len(b) else b
