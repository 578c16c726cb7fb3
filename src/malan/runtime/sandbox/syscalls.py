"""System calls of x86-64 Linux: which a run may make, and which are tried only by those who want out.

Numbers are those of the kernel's `arch/x86/entry/syscalls/syscall_64.tbl`. Start reading at `ALLOWED`; `bpf.py` makes
the filter. What is in neither list gets "no such call", so that libraries fall back to an older one.
"""

# fmt: off
ALLOWED = {
    # files
    "read": 0, "write": 1, "open": 2, "close": 3, "stat": 4, "fstat": 5, "lstat": 6, "poll": 7, "lseek": 8,
    "pread64": 17, "pwrite64": 18, "readv": 19, "writev": 20, "preadv": 295, "pwritev": 296, "preadv2": 327,
    "pwritev2": 328, "access": 21, "select": 23, "dup": 32, "dup2": 33, "dup3": 292, "pselect6": 270, "ppoll": 271,
    "fcntl": 72, "flock": 73, "fsync": 74, "fdatasync": 75, "truncate": 76, "ftruncate": 77, "getdents": 78,
    "getdents64": 217, "getcwd": 79, "chdir": 80, "fchdir": 81, "rename": 82, "renameat": 264, "renameat2": 316,
    "mkdir": 83, "mkdirat": 258, "rmdir": 84, "creat": 85, "link": 86, "linkat": 265, "unlink": 87, "unlinkat": 263,
    "symlink": 88, "symlinkat": 266, "readlink": 89, "readlinkat": 267, "chmod": 90, "fchmod": 91, "fchmodat": 268,
    "fchmodat2": 452, "chown": 92, "fchown": 93, "lchown": 94, "fchownat": 260, "umask": 95, "utime": 132,
    "utimes": 235, "utimensat": 280, "futimesat": 261, "statfs": 137, "fstatfs": 138, "openat": 257,
    "newfstatat": 262, "faccessat": 269, "faccessat2": 439, "statx": 332, "fallocate": 285, "fadvise64": 221,
    "sendfile": 40, "copy_file_range": 326, "sync_file_range": 277, "readahead": 187, "close_range": 436,
    "getxattr": 191, "lgetxattr": 192, "fgetxattr": 193, "listxattr": 194, "llistxattr": 195, "flistxattr": 196,
    "ioctl": 16, "pipe": 22, "pipe2": 293,
    # memory
    "mmap": 9, "mprotect": 10, "munmap": 11, "brk": 12, "mremap": 25, "msync": 26, "madvise": 28, "mlock": 149,
    "munlock": 150, "mlock2": 325, "mlockall": 151, "munlockall": 152, "mbind": 237, "set_mempolicy": 238,
    "get_mempolicy": 239,
    # threads and processes
    "fork": 57, "vfork": 58, "execve": 59, "exit": 60, "exit_group": 231, "wait4": 61, "waitid": 247, "kill": 62,
    "tkill": 200, "tgkill": 234, "getpid": 39, "getppid": 110, "gettid": 186, "getuid": 102, "geteuid": 107,
    "getgid": 104, "getegid": 108, "getresuid": 118, "getresgid": 120, "getgroups": 115, "getpgrp": 111,
    "getpgid": 121, "setpgid": 109, "getsid": 124, "setsid": 112, "capget": 125, "prctl": 157, "arch_prctl": 158,
    "set_tid_address": 218, "set_robust_list": 273, "get_robust_list": 274, "futex": 202, "futex_waitv": 449,
    "rseq": 334, "membarrier": 324, "sched_yield": 24, "sched_getaffinity": 204, "sched_setaffinity": 203,
    "sched_getparam": 143, "sched_getscheduler": 145, "sched_setscheduler": 144, "sched_setparam": 142,
    "sched_get_priority_max": 146, "sched_get_priority_min": 147, "sched_rr_get_interval": 148, "sched_getattr": 315,
    "getpriority": 140, "setpriority": 141, "getcpu": 309, "getrlimit": 97, "setrlimit": 160, "prlimit64": 302,
    "getrusage": 98, "times": 100, "uname": 63, "sysinfo": 99, "getrandom": 318,
    # signals
    "rt_sigaction": 13, "rt_sigprocmask": 14, "rt_sigreturn": 15, "rt_sigpending": 127, "rt_sigtimedwait": 128,
    "rt_sigqueueinfo": 129, "rt_sigsuspend": 130, "sigaltstack": 131, "pause": 34, "alarm": 37,
    "restart_syscall": 219, "signalfd": 282, "signalfd4": 289,
    # time
    "nanosleep": 35, "clock_nanosleep": 230, "clock_gettime": 228, "clock_getres": 229, "gettimeofday": 96,
    "time": 201, "getitimer": 36, "setitimer": 38, "timer_create": 222, "timer_settime": 223, "timer_gettime": 224,
    "timer_getoverrun": 225, "timer_delete": 226, "timerfd_create": 283, "timerfd_settime": 286,
    "timerfd_gettime": 287,
    # waiting
    "epoll_create": 213, "epoll_create1": 291, "epoll_ctl": 233, "epoll_wait": 232, "epoll_pwait": 281,
    "eventfd": 284, "eventfd2": 290,
    # pairs of sockets that exist already
    "sendto": 44, "recvfrom": 45, "sendmsg": 46, "recvmsg": 47, "shutdown": 48, "getsockname": 51, "getpeername": 52,
    "getsockopt": 55, "setsockopt": 54,
    # closing itself in further
    "seccomp": 317, "landlock_create_ruleset": 444, "landlock_add_rule": 445, "landlock_restrict_self": 446,
}
# fmt: on
"""Calls that are let through whatever their arguments."""

