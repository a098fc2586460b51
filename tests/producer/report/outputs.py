"""Outputs of real tools that fail, shortened."""

# ruff: noqa: RUF001 -- their own marks

TSC = """\
{path}({line},7): error TS2322: Type '{given}' is not assignable to type '{wanted}'.
{path}({line},44): error TS2339: Property 'nope' does not exist on type '{{ title: string; }}'.
"""

TSC_PRETTY = """\
\x1b[96m{path}\x1b[0m:\x1b[93m{line}\x1b[0m:\x1b[93m10\x1b[0m - \x1b[91merror\x1b[0m\x1b[90m \
TS2322: \x1b[0mType '{given}' is not assignable to type '{wanted}'.

\x1b[7m1\x1b[0m const title: {wanted} = row.title;
\x1b[7m \x1b[0m \x1b[91m      ~~~~~\x1b[0m

Found 1 error in {path}\x1b[90m:{line}\x1b[0m
"""

VITE = """\
\x1b[31m✗\x1b[39m Build failed in {took}ms
\x1b[31merror during build:
[vite]: Rollup failed to resolve import "{package}" from "/workspace/{path}".
This is most likely unintended because it can break your application at runtime.
    at viteLog (file:///workspace/node_modules/vite/dist/node/chunks/dep-{hash}.js:46698:15)\x1b[39m
"""

ESBUILD = """\
error during build:
[vite:build-html] Transform failed with 1 error:
/workspace/src/main.ts:1:10: ERROR: Unexpected ";"
file: /workspace/src/main.ts:1:10 (/workspace/index.html)
"""

NPM_ETARGET = """\
npm error code ETARGET
npm error notarget No matching version found for {package}@^{version}.
npm error notarget In most cases you or one of your dependencies are requesting a package version.
npm error A complete log of this run can be found in: /root/.npm/_logs/2026-01-23T17_35-debug-0.log
"""

NPM_OLD = """\
npm ERR! code ERESOLVE
npm ERR! ERESOLVE unable to resolve dependency tree
npm ERR!
npm ERR! While resolving: shop@1.0.0
npm ERR! Found: react@18.2.0
"""

NPM_CI = """\
npm error code EUSAGE
npm error
npm error `npm ci` can only install packages when your package.json and package-lock.json agree.
npm error Missing: zod@3.23.8 from lock file
"""

NPM_ENOENT = """\
npm error code ENOENT
npm error syscall open
npm error path /workspace/package.json
npm error errno -2
npm error enoent Could not read package.json: Error: ENOENT: no such file or directory
"""

NPM_SCRIPT = """\
npm error Missing script: "build"
npm error
npm error To see a list of scripts, run:
"""

NPM_SHELL = """\

> shop@1.0.0 build
> vite build

sh: 1: vite: not found
npm error Lifecycle script `build` failed with error:
npm error code 127
npm error path /workspace/client
npm error workspace client@1.0.0
"""

BUN_INSTALL = """\
bun install v1.2.20 (6ad208bc)
Resolving dependencies
error: No version matching "^99.0.0" found for specifier "left-pad" (but package exists)
"""

BUN_TEST = """\
bun test v1.2.20 (6ad208bc)

src/sum.test.ts:
1 | import { expect, test } from "bun:test";
2 | test("adds", () => { expect(1 + 1).toBe(3); });
                                     ^
error: expect(received).toBe(expected)

Expected: 3
Received: 2

      at <anonymous> (/workspace/src/sum.test.ts:2:34)
(fail) adds [0.29ms]
"""

PNPM = """\
 ERR_PNPM_OUTDATED_LOCKFILE  Cannot install with "frozen-lockfile" because pnpm-lock.yaml is old
"""

VITEST = """\
 ❯ {path} (4 tests | 1 failed) {took}ms
   × adds numbers 6ms
     → expected {got} to be {want} // Object.is equality

 FAIL  {path} > adds numbers
AssertionError: expected {got} to be {want} // Object.is equality

\x1b[32m- Expected\x1b[39m
\x1b[31m+ Received\x1b[39m

 ❯ {path}:{line}:44
 Test Files  1 failed (1)
   Duration  {took}ms (transform 40ms, setup 0ms, collect 15ms, tests 63ms)
"""

VITEST_SLOW = """\
 FAIL  tests/a.test.js > slow
Error: Test timed out in 5000ms.
If this is a long-running test, pass a timeout value as the last argument.
"""

NODE_TAP = """\
TAP version 13
# Subtest: adds numbers
not ok 1 - adds numbers
  ---
  duration_ms: 1.843077
  location: '/workspace/n.test.mjs:2:1'
  failureType: 'testCodeFailure'
  error: |-
    Expected values to be strictly equal:

    2 !== 3

  code: 'ERR_ASSERTION'
"""

NODE_SPEC = """\
✖ adds numbers (1.204ms)
  AssertionError [ERR_ASSERTION]: The expression evaluated to a falsy value:

    assert.ok(false)

      at TestContext.<anonymous> (file:///workspace/n.test.mjs:4:28)
"""

NODE_MODULE = """\
node:internal/modules/cjs/loader:1210
  throw err;
  ^

Error: Cannot find module '{package}'
Require stack:
- /workspace/{path}
    at Module._resolveFilename (node:internal/modules/cjs/loader:1207:15)
Node.js v20.20.2
"""

NODE_TYPE_ERROR = """\
/workspace/server.js:3
    at start (/workspace/server.js:3:1)
TypeError: app.listen is not a function
"""

JEST = """\
FAIL src/a.test.js
  ● adds numbers

    expect(received).toBe(expected) // Object.is equality

    Expected: 3
    Received: 2

    > 1 | test("adds numbers", () => { expect(1 + 1).toBe(3); });
Tests:       1 failed, 1 total
"""

PYTEST = """\
============================= test session starts ==============================
collected 1 item

tests/test_add.py F                                                      [100%]

>   def test_add(): assert add(1, 2) == 4
E   assert 3 == 4
E    +  where 3 = add(1, 2)

tests/test_add.py:3: AssertionError
FAILED tests/test_add.py::test_add - assert 3 == 4
"""

PYTEST_IMPORT = """\
ImportError while importing test module '/workspace/tests/test_app.py'.
tests/test_app.py:1: in <module>
    import not_there
E   ModuleNotFoundError: No module named 'not_there'
"""

MYPY = """\
app.py:1: error: Incompatible types in assignment (expression has type "str")  [assignment]
Found 1 error in 1 file (checked 1 source file)
"""

COMPILE = """\
*** Error compiling './app.py'...
  File "./app.py", line 1
    def x(:
          ^
SyntaxError: invalid syntax
"""

PIP = """\
ERROR: Could not find a version that satisfies the requirement requests==99.99 (from versions: 0.2)
ERROR: No matching distribution found for requests==99.99
"""

ESLINT = """\

/workspace/src/App.tsx
  3:10  error  'x' is assigned a value but never used  @typescript-eslint/no-unused-vars

✖ 1 problem (1 error, 0 warnings)
"""

HEAP = """\
[10798:0x3f396e20]       60 ms: Mark-Compact (reduce) 18.9 (51.0) -> 18.6 (20.5) MB
FATAL ERROR: Reached heap limit Allocation failed - JavaScript heap out of memory
 1: 0xb78db3 node::OOMErrorHandler(char const*, v8::OOMDetails const&) [node]
"""

MAKE = """\
cc -o app app.c
make: *** [Makefile:3: app] Error 1
npm warn deprecated inflight@1.0.6
"""
