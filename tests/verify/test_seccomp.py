import struct

import pytest

from selfimprove.verify.sandbox import seccomp


@pytest.mark.parametrize("machine", seccomp.ARCHITECTURES)
def test_the_filter_refuses_what_it_names_and_nothing_else(machine):
    column = list(seccomp.ARCHITECTURES).index(machine)
    refused = {pair[column] for pair in seccomp.REFUSED.values()} - {None}
    instructions = seccomp.filter_of(machine)
    verdicts = {number: simulate(instructions, machine, number, first=1) for number in range(seccomp.LAST + 1)}
    denied = {number for number, verdict in verdicts.items() if verdict == "EPERM"}
    assert denied == refused
    assert {number for number, verdict in verdicts.items() if verdict == "ENOSYS"} == {seccomp.CLONE3}
    assert simulate(instructions, machine, seccomp.LAST + 1) == "ENOSYS"
    assert simulate(instructions, machine, 0x40000000 + 1) == "ENOSYS"
    assert simulate(instructions, "other", 1) == "killed"
    clone, ioctl = seccomp.CLONE[column], seccomp.IOCTL[column]
    assert simulate(instructions, machine, clone, first=0x3D0F00) == "allowed"  # what threads are made with
    assert simulate(instructions, machine, clone, first=0x10000000 | 17) == "EPERM"
    assert simulate(instructions, machine, ioctl, second=0x5412) == "EPERM"
    assert simulate(instructions, machine, ioctl, second=0x5401) == "allowed"
    assert simulate(instructions, machine, seccomp.PAIR[column], first=2) == "EPERM"  # AF_INET
    kill = seccomp.OTHERS["kill"][column]
    assert simulate(seccomp.filter_of(machine, more=["kill"]), machine, kill) == "EPERM"


@pytest.mark.parametrize("machine", seccomp.ARCHITECTURES)
def test_the_two_filters_of_a_zygote_are_as_much_as_a_whole_one(machine):
    less = seccomp.filter_of(machine, less=seccomp.SETTING_UP)
    only = seccomp.filter_of(machine, only=seccomp.SETTING_UP)
    whole = seccomp.filter_of(machine)
    for number in range(seccomp.LAST + 20):
        both = {simulate(one, machine, number) for one in (less, only)} - {"allowed"} or {"allowed"}
        assert both == {simulate(whole, machine, number)}, number


def simulate(instructions, machine, number, first=0, second=0) -> str:
    """Run a filter as the kernel does, on one system call."""
    memory = {0: number, 4: seccomp.ARCHITECTURES.get(machine, 1), 16: first, 24: second}
    steps = [instructions[i : i + 8] for i in range(0, len(instructions), 8)]
    at, register = 0, 0
    while True:
        code, yes, no, value = struct.unpack("HBBI", steps[at])
        at += 1
        if code == seccomp.LOAD:
            register = memory[value]
        elif code == seccomp.RETURN:
            names = {seccomp.ALLOW: "allowed", seccomp.KILL: "killed", 0x50001: "EPERM", 0x50026: "ENOSYS"}
            return names[value]
        else:
            tests = {
                seccomp.EQUAL: register == value, seccomp.GREATER: register > value,
                seccomp.AT_LEAST: register >= value, seccomp.ANY_BIT: bool(register & value),
            }  # fmt: skip
            at += yes if tests[code] else no


def test_an_unknown_machine_is_refused():
    assert "riscv64" in str(seccomp.missing("riscv64"))
    with pytest.raises(ValueError, match="riscv64"):
        seccomp.filter_of("riscv64")
