"""What runs beside the program inside every sandbox: it executes it, makes the calls, and tells what came back.

Standard library only, and no import of this package: the file is copied into places that hold nothing else. Expected
values never come here, so a program that takes over this process can only give other outputs than its own; what
they are worth is decided outside. A program that merely breaks its surroundings (json, os, sys, the builtins) does not
break this file: what it needs is taken hold of before the program runs.
"""

import ast
import atexit
import builtins
import json.encoder
import math
import os
import sys
import types

__builtins__ = dict(vars(builtins))  # functions defined below look names up here: a patched `len` is the program's own

RESULTS = 4 << 20
"""Bytes of a reply; values that do not fit are told as errors."""

DEPTH = 100
"""Levels of lists in lists that are told."""

ROOM = 4 << 20
"""Characters of one value that are told."""

SEEN = 4000
"""Characters of one variable in a trace; a larger one is told as text."""

ITEM = 8
"""Characters that any value counts at least."""

CLASHES = 1000
"""Keys of one hash that a dict or a set may have."""

DIGITS = 4000
"""Digits of an integer that JSON holds; Python refuses to read more than 4300 from text."""

_getpid, _leave, _syntax, _module = getattr(os, "getpid", int), os._exit, ast.PyCF_ONLY_AST, ast.Module


def encode(value):
    """Return a Python value as JSON types that `decode` turns back into an equal value of the same plain type.

    Subclasses become the type they extend (an int that claims to equal everything is an int again), NumPy values
    the plain ones. Raises ValueError for anything but None, bool, int, float, complex, str, bytes, list, tuple, set,
    frozenset and dict, and for what is too large or too deep.
    """
    return _encode(value, DEPTH, [ROOM])


def _encode(value, depth, left):
    if value is None or value is True or value is False:
        return value
    kind = type(value)
    length = str.__len__(value) if issubclass(kind, str) else 0
    if issubclass(kind, (bytes, bytearray)):
        length = 2 * memoryview(value).nbytes
    left[0] -= ITEM + length
    if left[0] < 0 or depth < 0:
        raise ValueError("the value is too large to be told")
    if issubclass(kind, int):
        value = int.__pos__(value)
        return value if value.bit_length() < 3 * DIGITS else {"int": hex(value)}
    if issubclass(kind, str):
        return _encode_text(value)
    if issubclass(kind, float):
        value = float.__pos__(value)
        return value if math.isfinite(value) else {"float": float.__repr__(value)}
    if issubclass(kind, complex):
        value = complex.__pos__(value)
        return {"complex": [_encode(value.real, depth, left), _encode(value.imag, depth, left)]}
    if issubclass(kind, (bytes, bytearray)):
        return {"bytes": memoryview(value).hex()}
    for plain in (list, tuple, set, frozenset):
        if issubclass(kind, plain):
            items = [_encode(item, depth - 1, left) for item in plain.__iter__(value)]
            if plain is list:
                return items
            return {plain.__name__: items if plain is tuple else sorted(items, key=repr)}
    if issubclass(kind, dict):
        pairs = dict.items(value)
        return {"dict": [[_encode(key, depth - 1, left), _encode(item, depth - 1, left)] for key, item in pairs]}
    if kind.__module__ == "numpy" and hasattr(value, "tolist"):
        return _encode(value.tolist(), depth, left)
    raise ValueError(f"a {kind.__name__} cannot be told outside")


def _encode_text(value):
    """Return a string; one that UTF-8 cannot hold (lone surrogates) in hexadecimal digits."""
    data = str.encode(value, "utf-8", "surrogatepass")
    try:
        return data.decode()
    except ValueError:
        return {"str": data.hex()}


def decode(value):
    """Return the Python value of what `encode` gave; raises ValueError where it is no such thing."""
    try:
        return _decode(value)
    except (TypeError, OverflowError, RecursionError) as error:
        raise ValueError(f"not an encoded value: {error}") from None


def _decode(value):
    if isinstance(value, (list, tuple)):
        return [_decode(item) for item in value]
    if not isinstance(value, dict):
        return value
    if len(value) != 1:
        raise ValueError(f"not an encoded value: {value!r:.80}")
    [(kind, inner)] = value.items()
    if kind == "dict":
        pairs = [(_decode(key), _decode(item)) for key, item in inner]
        _check_spread(key for key, _ in pairs)
        return dict(pairs)
    if kind == "tuple":
        return tuple(_decode(inner))
    if kind in ("set", "frozenset"):
        items = _decode(inner)
        _check_spread(items)
        return {"set": set, "frozenset": frozenset}[kind](items)
    if kind == "float":
        return float(inner)
    if kind == "int":
        return int(inner, 16)
    if kind == "complex":
        return complex(*_decode(inner))
    if kind == "bytes":
        return bytes.fromhex(inner)
    if kind == "str":
        return bytes.fromhex(inner).decode("utf-8", "surrogatepass")
    if kind == "text":
        return str(inner)
    raise ValueError(f"not an encoded value: {value!r:.80}")


def _check_spread(keys):
    """Raise ValueError where many keys share a hash, as in a forged reply that is made to keep its reader busy."""
    counts = {}
    for key in keys:
        place = hash(key)
        counts[place] = counts.get(place, 0) + 1
        if counts[place] > CLASHES:
            raise ValueError("too many keys of one hash")


