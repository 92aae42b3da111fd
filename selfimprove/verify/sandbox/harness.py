"""What runs beside the program inside every sandbox: it executes it, makes the calls, and tells what came back.

Standard library only, and no import of this package: the file is copied into places that hold nothing else. Expected
values never come here, so a program that takes over this process can only give other outputs than its own; what
they are worth is decided outside.
"""

import ast
import builtins
import json
import math
import os
import sys

RESULTS = 4 << 20
"""Bytes of a reply; a program whose values are larger gets errors in their place."""


def encode(value):
    """Return a Python value as JSON types that `decode` turns back into an equal value of the same plain type.

    Subclasses become the type they extend (an int that claims to equal everything is an int again). Raises
    ValueError for anything but None, bool, int, float, complex, str, bytes, list, tuple, set, frozenset and dict.
    """
    if value is None or value is True or value is False:
        return value
    if isinstance(value, int):
        return int.__add__(value, 0)
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, float):
        value = float.__add__(value, 0.0)
        return value if math.isfinite(value) else {"float": repr(value)}
    if isinstance(value, complex):
        return {"complex": [encode(value.real), encode(value.imag)]}
    if isinstance(value, (bytes, bytearray)):
        return {"bytes": bytes(value).hex()}
    if isinstance(value, list):
        return [encode(item) for item in list.__iter__(value)]
    if isinstance(value, tuple):
        return {"tuple": [encode(item) for item in tuple.__iter__(value)]}
    if isinstance(value, (set, frozenset)):
        kind = "set" if isinstance(value, set) else "frozenset"
        return {kind: sorted((encode(item) for item in value), key=repr)}
    if isinstance(value, dict):
        return {"dict": [[encode(key), encode(item)] for key, item in dict.items(value)]}
    if type(value).__module__ == "numpy" and hasattr(value, "tolist"):
        return encode(value.tolist())
    raise ValueError(f"a {type(value).__name__} cannot be told outside")


def decode(value):
    """Return the Python value of what `encode` gave; raises ValueError where it is no such thing."""
    if isinstance(value, (list, tuple)):
        return [decode(item) for item in value]
    if not isinstance(value, dict):
        return value
    if len(value) != 1:
        raise ValueError(f"not an encoded value: {value!r:.80}")
    [(kind, inner)] = value.items()
    try:
        if kind == "float":
            return float(inner)
        if kind == "complex":
            return complex(*decode(inner))
        if kind == "bytes":
            return bytes.fromhex(inner)
        if kind in ("tuple", "set", "frozenset"):
            return {"tuple": tuple, "set": set, "frozenset": frozenset}[kind](decode(inner))
        if kind == "dict":
            return {decode(key): decode(item) for key, item in inner}
        if kind == "text":
            return str(inner)
    except (TypeError, OverflowError, RecursionError) as error:
        raise ValueError(f"not an encoded value: {error}") from None
    raise ValueError(f"not an encoded value: {value!r:.80}")


def run(request, dumps=json.dumps):
    """Execute `source`, make `calls`, and return the reply as JSON bytes.

    The reply has `error` (None where the source ran to its end), `kind` of the error (failed, memory), `results`
    and `trace`.
    """
    reply = {"error": None, "kind": "failed", "results": [], "trace": []}
    names = {"__name__": "__main__", "__builtins__": builtins}
    if _attempt(lambda: _execute(request, names, reply["trace"]), reply):
        for function, arguments, named in request["calls"]:
            result = {}
            if _attempt(lambda: _call(names, function, arguments, named, result), result):  # noqa: B023
                reply["results"].append({"value": result["value"]})
            else:
                reply["results"].append({"error": result["error"]})
                reply["kind"] = result["kind"]
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except BaseException:  # noqa: BLE001  the program may have put anything there
        pass
    text = dumps(reply).encode()
    if len(text) > RESULTS:
        reply["results"] = [{"error": "ValueError: the values are too large to be told"} for _ in reply["results"]]
        reply["trace"] = []
        text = dumps(reply).encode()
    return text


def _execute(request, names, trace):
    if not request.get("trace"):
        exec(compile(request["source"], "program.py", "exec"), names)
        return
    for statement in ast.parse(request["source"], "program.py").body:
        exec(compile(ast.Module([statement], []), "program.py", "exec"), names)
        trace.append({name: _seen(value) for name, value in names.items() if not name.startswith("__")})


def _seen(value):
    """Return a variable's value for the trace; what cannot be told is told as text, a module by its name."""
    try:
        return encode(value)
    except (ValueError, RecursionError):
        return {"text": getattr(value, "__name__", None) or str(value)[:200]}


def _call(names, function, arguments, named, result):
    target = names[function] if function in names else getattr(builtins, function, None)
    if target is None or not callable(target):
        raise NameError(f"the program defines no function {function!r}")
    value = target(*map(decode, arguments), **{name: decode(item) for name, item in named.items()})
    result["value"] = encode(value)


def _attempt(action, into):
    """Do something the program has a hand in; return whether it ended well, else say in `into` what it raised."""
    try:
        action()
        return True
    except SystemExit as error:
        if error.code in (None, 0) and "value" not in into and "results" in into:
            return True
        into.update(error=f"SystemExit: {error.code}", kind="failed")
    except MemoryError as error:
        into.update(error=f"MemoryError: {error}".rstrip(": "), kind="memory")
    except BaseException as error:  # noqa: BLE001  this is the border to untrusted code
        into.update(error=_told(error), kind="failed")
    return False


def _told(error):
    try:
        text = f"{type(error).__name__}: {error}"[:500].rstrip(": ")
        place = error.__traceback__
        line = error.lineno if isinstance(error, SyntaxError) and error.filename == "program.py" else None
        while place is not None:
            if place.tb_frame.f_code.co_filename == "program.py":
                line = place.tb_lineno
            place = place.tb_next
        return f"{text} (line {line})" if line else text
    except BaseException:  # noqa: BLE001  its __str__ is the program's own
        return "an error that cannot be told"


def write_all(descriptor, data, write=os.write):
    """Write all bytes to a descriptor."""
    view = memoryview(data)
    while view:
        view = view[write(descriptor, view) :]
