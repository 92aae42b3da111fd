"""`selfimprove methods`: what there is to run, read from the method files."""

from typing import Annotated

import typer


def methods(
    name: Annotated[str | None, typer.Argument(help="one method: its description and options")] = None,
) -> None:
    """List the methods; with a name, say what it does, what it needs and which options it has."""
    from selfimprove.errors import ConfigError, did_you_mean
    from selfimprove.reporting.methods import method_cards
    from selfimprove.reporting.table import table

    cards = {card.name: card for card in method_cards()}
    if name is None:
        rows = [[card.name, card.makes, ", ".join(card.needs), card.summary] for card in cards.values()]
        typer.echo("\n".join(table(["method", "makes", "needs", "what it does"], rows)))
        return
    card = cards.get(name.replace("-", "_"))
    if card is None:
        raise ConfigError(f"no method '{name}'{did_you_mean(name, cards)}")
    typer.echo(f"{card.text}\n\nmakes {card.makes}; needs {', '.join(card.needs)}\n")
    options = [[option.name, option.type, option.default, option.help] for option in card.options]
    typer.echo("\n".join(table(["option", "type", "default", "meaning"], options)))
