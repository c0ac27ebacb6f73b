"""Become another program: tie its life to the parent's, give up root if it must, then exec.

Run as a script (`python -I -S launch.py DEATH_SIGNAL as-is|unprivileged COMMAND...`) and not as a
`preexec_fn`, because code between fork and exec is not safe in a program that has threads.
Standard library only.

PostgreSQL refuses to run as root, so root becomes `nobody`, but keeps the one capability that lets it pass
folders closed to others: a checkout below /root works, and no permission on the machine is changed.
"""

import ctypes
import os
import pwd
import signal
import sys
from collections.abc import Sequence

UNPRIVILEGED_USER = "nobody"
# linux/prctl.h, linux/capability.h
PR_SET_PDEATHSIG = 1
PR_SET_KEEPCAPS = 8
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_RAISE = 2
CAP_DAC_OVERRIDE = 1
CAPABILITY_VERSION_3 = 0x20080522


def launch_command(
    command: Sequence[str], *, unprivileged: bool = False, death_signal: signal.Signals = signal.SIGKILL
) -> list[str]:
    """The command line that runs `command` (an absolute path first) so that it gets `death_signal` when the
    thread that starts it ends; on Linux, elsewhere without that effect."""
    privilege = "unprivileged" if unprivileged else "as-is"
    return [sys.executable, "-I", "-S", __file__, str(int(death_signal)), privilege, *command]


def _prctl(option: int, *arguments: int) -> None:
    padded = (*arguments, 0, 0, 0, 0)[:4]
    ctypes.CDLL(None).prctl(option, *(ctypes.c_ulong(argument) for argument in padded))


def _keep_passing_closed_folders() -> None:
    """Carry CAP_DAC_OVERRIDE over the coming exec (capabilities(7), "ambient"); no effect where root lacks it."""
    header = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION_3, 0)
    mask = 1 << CAP_DAC_OVERRIDE
    effective_permitted_inheritable = (ctypes.c_uint32 * 6)(mask, mask, mask, 0, 0, 0)
    ctypes.CDLL(None).capset(header, effective_permitted_inheritable)
    _prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_DAC_OVERRIDE)


def _give_up_root() -> None:
    user = pwd.getpwnam(UNPRIVILEGED_USER)
    if sys.platform == "linux":
        _prctl(PR_SET_KEEPCAPS, 1)
    os.setgroups([])
    os.setgid(user.pw_gid)
    os.setuid(user.pw_uid)
    if sys.platform == "linux":
        _keep_passing_closed_folders()


def _main(death_signal: str, privilege: str, *command: str) -> None:
    if privilege == "unprivileged" and os.geteuid() == 0:
        _give_up_root()
    if sys.platform == "linux":
        _prctl(PR_SET_PDEATHSIG, int(death_signal))  # after setuid, which clears it
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # Python ignores it, and exec would pass that on
    try:
        os.execv(command[0], command)
    except OSError as error:
        sys.exit(f"cannot run {command[0]}: {error}")


if __name__ == "__main__":
    _main(*sys.argv[1:])