ALARMING = {
    "connect": 42,  # a way to the network or to a service of the host
    "bind": 49,  # a place others could meet it
    "listen": 50,
    "accept": 43,
    "accept4": 288,
    "ptrace": 101,  # reads and steers other processes
    "process_vm_readv": 310,  # reads other processes
    "process_vm_writev": 311,  # writes into other processes
    "kcmp": 312,  # compares kernel addresses of processes
    "pidfd_getfd": 438,  # takes descriptors of other processes
    "process_madvise": 440,  # steers the memory of others
    "io_uring_setup": 425,  # does files and sockets past this filter
    "io_uring_enter": 426,
    "io_uring_register": 427,
    "add_key": 248,  # keyrings outlive a run and are shared by user
    "request_key": 249,  # the same, and starts a program of the host
    "keyctl": 250,
    "bpf": 321,  # code in the kernel
    "perf_event_open": 298,  # watches the kernel and other processes
    "userfaultfd": 323,  # makes races in the kernel easy to win
    "kexec_load": 246,  # another kernel
    "kexec_file_load": 320,
    "init_module": 175,  # code in the kernel
    "finit_module": 313,
    "delete_module": 176,
    "mount": 165,  # changes the walls
    "umount2": 166,
    "pivot_root": 155,
    "chroot": 161,
    "move_mount": 429,
    "open_tree": 428,
    "fsopen": 430,
    "fsconfig": 431,
    "fsmount": 432,
    "fspick": 433,
    "mount_setattr": 442,
    "statmount": 457,  # tells paths of the host
    "listmount": 458,
    "unshare": 272,  # a user namespace brings capabilities back
    "setns": 308,  # joins others
    "memfd_create": 319,  # files that no mount option holds: programs without a path
    "memfd_secret": 447,  # memory that no limit sees
    "execveat": 322,  # runs a descriptor: programs without a path
    "open_by_handle_at": 304,  # opens files past every mount
    "name_to_handle_at": 303,
    "mknod": 133,  # devices
    "mknodat": 259,
    "swapon": 167,  # the host's disks
    "swapoff": 168,
    "reboot": 169,  # the host
    "settimeofday": 164,  # the host's clock
    "clock_settime": 227,
    "clock_adjtime": 305,
    "adjtimex": 159,
    "syslog": 103,  # the kernel's messages
    "quotactl": 179,  # the host's disks
    "acct": 163,
    "iopl": 172,  # ports
    "ioperm": 173,
    "modify_ldt": 154,  # old holes
    "fanotify_init": 300,  # watches the whole mount
    "lookup_dcookie": 212,  # paths of the host
    "nfsservctl": 180,  # old
    "vhangup": 153,  # the terminal
    "shmget": 29,  # memory that no limit sees
    "msgget": 68,  # queues no limit sees
    "semget": 64,
    "mq_open": 240,
    "setuid": 105,  # becomes another user
    "setgid": 106,
    "setreuid": 113,
    "setregid": 114,
    "setresuid": 117,
    "setresgid": 119,
    "setgroups": 116,
    "setfsuid": 122,
    "setfsgid": 123,
    "capset": 126,  # takes capabilities
    "sethostname": 170,  # the name of the host
    "setdomainname": 171,
}
"""Calls that are refused and written down, each with its reason; one without a reason has that of the line above."""

CLONE, CLONE3, SOCKET, SOCKETPAIR, PERSONALITY = 56, 435, 41, 53, 135
"""Calls that depend on their arguments, or must look absent (the newer `clone3` hides its flags from a filter)."""

SETXATTR = (188, 189, 190)
"""Attributes of files: kernel memory that no limit counts. Copying libraries take "not supported" for an answer."""
