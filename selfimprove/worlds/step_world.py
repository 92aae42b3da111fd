"""The world in which MCTS-DPO searches: steps as the policy writes them, worth what it says of them and what is right.

Formulas of arXiv 2405.00451 and its released code; the search itself is `selfimprove.search`.
"""

import asyncio
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from string import punctuation
from typing import TYPE_CHECKING

from selfimprove.judges.prefix import prefix_worth
from selfimprove.records import Prompt
from selfimprove.search.grow import World
from selfimprove.search.selection import length_prior
from selfimprove.search.tree import TERMINAL, Candidate, Node, Tree
from selfimprove.worlds.candidates import ends_of_answer, gold_step, unlike, varied_steps
from selfimprove.worlds.steps import Writing

if TYPE_CHECKING:
    from selfimprove.methods.mcts_dpo import Config
    from selfimprove.run import Run

RIGHT = 0.8
"""A finished answer is right whose grade is above this; multiple choice has grades between."""


@dataclass
class StepWorld(World):
    """Proposes and values the steps of one prompt."""

    cfg: "Config"
    run: "Run"
    prompt: Prompt

    async def propose(self, tree: Tree, node: Node, count: int, attempt: int) -> list[Candidate]:
        """Return candidates, the gold step first; at the last level of a forced end, whole ends."""
        cfg, before = self.cfg, tree.text(node)
        at_root = node is tree.root
        writing = Writing(
            cfg.stop, cfg.root_temperature if at_root else cfg.temperature, cfg.top_p, cfg.max_tokens, cfg.answer
        )
        path = tree.path(node)
        last = cfg.force_end and node.depth + 1 >= cfg.depth
        steps: list[Candidate] = []
        if cfg.guide and not attempt:
            gold = await gold_step(self.run, self.prompt, before, cfg.stop, last)
            steps += [gold] if gold else []
        if last:
            number = 2 if cfg.multiple_choice else 1
            steps += await ends_of_answer(self.run, self.prompt, before, number, writing, path=path, attempt=attempt)
        else:
            share = 0.0 if at_root else cfg.hot_share
            steps += await varied_steps(
                self.run, self.prompt, before, count, writing, path=path, attempt=attempt, hot=cfg.hot, share=share
            )
        found = [self.as_candidate(tree, step) for step in steps if step.text.strip()]
        return (await self.kept(tree, found))[: cfg.breadth]

    async def kept(self, tree: Tree, steps: Sequence[Candidate]) -> list[Candidate]:
        """Return the first of equal candidates each, and of near ones where the method says how near."""
        fresh = list({step.text.strip(): step for step in reversed(steps)}.values())[::-1]
        if self.cfg.near is not None:
            fresh = await unlike(self.run, self.prompt, fresh, self.cfg.near)
        tree.count("repeats", len(steps) - len(fresh))
        return fresh

    def as_candidate(self, tree: Tree, step: Candidate) -> Candidate:
        """Return a step with its prior; one that ends the answer without the stop string behind it."""
        if step.logprob is None:
            tree.count("no_prior")
        else:
            step = replace(step, prior=length_prior(step.logprob, step.tokens, self.cfg.length_penalty))
        return replace(step, text=step.text.rstrip()) if step.ended else step

    async def guess(self, tree: Tree, nodes: Sequence[Node]) -> list[float | None]:
        """Return the value of new siblings; None where evaluator or verifier failed."""
        return list(await asyncio.gather(*(self.worth(tree, node) for node in nodes)))

    async def worth(self, tree: Tree, node: Node) -> float | None:
        """Return the value of the state that a node leads to, its outcome included where the answer ends."""
        parent = tree.nodes[node.parent]
        sure = await self.says(tree.text(node))
        outcome = await self.outcome(tree, node) if node.ended else 0.0
        if sure is None or outcome is None:
            return None
        node.extra["sure"] = sure
        return state_value(sure, parent.depth, parent.guess or 0.0, outcome)

    async def says(self, text: str) -> float | None:
        """Return what the evaluator says of an answer that begins so."""
        if self.cfg.evaluator == "value":
            return await self.run.value(self.prompt, text)
        return await prefix_worth(self.run, self.prompt, text, self.cfg.evaluator, self.cfg.show_gold)

    async def outcome(self, tree: Tree, node: Node) -> float | None:
        """Return O of a finished answer, and note on the node whether it is right; None where that is not known."""
        if not self.cfg.outcome:
            return 0.0
        cfg, text = self.cfg, tree.text(node)
        if cfg.multiple_choice:
            content = str(self.prompt.meta.get("answer_content", ""))
            grade: float | None = choice_grade(text, self.prompt.gold or "", content)
        else:
            grade = (await self.run.check(self.prompt, text)).score
        if grade is None:
            return None
        node.outcome = float(grade > RIGHT)
        if cfg.multiple_choice:
            return held_back(grade, tree.nodes[node.parent].depth, cfg.actions)
        solution = (self.prompt.solution or "").strip()
        return outcome_reward(bool(node.outcome), bool(solution) and text.strip() != solution, cfg.own_way)

    async def evaluate(self, tree: Tree, node: Node) -> float | None:
        """Return the value of a node at which a visit ends; an answer that nothing follows ends there, and is graded.

        The root is worth nothing by itself.
        """
        if node.guess is None:
            return None
        if node.state == TERMINAL and node.draws and not node.ended:
            outcome = await self.outcome(tree, node)
            if outcome is None:
                return None
            node.ended = True
            node.guess, node.reward = node.guess + outcome, node.reward + outcome
        return node.guess


def state_value(sure: float, parent_depth: int, parent_value: float, outcome: float = 0.0) -> float:
    """Return C / max(g - 3, 1) + O of a child of a node at depth g (root 0); the parent's value for a C of 0."""
    return (sure / max(parent_depth - 3, 1) or parent_value) + outcome


def outcome_reward(right: bool, own_way: bool, bonus: float = 1.25) -> float:
    """Return O of a finished answer: -1 wrong, 1 right, `bonus` right by another way than the worked solution."""
    if not right:
        return -1.0
    return bonus if own_way else 1.0


def held_back(outcome: float, parent_depth: int, actions: int) -> float:
    """Return O of a multiple-choice answer: what a right one brings is held back where hardly a step comes before it.

    Nothing at parent depth 0 with two or more candidates, half at 1, all of it deeper; a bad one counts everywhere.
    """
    if outcome <= 0:
        return outcome
    if parent_depth == 0 and actions >= 2:
        return 0.0
    return outcome / 2 if parent_depth == 1 else outcome


def choice_grade(text: str, right: str, content: str = "") -> float:
    """Return the grade of a multiple-choice answer whose right option has the letter `right` and the text `content`.

    1 where the sentence with ' answer is' names that option alone; 0.9 / (number of options named) where it is one of
    several, or where that sentence is missing; 0 where only its text stands there; -1 otherwise.
    """
    _, mark, said = text.rpartition(" answer is")
    said = said if mark else text
    options = re.findall(r"\(?\b([A-Z1-9])\)", said) or (re.findall(r"\b[A-Z1-9]\b", said) if mark else [])
    named, right = list(dict.fromkeys(options)), right.strip(punctuation + " ")
    if mark and named == [right]:
        return 1.0
    if right in named:
        return 0.9 / len(named)
    return 0.0 if content and content in said else -1.0
