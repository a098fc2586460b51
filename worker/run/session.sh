# Runs one command of a session: restores what earlier commands left, runs it, and keeps what it leaves.
# Arguments: the names of variables that steps set since the last command, the command, and whether to
# start in the directory that the last command left (1) or in the step's own (0).
_revalid_state=${HOME:-/tmp}/.revalid-session _revalid_set=" $1 " _revalid_command=$2 _revalid_stay=$3
_revalid_directory= _revalid_options=
declare -A _revalid_known=() _revalid_given=()
for _revalid_name in $(compgen -v); do _revalid_known[$_revalid_name]=1; done
for _revalid_name in $(compgen -e); do _revalid_given[$_revalid_name]=${!_revalid_name}; done

# Of what the sandbox gives, only what the command changed is kept: services have new addresses for each
# command, and the value of a secret is not written to a file.
_revalid_save() {
  local options='' name
  for name in errexit nounset pipefail noglob noclobber allexport; do
    if [[ -o $name ]]; then options="$options -o $name"; fi
  done
  set +eufCa +o pipefail
  trap - EXIT
  {
    for name in $(compgen -v); do
      case $name in
        _ | _revalid_* | name | options | BASH* | COLUMNS | FUNCNAME | LINES | OLDPWD | PIPESTATUS) continue ;;
        PWD | SHLVL) continue ;;
      esac
      if [[ -v _revalid_given[$name] ]]; then
        [[ ${_revalid_given[$name]} != "${!name}" ]] || continue
      elif [[ -v _revalid_known[$name] ]]; then
        continue
      fi
      printf '[[ $_revalid_set = *" %s "* ]] || ' "$name"
      declare -p "$name"
    done
    for name in "${!_revalid_given[@]}"; do
      if [[ ! -v $name ]]; then
        printf '[[ $_revalid_set = *" %s "* ]] || unset -v %s\n' "$name" "$name"
      fi
    done
    for name in $(compgen -A function); do
      [[ $name = _revalid_* ]] || declare -f "$name"
    done
    printf '_revalid_directory=%q\n_revalid_options=%q\n' "$PWD" "$options"
  } >"$_revalid_state.new" && mv -f "$_revalid_state.new" "$_revalid_state"
}

if [[ -e $_revalid_state ]]; then . "$_revalid_state"; fi
if [[ $_revalid_stay = 1 && -n $_revalid_directory ]]; then cd -- "$_revalid_directory" || exit 1; fi
trap '{ set +x; } 2>/dev/null; _revalid_save' EXIT
set --
if [[ -n $_revalid_options ]]; then set $_revalid_options; fi
eval "$_revalid_command"
