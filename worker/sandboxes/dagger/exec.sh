# Runs one command inside the container and reports on it in /.revalid/report:
#   exit code, timed out (0, 1, or 2 where it was asked to end), centiseconds, bytes of stdout, bytes of
#   stderr, nonce, limit that ended it (- for none)
# then head and tail of stdout and of stderr, each one line of base64.
# Arguments: start, command, its user as UID:GID (0 for root), limit and grace in centiseconds, bytes kept of
# each stream, nonce or "reuse" (it is in a variable then), the limits (KiB of memory, processes,
# 512-byte blocks written, CPU seconds of a process or 0), and how many bytes of both streams it prints
# meanwhile, in lines that name the nonce, the stream, the place of the first byte in it, and bytes in
# base64.
# It is root's, and uses no file but those of /.revalid-tools, a static busybox.
[ $$ = 1 ] || exit 1 # in a container of its own: kill -1 would be everybody's elsewhere

# First with the job's variables, of which this part may change none: it starts what will run the
# command, and then itself again without them.
if [ "$1" = start ]; then
  shift
  exec 9>&1 </dev/null >/dev/null 2>&1
  /.revalid-tools/rm -rf /.revalid
  /.revalid-tools/mkdir -m 700 /.revalid || exit 1
  # The command may open /dev/stdout again, so its user may write; the directory is root's alone.
  /.revalid-tools/mkfifo -m 622 /.revalid/stdout /.revalid/stderr || exit 1
  /.revalid-tools/mkfifo -m 600 /.revalid/go || exit 1
  exec 5<>/.revalid/stdout 6<>/.revalid/stderr # no end before ours
  exec 7>/.revalid/said
  # A shell ignores SIGINT in what it starts in the background, and waits for the rest: so the command
  # starts in the foreground, and its runner, orphaned by killing the shell between, is not waited for.
  ( (
    read -r _revalid_me _revalid_ _revalid_ _revalid_between _revalid_ </proc/self/stat
    echo "$_revalid_me" >&7
    kill -9 "$_revalid_between"
    unset _revalid_me _revalid_ _revalid_between REVALID_NONCE
    trap : TERM # reports also what ends at the limit
    : </.revalid/go
    (
      ulimit -c 0
      ulimit -f "$9"
      [ "${10}" = 0 ] || { ulimit -S -t "${10}" && ulimit -H -t $((${10} + 5)); }
      exec >/.revalid/stdout 2>/.revalid/stderr 7>&-
      [ "$2" != 0 ] || exec /bin/sh -c "$1"
      exec /.revalid-tools/setpriv --nnp /.revalid-tools/chpst -u "$2" /bin/sh -c "$1"
    )
    echo $? >&7
    kill -USR1 $$
  ) 5>&- 6>&- 9>&-; :)
  exec /.revalid-tools/env -i PATH=/.revalid-tools NONCE="$REVALID_NONCE" \
    /.revalid-tools/sh "$0" watch "$@"
fi
shift
cd / || exit 1
user=$2 limit=$3 grace=$4 keep=$5 nonce=$6
memory=$7 processes=$8 blocks=$9 cpu=${10} live=${11}
[ "$nonce" != reuse ] || nonce=$NONCE
d=/.revalid

