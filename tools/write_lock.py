"""Print requirements.lock from the environment this runs in: versions, no hosts, markers where a wheel is for Linux."""

from __future__ import annotations

from importlib import metadata

LINUX_ONLY = ("nvidia-", "cuda-", "triton")
HEADER = """\
# Every version the tests run on; `make lock` rewrites it.
# No hosts: pip's own settings decide where packages come from."""


def main() -> None:
    """Write the pins to stdout."""
    found = {dist.metadata["Name"].lower(): dist.version for dist in metadata.distributions()}
    print(HEADER)
    for name in sorted(found):
        if name not in {"vitrail", "pip"}:
            marker = ' ; sys_platform == "linux"' if name.startswith(LINUX_ONLY) else ""
            print(f"{name}=={found[name]}{marker}")


if __name__ == "__main__":
    main()
