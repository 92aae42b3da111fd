"""What runs in the sandbox for tests that are Python code: every assertion gives a result, and none ends the tests.

Standard library only: the text of this file travels. `run_tests` runs the tests, apart from the program (its
functions are stubs that answer from a list, and note what they were not told) or together with it; `ask` runs
beside the program and answers a noted call.
"""

import ast
import builtins
import random
import sys

CALLS = 10_000
"""Calls that one run of the tests may note."""

PLAIN = (type(None), bool, int, float, complex, str, bytes)
COMPOUND = (ast.For, ast.AsyncFor, ast.If, ast.With, ast.AsyncWith, ast.Try)
"""Statements in which the search for calls goes on behind a statement that could not be run."""


class Unanswered(BaseException):
    """A stub was called and does not know the answer yet."""


class Notes:
    """What a run of the tests gives: the result of every assertion in the order they ran, and the calls made.

    `answers` are (call, answer) pairs in the order they were asked. `lost` says that a call was not the one
    that was asked in its place: from there on the run only looks for calls, and its results mean nothing.
    """

    def __init__(self, answers):
        self.answers = [(form(call), answer) for call, answer in answers]
        self.known = dict(self.answers)
        self.results = []
        self.calls = []
        self.last = None
        self.lost = False
        self.untold = ""

    def stub(self, name):
        """Return the function that stands for one of the program's."""

        def call(*arguments, **named):
            if len(self.calls) >= CALLS:
                self.lost = True
                raise Unanswered
            try:
                asked = (name, copied(arguments), copied(named))
            except TypeError as error:
                self.untold = str(error)
                raise Unanswered from None
            place, key = len(self.calls), form(asked)
            self.calls.append(asked)
            if not self.lost and place < len(self.answers) and self.answers[place][0] == key:
                return given(self.answers[place][1], arguments, named)
            self.lost = True
            if key in self.known:
                return given(self.known[key], arguments, named)
            raise Unanswered

        call.__name__ = name
        return call

    def searching(self):
        """Whether to go on behind a statement that raised."""
        return self.lost and not self.untold and len(self.calls) < CALLS

    def saw(self, value):
        """Return the left side of a comparison, remembered in case it fails."""
        self.last = (value,)
        return value

    def passed(self, source, value):
        """Note an assertion; raises what its truth value raises."""
        right, last, self.last = bool(value), self.last, None
        detail = "" if right or last is None else f"has {shown(last[0])} on its left side"
        self.results.append((source, right, detail))

    def proven(self, source, value):
        """Note an assertion whose failure the tests themselves may expect; one that fails is theirs to handle."""
        right = bool(value)
        if right:
            self.passed(source, True)
        return right

    def raised(self, source):
        """Note an assertion that raised."""
        error = sys.exc_info()[1]
        if not isinstance(error, Unanswered):
            self.results.append((source, False, f"raised {told(error)}"))


class _Rewriter(ast.NodeTransformer):
    """Makes every assertion note its result, and (apart) goes on behind statements that await an answer."""

    def __init__(self, name, apart):
        self.name, self.apart = name, apart
        self.guarded = 0

    def visit_Assert(self, node):
        source = ast.Constant(ast.unparse(node.test)[:200])
        if self.guarded:
            return self._rest(ast.Assert(self._call("proven", source, node.test), node.msg))
        if isinstance(node.test, ast.Compare):
            node.test.left = self._call("saw", node.test.left)
        note = ast.Expr(self._call("passed", source, node.test))
        handler = ast.ExceptHandler(None, None, [ast.Expr(self._call("raised", source))])
        return ast.Try([note], [handler], [], [])

    def visit_Try(self, node):
        self.guarded += bool(node.handlers)
        node.body = self._all(node.body)
        self.guarded -= bool(node.handlers)
        for part in (*node.handlers, node):
            for name in ("body", "orelse", "finalbody"):
                if hasattr(part, name) and (part, name) != (node, "body"):
                    setattr(part, name, self._all(getattr(part, name)))
        return self._rest(node)

    def visit_FunctionDef(self, node):
        guarded, self.guarded = self.guarded, 0
        node.body = self._all(node.body)
        self.guarded = guarded
        return node

    visit_AsyncFunctionDef = visit_FunctionDef

    def visit_Expr(self, node):
        return node if isinstance(node.value, ast.Constant) else self._rest(node)

    def generic_visit(self, node):
        super().generic_visit(node)
        simple = (ast.Assign, ast.AugAssign, ast.AnnAssign, ast.Delete, *COMPOUND)
        return self._rest(node) if isinstance(node, simple) else node

    def visit_While(self, node):
        apart, self.apart = self.apart, False  # behind a missing answer it might never end
        node.body, node.orelse = self._all(node.body), self._all(node.orelse)
        self.apart = apart
        return self._rest(node)

    def _all(self, statements):
        return [self.visit(statement) for statement in statements]

    def _rest(self, statement):
        if not self.apart:
            return statement
        again = ast.If(ast.UnaryOp(ast.Not(), self._call("searching")), [ast.Raise()], [])
        return ast.Try([statement], [ast.ExceptHandler(None, None, [again])], [], [])

    def _call(self, function, *arguments):
        target = ast.Attribute(ast.Name(self.name, ast.Load()), function, ast.Load())
        return ast.Call(target, list(arguments), [])


