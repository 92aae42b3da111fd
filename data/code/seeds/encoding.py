"""Seeds: codes, checksums and compression."""

import binascii
import hashlib
from collections import Counter


def run_length_encode(text: str) -> str:
    """Write each run of equal characters as its length and the character.

    >>> run_length_encode("aaabcc")
    '3a1b2c'
    """
    encoded, place = "", 0
    while place < len(text):
        end = place
        while end < len(text) and text[end] == text[place]:
            end += 1
        encoded += f"{end - place}{text[place]}"
        place = end
    return encoded


def run_length_decode(encoded: str) -> str:
    """Undo a run-length code such as "3a1b2c".

    >>> run_length_decode("3a1b12c")
    'aaabcccccccccccc'
    """
    text, count = "", ""
    for character in encoded:
        if character.isdigit():
            count += character
        else:
            text += character * int(count)
            count = ""
    return text


def to_morse(text: str) -> str:
    """Translate letters to Morse code, with blanks between letters and slashes between words.

    Characters without a code are left out.

    >>> to_morse("SOS now")
    '... --- ... / -. --- .--'
    """
    signs = (
        ".- -... -.-. -.. . ..-. --. .... .. .--- -.- .-.. -- -. --- .--. --.- .-. ... - ..- ...- .-- -..- -.-- --.."
    )
    codes = dict(zip("abcdefghijklmnopqrstuvwxyz", signs.split(), strict=True))
    words = text.lower().split()
    return " / ".join(" ".join(codes[letter] for letter in word if letter in codes) for word in words)


def atbash(text: str) -> str:
    """Replace each lower-case letter by its mirror image in the alphabet: a by z, b by y, and so on.

    >>> atbash("hello")
    'svool'
    """
    return "".join(chr(219 - ord(letter)) if "a" <= letter <= "z" else letter for letter in text)


def vigenere(text: str, key: str, direction: int = 1) -> str:
    """Encrypt capital letters with the Vigenère cipher; direction -1 decrypts.

    >>> vigenere("ATTACK", "LEMON")
    'LXFOPV'
    >>> vigenere("LXFOPV", "LEMON", -1)
    'ATTACK'
    """
    letters = []
    for place, letter in enumerate(text):
        shift = ord(key[place % len(key)]) - ord("A")
        letters.append(chr((ord(letter) - ord("A") + direction * shift) % 26 + ord("A")))
    return "".join(letters)


def to_hex(data: bytes) -> str:
    """Write bytes as hexadecimal digits, two for each byte, with blanks between them.

    >>> to_hex(b"Hi!")
    '48 69 21'
    """
    return " ".join(f"{byte:02x}" for byte in data)


def encode_base62(number: int) -> str:
    """Write a non-negative integer with digits, capital and small letters, as short links do.

    >>> encode_base62(125)
    '21'
    """
    alphabet = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
    encoded = ""
    while True:
        number, place = divmod(number, 62)
        encoded = alphabet[place] + encoded
        if number == 0:
            return encoded


def short_digest(text: str, length: int = 8) -> str:
    """Return the first hexadecimal digits of the SHA-256 digest of a text."""
    return hashlib.sha256(text.encode("utf-8")).hexdigest()[:length]


def crc_as_hex(data: bytes) -> str:
    """Return the CRC-32 checksum of some bytes as eight hexadecimal digits.

    >>> crc_as_hex(b"123456789")
    'cbf43926'
    """
    return f"{binascii.crc32(data):08x}"


def adler32(data: bytes) -> int:
    """Compute the Adler-32 checksum of some bytes.

    >>> adler32(b"Wikipedia")
    300286872
    """
    a, b = 1, 0
    for byte in data:
        a = (a + byte) % 65521
        b = (b + a) % 65521
    return b << 16 | a


def gray_code(bits: int) -> list[str]:
    """List all binary words of a length so that neighbours differ in one place only.

    >>> gray_code(2)
    ['00', '01', '11', '10']
    """
    if bits == 0:
        return [""]
    shorter = gray_code(bits - 1)
    return ["0" + word for word in shorter] + ["1" + word for word in reversed(shorter)]


def parity_bit(bits: str) -> str:
    """Return the bit that makes the number of ones in a binary word even."""
    return str(bits.count("1") % 2)


def letter_frequencies(text: str) -> dict[str, float]:
    """Return the share of each letter among all letters of a text, most frequent first.

    >>> letter_frequencies("Abba b")
    {'b': 0.6, 'a': 0.4}
    """
    letters = [character for character in text.lower() if character.isalpha()]
    return {letter: count / len(letters) for letter, count in Counter(letters).most_common()}


def xor_bytes(data: bytes, key: bytes) -> bytes:
    """Combine bytes with a repeated key by exclusive or; doing it twice gives the data back.

    >>> xor_bytes(xor_bytes(b"secret", b"k1"), b"k1")
    b'secret'
    """
    return bytes(byte ^ key[place % len(key)] for place, byte in enumerate(data))


def escape_html(text: str) -> str:
    """Replace the characters that have a meaning in HTML by their entities.

    >>> escape_html('<a & "b">')
    '&lt;a &amp; &quot;b&quot;&gt;'
    """
    for character, entity in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ('"', "&quot;")):
        text = text.replace(character, entity)
    return text
