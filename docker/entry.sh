#!/usr/bin/env bash
# Sets CANN's environment and runs a command. ADNET_DRIVER: the driver's folder.
set -eu
# In a function of its own, for a sourced file sees the parameters of its caller.
load() {
  local file=$1
  shift
  set +eu
  # shellcheck source=/dev/null
  . "$file"
  set -eu
}
for script in "${ASCEND_TOOLKIT_HOME:-/usr/local/Ascend/cann}/set_env.sh" \
  /usr/local/Ascend/cann/set_env.sh /usr/local/Ascend/ascend-toolkit/set_env.sh; do
  if [ -f "$script" ]; then
    load "$script"
    break
  fi
done
# The official images have devlib, CANN's stand-in for the driver, on the path: without devices it
# lets ATC run, with devices the driver that was mounted must come first.
driver=${ADNET_DRIVER:-/usr/local/Ascend/driver}/lib64
if [ -d "$driver" ]; then
  LD_LIBRARY_PATH="$driver/driver:$driver/common:$driver${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
  export LD_LIBRARY_PATH
elif [ "${1:-}" = adnet-run ]; then
  echo "note: no driver at $driver; mount /usr/local/Ascend/driver and pass the devices in" \
    "(docs/ascend.md, Containers)" >&2
fi
exec "$@"
