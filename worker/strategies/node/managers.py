"""Package managers: their commands, and the versions that are installed by default."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Manager:
    """The commands of one package manager.

    Attributes:
        command: The name of the program.
        frozen: Installs exactly what the lockfile names.
        unlocked: Installs without a lockfile, also in CI.
        local: Runs an installed binary and never downloads one.
        local_from_root: Runs a binary of the workspaces' root.
        provide: Installs the manager if it is missing; ``{version}`` is filled in.
    """

    command: str
    frozen: str
    unlocked: str
    local: str
    local_from_root: str
    provide: str = ""


NPM = Manager("npm", "npm ci", "npm install", "npx --no-install", "npx --no-install")
BUN = Manager(
    "bun",
    "bun install --frozen-lockfile",
    "bun install",
    "bunx --no-install",
    "bunx --no-install",
    # npm 11 asks before it runs the install script that installs the binary.
    "command -v bun >/dev/null || npm install -g --allow-scripts=bun bun@{version}",
)
PNPM = Manager(
    "pnpm",
    "pnpm install --frozen-lockfile",
    "pnpm install --no-frozen-lockfile",
    "pnpm exec",
    "pnpm exec",
    "command -v pnpm >/dev/null || npm install -g pnpm@{version}",
)
# `yarn run tsc` takes the root's tsc even where the workspace has its own; npx takes the nearest.
YARN = Manager(
    "yarn",
    "yarn install --frozen-lockfile",
    "yarn install",
    "npx --no-install",
    "npx --no-install",
    "command -v yarn >/dev/null || npm install -g yarn@{version}",
)
BERRY = Manager(
    "yarn",
    "yarn install --immutable",
    "yarn install --no-immutable",
    "yarn run -B",
    "yarn run -TB",
    'case "$(yarn --version 2>/dev/null)" in [2-9]*) ;; '
    "*) npm install -g --force @yarnpkg/cli-dist@{version} ;; esac",
)

LOCKFILES = {
    "package-lock.json": NPM,
    "npm-shrinkwrap.json": NPM,
    "bun.lock": BUN,
    "bun.lockb": BUN,
    "pnpm-lock.yaml": PNPM,
    "yarn.lock": YARN,
}

# Exact versions, so that their install may be a reused snapshot. For pnpm and yarn, the
# version that wrote the lockfile.
BUN_VERSION = "1.4.5"
YARN_VERSION = "1.22.22"
BERRY_VERSIONS = {"3": "3.8.6", "4": "4.18.1"}
PNPM_VERSIONS = {"7": "7.33.7", "8": "8.15.9", "9": "9.15.9", "10": "10.34.8"}
