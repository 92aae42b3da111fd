"""Python code as text: fenced blocks of an answer, what a program defines, and forms to compare and to hide it in.

Nothing is run here. What takes `code` raises SyntaxError where that is no Python; `parses` asks first.
"""

import ast
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass

FENCE = re.compile(r"(?P<indent>[ \t]*)(?P<marks>`{3,}|~{3,})[ \t]*(?P<info>[^`\n]*)")

LONGEST = 200_000
"""Characters of an answer in which code is looked for; a longer one would keep the parser busy for seconds."""

FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
SCOPES = (*FUNCTIONS, ast.Lambda, *COMPREHENSIONS, ast.ClassDef)
"""Nodes with names of their own."""


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block: the first word behind its opening fence ("" where there is none), and the text in it."""

    tag: str
    code: str


def code_blocks(text: str) -> list[Block]:
    """Return the fenced blocks (``` or ~~~) of a text in order; one that is never closed goes to the end.

    An indented block (in a list) loses the indentation of its fence.
    """
    blocks: list[Block] = []
    lines: list[str] = []
    opening: re.Match[str] | None = None
    for line in text.splitlines(keepends=True):
        fence = FENCE.fullmatch(line.rstrip())
        if opening is None:
            opening = fence
        elif fence and not fence["info"] and fence["marks"].startswith(opening["marks"]):
            blocks.append(_block(opening, lines))
            opening, lines = None, []
        else:
            lines.append(line.removeprefix(opening["indent"]))
    if opening is not None:
        blocks.append(_block(opening, lines))
    return blocks


def first_block(text: str) -> str | None:
    """Return the text of the first fenced block, None where there is none."""
    blocks = code_blocks(text)
    return blocks[0].code if blocks else None


def parse(code: str) -> ast.Module:
    """Return the syntax tree of a program; raises SyntaxError for everything that Python cannot read."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # an invalid escape in generated code is not the user's to mend
            return ast.parse(code)
    except (ValueError, RecursionError, MemoryError) as error:  # NUL bytes, half characters, nesting too deep
        raise SyntaxError(f"not Python: {error}") from None


def parses(code: str) -> bool:
    """Return whether a text is Python code."""
    try:
        parse(code)
    except SyntaxError:
        return False
    return True


def strip_docstrings(code: str) -> str:
    """Return a program without comments and without strings that stand alone; a body left empty becomes `pass`."""
    return _rewritten(code, _Undocumented())


def canonical(code: str) -> str:
    """Return the form in which two programs that differ in layout, brackets, comments and docstrings are equal."""
    return strip_docstrings(code).strip()


def function_names(code: str) -> list[str]:
    """Return the names of the top-level functions in order."""
    return [node.name for node in parse(code).body if isinstance(node, FUNCTIONS)]


def class_names(code: str) -> list[str]:
    """Return the names of the top-level classes in order."""
    return [node.name for node in parse(code).body if isinstance(node, ast.ClassDef)]


def defines(code: str, name: str) -> bool:
    """Return whether a program gives a top-level name to a function, a class, an import or a value."""
    return name in top_level_names(parse(code))


def top_level_names(tree: ast.Module) -> set[str]:
    """Return every name that the module's own scope binds."""
    return {bound for node in own_nodes(tree) for bound in _bound(node)}


def imports_of(code: str) -> str:
    """Return the top-level imports of a program, one a line."""
    found = (node for node in parse(code).body if isinstance(node, ast.Import | ast.ImportFrom))
    return "\n".join(ast.unparse(node) for node in found)


def rename_function(code: str, old: str, new: str) -> str:
    """Return a program whose top-level `old` is called `new`, wherever its name means that function.

    Variables and parameters of the same name inside functions, methods and attributes stay as they are.
    """
    return _rewritten(code, _Renamed(old, new))


def _rewritten(code: str, transformer: ast.NodeTransformer) -> str:
    tree = parse(code)
    try:
        return ast.unparse(transformer.visit(tree))
    except (ValueError, RecursionError) as error:  # a number too long to be spelled, nesting too deep
        raise SyntaxError(f"Python that cannot be written down: {error}") from None


def _block(opening: re.Match[str], lines: list[str]) -> Block:
    words = opening["info"].split()
    return Block(words[0] if words else "", "".join(lines).removesuffix("\n"))


class _Undocumented(ast.NodeTransformer):
    """Takes out every statement that is only a string: docstrings, and texts that serve as comments."""

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        if isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            return None
        return self.generic_visit(node)

    def generic_visit(self, node: ast.AST) -> ast.AST:
        super().generic_visit(node)
        if getattr(node, "body", None) == [] and not isinstance(node, ast.Module):
            setattr(node, "body", [ast.Pass()])  # noqa: B010  most kinds of node have no such field
        if isinstance(node, ast.Try) and not node.handlers and not node.finalbody:
            node.finalbody = [ast.Pass()]
        return node


class _Renamed(ast.NodeTransformer):
    """Renames a module-level name where it means the module's."""

    def __init__(self, old: str, new: str) -> None:
        self.old, self.new = old, new

    def visit_Module(self, node: ast.Module) -> ast.AST:
        for inner in own_nodes(node):
            if isinstance(inner, (*FUNCTIONS, ast.ClassDef)) and inner.name == self.old:
                inner.name = self.new
        return super().generic_visit(node)

    def visit_Name(self, node: ast.Name) -> ast.AST:
        if node.id == self.old:
            node.id = self.new
        return node

    def visit_Global(self, node: ast.Global) -> ast.AST:
        node.names = [self.new if name == self.old else name for name in node.names]
        return node

    def generic_visit(self, node: ast.AST) -> ast.AST:
        if not isinstance(node, SCOPES) or self.old not in _locals(node):
            return super().generic_visit(node)
        for outside in _outside(node):  # a function that has the name for itself keeps it
            self.visit(outside)
        if isinstance(node, ast.ClassDef):  # but what a class binds, its methods do not see
            for inner in own_nodes(node):
                if isinstance(inner, SCOPES):
                    self.visit(inner)
        return node


def _outside(scope: ast.AST) -> list[ast.AST]:
    """Return the parts of a function, class or comprehension that are evaluated where it stands, not inside it."""
    if isinstance(scope, COMPREHENSIONS):
        return [scope.generators[0].iter]
    parts = [getattr(scope, "decorator_list", []), getattr(scope, "bases", [])]
    arguments = getattr(scope, "args", None)
    if isinstance(arguments, ast.arguments):
        parts += [arguments.defaults, arguments.kw_defaults]
    return [node for part in parts for node in part if node is not None]


def own_nodes(scope: ast.AST) -> Iterator[ast.AST]:
    """Yield the nodes of a scope; of a scope inside it only the node itself and what is evaluated outside of it."""
    waiting = list(ast.iter_child_nodes(scope))
    while waiting:
        node = waiting.pop()
        yield node
        waiting += _outside(node) if isinstance(node, SCOPES) else ast.iter_child_nodes(node)


def _locals(scope: ast.AST) -> set[str]:
    """Return the names that a function, class or comprehension binds for itself."""
    bound: set[str] = set()
    declared: set[str] = set()
    for node in own_nodes(scope):
        bound |= _bound(node)
        if isinstance(node, ast.Global):
            declared |= set(node.names)
    return bound - declared


def _bound(node: ast.AST) -> set[str]:
    """Return the names that one node binds in the scope it stands in."""
    if isinstance(node, ast.Name):
        return set() if isinstance(node.ctx, ast.Load) else {node.id}
    if isinstance(node, ast.alias):
        return {node.asname or node.name.partition(".")[0]}
    if isinstance(node, ast.arg):
        return {node.arg}
    if isinstance(node, ast.MatchMapping):
        return {node.rest} if node.rest else set()
    if isinstance(node, (*FUNCTIONS, ast.ClassDef, ast.ExceptHandler, ast.MatchAs, ast.MatchStar)):
        return {node.name} if node.name else set()
    return set()
