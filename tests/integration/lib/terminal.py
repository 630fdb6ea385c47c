#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs a program in a terminal of 40 rows and 100 columns, and does one thing when it says "ready".

    terminal.py THING PROGRAM [ARGUMENT…]

prints what it wrote, and "status N". THING: none, resize (to 11 rows, 22 columns), type (a line), interrupt (Control-C), term (SIGTERM
to the program, not to its terminal), hangup (the terminal goes).
"""

import fcntl
import os
import pty
import select
import signal
import struct
import sys
import termios
import time


def resize(fd, rows, columns):
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


def main():
    thing, program = sys.argv[1], sys.argv[2:]
    read, write = os.pipe()
    pid, fd = pty.fork()
    if pid == 0:
        os.close(write)
        os.read(read, 1)  # until the terminal has its size
        os.execvp(program[0], program)
    resize(fd, 40, 100)
    os.close(write)
    things = {"none": lambda: None, "resize": lambda: resize(fd, 11, 22), "type": lambda: os.write(fd, b"typed\n"),
              "interrupt": lambda: os.write(fd, b"\x03"), "term": lambda: os.kill(pid, signal.SIGTERM), "hangup": lambda: os.close(fd)}
    said, done, end = b"", False, time.monotonic() + 60
    while time.monotonic() < end:
        if not done and b"ready" in said:
            done = True
            things[thing]()
            if thing == "hangup":
                break
        if select.select([fd], [], [], 0.1)[0]:
            try:
                got = os.read(fd, 65536)
            except OSError:  # the other side is gone
                got = b""
            if not got:
                break
            said += got
    print(said.decode().replace("\r\n", "\n"), end="")
    while time.monotonic() < end:
        gone, status = os.waitpid(pid, os.WNOHANG)
        if gone:
            print("status", os.waitstatus_to_exitcode(status))
            return
        time.sleep(0.02)
    os.kill(pid, signal.SIGKILL)
    print("it does not end")


main()
