"""What a search led by a value model asks of its policy: next steps, whether a text is an end, a greedy look ahead.

The steps and questions of ReST-MCTS* (arXiv 2406.03816) for the tree core: a step is what the policy writes next in
its own answer, or what it says when it is asked for the next step. A step that is too short, or that the answer holds
already, is drawn anew. Values are those of the run's value model, clipped to [0, 1].
"""

import asyncio
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from selfimprove.prompts import fill_prompt
from selfimprove.records import Messages, Prompt, Sample
from selfimprove.search.tree import TERMINAL, Candidate, Node, Tree
from selfimprove.worlds.steps import Writing, dotted, next_steps, none_failed, rest_of_answer

if TYPE_CHECKING:
    from selfimprove.run import Run

ENDS = ("text", "answer", "ask", "reflect")
"""Beside the end of turn and a final answer by its pattern, an answer ends: never (text), where the verifier reads an
answer in its last step, where the policy calls it solved, or where a reflection does, which else gives advice."""

UNFINISHED = ("write", "summary", "leave")
"""What becomes of an end that states no answer: the policy writes the rest, or sums it up, or it is left so."""

ASK_TRIES, SUMMARY_TRIES, REPLY = 3, 5, 128
"""Tries of a question that fails, tries of a summary that cannot be read, and the longest reply in tokens."""

_SUMMARY = re.compile(r"the final answer is[^\n]*\S", re.IGNORECASE)


@dataclass(frozen=True)
class Moves:
    """How steps are drawn and looked at."""

    writing: Writing = field(default_factory=Writing)
    asked: bool = False  # each step is asked for by a prompt; else the policy goes on with its own answer
    ends: str = "text"  # one of ENDS
    tries: int = 3  # draws of a step that is too short or a repeat
    shortest: int = 2  # characters of the shortest step
    forward: int = 1  # steps of a roll-out
    forward_branch: int = 1  # steps drawn for each of them
    blend: float = 0.5  # alpha, the weight of what a roll-out found
    max_depth: int = 16  # steps of the longest answer
    max_tokens: int = 512  # longest rest of an answer that is written at once


