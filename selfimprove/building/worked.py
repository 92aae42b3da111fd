"""Rows of worked solutions, with which methods begin whose model must first learn how answers look."""

from selfimprove.records import Example, Prompt, Skip


def worked_example(prompt: Prompt) -> Example | Skip:
    """Return the SFT row of a prompt's worked solution, which round 1 trains on."""
    solution = (prompt.solution or "").strip()
    if not solution:
        return Skip(prompt.id, "no_solution", "round 1 trains on worked solutions; start: none leaves it out")
    return Example.of(prompt, solution, tag="solution", round=1)
