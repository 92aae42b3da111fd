"""How many letters two texts differ by: the edit distance of Levenshtein, by whole columns of bits at once."""


def edit_distance(first: str, second: str) -> int:
    """Return the fewest insertions, deletions and replacements of characters that make `second` of `first`.

    The bit-parallel algorithm of Myers (1999) in Hyyro's form (2003): one step a character of `second`, each on all of
    `first`.
    """
    if not first or not second:
        return len(first) + len(second)
    places: dict[str, int] = {}
    for at, letter in enumerate(first):
        places[letter] = places.get(letter, 0) | 1 << at
    every, last = (1 << len(first)) - 1, 1 << len(first) - 1
    up, down, distance = every, 0, len(first)  # cells that are one more, one less, than the cell before them
    for letter in second:
        same = places.get(letter, 0)
        diagonal = ((same & up) + up ^ up) | same | down
        right, left = down | ~(diagonal | up) & every, up & diagonal
        distance += bool(right & last) - bool(left & last)
        right, left = right << 1 | 1, left << 1
        up, down = (left | ~(diagonal | right)) & every, right & diagonal & every
    return distance
