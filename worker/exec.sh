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
    case $p in 1 | $$ | "$me") ;; *) kill -"$1" "$p" 2>/dev/null ;; esac
  done
}

now() { IFS=' .' read -r s c _ </proc/uptime; c=${c#0}; t=$((s * 100 + c)); }

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
now; start=$t
sh -c "$command" </dev/null >$d/out 2>$d/err
code=$?
now
kill -KILL $watchdog 2>/dev/null

size() { wc -c <"$1" | tr -d ' '; }
encode() { base64 | tr -d '\n'; echo; }
ends() {
  if [ "$(size "$1")" -le "$keep" ]; then
    encode <"$1"
    echo
  else
    head -c $((keep / 2)) "$1" | encode
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
rm -f $d/out $d/err $d/timed_out
exit 0