class ValueSearch:
    """The world of one tree: one prompt, asked of one policy and one value model.

    `every_child`: where the policy is asked whether a text is solved, it is asked of every child at once (data); else
    only of a node that is to be expanded (answering).
    """

    def __init__(self, run: "Run", prompt: Prompt, moves: Moves, every_child: bool = True) -> None:
        """Keep what is asked and how."""
        self.run, self.prompt, self.moves, self.every_child = run, prompt, moves, every_child

    def width(self, tree: Tree, node: Node) -> int | None:
        """Return None: a node is as wide as the rules say."""
        return None

    async def propose(self, tree: Tree, node: Node, count: int, attempt: int) -> Sequence[Candidate]:
        """Return next steps that may be used, none where the node turns out to be an end."""
        before, path, advice = tree.text(node), dotted(tree.path(node)), ""
        if before and self.moves.ends == "reflect":
            node.ended, advice = await self.reflect(before, path)
        elif before and self.moves.ends == "ask" and not self.every_child:
            node.ended = await self.solved(before, path)
        if node.ended:
            node.extra["solved"] = True
            return []
        steps = await self.draw(tree, before, count, path, "expand", attempt, advice)
        if self.moves.ends == "ask" and self.every_child:
            places = [f"{path}+{place}" for place in range(len(steps))]
            looked = (self.look(before, step, place) for step, place in zip(steps, places, strict=True))
            steps = list(await asyncio.gather(*looked))
        return steps

    async def guess(self, tree: Tree, nodes: Sequence[Node]) -> Sequence[float | None]:
        """Return the values of new siblings, None where one failed."""
        return await asyncio.gather(*(self.value(tree.text(node)) for node in nodes))

    async def evaluate(self, tree: Tree, node: Node) -> float | None:
        """Return (1 - alpha) V + alpha v_max, v_max the highest value on a greedy way on; V of an end. None: the root.

        Where no step could be drawn or scored it is V as well.
        """
        if node.parent < 0:
            return None
        if node.state == TERMINAL or node.depth >= self.moves.max_depth:
            return node.value
        text, path, highest = tree.text(node), dotted(tree.path(node)), None
        for number in range(self.moves.forward):
            steps = await self.draw(tree, text, self.moves.forward_branch, path, "rollout", number)
            tree.count("tokens", sum(step.tokens for step in steps))
            values = await asyncio.gather(*(self.value(text + step.text) for step in steps))
            known = [(value, -place) for place, value in enumerate(values) if value is not None]
            if not known:
                break
            value, place = max(known)
            highest = value if highest is None else max(highest, value)
            step = steps[-place]
            if self.moves.ends == "ask":
                step = await self.look(text, step, f"{path}>{number}")
            if step.ended:
                break
            text += step.text
        return node.value if highest is None else blended(node.value, highest, self.moves.blend)

    async def value(self, text: str) -> float | None:
        """Return what the value model says of the beginning of an answer, clipped to [0, 1]; None where it failed."""
        found = await self.run.value(self.prompt, text)
        return None if found is None else min(max(found, 0.0), 1.0)

    async def draw(
        self, tree: Tree, before: str, count: int, path: str, purpose: str, attempt: int, advice: str = ""
    ) -> list[Candidate]:
        """Return up to `count` next steps that may be used; others are drawn anew, `tries` draws in all."""
        found: list[Candidate] = []
        for again in range(self.moves.tries):
            number = attempt * self.moves.tries + again
            wanted = count - len(found)
            if self.moves.asked:
                steps = await self.ask_steps(before, wanted, path, purpose, number, advice)
            else:
                steps = await next_steps(
                    self.run, self.prompt, before, wanted, self.moves.writing,
                    path=(path,), attempt=number, purpose=purpose,
                )  # fmt: skip
            good = [step for step in steps if usable(step.text, before, self.moves.shortest)]
            refused = len(steps) - len(good)
            if refused:
                tree.count("refused", refused)
                tree.count("tokens", sum(step.tokens for step in steps) - sum(step.tokens for step in good))
            found += [self.read(before, step) for step in good]
            if len(found) >= count:
                break
        return found

    def read(self, before: str, step: Candidate) -> Candidate:
        """Return a step, as an end where the verifier reads an answer in it and that counts."""
        if step.ended or self.moves.ends != "answer":
            return step
        return replace(step, ended=self.run.answer(self.prompt, step.text) is not None)

    async def ask_steps(
        self, before: str, count: int, path: str, purpose: str, attempt: int, advice: str
    ) -> list[Candidate]:
        """Return steps as the policy gives them when it is asked for the next; raises StepsFailed where one failed."""
        number = before.count("\n") + 1
        asked = self.question("step", before, number=number, advice=advice)
        writing = self.moves.writing
        samples = await self.run.sample(
            self.prompt, count, messages=asked, purpose=purpose, path=path, attempt=attempt,
            temperature=writing.temperature, top_p=writing.top_p, max_tokens=writing.max_tokens,
        )  # fmt: skip
        texts = [parse_step(sample.text, number) for sample in none_failed(self.prompt, samples)]
        ends = [bool(writing.answer and re.search(writing.answer, text)) for text in texts]
        return [
            Candidate(text, sample.tokens, sample.logprob, ended)
            for text, ended, sample in zip(texts, ends, samples, strict=True)
        ]

    async def look(self, before: str, step: Candidate, path: str) -> Candidate:
        """Return a step, as an end where the policy calls the text solved."""
        if step.ended or not await self.solved(before + step.text, path):
            return step
        return replace(step, ended=True, extra={**step.extra, "solved": True})

    async def solved(self, text: str, path: str) -> bool:
        """Return whether the policy calls a text solved; a question that fails three times counts as solved."""
        reply = await self.reply("solved", text, path)
        return reply is None or says_solved(reply)

    async def reflect(self, text: str, path: str) -> tuple[bool, str]:
        """Return whether a reflection calls a text solved, and its advice for the next step."""
        reply = await self.reply("reflect", text, path)
        return (True, "") if reply is None else read_reflection(reply)

    async def reply(self, question: str, text: str, path: str, tries: int = ASK_TRIES, first: int = 0) -> str | None:
        """Return what the policy replies to one of the questions, None where every try failed."""
        for attempt in range(first, first + tries):
            [sample] = await self.run.sample(
                self.prompt, messages=self.question(question, text), purpose=question, path=path, attempt=attempt,
                temperature=self.moves.writing.temperature, top_p=self.moves.writing.top_p, max_tokens=REPLY,
            )  # fmt: skip
            if sample.error is None:
                return sample.text
        return None

    def question(self, name: str, text: str, **values: object) -> Messages:
        """Return the conversation that asks one of the questions about an answer as far as it goes."""
        filled = fill_prompt(
            f"rest_mcts_star_{name}", problem=self.prompt.text, steps=text.strip() or "None", **values
        )
        return (*self.prompt.messages[:-1], {"role": "user", "content": filled})

    async def whole(self, tree: Tree, end: Node, how: str) -> Sample:
        """Return the answer that a node stands for; where it states none, finished as `how` (UNFINISHED) says."""
        text = tree.text(end)
        stated = end.ended and not end.extra.get("solved")
        if stated or how == "leave" or re.search(self.moves.writing.answer or "(?!)", text):
            return Sample(text, finish="stop" if end.ended else "length")
        if how == "summary":
            return Sample(await self.summed_up(text, dotted(tree.path(end))), finish="stop")
        [rest] = await rest_of_answer(
            self.run, self.prompt, text, 1, self.moves.writing, max_tokens=self.moves.max_tokens,
            path=tree.path(end), purpose="rest", temperature=0.0,
        )  # fmt: skip
        tree.count("tokens", rest.tokens)
        return replace(rest, text=text + rest.text, logprob=None, token_logprobs=None)

    async def summed_up(self, text: str, path: str) -> str:
        """Return a text with a line that states its answer, as it is where no such line came in five tries."""
        for attempt in range(SUMMARY_TRIES):
            reply = await self.reply("summary", text, path, tries=1, first=attempt)
            line = _SUMMARY.search(reply or "")
            if line:
                return f"{text.rstrip()}\n{line[0].strip()}"
        return text


