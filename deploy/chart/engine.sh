# The volume belongs to root, but the worker, which starts after this, runs as another user.
chown 10001:10001 /var/lib/revalid
cat > /etc/dagger/engine.json <<CONFIG
{
  "logLevel": "info",
  "gc": { "reservedSpace": "5GB", "maxUsedSpace": "50GB", "minFreeSpace": "20%" },
  "security": { "insecureRootCapabilities": false }
}
CONFIG
exec dagger-entrypoint.sh --group 10001
