"""What package managers downloaded, kept on the engine for the next install that needs it.

Jobs of one tenant and one image share it, and no others: an install script can write to it. Only
directories that hold nothing but downloads are kept so, for no check sees them.
"""

import hashlib
from collections.abc import Iterable


def stop_volume(tenant: str) -> str:
    """The name of what the wrappers of a tenant's commands are told in that they shall end."""
    return f"revalid-stop-{hashlib.sha256(tenant.encode()).hexdigest()[:32]}"


def volumes(tenant: str, image: str, directories: Iterable[str]) -> dict[str, str]:
    """The name on the engine of what is mounted at each directory during an install.

    Args:
        image: With its digest: what one builds, another may not run.
        directories: Where the package managers of one account keep them.
    """
    owner = hashlib.sha256(f"{tenant} {image}".encode()).hexdigest()[:32]
    return {path: f"revalid-{owner}{path.replace('/', '-')}" for path in directories}
