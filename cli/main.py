"""The hft command's entry: it can be interrupted from its first moment, while the verbs are loaded.

Exit codes: 0 done, 1 failed, 2 bad usage or input, 3 refused by a rule.
"""

import sys

from cli import interrupt

INTERRUPTED = "hft: interrupted: what was whole is kept, nothing half-written is taken for it\n"


def main() -> None:
    """Run the command line and leave with its exit code; SIGTERM ends it as Ctrl-C does."""
    interrupt.install()
    sys.exit(run_command(sys.argv[1:]))


def run_command(arguments: list[str]) -> int:
    """Run one verb; an expected failure is one sentence on stderr and its exit code."""
    try:
        from cli.verbs import run_verb  # a second or two: compiled kernels, tapes

        return run_verb(arguments)
    except KeyboardInterrupt:
        sys.stderr.write(INTERRUPTED)
        return 1


if __name__ == "__main__":
    main()
