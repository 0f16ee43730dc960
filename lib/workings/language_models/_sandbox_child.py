"""Run as a script by `sandbox`: gives up what it may do and then, for each program it is sent, what the program may not do.

``python -I -S _sandbox_child.py SOCKET_FD CONFIG``. The socket brings programs, each with three files for its input, output and errors; each
runs in a child of this process, so that starting Python and loading the modules below is paid once, and a next child waits beside the one that
runs. Network and files are given up here and for good, limits of the kernel and the filter of system calls are set in each child, before its
program. Nothing of this needs privileges.
"""

import atexit
import bisect
import collections
import contextlib
import copy
import ctypes
import datetime
import functools
import gc
import heapq
import io
import itertools
import json
import math
import operator
import os
import platform
import random
import re
import resource
import signal
import socket
import statistics
import string
import struct
import sys
import threading
import traceback
import typing

LOADED = (
    bisect,
    collections,
    copy,
    datetime,
    functools,
    heapq,
    io,
    itertools,
    json,
    math,
    operator,
    random,
    re,
    statistics,
    string,
    typing,
)
"""What most programs import: loaded before the first of them, so that none waits for it."""

_CLONE = {"user": 0x10000000, "net": 0x40000000, "ipc": 0x08000000}
_CALLS = {  # numbers of the kernel's calls: x86_64, aarch64 (None where it has none)
    "socket": (41, 198), "connect": (42, 203), "bind": (49, 200), "sendto": (44, 206),
    "fork": (57, None), "vfork": (58, None), "execve": (59, 221), "execveat": (322, 281),
    "kill": (62, 129), "tkill": (200, 130), "tgkill": (234, 131), "pidfd_send_signal": (424, 424), "ptrace": (101, 117),
    "process_vm_readv": (310, 270), "process_vm_writev": (311, 271), "unshare": (272, 97), "setns": (308, 268),
    "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41), "chroot": (161, 51), "bpf": (321, 280),
    "keyctl": (250, 219), "add_key": (248, 217), "io_uring_setup": (425, 425), "shmget": (29, 194), "msgget": (68, 186),
    "semget": (64, 190), "mq_open": (240, 180), "userfaultfd": (323, 282), "perf_event_open": (298, 241),
    "creat": (85, None), "unlink": (87, None), "unlinkat": (263, 35), "rename": (82, None), "renameat": (264, 38),
    "renameat2": (316, 276), "mkdir": (83, None), "mkdirat": (258, 34), "rmdir": (84, None), "link": (86, None),
    "linkat": (265, 37), "symlink": (88, None), "symlinkat": (266, 36), "chmod": (90, None), "fchmod": (91, 52),
    "fchmodat": (268, 53), "chown": (92, None), "fchown": (93, 55), "lchown": (94, None), "fchownat": (260, 54),
    "truncate": (76, 45), "mknod": (133, None), "mknodat": (259, 33), "setxattr": (188, 5), "utimensat": (280, 88),
    "setpriority": (141, 140), "sched_setscheduler": (144, 119), "settimeofday": (164, 170), "reboot": (169, 142),
}  # fmt: skip
_ABSENT = {"clone3": (435, 435), "openat2": (437, 437)}  # answered "no such call": libraries then take the older one
_OPEN, _OPENAT, _CLONE_CALL, _PRLIMIT = (2, None), (257, 56), (56, 220), (302, 261)
_WRITING = 0o1 | 0o2 | 0o100 | 0o1000 | 0o2000  # O_WRONLY, O_RDWR, O_CREAT, O_TRUNC, O_APPEND
_THREAD = 0x00010000


def _limits(job):
    seconds = max(1, int(job["limit_s"]) + 1)
    wanted = {
        "RLIMIT_CPU": (seconds, seconds + 1),
        "RLIMIT_AS": (job["memory"],) * 2,
        "RLIMIT_FSIZE": (0, 0),
        "RLIMIT_NOFILE": (64, 64),
        "RLIMIT_CORE": (0, 0),
    }
    for name, value in wanted.items():
        resource.setrlimit(getattr(resource, name), value)


