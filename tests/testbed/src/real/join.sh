# shellcheck shell=sh
# Joins the cgroups that are named before "--" and becomes the command after it, which is told this process's id: it is
# the one by which namespaces that the command makes can be found.
set -eu
while [ "$1" != -- ]; do
    echo $$ > "$1/cgroup.procs"
    shift
done
shift
export TESTBED_MACHINE_PID=$$
exec "$@"
