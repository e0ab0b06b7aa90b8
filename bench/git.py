"""Asking git about the current folder."""

import subprocess


def git(*arguments: str) -> str | None:
    """What git prints, without the final newlines; None when git is missing or refuses."""
    try:
        done = subprocess.run(["git", *arguments], capture_output=True, encoding="utf-8", check=False)
    except FileNotFoundError:
        return None
    return done.stdout.rstrip("\n") if done.returncode == 0 else None