def _namespaces(libc):
    """A network of its own, without a card. (Processes and files are the next layers' work.)"""
    for flags in (_CLONE["user"] | _CLONE["net"] | _CLONE["ipc"], _CLONE["net"] | _CLONE["ipc"]):
        if libc.unshare(flags) == 0:
            return ["network"]
    return []


def _landlock(libc, config):
    """Nothing may be written, and only Python's own files and the system's libraries be read."""
    version = libc.syscall(444, None, ctypes.c_size_t(0), ctypes.c_uint32(1))
    if version < 1:
        return []
    rights = (1 << (13 if version == 1 else 14 if version == 2 else 15)) - 1
    ruleset = ctypes.create_string_buffer(struct.pack("Q", rights), 8)
    fd = libc.syscall(444, ruleset, ctypes.c_size_t(8), ctypes.c_uint32(0))
    if fd < 0:
        return []
    execute, read_file, read_dir = 1, 1 << 2, 1 << 3
    for path in config["readable"]:
        try:
            inside = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except OSError:
            continue
        allowed = read_file | execute | (read_dir if os.path.isdir(path) else 0)
        rule = ctypes.create_string_buffer(struct.pack("=Qi", allowed, inside), 12)
        libc.syscall(445, fd, ctypes.c_int(1), rule, ctypes.c_uint32(0))
        os.close(inside)
    done = libc.syscall(446, fd, ctypes.c_uint32(0)) == 0
    os.close(fd)
    return ["reading", "writing"] if done else []


def _filter():
    """The program of a seccomp filter: no sockets, processes, signals to others, or files opened for writing. ``b""``: none for this machine."""
    machines = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}
    if platform.machine() not in machines or sys.byteorder != "little":
        return b""
    column, arch = machines[platform.machine()]
    allow, eperm, enosys = 0x7FFF0000, 0x00050001, 0x00050026
    code = []
    emit = lambda op, yes, no, k: code.append(struct.pack("HBBI", op, yes, no, k))
    load, equal, any_bit, answer = 0x20, 0x15, 0x45, 0x06
    emit(load, 0, 0, 4)  # the architecture
    emit(equal, 1, 0, arch)
    emit(answer, 0, 0, 0x80000000)  # another one: killed
    emit(load, 0, 0, 0)  # the call's number
    if column == 0:
        emit(0x35, 0, 1, 0x40000000)  # calls of the x32 kind
        emit(answer, 0, 0, eperm)
    for table, verdict in ((_CALLS, eperm), (_ABSENT, enosys)):
        for numbers in table.values():
            if numbers[column] is not None:
                emit(equal, 0, 1, numbers[column])
                emit(answer, 0, 0, verdict)
    low_word = lambda argument: 16 + 8 * argument
    for numbers, argument, bits, verdicts in (
        (_OPEN, 1, _WRITING, (eperm, allow)),
        (_OPENAT, 2, _WRITING, (eperm, allow)),
        (_CLONE_CALL, 0, _THREAD, (allow, eperm)),
        (_PRLIMIT, 0, 0xFFFFFFFF, (eperm, allow)),
    ):
        if numbers[column] is not None:
            emit(equal, 0, 4, numbers[column])
            emit(load, 0, 0, low_word(argument))
            emit(any_bit, 0, 1, bits)
            emit(answer, 0, 0, verdicts[0])
            emit(answer, 0, 0, verdicts[1])
    emit(answer, 0, 0, allow)
    return b"".join(code)


class _Filter(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("code", ctypes.c_void_p)]


