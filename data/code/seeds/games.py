"""Seeds: dice, cards and boards."""

import random
from collections import Counter


def roll_dice(notation: str, seed: int) -> list[int]:
    """Roll dice given as "2d6", that is two dice with six sides, with a fixed seed."""
    count, sides = map(int, notation.split("d"))
    generator = random.Random(seed)
    return [generator.randint(1, sides) for _ in range(count)]


def tic_tac_toe_winner(board: list[str]) -> str | None:
    """Return the winner of a game of tic-tac-toe, or None.

    The board has three strings of three characters: "X", "O" or a blank.

    >>> tic_tac_toe_winner(["XOO", " X ", "  X"])
    'X'
    """
    lines = [*board, *("".join(column) for column in zip(*board, strict=True))]
    lines.append("".join(board[place][place] for place in range(3)))
    lines.append("".join(board[place][2 - place] for place in range(3)))
    for player in "XO":
        if player * 3 in lines:
            return player
    return None


def blackjack_value(cards: list[str]) -> int:
    """Add up a hand of cards; aces count 11, or 1 where the hand would exceed 21.

    >>> blackjack_value(["A", "K"])
    21
    >>> blackjack_value(["A", "9", "A"])
    21
    """
    total = 0
    for card in cards:
        total += 11 if card == "A" else 10 if card in "JQK" else int(card)
    for _ in range(cards.count("A")):
        if total > 21:
            total -= 10
    return total


def is_full_house(ranks: list[str]) -> bool:
    """Tell whether five cards are three of one rank and two of another.

    >>> is_full_house(["K", "7", "K", "7", "K"])
    True
    """
    return sorted(Counter(ranks).values()) == [2, 3]


def knight_moves(square: str) -> list[str]:
    """List the squares that a knight on a chess board can reach in one move, in order.

    >>> knight_moves("a1")
    ['b3', 'c2']
    """
    column, row = "abcdefgh".index(square[0]), int(square[1]) - 1
    moves = []
    for dx, dy in [(1, 2), (2, 1), (2, -1), (1, -2), (-1, -2), (-2, -1), (-2, 1), (-1, 2)]:
        if 0 <= column + dx < 8 and 0 <= row + dy < 8:
            moves.append("abcdefgh"[column + dx] + str(row + dy + 1))
    return sorted(moves)


def queens_attack(a: tuple[int, int], b: tuple[int, int]) -> bool:
    """Tell whether two queens on different squares can capture each other on an empty board."""
    return a[0] == b[0] or a[1] == b[1] or abs(a[0] - b[0]) == abs(a[1] - b[1])


def count_queen_solutions(size: int) -> int:
    """Count the ways to put as many queens as there are rows on a board so that none attacks another.

    >>> count_queen_solutions(6)
    4
    """

    def place(row: int, columns: set[int], up: set[int], down: set[int]) -> int:
        if row == size:
            return 1
        found = 0
        for column in range(size):
            if column not in columns and row + column not in up and row - column not in down:
                found += place(row + 1, columns | {column}, up | {row + column}, down | {row - column})
        return found

    return place(0, set(), set(), set())


def wordle_feedback(guess: str, secret: str) -> str:
    """Compare a guess with the secret word, letter by letter.

    "g" marks a letter in its right place, "y" one that occurs elsewhere, "." one that does not.
    A letter is marked no more often than it occurs in the secret word.

    >>> wordle_feedback("allee", "apple")
    'gy..g'
    """
    marks = ["g" if a == b else "." for a, b in zip(guess, secret, strict=True)]
    left = Counter(b for a, b in zip(guess, secret, strict=True) if a != b)
    for place, letter in enumerate(guess):
        if marks[place] == "." and left[letter] > 0:
            marks[place] = "y"
            left[letter] -= 1
    return "".join(marks)


def hangman_view(word: str, guessed: set[str]) -> str:
    """Show a word with all letters hidden that have not been guessed.

    >>> hangman_view("banana", {"a", "n"})
    '_anana'
    """
    return "".join(letter if letter in guessed else "_" for letter in word)


def bowling_score(rolls: list[int]) -> int:
    """Score a complete game of bowling with ten frames.

    A strike counts the next two rolls as well, a spare the next one.

    >>> bowling_score([10] * 12)
    300
    """
    score = place = 0
    for _ in range(10):
        if rolls[place] == 10:
            score += 10 + rolls[place + 1] + rolls[place + 2]
            place += 1
        else:
            frame = rolls[place] + rolls[place + 1]
            score += frame + (rolls[place + 2] if frame == 10 else 0)
            place += 2
    return score


def hanoi_moves(disks: int, source: str = "A", target: str = "C", spare: str = "B") -> list[str]:
    """List the moves that bring a tower from one peg to another, such as "A->C".

    >>> hanoi_moves(2)
    ['A->B', 'A->C', 'B->C']
    """
    if disks == 0:
        return []
    before = hanoi_moves(disks - 1, source, spare, target)
    after = hanoi_moves(disks - 1, spare, target, source)
    return [*before, f"{source}->{target}", *after]


def deal(cards: list[str], players: int) -> list[list[str]]:
    """Deal all cards one by one to the players, and return the hands.

    >>> deal(["1", "2", "3", "4", "5"], 2)
    [['1', '3', '5'], ['2', '4']]
    """
    return [cards[player::players] for player in range(players)]


def elo_update(rating: float, opponent: float, score: float, k: float = 32) -> float:
    """Return a player's new Elo rating after a game.

    Args:
        rating: The rating before the game.
        opponent: The opponent's rating.
        score: 1 for a win, 0.5 for a draw, 0 for a loss.
        k: How far one game can move a rating.

    >>> elo_update(1500, 1500, 1)
    1516.0
    """
    expected = 1 / (1 + 10 ** ((opponent - rating) / 400))
    return rating + k * (score - expected)
