# The volume is root's; the worker, who starts after this, is not.
chown 10001:10001 /var/lib/revalid
cat > /etc/dagger/engine.json <<CONFIG
{
  "logLevel": "info",
  "gc": { "reservedSpace": "5GB", "maxUsedSpace": "50GB", "minFreeSpace": "20%" },
  "security": { "insecureRootCapabilities": false }
}
CONFIG
exec dagger-entrypoint.sh --group 10001
