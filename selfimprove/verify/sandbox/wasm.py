"""The process that runs programs in python.wasm for `wasi`: one after the other, each in a fresh memory.

    wasm.py make WASM COMPILED CODE    compile the interpreter into a file, and the harness into a folder
    wasm.py serve COMPILED CODE        read requests as JSON lines, write one answer a line

A request is {"box": folder, "fuel": ..., "memory": ..., "file": ...}: the box holds `stdin`, a folder `io` with the
request of the harness, and the program's folder `work`; afterwards also `stdout`, `stderr` and `io/reply`. `file` is
the largest size of a file. An answer is {"fuel": used, "memory": peak in bytes, "cpu_seconds": ..., "ended": why the
program did not end by itself}.
"""

import ctypes
import json
import os
import resource
import signal
import sys
from pathlib import Path
from typing import Any

START = """
import json, os, sys
sys.path[0] = "/code"
import harness
sys.path[0] = ""
with open("/io/request") as file:
    request = json.load(file)
os.remove("/io/request")
os.chdir("/work")
sys.argv = ["program.py"]
reply = harness.run(request)
with open("/io/reply", "wb") as file:
    file.write(reply)
os._exit(0)
"""
"""What the interpreter inside runs."""


def engine() -> Any:
    """Return the engine with which everything is compiled and run: it counts fuel."""
    import wasmtime

    settings = wasmtime.Config()
    settings.consume_fuel = True
    return wasmtime.Engine(settings)


def make(wasm: str, compiled: Path, code: Path) -> None:
    """Compile python.wasm, and with it the harness to the bytecode of that Python; each appears in one step."""
    import wasmtime

    within = engine()
    if not compiled.is_file():
        beside = compiled.with_suffix(".making")
        beside.write_bytes(wasmtime.Module.from_file(within, wasm).serialize())
        beside.replace(compiled)
    making = code.with_suffix(".making")
    making.mkdir(exist_ok=True)
    (making / "harness.py").write_bytes(Path(__file__).with_name("harness.py").read_bytes())
    words = "import os, py_compile; os.chdir('/code'); py_compile.compile('harness.py', 'harness.pyc', doraise=True)"
    wasi = wasmtime.WasiConfig()
    wasi.inherit_stderr()
    module = wasmtime.Module.deserialize_file(within, str(compiled))
    answer = run(within, module, ["python", "-c", words], wasi, [(making, "/code", True)], 10**12, 1 << 30)
    (making / "harness.py").unlink()
    if not (making / "harness.pyc").is_file():
        raise SystemExit(f"python.wasm could not compile the harness: {answer['ended']}")
    making.rename(code)


def run(within: Any, module: Any, words: list[str], wasi: Any, folders: Any, fuel: int, memory: int) -> dict[str, Any]:
    """Run the interpreter in fresh memory with folders (path, name inside, may change) and return the answer."""
    import wasmtime

    wasi.argv = words
    wasi.env = [("PYTHONHASHSEED", "0"), ("PYTHONDONTWRITEBYTECODE", "1")]
    for path, name, may_change in folders:
        dirs = wasmtime.DirPerms.READ_WRITE if may_change else wasmtime.DirPerms.READ_ONLY
        files = wasmtime.FilePerms.READ_WRITE if may_change else wasmtime.FilePerms.READ_ONLY
        wasi.preopen_dir(str(path), name, dirs, files)
    store = wasmtime.Store(within)
    store.set_fuel(fuel)
    store.set_limits(memory_size=memory, instances=1, memories=1)
    store.set_wasi(wasi)
    linker = wasmtime.Linker(within)
    linker.define_wasi()
    ended, peak = "", 0
    began = resource.getrusage(resource.RUSAGE_SELF)
    try:
        exports: Any = linker.instantiate(store, module).exports(store)
        try:
            exports["_start"](store)
        finally:
            peak = exports["memory"].data_len(store)
    except wasmtime.ExitTrap:
        pass
    except (wasmtime.Trap, wasmtime.WasmtimeError) as error:
        ended = "timeout" if store.get_fuel() == 0 else first_line(error)
    used = resource.getrusage(resource.RUSAGE_SELF)
    seconds = used.ru_utime - began.ru_utime + used.ru_stime - began.ru_stime
    return {"fuel": fuel - store.get_fuel(), "memory": peak, "cpu_seconds": round(seconds, 6), "ended": ended}


def first_line(error: Exception) -> str:
    """Return what a trap was, without its stack."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    cause = next((line for line in lines if line.startswith("wasm trap:")), lines[0] if lines else "a trap")
    return cause.removeprefix("wasm trap: ")[:200]


def serve(compiled: Path, code: Path) -> None:
    """Run what is asked until standard input ends."""
    import wasmtime

    replies = os.fdopen(os.dup(1), "w", buffering=1)
    within = engine()
    module = wasmtime.Module.deserialize_file(within, str(compiled))
    words = ["python", "-c", START]
    replies.write("{}\n")
    for line in sys.stdin:
        request = json.loads(line)
        box = Path(request["box"])
        resource.setrlimit(resource.RLIMIT_FSIZE, (request["file"], resource.RLIM_INFINITY))
        wasi = wasmtime.WasiConfig()
        wasi.stdin_file, wasi.stdout_file, wasi.stderr_file = box / "stdin", box / "stdout", box / "stderr"
        folders = [(code, "/code", False), (box / "io", "/io", True), (box / "work", "/work", True)]
        answer = run(within, module, words, wasi, folders, request["fuel"], request["memory"])
        replies.write(json.dumps(answer) + "\n")


def main() -> None:
    """Compile, or serve."""
    del sys.path[0]  # this file's folder: its names are for the package
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    if sys.argv[1] == "make":
        make(sys.argv[2], Path(sys.argv[3]), Path(sys.argv[4]))
    else:
        serve(Path(sys.argv[2]), Path(sys.argv[3]))


if __name__ == "__main__":
    main()
