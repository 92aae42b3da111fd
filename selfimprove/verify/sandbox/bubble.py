"""The bubblewrap around a zygote: its command line, the interpreter inside, and why it may not start here."""

import os
import shutil
import stat
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from selfimprove.errors import SandboxError
from selfimprove.verify.sandbox import seccomp
from selfimprove.verify.sandbox.processes import ENVIRONMENT

FIRST_USER = 60000
"""Ids of the users that root becomes, one a slot: below those that systemd hands out, above those of people."""

SYSTEM = "/usr"

DEVICES = ("null", "zero", "full", "random", "urandom")

BOOT = """
import json, os, socket, sys, types
sys.path.remove("")
control = int(sys.argv[1])
if control != 3:
    os.dup2(control, 3)
    os.close(control)
size, parts = int(sys.argv[2]), []
while size:
    parts.append(os.read(3, 1 << 17))
    size -= len(parts[-1])
    if not parts[-1]: sys.exit(0)
modules, settings = json.loads(b"".join(parts))
for name, source in modules.items():
    module = modules[name] = types.ModuleType(name)
    exec(compile(source, name + ".py", "exec"), module.__dict__)
modules["inside"].serve(modules["harness"], modules["seccomp"], *settings)
"""
"""What the interpreter inside runs first: it takes its modules from the control socket, so that no file is needed."""

SYSCTLS = {
    "kernel/unprivileged_userns_clone": ("0", "1"),
    "kernel/apparmor_restrict_unprivileged_userns": ("1", "0"),
    "user/max_user_namespaces": ("0", "10000"),
    "user/max_pid_namespaces": ("0", "10000"),
    "user/max_mnt_namespaces": ("0", "10000"),
}
"""Settings of the kernel that keep bubblewrap from starting: the value that does, and one that does not."""


def interpreter() -> str | None:
    """Return the Python that the sandbox's user can read: the one that runs this, or else the system's."""
    for candidate in (getattr(sys, "_base_executable", sys.executable), "/usr/bin/python3"):
        path = os.path.realpath(candidate)
        prefix = SYSTEM if path.startswith(SYSTEM + "/") else sys.base_prefix
        if os.access(path, os.X_OK) and _open_to_user(Path(path)) and _open_to_user(Path(prefix)):
            return path
    return None


def package_folders(preload: Sequence[str]) -> list[str]:
    """Return the folders that hold the packages to preload; raises SandboxError where one cannot be used."""
    if not preload:
        return []
    ours, found = f"python{sys.version_info[0]}.{sys.version_info[1]}", str(interpreter())
    if os.path.basename(found).startswith("python3.") and os.path.basename(found) != ours:
        raise SandboxError(
            f"sandbox.preload needs a {ours} that the users that root becomes for programs can read, and there is "
            f"only {found}; install it into /usr, or do not run as root"
        )
    folders = {Path(entry).resolve(): None for entry in sys.path if entry.endswith(("site-packages", "dist-packages"))}
    for name in preload:
        spec = find_spec(name)
        if spec is None:
            raise SandboxError(f"sandbox.preload names {name!r}, which is not installed: pip install {name}")
        if spec.origin and Path(spec.origin).exists():
            place = Path(spec.origin).parent
            folders[(place.parent if spec.submodule_search_locations else place).resolve()] = None
    folders = {folder: None for folder in folders if folder.is_dir()}
    for folder in folders:
        if not _open_to_user(folder):
            raise SandboxError(
                f"sandbox.preload: {folder} cannot be read by the users that root becomes for programs; use a virtual "
                "environment outside of /root, or do not run as root"
            )
    return [str(folder) for folder in folders]


def command(python: str, packages: Sequence[str], slot: int, control: int, size: int) -> list[str]:
    """Return the command line that starts a zygote, which reads `size` bytes from descriptor `control` first."""
    user = str(FIRST_USER + slot)
    line = ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups"] if os.getuid() == 0 else []
    line += [
        "bwrap",
        "--unshare-all",
        "--unshare-user",
        "--as-pid-1",
        "--die-with-parent",
        "--new-session",
        "--clearenv",
    ]
    for name, value in {**ENVIRONMENT, "HOME": "/tmp"}.items():
        line += ["--setenv", name, value]
    line += ["--hostname", "sandbox", "--cap-drop", "ALL", "--cap-add", "CAP_SYS_ADMIN", "--cap-add", "CAP_SETPCAP"]
    line += ["--ro-bind", SYSTEM, SYSTEM]
    for name in ("/bin", "/lib", "/lib64"):
        if os.path.islink(name):
            line += ["--symlink", os.readlink(name), name]
        elif os.path.isdir(name):
            line += ["--ro-bind", name, name]
    prefix = [] if python.startswith(SYSTEM + "/") else [sys.base_prefix]
    for folder in [*prefix, *packages]:
        if not folder.startswith(SYSTEM + "/"):
            line += ["--ro-bind", folder, folder]
    for device in DEVICES:
        line += ["--dev-bind", f"/dev/{device}", f"/dev/{device}"]
    line += ["--dir", "/dev/shm", "--dir", "/tmp", "--chdir", "/tmp", "--remount-ro", "/"]
    return [*line, python, "-s", "-B", "-c", BOOT, str(control), str(size)]


def lacking() -> str | None:
    """Return what is not installed, with how to install it; None where nothing is lacking."""
    if sys.platform != "linux":
        return f"the zygote sandbox needs Linux, and this is {sys.platform}"
    if seccomp.missing():
        return seccomp.missing()
    if shutil.which("bwrap") is None:
        return "bubblewrap is not installed: apt install bubblewrap, or dnf install bubblewrap"
    if os.getuid() == 0 and shutil.which("setpriv") is None:
        return "setpriv is not installed, which root needs to give up its rights: apt install util-linux"
    if interpreter() is None:
        return "there is no Python that the sandbox's user can read: apt install python3, or do not run as root"
    return None


def explain(told: str) -> str:
    """Return why bubblewrap did not start, from what it told, with the setting to change where one is seen."""
    told = " ".join(told.split())[-300:] or "it told no reason"
    for name, (bad, good) in SYSCTLS.items():
        file = Path("/proc/sys", name)
        if file.exists() and file.read_text().strip() == bad:
            return f"bubblewrap cannot start ({told}): sysctl -w {name.replace('/', '.')}={good} allows it"
    return (
        f"bubblewrap cannot start ({told}); in a container, start that with --security-opt seccomp=unconfined "
        "--security-opt apparmor=unconfined, which lets it make user namespaces"
    )


def _open_to_user(path: Path) -> bool:
    """Whether the user that programs run as can read a file or folder: as root, whether everybody can."""
    if os.getuid() != 0:
        return os.access(path, os.R_OK)
    if not path.exists():
        return False
    readable = path.stat().st_mode & (stat.S_IROTH | stat.S_IXOTH)
    return readable == stat.S_IROTH | stat.S_IXOTH and all(one.stat().st_mode & stat.S_IXOTH for one in path.parents)
