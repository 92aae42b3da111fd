"""Seeds: prices, interest and shares."""

from decimal import ROUND_HALF_UP, Decimal


def compound_interest(principal: float, rate: float, years: int, periods: int = 1) -> float:
    """Return an amount with compound interest, rounded to cents.

    Args:
        principal: The amount at the start.
        rate: The yearly rate in percent.
        years: How long the money stays.
        periods: How often a year interest is added.

    >>> compound_interest(1000, 5, 2)
    1102.5
    """
    return round(principal * (1 + rate / 100 / periods) ** (periods * years), 2)


def monthly_payment(loan: float, rate: float, months: int) -> float:
    """Return the constant monthly payment that repays a loan, rounded to cents.

    The rate is yearly and in percent; without interest the loan is divided evenly.

    >>> monthly_payment(1200, 0, 12)
    100.0
    >>> monthly_payment(10000, 6, 24)
    443.21
    """
    if rate == 0:
        return round(loan / months, 2)
    monthly = rate / 1200
    return round(loan * monthly / (1 - (1 + monthly) ** -months), 2)


def make_change(amount: int, coins: list[int]) -> dict[int, int]:
    """Pay an amount with the largest coins first, and count the coins of each kind.

    >>> make_change(87, [50, 20, 10, 5, 2, 1])
    {50: 1, 20: 1, 10: 1, 5: 1, 2: 1}
    """
    used = {}
    for coin in sorted(coins, reverse=True):
        count, amount = divmod(amount, coin)
        if count:
            used[coin] = count
    return used


def fewest_coins(amount: int, coins: list[int]) -> int | None:
    """Return the smallest number of coins that make up an amount, None where it cannot be paid.

    >>> fewest_coins(6, [1, 3, 4])
    2
    >>> fewest_coins(5, [2]) is None
    True
    """
    best: list[int | None] = [0] + [None] * amount
    for value in range(1, amount + 1):
        options = [best[value - coin] for coin in coins if coin <= value]
        reachable = [count for count in options if count is not None]
        best[value] = min(reachable) + 1 if reachable else None
    return best[amount]


def count_change_ways(amount: int, coins: list[int]) -> int:
    """Count the different ways to pay an amount with coins of the given values.

    >>> count_change_ways(5, [1, 2, 5])
    4
    """
    ways = [1] + [0] * amount
    for coin in coins:
        for value in range(coin, amount + 1):
            ways[value] += ways[value - coin]
    return ways[amount]


def split_bill(total: int, people: int) -> list[int]:
    """Split a bill in cents so that shares differ by one cent at most and add up exactly.

    >>> split_bill(1000, 3)
    [334, 333, 333]
    """
    share, rest = divmod(total, people)
    return [share + 1] * rest + [share] * (people - rest)


def add_tax(net: str, percent: str) -> Decimal:
    """Add a tax to a net price given as text, rounding half a cent up.

    >>> add_tax("19.99", "19")
    Decimal('23.79')
    """
    gross = Decimal(net) * (1 + Decimal(percent) / 100)
    return gross.quantize(Decimal("0.01"), rounding=ROUND_HALF_UP)


def progressive_tax(income: float, brackets: list[tuple[float, float]]) -> float:
    """Compute a tax in which each bracket has a rate of its own.

    Args:
        income: The taxable income.
        brackets: Pairs of a lower limit and a rate in percent, in ascending order.

    >>> progressive_tax(30000, [(0, 0), (10000, 20), (25000, 40)])
    5000.0
    """
    tax = 0.0
    limits = [limit for limit, _ in brackets[1:]] + [float("inf")]
    for (low, rate), high in zip(brackets, limits, strict=True):
        tax += max(min(income, high) - low, 0) * rate / 100
    return tax


def format_amount(cents: int, symbol: str = "$") -> str:
    """Write an amount in cents with a currency symbol and commas between thousands.

    >>> format_amount(123456789)
    '$1,234,567.89'
    >>> format_amount(-5)
    '-$0.05'
    """
    sign = "-" if cents < 0 else ""
    whole, rest = divmod(abs(cents), 100)
    return f"{sign}{symbol}{whole:,}.{rest:02d}"


def best_trade(prices: list[float]) -> float:
    """Return the largest gain from buying once and selling once later; 0 if prices only fall.

    >>> best_trade([7, 1, 5, 3, 6, 4])
    5
    """
    best: float = 0
    lowest = float("inf")
    for price in prices:
        lowest = min(lowest, price)
        best = max(best, price - lowest)
    return best


def settle_debts(balances: dict[str, int]) -> list[tuple[str, str, int]]:
    """Find payments that bring all balances to zero, as (payer, receiver, amount).

    A positive balance means that a person gets money back; all balances add up to zero.

    >>> settle_debts({"ada": 30, "bob": -10, "eve": -20})
    [('bob', 'ada', 10), ('eve', 'ada', 20)]
    """
    due = {name: amount for name, amount in balances.items() if amount > 0}
    payments: list[tuple[str, str, int]] = []
    for payer, balance in balances.items():
        owed = -balance
        while owed > 0:
            receiver = next(iter(due))
            amount = min(owed, due[receiver])
            payments.append((payer, receiver, amount))
            owed -= amount
            due[receiver] -= amount
            if due[receiver] == 0:
                del due[receiver]
    return payments


def break_even(fixed: float, price: float, cost: float) -> int | None:
    """Return how many items must be sold to cover the fixed costs, None where no number is enough.

    >>> break_even(1000, 15, 5)
    100
    """
    margin = price - cost
    return -int(-fixed // margin) if margin > 0 else None


def apply_coupons(price: float, coupons: list[str]) -> float:
    """Apply coupons such as "10%" or "5" (an amount) one after the other; the price never falls below zero.

    >>> apply_coupons(100, ["10%", "5"])
    85.0
    """
    for coupon in coupons:
        if coupon.endswith("%"):
            price *= 1 - float(coupon[:-1]) / 100
        else:
            price -= float(coupon)
    return max(round(price, 2), 0.0)