def run(request):
    """Execute `source`, make `calls`, and return the reply as JSON bytes.

    The reply has `error` (None where the source ran to its end, and no call ran out of memory), `kind` of the error
    (failed, memory), `results` and `trace`. As at the end of any Python program, threads are waited for and atexit
    functions called. A process that the program forked, and that comes back here, ends here.
    """
    own, ended, results, trace, left = _getpid(), {}, [], [], [RESULTS]
    main = sys.modules["__main__"] = types.ModuleType("__main__")
    names = main.__dict__
    names["__builtins__"] = builtins
    ran = _attempt(lambda: _execute(request, names, trace, left), ended, leaving=True)
    for function, arguments, named in request["calls"] if ran and _getpid() == own else ():
        error = {}
        if not _attempt(lambda: results.append(_call(names, function, arguments, named, left)), error):  # noqa: B023
            if error["kind"] == "memory":  # what comes after it tells nothing of the program
                ended = error
                break
            results.append(_dumps({"error": error["error"]}))
    _attempt(_finish, {})
    if _getpid() != own:
        _leave(0 if ran else 1)
    error = _dumps({"error": ended.get("error"), "kind": ended.get("kind", "failed")})[:-1]
    return f'{error}, "results": [{", ".join(results)}], "trace": [{", ".join(trace)}]}}'.encode()


def write_all(descriptor, data, write=os.write):
    """Write all bytes to a descriptor."""
    view = memoryview(data)
    while view:
        view = view[write(descriptor, view) :]


def _execute(request, names, trace, left):
    if not request.get("trace"):
        exec(compile(request["source"], "program.py", "exec", dont_inherit=True), names)
        return
    tree = compile(request["source"], "program.py", "exec", _syntax, dont_inherit=True)
    for statement in getattr(tree, "body", ()):
        exec(compile(_module([statement], []), "program.py", "exec", dont_inherit=True), names)
        text = _dumps({name: _seen(value) for name, value in list(names.items()) if _is_variable(name)})
        left[0] -= len(text)
        if left[0] >= 0:
            trace.append(text)


def _is_variable(name):
    return type(name) is str and name.isidentifier() and not name.startswith("__")


def _seen(value):
    """Return a variable's value for the trace; what cannot be told is told as text, a module by its name."""
    try:
        return _encode(value, DEPTH, [SEEN])
    except (ValueError, RecursionError):
        try:
            return {"text": _plain(getattr(value, "__name__", None) or value, 200)}
        except Exception:  # noqa: BLE001  its text is the program's own
            return {"text": f"a {type(value).__name__}"}


def _call(names, function, arguments, named, left):
    target = names[function] if function in names else getattr(builtins, function, None)
    if target is None or not callable(target):
        raise NameError(f"the program defines no function {function!r}")
    value = target(*map(decode, arguments), **{name: decode(item) for name, item in named.items()})
    text = _dumps({"value": encode(value)})
    if len(text) > left[0]:
        raise ValueError("the value is too large to be told")
    left[0] -= len(text)
    return text


def _finish():
    """Do what Python does at its end."""
    if "threading" in sys.modules:
        _attempt(lambda: sys.modules["threading"]._shutdown(), {})
    _attempt(_run_exit_functions, {})
    for stream in (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__):
        _attempt(lambda: stream and stream.flush(), {})  # noqa: B023


def _attempt(action, into, leaving=False):
    """Do something the program has a hand in; return whether it ended well, else say in `into` what it raised.

    With `leaving`, `sys.exit(0)` is a good end.
    """
    try:
        action()
        return True
    except SystemExit as error:
        code = BaseException.__getattribute__(error, "code")
        if leaving and (code is None or (issubclass(type(code), int) and int.__pos__(code) == 0)):
            return True
        into.update(error=_told(error), kind="failed")
    except MemoryError as error:
        into.update(error=_told(error), kind="memory")
    except BaseException as error:  # noqa: BLE001  this is the border to untrusted code
        into.update(error=_told(error), kind="failed")
    return False


def _told(error):
    """Return an error as `Type: text (line n)`, the line being the program's last one on the way to it."""
    try:
        line = error.lineno if isinstance(error, SyntaxError) and error.filename == "program.py" else None
        place = error.__traceback__
        while place is not None:
            if place.tb_frame.f_code.co_filename == "program.py":
                line = place.tb_lineno
            place = place.tb_next
        text = f"{type(error).__name__}: {_plain(error, 500)}".rstrip(": ")
        return f"{text} (line {line})" if line else text
    except BaseException:  # noqa: BLE001  its __str__ is the program's own
        return "an error that cannot be told"


def _plain(value, limit):
    return str.encode(str(value), "utf-8", "replace").decode()[:limit]


def _dump_slowly(value):
    return json.dumps(value, allow_nan=False)


def _dump(value):
    return "".join(_encoder(value, 0))


_run_exit_functions = atexit._run_exitfuncs
_dumps = _dump_slowly
_make_encoder = getattr(json.encoder, "c_make_encoder", None)
if _make_encoder is not None:  # looks nothing up that a program can replace
    _encoder = _make_encoder(None, None, json.encoder.encode_basestring_ascii, None, ": ", ", ", False, False, False)
    _dumps = _dump
