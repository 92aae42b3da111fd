"""Strings in loops: several lines, or an idea beyond one built-in function."""


def count_vowels(text):
    """counts the vowels a, e, i, o and u in a lower-case text.

    count_vowels("banana") == 3
    count_vowels("rhythm") == 0
    count_vowels("") == 0
    count_vowels("queue") == 4
    """
    return sum(1 for letter in text if letter in "aeiou")


def remove_vowels(text):
    """drops every a, e, i, o and u from a text in lower case.

    remove_vowels("banana") == "bnn"
    remove_vowels("aeiou") == ""
    remove_vowels("") == ""
    remove_vowels("sky") == "sky"
    """
    return "".join(letter for letter in text if letter not in "aeiou")


def reverse_words(sentence):
    """puts the words of a sentence in the opposite order.

    reverse_words("the cat sat") == "sat cat the"
    reverse_words("hello") == "hello"
    reverse_words("") == ""
    reverse_words("a b") == "b a"
    """
    return " ".join(reversed(sentence.split()))


def initials(name):
    """returns the initials of a full name in capitals, without points or spaces.

    initials("Ada Byron") == "AB"
    initials("grace hopper") == "GH"
    initials("Li") == "L"
    initials("john ronald reuel") == "JRR"
    """
    return "".join(part[0].upper() for part in name.split())


def count_digits(text):
    """counts how many characters of a string are digits.

    count_digits("a1b22") == 3
    count_digits("abc") == 0
    count_digits("") == 0
    count_digits("2024") == 4
    """
    return sum(character.isdigit() for character in text)


def is_anagram(a, b):
    """checks if two words are made of exactly the same letters.

    is_anagram("listen", "silent") is True
    is_anagram("cat", "car") is False
    is_anagram("", "") is True
    is_anagram("aab", "abb") is False
    """
    return sorted(a) == sorted(b)


def alternate_case(text):
    """writes the characters of a text in upper and lower case by turns, the first one in upper case.

    alternate_case("hello") == "HeLlO"
    alternate_case("") == ""
    alternate_case("a") == "A"
    alternate_case("ABCD") == "AbCd"
    """
    return "".join(c.upper() if i % 2 == 0 else c.lower() for i, c in enumerate(text))


def first_unique_letter(text):
    """returns the first letter that occurs only once in a text, or None if there is none.

    first_unique_letter("aabc") == "b"
    first_unique_letter("aa") is None
    first_unique_letter("") is None
    first_unique_letter("xyx") == "y"
    """
    for letter in text:
        if text.count(letter) == 1:
            return letter
    return None


def shift_letter(letter):
    """returns the next letter of the alphabet for a lower-case letter; after z comes a.

    shift_letter("a") == "b"
    shift_letter("z") == "a"
    shift_letter("m") == "n"
    shift_letter("y") == "z"
    """
    return "a" if letter == "z" else chr(ord(letter) + 1)


def middle_characters(text):
    """returns the middle character of a string, or the two middle ones if its length is even.

    middle_characters("abc") == "b"
    middle_characters("abcd") == "bc"
    middle_characters("x") == "x"
    middle_characters("xy") == "xy"
    """
    middle = len(text) // 2
    return text[middle] if len(text) % 2 else text[middle - 1 : middle + 1]


def mask(text):
    """hides all but the last four characters of a string behind stars.

    mask("12345678") == "****5678"
    mask("1234") == "1234"
    mask("12") == "12"
    mask("abcde") == "*bcde"
    """
    return "*" * (len(text) - 4) + text[-4:]


def swap_ends(text):
    """exchanges the first and the last character of a string with at least two characters.

    swap_ends("hello") == "oellh"
    swap_ends("ab") == "ba"
    swap_ends("xyz") == "zyx"
    swap_ends("1002") == "2001"
    """
    return text[-1] + text[1:-1] + text[0]


def double_letters(text):
    """writes every character of a string twice in a row.

    double_letters("abc") == "aabbcc"
    double_letters("") == ""
    double_letters("a") == "aa"
    double_letters("1 2") == "11  22"
    """
    return "".join(character * 2 for character in text)


def acronym_is(phrase, letters):
    """tells whether the first letters of the words in a phrase spell the given letters.

    acronym_is("as soon as possible", "asap") is True
    acronym_is("as soon as possible", "asa") is False
    acronym_is("", "") is True
    acronym_is("one two", "to") is False
    """
    return "".join(word[0] for word in phrase.split()) == letters


def get_extension(name):
    """returns the part of a file name after its last dot, or an empty string if there is no dot.

    get_extension("photo.png") == "png"
    get_extension("archive.tar.gz") == "gz"
    get_extension("readme") == ""
    get_extension("a.b") == "b"
    """
    return name.rsplit(".", 1)[1] if "." in name else ""


def format_time(minutes):
    """formats minutes since midnight as a clock time with two digits each, for example 65 as "01:05".

    format_time(65) == "01:05"
    format_time(0) == "00:00"
    format_time(600) == "10:00"
    format_time(1439) == "23:59"
    """
    return f"{minutes // 60:02d}:{minutes % 60:02d}"


def common_prefix(a, b):
    """returns the longest string with which both a and b begin.

    common_prefix("flower", "flow") == "flow"
    common_prefix("dog", "cat") == ""
    common_prefix("", "x") == ""
    common_prefix("same", "same") == "same"
    common_prefix("abcx", "abcy") == "abc"
    """
    length = 0
    while length < min(len(a), len(b)) and a[length] == b[length]:
        length += 1
    return a[:length]