def run_tests(code, name, stubs=None, answers=(), names=None):
    """Run the tests and return (results, error, calls, lost, untold) as plain values.

    `name` is what the tests' namespace knows the notes by. Apart from the program: `stubs` are the functions that
    it should define, `answers` what is known of them; together with it: `names` are the program's own.
    `results` are (source, passed, detail); `error` is what ended the tests early, "" for nothing.
    """
    notes = Notes(answers)
    names = {} if names is None else names
    names.update({"__name__": "__main__", name: notes}, **{stub: notes.stub(stub) for stub in stubs or ()})
    random.seed(0)
    error = ""
    try:
        tree = _Rewriter(name, stubs is not None).visit(ast.parse(code, "tests.py"))
        exec(compile(ast.fix_missing_locations(tree), "tests.py", "exec"), names)
    except Unanswered:
        pass
    except BaseException as problem:  # noqa: BLE001  this is the border to untrusted code
        error = told(problem)
    return (notes.results, error, notes.calls, notes.lost, notes.untold)


def ask(function, arguments, named):
    """Return (kind, what came of it, the arguments afterwards) of a call of one of the program's functions.

    Kinds: value; iterator (its first 10,000 values); raised (the name of a built-in error, and its arguments).
    """
    import itertools

    if not callable(globals().get(function)):
        raise NameError(f"the program defines no function {function!r}")
    arguments = list(arguments)
    try:
        kind, value = "value", globals()[function](*arguments, **named)
        if hasattr(value, "__next__"):
            kind, value = "iterator", list(itertools.islice(value, 10_000))
    except Exception as error:  # noqa: BLE001  this is the border to untrusted code
        known = [each.__name__ for each in type(error).__mro__ if each.__module__ == "builtins"]
        plain = all(type(each) in (str, int, float, bool) for each in error.args)
        kind, value = "raised", (known[0], error.args if plain else (str(error),))
    return (kind, value, tuple(arguments), named)


def given(answer, arguments, named):
    """Return, or raise, what a call of the program gave, and change the arguments as the program did."""
    kind, value, after, named_after = answer
    change(arguments, after)
    for name in named:
        change(named[name], named_after.get(name))
    if kind == "raised":
        name, words = value
        error = getattr(builtins, name, None)
        for each in error.__mro__ if isinstance(error, type) and issubclass(error, BaseException) else ():
            try:
                made = each(*words)
            except TypeError:
                continue
            raise made
        raise RuntimeError(*words)
    return iter(copied(value)) if kind == "iterator" else copied(value)


def change(before, after):
    """Give a value the content that the program left in it."""
    if type(before) is not type(after) or form(before) == form(after):
        return
    if isinstance(before, list):
        before[:] = copied(after)
    elif isinstance(before, (set, dict)):
        before.clear()
        before.update(copied(after))
    elif isinstance(before, tuple):
        for inner, later in zip(before, after, strict=False):
            change(inner, later)


def copied(value):
    """Return a deep copy of a plain value; raises TypeError for what cannot be told outside."""
    kind = type(value)
    if kind in PLAIN:
        return value
    if kind in (list, tuple, set, frozenset):
        return kind(map(copied, value))
    if kind is dict:
        return {copied(key): copied(item) for key, item in value.items()}
    raise TypeError(f"a {kind.__name__} cannot be told outside")


def form(value):
    """Return what tells values apart, with their types (1, 1.0 and True are three) and NaN equal to itself."""
    kind = type(value).__name__
    if isinstance(value, (list, tuple)):
        return (kind, *map(form, value))
    if isinstance(value, (set, frozenset)):
        return (kind, *sorted(map(form, value), key=repr))
    if isinstance(value, dict):
        return (kind, *((form(key), form(item)) for key, item in value.items()))
    return (kind, repr(value) if isinstance(value, (float, complex)) else value)


def shown(value):
    """Return a value in words."""
    try:
        return repr(value)[:80]
    except Exception:  # noqa: BLE001  its __repr__ is the program's own
        return "something"


def told(error):
    """Return an error in words."""
    try:
        return f"{type(error).__name__}: {error}"[:300].rstrip(": ")
    except BaseException:  # noqa: BLE001  its __str__ is the program's own
        return "an error that cannot be told"