def blended(value: float, highest: float, alpha: float) -> float:
    """Return (1 - alpha) V + alpha v_max."""
    return (1 - alpha) * value + alpha * highest


def usable(text: str, before: str, shortest: int = 2) -> bool:
    """Return whether a step may be used: long enough, and not in the answer already."""
    text = re.sub(r"^Step \d+: ", "", text.strip())
    return len(text) >= max(shortest, 1) and text not in before


def says_solved(reply: str) -> bool:
    """Return whether a reply says solved; "unsolved" holds the word too, and anything else is no."""
    reply = reply.lower()
    return "unsolved" not in reply and "solved" in reply


def read_reflection(reply: str) -> tuple[bool, str]:
    """Return (solved, advice) of a reply that says "Problem solved" or "Analysis: ..."."""
    if "problem solved" in reply.lower():
        return True, ""
    _, mark, advice = reply.partition("Analysis:")
    return False, (advice if mark else reply).strip()


def parse_step(reply: str, number: int) -> str:
    """Return `Step k: ...` of a reply: what stands behind "Next step:", else behind "Step k:", else its first line.

    Empty where the reply says nothing.
    """
    for marker in (r"next step:", rf"step {number}:"):
        match = re.search(marker, reply, re.IGNORECASE)
        if match:
            reply = reply[match.end() :]
            break
    line = reply.strip().partition("\n")[0].strip()
    again = re.match(rf"step {number}:\s*", line, re.IGNORECASE)
    line = line[again.end() :] if again else line
    return f"Step {number}: {line}\n" if line else ""