now() { IFS=' .' read -r s c _ </proc/uptime; c=${c#0}; t=$((s * 100 + c)); }

# What a stream brings, in files: the first part of it and the last two, so that a flood fills no
# disk. Pipes before them, for a command may open /dev/stdout again, which would cut a file short.
reads=65536
[ $((keep / 2)) -le $reads ] || reads=$((keep / 2)) # a part holds head or tail if it is full
collect() {
  exec <&"$2" 3<&- 4<&- 5>&- 6>&- 9>&-
  trap '' TERM
  part=0
  while
    dd bs=1k count=$reads >$d/$1.$part 2>$d/$1.said
    read -r count _ <$d/$1.said && [ $((${count%+*} + ${count#*+})) -ge $reads ]
  do
    if [ $part = 2 ]; then
      wc -c <$d/$1.1 >>$d/$1.cut
      mv -f $d/$1.2 $d/$1.1
    else
      part=$((part + 1))
    fi
  done
}
exec 3<$d/stdout 4<$d/stderr 7>&-
collect out 3 &
out=$!
collect err 4 &
err=$!

# This shell watches, for it is process 1, which nothing in the container can kill or stop.
exec 8<$d/said
trap : TERM USR1
read -r runner <&8
now
start=$t
: >$d/go
runs() { ! read -r code <&8 && kill -0 "$runner"; }

page=
while read -r key n _; do
  if [ "$key" = KernelPageSize: ]; then page=$n && break; fi
done </proc/self/smaps

check_memory() { # Resident pages, which count shared ones often; above the limit the true sum.
  sum=0
  for p; do read -r _ n _ <"$p/statm" && sum=$((sum + n)); done
  [ $((sum * page)) -gt "$memory" ] || return 0
  # Only the command's user may read it here. A command may stop or kill who reads, so it is not
  # waited for without end, and what has no end counts as above.
  : >$d/sizes
  set -- sh -c 'cat /proc/[0-9]*/smaps_rollup; echo end'
  [ "$user" = 0 ] || set -- chpst -u "$user" "$@"
  "$@" >>$d/sizes &
  reader=$! over=memory p=0
  while [ $p -lt 40 ]; do
    sleep 0.05
    if [ "$(tail -n 1 $d/sizes)" = end ]; then
      sum=0
      while read -r key n _; do [ "$key" != Pss: ] || sum=$((sum + n)); done <$d/sizes
      [ "$sum" -gt "$memory" ] || over=
      break
    fi
    p=$((p + 1))
  done
  kill -9 $reader
  wait $reader
}

written() { # Blocks of files that changed since the start, by ctime, which nobody can set.
  now
  n=$(find / -xdev -type f -cmin -$(((t - start) / 6000 + 1)) ! -path "$d/out.[012]" \
    ! -path "$d/err.[012]" -exec stat -c %b {} + | (
    sum=0
    while read -r n; do sum=$((sum + n)); done
    echo $sum
  ))
}

free=
check_disk() { # What is free fell by the limit: was it this command, or another container?
  set -- $(stat -f -c '%a %S' /)
  left=$(($1 * ($2 / 512)))
  [ "$free" ] && [ "$free" -gt "$left" ] || free=$left # others may free some meanwhile
  [ $((free - left)) -ge "$blocks" ] || [ $((round % 240)) = 239 ] || return 0
  written
  if [ "$n" -ge "$blocks" ]; then over=disk; else free=$((left + n)); fi
}

tell() { # Up to 2,800 bytes of what is new in a stream: a line that a pipe takes whole.
  n=$(($2 - $3))
  [ $n -le 2800 ] || n=2800
  [ $n -le $live ] || n=$live
  [ $n -gt 0 ] || { n=0 && return; }
  echo "$nonce" $1 $3 $(tail -c +$(($3 + 1)) $d/$1.0 | head -c $n | base64) >&9
  live=$((live - n))
}
tell_new() {
  set -- $(stat -c %s $d/out.0 $d/err.0)
  [ $# = 2 ] || return 0
  tell out $1 $told_out
  told_out=$((told_out + n))
  tell err $2 $told_err
  told_err=$((told_err + n))
}

code= timed_out=0 over= round=0 told_out=0 told_err=0
end=$((start + limit))
while runs; do
  sleep 0.25 &
  wait $! # SIGUSR1 ends it at once
  runs || break
  now
  if [ $timed_out = 0 ] && read -r grace </.revalid-stop/"$nonce"; then # it is asked to end
    timed_out=2 end=$((t + grace))
    kill -TERM -1
  fi
  if [ $t -ge $end ]; then
    [ $timed_out = 0 ] || break
    timed_out=1 end=$((t + grace))
    kill -TERM -1
  fi
  set -- /proc/[0-9]*
  if [ $(($# - 7)) -gt "$processes" ]; then # less this shell, runner, sleep, two each to collect
    over=processes
  else
    check_memory "$@"
    if [ -z "$free" ] || [ $((round % 4)) = 3 ]; then check_disk; fi
  fi
  [ -z "$over" ] || break
  [ "$live" = 0 ] || tell_new
  round=$((round + 1))
done
now
took=$((t - start))
trap '' TERM USR1

end_all() { # One by one, so that what the pipes hold is read to its end; a bomb outruns that.
  known=' '
  for walk in 1 2 3 4 5; do
    fresh=
    for p in /proc/[0-9]*; do
      read -r stat <"$p/stat" || continue
      p=${p#/proc/}
      stat=${stat##*) }
      case $p in $$ | "$out" | "$err") continue ;; esac
      case $stat in Z* | ?" $out "* | ?" $err "*) continue ;; esac
      case $known in *" $p "*) continue ;; esac
      kill -9 "$p"
      known="$known$p " fresh=1
    done
    [ "$fresh" ] || return
  done
  kill -9 -1
}
if [ "$over" ]; then kill -9 -1; else end_all; fi
exec 5>&- 6>&-
drain() { # What a collector that was killed left in its pipe.
  part=0
  while [ -e $d/$1.$((part + 1)) ]; do part=$((part + 1)); done
  cat >>$d/$1.$part
}
wait $out || drain out <&3
wait $err || drain err <&4

[ "$code" ] || read -r code <&8
case $code in '' | *[!0-9]*) code=137 ;; esac
case $over$code in
  152) [ "$cpu" = 0 ] || over=cpu ;; # SIGXCPU
  153) written && { [ "$n" -lt "$blocks" ] || over=disk; } ;; # SIGXFSZ
  0 | *[!0-9]*) ;;
  *) [ -z "$free" ] || check_disk ;;
esac

size() { # Of a stream; no process where it is empty.
  n=0
  for p in $d/$1.[012]; do [ ! -s "$p" ] || n=$((n + $(wc -c <"$p"))); done
  [ ! -e $d/$1.cut ] || while read -r p; do n=$((n + p)); done <$d/$1.cut
}
encode() { base64 | tr -d '\n'; echo; }
ends() {
  if [ "$2" = 0 ]; then
    echo
    echo
  elif [ "$2" -le "$keep" ]; then
    cat $d/$1.[012] | encode
    echo
  else
    head -c $(((keep + 1) / 2)) $d/$1.0 | encode
    cat $d/$1.[012] | tail -c $((keep / 2)) | encode
  fi
}
size out
out=$n
size err
err=$n
rm -rf $d/report
[ -d $d ] && [ ! -h $d ] || { rm -f $d && mkdir $d; }
{
  echo "$code $timed_out $took $out $err $nonce ${over:--}"
  ends out "$out"
  ends err "$err"
} >$d/report
rm -rf $d/[!r]* # all but the report
exit 0
