# Runs one command inside the container and reports on it in /.revalid/report:
#   exit code, timed out (0/1), centiseconds, bytes of stdout, bytes of stderr, nonce
# then head and tail of stdout and of stderr, each one line of base64.
# Arguments: command, limit in seconds, grace in seconds, bytes kept of each stream, cache key.
command=$1 limit=$2 grace=$3 keep=$4 nonce=$REVALID_NONCE
unset REVALID_NONCE
d=/.revalid
rm -rf $d && mkdir -m 700 $d || exit 1

signal_all() {
  for p in /proc/[0-9]*; do
    p=${p#/proc/}
    case $p in 1 | $$ | "$me" | "$out" | "$err") ;; *) kill -"$1" "$p" 2>/dev/null ;; esac
  done
}

now() { IFS=' .' read -r s c _ </proc/uptime; c=${c#0}; t=$((s * 100 + c)); }

# Pipes, for a command may open /dev/stdout again, which would cut a file short.
mkfifo $d/stdout $d/stderr
cat <$d/stdout >$d/out &
out=$!
cat <$d/stderr >$d/err &
err=$!
trap : TERM # the shell itself outlives the limit, to report
(
  read -r me _ </proc/self/stat
  sleep "$limit"
  : >$d/timed_out
  signal_all TERM
  sleep "$grace"
  while :; do
    signal_all KILL
    sleep 0.2
  done
) >/dev/null 2>&1 &
watchdog=$!
now
start=$t
(exec sh -c "$command" </dev/null >$d/stdout 2>$d/stderr) 2>/dev/null
code=$?
now
signal_all KILL # the watchdog, and what the command left behind
wait $out $err

size() { wc -c <"$1" | tr -d ' '; }
encode() { base64 | tr -d '\n'; echo; }
ends() {
  if [ "$(size "$1")" -le "$keep" ]; then
    encode <"$1"
    echo
  else
    head -c $(((keep + 1) / 2)) "$1" | encode
    tail -c $((keep / 2)) "$1" | encode
  fi
}

timed_out=0
[ -e $d/timed_out ] && timed_out=1
{
  echo $code $timed_out $((t - start)) "$(size $d/out)" "$(size $d/err)" "$nonce"
  ends $d/out
  ends $d/err
} >$d/report
rm -f $d/out $d/err $d/stdout $d/stderr $d/timed_out
exit 0
