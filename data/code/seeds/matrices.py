"""Seeds: matrices and grids as lists of rows."""

from typing import Any


def transpose(matrix: list[list[float]]) -> list[list[float]]:
    """Swap the rows and columns of a matrix.

    >>> transpose([[1, 2, 3], [4, 5, 6]])
    [[1, 4], [2, 5], [3, 6]]
    """
    return [list(column) for column in zip(*matrix, strict=True)]


def matrix_multiply(a: list[list[float]], b: list[list[float]]) -> list[list[float]]:
    """Multiply two matrices.

    Raises:
        ValueError: If their sizes do not fit.

    >>> matrix_multiply([[1, 2], [3, 4]], [[0, 1], [1, 0]])
    [[2, 1], [4, 3]]
    """
    if len(a[0]) != len(b):
        raise ValueError("the columns of a must match the rows of b")
    columns = list(zip(*b, strict=True))
    return [[sum(x * y for x, y in zip(row, column, strict=True)) for column in columns] for row in a]


def determinant(matrix: list[list[float]]) -> float:
    """Compute the determinant of a square matrix by expanding along its first row.

    >>> determinant([[2, 0, 1], [1, 3, 2], [0, 1, 1]])
    3
    """
    if len(matrix) == 1:
        return matrix[0][0]
    total = 0.0 if isinstance(matrix[0][0], float) else 0
    for column, value in enumerate(matrix[0]):
        minor = [row[:column] + row[column + 1 :] for row in matrix[1:]]
        total += (-1) ** column * value * determinant(minor)
    return total


def rotate_clockwise(grid: list[list[Any]]) -> list[list[Any]]:
    """Rotate a grid by a quarter turn to the right.

    >>> rotate_clockwise([[1, 2], [3, 4]])
    [[3, 1], [4, 2]]
    """
    return [list(row) for row in zip(*grid[::-1], strict=True)]


def spiral(grid: list[list[Any]]) -> list[Any]:
    """List the cells of a grid in a spiral from the top left corner inwards.

    >>> spiral([[1, 2, 3], [4, 5, 6], [7, 8, 9]])
    [1, 2, 3, 6, 9, 8, 7, 4, 5]
    """
    rest = [list(row) for row in grid]
    cells: list[Any] = []
    while rest:
        cells.extend(rest.pop(0))
        rest = [list(row) for row in zip(*rest, strict=True)][::-1]
    return cells


def trace(matrix: list[list[float]]) -> float:
    """Return the sum of the entries on the main diagonal of a square matrix."""
    return sum(matrix[place][place] for place in range(len(matrix)))


def is_symmetric(matrix: list[list[float]]) -> bool:
    """Tell whether a square matrix equals its own transpose.

    >>> is_symmetric([[1, 2], [2, 5]])
    True
    """
    size = len(matrix)
    return all(matrix[i][j] == matrix[j][i] for i in range(size) for j in range(i))


def is_magic_square(square: list[list[int]]) -> bool:
    """Tell whether all rows, columns and both diagonals of a square have the same sum.

    >>> is_magic_square([[2, 7, 6], [9, 5, 1], [4, 3, 8]])
    True
    """
    size = len(square)
    sums = {sum(row) for row in square} | {sum(column) for column in zip(*square, strict=True)}
    sums.add(sum(square[i][i] for i in range(size)))
    sums.add(sum(square[i][size - 1 - i] for i in range(size)))
    return len(sums) == 1


def neighbors(grid: list[list[Any]], row: int, column: int) -> list[Any]:
    """Return the values of the up to eight cells around a cell.

    >>> neighbors([[1, 2], [3, 4]], 0, 0)
    [2, 3, 4]
    """
    found = []
    for r in range(max(row - 1, 0), min(row + 2, len(grid))):
        for c in range(max(column - 1, 0), min(column + 2, len(grid[0]))):
            if (r, c) != (row, column):
                found.append(grid[r][c])
    return found


def life_step(alive: set[tuple[int, int]]) -> set[tuple[int, int]]:
    """Compute the next generation of Conway's game of life.

    Args:
        alive: The coordinates of all living cells on an endless board.

    >>> sorted(life_step({(0, 0), (0, 1), (0, 2)}))
    [(-1, 1), (0, 1), (1, 1)]
    """
    counts: dict[tuple[int, int], int] = {}
    for x, y in alive:
        for dx in (-1, 0, 1):
            for dy in (-1, 0, 1):
                if dx or dy:
                    cell = (x + dx, y + dy)
                    counts[cell] = counts.get(cell, 0) + 1
    return {cell for cell, count in counts.items() if count == 3 or (count == 2 and cell in alive)}


def flood_fill(grid: list[list[int]], row: int, column: int, color: int) -> list[list[int]]:
    """Return a grid in which the area around a cell has a new color.

    The area consists of all cells of the same color that are connected
    horizontally or vertically.

    >>> flood_fill([[1, 1, 0], [0, 1, 0]], 0, 0, 7)
    [[7, 7, 0], [0, 7, 0]]
    """
    filled = [list(line) for line in grid]
    old = filled[row][column]
    waiting = [(row, column)] if old != color else []
    while waiting:
        r, c = waiting.pop()
        if 0 <= r < len(filled) and 0 <= c < len(filled[0]) and filled[r][c] == old:
            filled[r][c] = color
            waiting += [(r + 1, c), (r - 1, c), (r, c + 1), (r, c - 1)]
    return filled


def solve_two_by_two(a: float, b: float, c: float, d: float, e: float, f: float) -> tuple[float, float] | None:
    """Solve the equations `a x + b y = e` and `c x + d y = f` with Cramer's rule.

    Returns None where there is no single solution.

    >>> solve_two_by_two(1, 1, 1, -1, 4, 2)
    (3.0, 1.0)
    """
    determinant = a * d - b * c
    if determinant == 0:
        return None
    return (e * d - b * f) / determinant, (a * f - e * c) / determinant


def render_grid(grid: list[list[bool]], on: str = "#", off: str = ".") -> str:
    """Draw a grid of booleans as lines of characters."""
    return "\n".join("".join(on if cell else off for cell in row) for row in grid)
