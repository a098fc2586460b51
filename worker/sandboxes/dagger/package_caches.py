"""Names of the volumes that keep package managers' downloads on the engine for later installs.

Only jobs of one tenant and one image share a volume, because an install script can write to it. The
volumes hold downloads alone, and no check sees them.
"""

import hashlib
from collections.abc import Iterable


def stop_volume(tenant: str) -> str:
    """Return the name of the volume through which a tenant's commands are asked to end."""
    return f"revalid-stop-{hashlib.sha256(tenant.encode()).hexdigest()[:32]}"


def volumes(tenant: str, image: str, owner: str, directories: Iterable[str]) -> dict[str, str]:
    """Return, by directory, the name of the volume that is mounted there during an install.

    Args:
        image: The image with its digest; another image may not run what this one built.
        owner: The user that owns the files: another user may not read them.
        directories: The download directories of the package managers.
    """
    key = hashlib.sha256(f"{tenant} {image} {owner}".encode()).hexdigest()[:32]
    return {path: f"revalid-{key}{path.replace('/', '-')}" for path in directories}