def _install(libc, filter_code):
    code = ctypes.create_string_buffer(filter_code, len(filter_code))
    whole = _Filter(len(filter_code) // 8, ctypes.cast(code, ctypes.c_void_p))
    done = libc.prctl(22, ctypes.c_ulong(2), ctypes.byref(whole), 0, 0) == 0
    return ["network", "processes", "writing"] if done else []


def _receive(channel, count, files=0):
    """``count`` bytes, and as many file descriptors; no bytes where the other side has gone."""
    found, descriptors = b"", []
    while len(found) < count:
        if files and not found:
            data, descriptors, _, _ = socket.recv_fds(channel, count, files)
        else:
            data = channel.recv(count - len(found))
        if not data:
            return b"", descriptors
        found += data
    return found, descriptors


def _spare(channel, taken, layers, libc, filter_code, given):
    """In a child of its own: waits for a program, gives up the last rights, says who runs it and which layers hold, and runs it."""
    os.setsid()
    if libc is not None:
        libc.prctl(1, ctypes.c_ulong(9))  # to be killed when the parent is
    size, files = _receive(channel, 8, 3)
    if not size:
        os._exit(0)
    job = json.loads(_receive(channel, struct.unpack("!q", size)[0])[0])
    os.write(taken, b"+")
    os.close(taken)
    report = os.dup(channel.fileno())
    channel.close()
    for place, file in enumerate(files):
        os.dup2(file, place)
        os.close(file)
    os.environ["HOME"] = job["folder"]
    os.chdir(job["folder"])
    _limits(job)
    held = {"memory", *layers, *(_install(libc, filter_code) if filter_code else ())}
    bits = sum(1 << i for i, name in enumerate(job["layers"]) if name in held)
    os.write(report, struct.pack("!qq", os.getpid(), bits))
    os.close(report)
    if not set(job["require"]) <= held:
        os._exit(99)
    sys.argv = ["answer.py"]
    os._exit(_ending(job["program"], given if job["prelude"] else {}))


def _ending(program, given):
    """Run the text `program` as a script that has the names `given`; the exit status. (Python's own way out tidies all that was loaded.)"""
    names = given or {
        "exit": sys.exit,
        "quit": sys.exit,
    }  # not a copy: to touch each name here would copy all that it is
    names["__name__"], names["__builtins__"] = "__main__", __builtins__
    status = 0
    try:
        exec(compile(program, "answer.py", "exec"), names)
    except SystemExit as end:
        status = 0 if end.code is None else end.code & 255 if isinstance(end.code, int) else 1
        if status == 1 and not isinstance(end.code, int):
            sys.stderr.write(f"{end.code}\n")
    except BaseException:
        traceback.print_exc(limit=-3)
        status = 1
    for thread in threading.enumerate():
        if thread is not threading.current_thread() and not thread.daemon:
            thread.join()
    try:
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
    except BaseException:
        status = status or 1
    return status


def _main():
    channel = socket.socket(fileno=int(sys.argv[1]))
    config = json.loads(sys.argv[2])
    sys.path.append(config["packages"])
    libc, layers, filter_code = None, [], b""
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        layers = _namespaces(libc)
        if libc.prctl(38, ctypes.c_ulong(1), 0, 0, 0) == 0:  # no new privileges
            layers += _landlock(libc, config)
            filter_code = _filter()
    given = {}
    exec(compile(config["prelude"], "prelude.py", "exec"), given)  # also prepares `compile`, for all children
    gc.collect()
    gc.freeze()  # a child's collector then leaves alone, and does not copy, what all of them share

    def spare():
        told, taken = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(told)
            _spare(channel, taken, layers, libc, filter_code, given)
        os.close(taken)
        return child, told

    child, told = spare()
    while os.read(told, 1):  # nothing: the other side has gone, and the child with it
        os.close(told)
        running, (child, told) = child, spare()  # the next child gets ready beside the one that runs
        status = os.waitstatus_to_exitcode(os.waitpid(running, 0)[1])
        with contextlib.suppress(OSError):
            os.killpg(running, signal.SIGKILL)  # what it may have left behind
        channel.sendall(struct.pack("!q", status))


if __name__ == "__main__":
    _main()
